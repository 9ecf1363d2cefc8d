//! `forebay logs`.

use std::time::Duration;

use forebay_wire::api::LogStream;

use super::{
    Context,
    output::{Output, Sink, Stopped},
    resolve,
};
use crate::{
    api::{Patience, Span},
    args::LogsArgs,
    failure::Failure,
    follow::Position,
};

/// How long a log is followed without an answer.
const FOLLOW_FOR: Duration = Duration::from_secs(600);
/// How long it is read without one: somebody is waiting for the prompt.
const READ_FOR: Duration = Duration::from_secs(10);

/// Prints what a job printed.
pub(super) async fn run(args: &LogsArgs, context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let id = resolve(args.job, &api).await?;
    let console = &context.console;
    let usual = if args.follow { FOLLOW_FOR } else { READ_FOR };
    let one = |stream, sink| {
        let sink = if args.json { Sink::Json } else { sink };
        let output = Output {
            api: &api,
            console,
            id,
            stream,
            task: args.task,
            sink,
        };
        print(
            output,
            args,
            Patience::new(console, args.retry_for.unwrap_or(usual)),
        )
    };
    if args.both {
        let (stdout, stderr) = (
            one(LogStream::Stdout, Sink::Stdout),
            one(LogStream::Stderr, Sink::Stderr),
        );
        if args.follow {
            futures_util::try_join!(stdout, stderr)?;
        } else {
            stdout.await?;
            stderr.await?;
        }
    } else if args.stderr {
        // Asked for by itself, it is what is wanted, and goes where it can be piped.
        one(LogStream::Stderr, Sink::Stdout).await?;
    } else {
        one(LogStream::Stdout, Sink::Stdout).await?;
    }
    Ok(())
}

async fn print(
    output: Output<'_>,
    args: &LogsArgs,
    mut patience: Patience<'_>,
) -> Result<(), Stopped> {
    let position = match (args.tail, args.follow) {
        (Some(bytes), _) => output.print(Span::Last(bytes), &mut patience).await?,
        (None, true) => Position::default(),
        (None, false) => output.print(Span::From(0), &mut patience).await?,
    };
    if args.follow {
        output.follow(position, &mut patience, None).await?;
    }
    Ok(())
}
