//! A small `squeue` that shows changes: who, what, in which state, every two seconds.
//!
//! `cargo run --example watch [USER]`

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_slurm::runner::{Config, LocalRunner};
use forebay_slurm::{Cli, QueueQuery};

#[tokio::main]
#[allow(clippy::print_stdout, clippy::print_stderr)]
async fn main() {
    let slurm = Cli::new(LocalRunner::new(Config {
        slurm_conf: std::env::var_os("SLURM_CONF").map(Into::into),
        ..Config::default()
    }));
    let query = QueueQuery {
        users: std::env::args().skip(1).collect(),
        ..QueueQuery::default()
    };
    let mut known = BTreeMap::new();
    loop {
        match slurm.queue(&query).await {
            Ok(listing) => {
                for skipped in &listing.skipped {
                    eprintln!("skipped: {} ({})", skipped.row, skipped.reason);
                }
                let mut now = BTreeMap::new();
                for job in listing {
                    let line = format!(
                        "{:<16} {:<10} {:<12} {:<20} {:<16} {}",
                        job.id.to_string(),
                        job.user,
                        job.partition,
                        job.state.to_string(),
                        if job.nodes.is_empty() {
                            &job.reason
                        } else {
                            &job.nodes
                        },
                        job.name.escape_debug(),
                    );
                    if known.get(&job.id) != Some(&line) {
                        println!("{line}");
                    }
                    now.insert(job.id, line);
                }
                for id in known.keys().filter(|id| !now.contains_key(*id)) {
                    println!(
                        "{:<16} not known to the controller any more",
                        id.to_string()
                    );
                }
                known = now;
            }
            // Nothing is known, so nothing changes.
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
