//! What every integration must pass, whatever its scheduler.
//!
//! [`check`] drives a real scheduler through a job's life by the trait alone.
//! It is part of the library so that an integration of somebody else's can be
//! put to the same test; see `docs/INTEGRATIONS.md`.

use std::time::{Duration, Instant};

use forebay_wire::{JobId, JobState, api::JobSpec};
use uuid::Uuid;

use super::{Integration, Interest, PartPhase, Receipt, Record, Submission};
use crate::{accounts::Account, job::Marker};

/// How long a small job may take on an idle cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all of it as `account`; `spec` makes a job of a command for this
/// cluster. Panics where the integration breaks its promise: it is a test.
pub async fn check(
    integration: &dyn Integration,
    account: &Account,
    spec: impl Fn(&[&str]) -> JobSpec,
) {
    let run = Suite {
        integration,
        account,
        installation: Uuid::new_v4(),
    };
    run.unknown_jobs_are_not_found().await;
    run.a_held_copy_waits_and_is_found(&spec(&["true"])).await;
    run.ends_are_told_apart(&spec).await;
    run.a_held_copy_can_be_cancelled(&spec(&["true"])).await;
    run.a_running_job_can_be_cancelled(&spec(&["sleep", "300"]))
        .await;
}

struct Suite<'a> {
    integration: &'a dyn Integration,
    account: &'a Account,
    installation: Uuid,
}

impl Suite<'_> {
    fn marker(&self) -> Marker {
        Marker {
            installation: self.installation,
            job: JobId::new(),
        }
    }

    async fn submit(&self, marker: Marker, spec: &JobSpec) -> Receipt {
        assert_eq!(
            self.integration.check(spec),
            [],
            "the spec must suit this cluster"
        );
        let submission = Submission {
            marker,
            spec,
            account: self.account,
        };
        self.integration
            .submit_held(submission)
            .await
            .expect("a small job is taken")
    }

    fn interest(&self, marker: Marker, receipt: &Receipt) -> Interest {
        Interest {
            marker,
            account: self.account.clone(),
            copy: receipt.copy.clone(),
            was_running: false,
        }
    }

    async fn release(&self, receipt: &Receipt) {
        let ids = [receipt.copy.scheduler_id.clone()];
        let outcomes = self.integration.release(self.account, &ids).await;
        assert_eq!(outcomes, [super::Release::Done]);
    }

    async fn until(
        &self,
        interest: &Interest,
        what: &str,
        done: impl Fn(&Record) -> bool,
    ) -> Record {
        let began = Instant::now();
        loop {
            let answer = self
                .integration
                .observe(std::slice::from_ref(interest))
                .await
                .expect("it answers");
            if let Some(record) = answer.records.get(&interest.marker.job) {
                assert!(interest.is_of(record), "{record:?} is not of {interest:?}");
                if done(record) {
                    return record.clone();
                }
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not {what} in {PATIENCE:?}: {:?}",
                answer.records
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn unknown_jobs_are_not_found(&self) {
        let found = self
            .integration
            .find(self.account, self.marker())
            .await
            .expect("it answers");
        assert_eq!(found, []);
    }

    async fn a_held_copy_waits_and_is_found(&self, spec: &JobSpec) {
        let marker = self.marker();
        let receipt = self.submit(marker, spec).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let found = self
            .integration
            .find(self.account, marker)
            .await
            .expect("it answers");
        let [record] = found.as_slice() else {
            panic!("one copy, not {found:?}")
        };
        assert!(record.is_held(), "{record:?}");
        assert!(!record.has_started());
        assert!(
            self.interest(marker, &receipt).is_of(record),
            "{record:?} is not of {receipt:?}"
        );
        assert_eq!(
            (record.uid, record.marker),
            (self.account.uid, Some(marker))
        );
        self.outputs_are_known(marker, spec, &receipt).await;
        self.release(&receipt).await;
        self.until(&self.interest(marker, &receipt), "ended", Record::has_ended)
            .await;
        self.outputs_are_known(marker, spec, &receipt).await;
        let found = self
            .integration
            .find(self.account, marker)
            .await
            .expect("it answers");
        assert_eq!(found, [], "what has ended is no copy to adopt");
    }

    /// As the receipt has them, for a copy whose receipt was lost.
    async fn outputs_are_known(&self, marker: Marker, spec: &JobSpec, receipt: &Receipt) {
        let submission = Submission {
            marker,
            spec,
            account: self.account,
        };
        let outputs = self.integration.outputs(submission, &receipt.copy).await;
        let expected = (receipt.stdout_path.clone(), receipt.stderr_path.clone());
        assert_eq!(outputs, expected);
    }

    async fn ends_are_told_apart(&self, spec: &impl Fn(&[&str]) -> JobSpec) {
        for (command, end, code) in [
            (["sh", "-c", "exit 0"], JobState::Succeeded, 0),
            (["sh", "-c", "exit 3"], JobState::Failed, 3),
        ] {
            let marker = self.marker();
            let receipt = self.submit(marker, &spec(&command)).await;
            self.release(&receipt).await;
            let record = self
                .until(&self.interest(marker, &receipt), "ended", Record::has_ended)
                .await;
            let PartPhase::Ended {
                end: found, exit, ..
            } = record.parts[0].phase
            else {
                panic!("{record:?}");
            };
            assert_eq!(
                (found, exit.map(|exit| exit.code)),
                (end, Some(code)),
                "{command:?}"
            );
        }
    }

    async fn a_held_copy_can_be_cancelled(&self, spec: &JobSpec) {
        let marker = self.marker();
        let receipt = self.submit(marker, spec).await;
        let ids = [receipt.copy.scheduler_id.clone()];
        self.integration
            .cancel(self.account, &ids)
            .await
            .expect("it answers");
        self.ends_cancelled(&self.interest(marker, &receipt)).await;
        self.integration
            .cancel(self.account, &ids)
            .await
            .expect("twice is no error");
    }

    async fn a_running_job_can_be_cancelled(&self, spec: &JobSpec) {
        let marker = self.marker();
        let receipt = self.submit(marker, spec).await;
        self.release(&receipt).await;
        let interest = self.interest(marker, &receipt);
        self.until(&interest, "running", |record| {
            record.parts[0].phase == PartPhase::Running
        })
        .await;
        let ids = [receipt.copy.scheduler_id.clone()];
        self.integration
            .cancel(self.account, &ids)
            .await
            .expect("it answers");
        self.ends_cancelled(&interest).await;
    }

    async fn ends_cancelled(&self, interest: &Interest) {
        let record = self.until(interest, "ended", Record::has_ended).await;
        let PartPhase::Ended { end, .. } = record.parts[0].phase else {
            panic!("{record:?}")
        };
        assert_eq!(end, JobState::Cancelled);
    }
}
