//! Keeps the end of each log centrally, since files may be gone tomorrow.

use std::time::{Duration, Instant};

use forebay_service::CancellationToken;
use forebay_wire::{api::LogStream, link::Report};
use tokio::sync::mpsc;

use super::{Maintainer, lock};
use crate::job::Tracked;

/// Bytes of a log that are kept.
const TAIL_BYTES: u64 = 256 << 10;
/// What a tail may take as JSON, where a control character takes six bytes: a
/// report must fit into one body.
const TAIL_JSON_BYTES: usize = 600 << 10;
/// How long a tail waits for a quiet moment.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Tasks of an array whose logs are kept; the files have the others'.
const TASKS_MAX: usize = 64;

impl Maintainer {
    pub(super) async fn tails(
        &self,
        jobs: &mut mpsc::UnboundedReceiver<Tracked>,
        stop: CancellationToken,
    ) {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => return,
                job = jobs.recv() => job,
            };
            let Some(job) = job else { return };
            self.quiet(&stop).await;
            let mut reports = Vec::new();
            for stream in [LogStream::Stdout, LogStream::Stderr] {
                if job.told.tasks.is_empty() {
                    reports.extend(self.tail(&job, stream, None).await);
                }
                for task in job.told.tasks.keys().take(TASKS_MAX) {
                    reports.extend(self.tail(&job, stream, Some(*task)).await);
                }
            }
            if !reports.is_empty()
                && let Err(error) = self.report(reports).await
            {
                tracing::warn!(job = %job.job, error = forebay_service::logs::chain(&error), "a log's end is not kept");
            }
        }
    }

    /// Waits, within reason, until no job is on its way to the scheduler: the
    /// files will still be there, and people wait for the jobs.
    async fn quiet(&self, stop: &CancellationToken) {
        let until = Instant::now() + QUIET_MAX;
        while !lock(&self.0.in_hand).is_empty() && Instant::now() < until && !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn tail(&self, job: &Tracked, stream: LogStream, task: Option<u32>) -> Option<Report> {
        let integration = &self.0.parts.integration;
        let path = integration.log_path(job, stream, task)?;
        // Both outputs in one file: kept once.
        if stream == LogStream::Stderr
            && integration.log_path(job, LogStream::Stdout, task).as_ref() == Some(&path)
        {
            return None;
        }
        let account = self
            .0
            .parts
            .accounts
            .resolve(&job.owner.identity)
            .await
            .ok()?;
        let tail = self
            .0
            .parts
            .user_agents
            .log_tail(&account, &path, TAIL_BYTES)
            .await;
        match tail {
            Ok(Some((offset, bytes))) if !bytes.is_empty() => {
                let (offset, text) = fitting(offset, &bytes);
                Some(Report::LogTail {
                    job: job.job,
                    stream,
                    task,
                    offset,
                    text,
                })
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(job = %job.job, path, %error, "no log's end to keep");
                None
            }
        }
    }
}

/// The tail as text, shortened from the front until it fits, and where it begins.
fn fitting(mut offset: u64, mut bytes: &[u8]) -> (u64, String) {
    loop {
        // NUL is valid UTF-8 that databases refuse in text.
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        let size = serde_json::to_string(&text).map_or(usize::MAX, |json| json.len());
        if size <= TAIL_JSON_BYTES || bytes.is_empty() {
            return (offset, text);
        }
        let cut = bytes.len().div_ceil(2);
        offset += cut as u64;
        bytes = &bytes[cut..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_fits_into_a_report_whatever_was_printed() {
        assert_eq!(fitting(7, b"done\n"), (7, "done\n".to_owned()));
        for byte in [0x01, 0x00, 0xff, b'"'] {
            let printed = vec![byte; usize::try_from(TAIL_BYTES).expect("small")];
            let (offset, text) = fitting(100, &printed);
            let json = serde_json::to_string(&text).expect("text");
            assert!(json.len() <= TAIL_JSON_BYTES, "{byte}");
            assert!(!text.contains('\0'));
            assert_eq!(
                offset - 100 + text.chars().count() as u64,
                TAIL_BYTES,
                "{byte}"
            );
        }
    }
}
