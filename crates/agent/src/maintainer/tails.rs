//! Keeps the end of each log centrally, since files may be gone tomorrow.

use forebay_service::CancellationToken;
use forebay_wire::{api::LogStream, link::Report};
use tokio::sync::mpsc;

use super::Maintainer;
use crate::job::Tracked;

/// Bytes of a log that are kept.
const TAIL_BYTES: u64 = 256 << 10;
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
            Ok(Some((offset, bytes))) if !bytes.is_empty() => Some(Report::LogTail {
                job: job.job,
                stream,
                task,
                offset,
                // NUL is valid UTF-8 that databases refuse in text.
                text: String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}"),
            }),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(job = %job.job, path, %error, "no log's end to keep");
                None
            }
        }
    }
}
