//! Submits a command as a held job, releases it, and waits for its end.
//!
//! `cargo run --example submit -- printf '%s\n' 'hello world'`

use std::time::Duration;

use forebay_slurm::runner::{Config, LocalRunner};
use forebay_slurm::{BatchScript, Cli, QueueQuery, Submission};

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let script = BatchScript::for_command(&command)?;
    let slurm = Cli::new(LocalRunner::new(Config {
        slurm_conf: std::env::var_os("SLURM_CONF").map(Into::into),
        dir: std::env::current_dir()?,
        ..Config::default()
    }));
    let mut submission = Submission::new(script.into_bytes());
    submission.options.job_name = command.first().cloned();
    submission.options.hold = true;
    // An error says what to change; here it just ends the program.
    let job = slurm.submit(&submission).await?;
    println!("held: {}", job.id);
    for (id, result) in slurm.release(std::slice::from_ref(&job.id)).await? {
        result?;
        println!("released: {id}");
    }
    let query = QueueQuery {
        ids: vec![job.id],
        ..QueueQuery::default()
    };
    let mut shown = String::new();
    loop {
        // An error here would say nothing about the job. An empty list would say that the
        // controller has forgotten it, and that accounting has to be asked.
        let Some(job) = slurm.queue(&query).await?.into_iter().next() else {
            break;
        };
        let line = format!("{} {} {}", job.id, job.state, job.reason);
        if line != shown {
            println!("{line}");
            shown = line;
        }
        if job.state.is_terminal() {
            println!(
                "exit {} output {}",
                job.exit.map(|exit| exit.to_string()).unwrap_or_default(),
                job.stdout
            );
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
