//! `forebay submit`.

use std::{
    fs::File,
    io::{self, Read as _},
    time::Duration,
};

use forebay_wire::{
    ClusterName, JobId,
    api::{Cluster, CreateJob, Job, LogStream, Page},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Context,
    output::{Output, Sink, Stopped},
    wait::{self, Watch},
};
use crate::{
    api::{Api, Patience},
    args::SubmitArgs,
    exit,
    failure::Failure,
    follow::Position,
    spec, view,
};

/// How long a submission is tried when the server does not answer.
const SUBMIT_FOR: Duration = Duration::from_secs(30);
/// How long a job is watched without an answer.
const WATCH_FOR: Duration = Duration::from_secs(600);

/// Reads the script that is named, if one is.
pub(super) fn read_script(args: &SubmitArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.script else {
        return Ok(None);
    };
    let limit = u64::try_from(spec::SCRIPT_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let (from, read) = if path.as_os_str() == "-" {
        (
            "standard input".to_owned(),
            io::stdin().lock().take(limit).read_to_end(&mut bytes),
        )
    } else {
        let from = path.display().to_string();
        (
            from,
            File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
        )
    };
    read.map_err(|error| {
        Failure::caused(format!("cannot read {from}"), &error)
            .exiting(exit::USAGE)
            .hint("A script is a file here; to run a program, give it after --: forebay submit -- PROGRAM")
    })?;
    spec::check_script(bytes, &from).map(Some)
}

/// Hands a job in, and stays with it if asked; answers the exit code.
pub(super) async fn run(
    args: &SubmitArgs,
    script: Option<String>,
    context: &Context,
) -> Result<u8, Failure> {
    let api = context.api()?;
    let console = &context.console;
    let cluster = match args.cluster.as_ref().or(api.default_cluster()) {
        Some(cluster) => cluster.clone(),
        None => {
            only_cluster(
                &api,
                Patience::new(console, args.retry_for.unwrap_or(SUBMIT_FOR)),
            )
            .await?
        }
    };
    let spec = spec::build(args, script, cluster, &context.environment)?;
    let raw = create(args, &CreateJob { spec }, &api, context).await?;
    let job: Job = api.read(raw.clone())?;
    match (args.json, args.follow, args.wait) {
        (true, true, _) => console.json_line(&json!({ "kind": "job", "job": raw }))?,
        (true, false, false) => console.json(&raw)?,
        // Standard output is for the document at the end, or for what the job prints.
        (true, false, true) | (false, true, _) => console.note(&format!("{} handed in", job.id)),
        (false, false, _) => console.line(&job.id.to_string())?,
    }
    if !args.waits() {
        return Ok(exit::OK);
    }
    tokio::select! {
        code = stay(args, raw, &api, context) => code,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Failure::caused("cannot wait for Ctrl-C", &error))?;
            console.note(&format!("{} goes on without us", job.id));
            console.detail(&format!("Watch it with:  forebay logs -f {}", job.id));
            console.detail(&format!("Cancel it with: forebay cancel {}", job.id));
            Ok(exit::INTERRUPTED)
        }
    }
}

/// The cluster that needs no naming.
async fn only_cluster(api: &Api, mut patience: Patience<'_>) -> Result<ClusterName, Failure> {
    let page: Page<Value> = loop {
        match api.get("/api/v1/clusters").await {
            Ok(page) => {
                patience.reset();
                break page;
            }
            Err(error) => patience.after(error).await?,
        }
    };
    let (clusters, _) = view::read_items::<Cluster>(&page);
    match clusters.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(Failure::new("there is no cluster to run on yet")
            .hint("Clusters appear when a site's agent connects: forebay clusters")),
        several => {
            let names: Vec<&str> = several
                .iter()
                .map(|cluster| cluster.name.as_str())
                .collect();
            Err(Failure::usage("which cluster? there are several")
                .detail(names.join(", "))
                .hint("Name one: --cluster NAME; or for always: forebay login --cluster NAME"))
        }
    }
}

/// One submission, however often it must be sent.
async fn create(
    args: &SubmitArgs,
    body: &CreateJob,
    api: &Api,
    context: &Context,
) -> Result<Value, Failure> {
    let key = args
        .idempotency_key
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut patience = Patience::new(&context.console, args.retry_for.unwrap_or(SUBMIT_FOR));
    let mut unanswered = false;
    loop {
        let error = match api.create(body, &key).await {
            Ok(job) => {
                patience.reset();
                return Ok(job);
            }
            Err(error) => error,
        };
        unanswered |= error.leaves_open();
        if let Err(error) = patience.after(error).await {
            let failure = Failure::from(error);
            return Err(if unanswered {
                failure
                    .detail("it is not known whether the job was taken")
                    .hint(format!("Look with: forebay jobs\nOr submit again with --idempotency-key {key}: that makes no second job."))
            } else {
                failure
            });
        }
    }
}

/// Stays with the job to its end; answers its exit code.
async fn stay(args: &SubmitArgs, raw: Value, api: &Api, context: &Context) -> Result<u8, Failure> {
    let console = &context.console;
    let watch_for = args.retry_for.unwrap_or(WATCH_FOR);
    let watched = Watch::new(api, console, raw, Patience::new(console, watch_for))?;
    let id = watched.id();
    let is_array = args.array.is_some() || watched.is_array();
    let (tell, ended) = watch::channel(false);
    let wait = async {
        let end = watched.until_end().await;
        let _ = tell.send(true);
        end
    };
    let output = async {
        if !args.follow {
            return Ok(());
        }
        if is_array {
            console.note("an array has an output for each task; they are not shown here");
            console.detail(&format!("Read one with: forebay logs --task INDEX {id}"));
            return Ok(());
        }
        let both = |stream, sink| {
            let sink = if args.json { Sink::Json } else { sink };
            let output = Output {
                api,
                console,
                id,
                stream,
                task: None,
                sink,
            };
            follow(output, Patience::new(console, watch_for), ended.clone())
        };
        let (stdout, stderr) = (
            both(LogStream::Stdout, Sink::Stdout),
            both(LogStream::Stderr, Sink::Stderr),
        );
        futures_util::try_join!(stdout, stderr).map(|_| ())
    };
    let ((job, raw), ()) = futures_util::try_join!(wait, output)?;
    let code = exit::of_job(job.status.state, job.status.exit);
    if args.json {
        if args.follow {
            console.json_line(&json!({ "kind": "job", "job": raw }))?;
        } else {
            console.json(&raw)?;
        }
    }
    if code != exit::OK || console.shows_progress() {
        console.note(&wait::ending(&job));
    }
    Ok(code)
}

/// Follows one output. That it cannot be read is said, and does not end the waiting.
async fn follow(
    output: Output<'_>,
    mut patience: Patience<'_>,
    ended: watch::Receiver<bool>,
) -> Result<(), Failure> {
    match output
        .follow(Position::default(), &mut patience, Some(ended))
        .await
    {
        Ok(()) => Ok(()),
        Err(Stopped::Here(failure)) => Err(failure),
        Err(Stopped::There(error)) => {
            let (console, id): (_, JobId) = (output.console, output.id);
            console.note(&format!(
                "the rest of {} cannot be shown: {error}",
                output.stream
            ));
            console.detail(&format!("Read it with: forebay logs {id}"));
            Ok(())
        }
    }
}
