//! Text from a site, made storable: no NUL, no endless texts. A site is trusted
//! to report on its own jobs, not to know what Postgres can hold.

use forebay_wire::{
    api::JobTask,
    link::{Observation, Report},
};

use crate::sql::plain;

/// Reasons and messages, bytes.
const MESSAGE_MAX: usize = 4_096;
/// Paths and lists of nodes, bytes.
const TEXT_MAX: usize = 16_384;
/// Ids of the scheduler, bytes.
const ID_MAX: usize = 256;
/// The tail of a log, bytes.
const TAIL_MAX: usize = 256 << 10;

pub(super) fn clean(mut report: Report) -> Report {
    match &mut report {
        Report::Job { saw, .. } => observation(saw),
        // Made storable as JSON when it is saved.
        Report::Cluster { .. } => {}
        Report::LogTail { offset, text, .. } => tail(offset, text),
    }
    report
}

/// The end of a tail is what matters.
fn tail(offset: &mut u64, text: &mut String) {
    if text.len() > TAIL_MAX {
        let mut start = text.len() - TAIL_MAX;
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text.drain(..start);
        *offset = offset.saturating_add(start as u64);
    }
}

fn observation(saw: &mut Observation) {
    match saw {
        Observation::Released {
            scheduler_id,
            stdout_path,
            stderr_path,
            ..
        } => {
            plain(scheduler_id, ID_MAX);
            optional(stdout_path, TEXT_MAX);
            optional(stderr_path, TEXT_MAX);
        }
        Observation::Refused { message } | Observation::Vanished { message } => {
            plain(message, MESSAGE_MAX);
        }
        Observation::Waiting { reason } => plain(reason, MESSAGE_MAX),
        Observation::Started { nodes } => optional(nodes, TEXT_MAX),
        Observation::Ended { nodes, message, .. } => {
            optional(nodes, TEXT_MAX);
            optional(message, MESSAGE_MAX);
        }
        Observation::Tasks { tasks, .. } => tasks.iter_mut().for_each(task),
        Observation::Freshness { message, .. } => optional(message, MESSAGE_MAX),
        Observation::Ending | Observation::Requeued => {}
    }
}

fn task(task: &mut JobTask) {
    optional(&mut task.scheduler_id, ID_MAX);
    optional(&mut task.nodes, TEXT_MAX);
}

fn optional(text: &mut Option<String>, bytes_max: usize) {
    if let Some(text) = text {
        plain(text, bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_tail_is_kept_and_its_offset_moves() {
        let mut text = format!("é{}", "x".repeat(TAIL_MAX - 1));
        let mut offset = 10;
        tail(&mut offset, &mut text);
        assert_eq!((offset, text.len()), (12, TAIL_MAX - 1));
    }
}
