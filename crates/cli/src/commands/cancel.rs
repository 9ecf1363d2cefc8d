//! `forebay cancel`.

use forebay_wire::api::Job;
use serde_json::{Value, json};

use super::{Context, resolve};
use crate::{args::CancelArgs, exit, failure::Failure};

/// Asks for each job to be cancelled; one that cannot be does not stop the others.
pub(super) async fn run(args: &CancelArgs, context: &Context) -> Result<u8, Failure> {
    let api = context.api()?;
    let console = &context.console;
    let (mut cancelled, mut failed) = (Vec::new(), Vec::new());
    for job in &args.jobs {
        let outcome: Result<(String, Value), (String, Failure)> = async {
            let id = resolve(*job, &api)
                .await
                .map_err(|e| ("last".to_owned(), e))?;
            let answer = api.post(&format!("/api/v1/jobs/{id}/cancel")).await;
            answer
                .map(|job| (id.to_string(), job))
                .map_err(|e| (id.to_string(), e.into()))
        }
        .await;
        match outcome {
            Ok((id, job)) => {
                if !args.json {
                    // A job that waits in Forebay's own queue is cancelled at once.
                    let ended = api
                        .read::<Job>(job.clone())
                        .is_ok_and(|job| job.status.state.is_end());
                    console.line(&format!(
                        "{id} {}",
                        if ended {
                            "cancelled"
                        } else {
                            "will be cancelled"
                        }
                    ))?;
                }
                cancelled.push(job);
            }
            Err((id, failure)) => {
                if !args.json
                    && let Failure::Said(said) = &failure
                {
                    console.note(&format!("{id}: {}", said.message));
                    for line in said.details.iter().chain(&said.hint) {
                        console.detail(line);
                    }
                }
                failed.push(json!({ "id": id, "message": message(&failure) }));
            }
        }
    }
    let code = if failed.is_empty() {
        exit::OK
    } else {
        exit::FAILED
    };
    if args.json {
        console.json(&json!({ "items": cancelled, "failed": failed }))?;
    }
    Ok(code)
}

fn message(failure: &Failure) -> &str {
    match failure {
        Failure::Said(said) => &said.message,
        Failure::Quiet(_) => "",
    }
}
