//! `forebay clusters`.

use forebay_wire::{
    Freshness,
    api::{Cluster, Page},
};
use serde_json::Value;

use super::{Context, note_unread};
use crate::{
    args::ClustersArgs,
    failure::Failure,
    table::{Cell, Column, Table, Tint},
    units::duration,
    view,
};

const fn column(title: &'static str, cut_to: Option<usize>, expendable: u8) -> Column {
    Column {
        title,
        cut_to,
        expendable,
    }
}

const COLUMNS: [Column; 10] = [
    column("CLUSTER", None, 0),
    column("SITE", None, 4),
    column("KIND", None, 3),
    column("STATE", None, 0),
    column("PARTITION", Some(10), 0),
    column("NODES", None, 1),
    column("CPUS", None, 1),
    column("IDLE", None, 0),
    column("LIMIT", None, 2),
    column("MESSAGE", Some(12), 5),
];

/// Lists clusters, a line for each partition.
pub(super) async fn run(args: &ClustersArgs, context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let page: Page<Value> = api.get("/api/v1/clusters").await?;
    if args.json {
        return context.console.json(&page);
    }
    let (clusters, unread) = view::read_items::<Cluster>(&page);
    if clusters.is_empty() && unread == 0 {
        context
            .console
            .note("no cluster is known yet; they appear when a site's agent connects");
        return Ok(());
    }
    context
        .console
        .out(table(&clusters).render(context.console.screen))?;
    note_unread(&context.console, unread, "cluster");
    Ok(())
}

fn table(clusters: &[Cluster]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for cluster in clusters {
        let status = &cluster.status;
        let kind = match &status.version {
            Some(version) => format!("{} {version}", cluster.integration),
            None => cluster.integration.clone(),
        };
        let tint = if status.freshness == Freshness::Live {
            Tint::Good
        } else {
            Tint::Bad
        };
        let head = |first: bool| {
            let show = |text: &str| Cell::new(if first { text } else { "" });
            vec![
                show(cluster.name.as_str()),
                show(cluster.site.as_str()),
                show(&kind),
                show(status.freshness.as_str()).tint(tint),
            ]
        };
        let message = |first: bool| {
            Cell::new(
                status
                    .message
                    .as_deref()
                    .filter(|_| first)
                    .unwrap_or_default(),
            )
        };
        if status.partitions.is_empty() {
            let mut row = head(true);
            row.extend(std::iter::repeat_n(Cell::new(""), 5));
            row.push(message(true));
            table.row(row);
        }
        for (index, partition) in status.partitions.iter().enumerate() {
            let mut name = partition.name.clone();
            if partition.default {
                name.push('*');
            }
            if partition.state != "up" {
                name = format!("{name} ({})", partition.state);
            }
            let mut row = head(index == 0);
            row.extend([
                Cell::new(name),
                Cell::new(partition.nodes.to_string()),
                Cell::new(partition.cpus.to_string()),
                Cell::new(partition.cpus_idle.to_string()),
                Cell::new(
                    partition
                        .time_limit_s
                        .map_or_else(|| "none".to_owned(), duration::print),
                ),
                message(index == 0),
            ]);
            table.row(row);
        }
    }
    table
}
