//! What a job printed comes whole: not a byte twice, none missing, no character torn.

use forebay_testbed::need;
use forebay_wire::JobState::Succeeded;
use forebay_wire::api::LogItem;
use http::Method;
use serde_json::json;

use crate::worlds::{World, eventually, plain_slurm};
use forebay_testbed::site::Scheduler;

/// Prints 60,000 numbered lines with characters of one to four bytes, about 1.9 MB.
const MUCH: &str =
    r#"awk 'BEGIN { for (n = 1; n <= 60000; n++) print "line " n ": grün 日本 🦀 x" }'"#;

fn much() -> String {
    (1..=60_000)
        .map(|n| format!("line {n}: grün 日本 🦀 x\n"))
        .collect()
}

#[tokio::test]
async fn two_megabytes_whole_by_every_way() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(1);
    let expected = much();
    let id = api.script(&format!("{MUCH}; printf 'no line end'")).await;
    let expected = format!("{expected}no line end");
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    assert!(api.stdout(&id).await == expected, "over HTTP");
    let printed = world.cli(1, &["logs", &id]).await;
    assert!(printed.stdout == expected.as_bytes(), "by `logs`");
    let printed = world.cli(1, &["logs", "-f", &id]).await;
    assert!(printed.stdout == expected.as_bytes(), "by `logs -f`");
    let tail = world.cli(1, &["logs", "--tail", "100", &id]).await;
    assert_eq!(tail.stdout, expected.as_bytes()[expected.len() - 100..]);
    // By ranges, also one that tears characters.
    let path = format!("/api/v1/jobs/{id}/logs/stdout");
    for (range, piece) in [
        ("bytes=1000000-1000998", 1_000_000..1_000_999),
        ("bytes=13-13", 13..14),
        ("bytes=-5", expected.len() - 5..expected.len()),
        ("bytes=1900000-", 1_900_000..expected.len()),
    ] {
        let answer = api
            .call(Method::GET, &path, None, &[("range", range)])
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), 206, "{range}");
        assert_eq!(answer.body, expected.as_bytes()[piece], "{range}");
    }
    let beyond = api
        .call(Method::GET, &path, None, &[("range", "bytes=9999999-")])
        .await;
    assert_eq!(beyond.unwrap_err().code.status(), 416);
}

#[tokio::test]
async fn the_stream_of_events_puts_the_file_together() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(2);
    let id = api
        .script("for n in 1 2 3 4 5 6; do printf 'gr\\303'; sleep 0.3; printf '\\274n\\n'; done")
        .await;
    let path = format!("/api/v1/jobs/{id}/logs/stdout");
    let accept = [("accept", "text/event-stream")];
    // Ends by itself when the job has ended and all was sent.
    let answer = api.call(Method::GET, &path, None, &accept).await.unwrap();
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    let items = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let items: Vec<LogItem> = items
        .map(|item| serde_json::from_str(item).unwrap())
        .collect();
    let (mut text, mut at) = (String::new(), 0);
    for item in &items {
        match item {
            LogItem::Text {
                offset,
                next,
                text: piece,
            } => {
                assert_eq!(
                    (*offset, *next - *offset),
                    (at, piece.len() as u64),
                    "{items:?}"
                );
                assert!(!piece.contains('\u{fffd}'), "a torn character in {items:?}");
                text.push_str(piece);
                at = *next;
            }
            LogItem::End { offset } => assert_eq!(*offset, at),
            LogItem::Skipped { .. } => panic!("nothing is skipped here: {items:?}"),
        }
    }
    assert_eq!(text, "grün\n".repeat(6));
    assert!(
        matches!(items.last(), Some(LogItem::End { .. })),
        "{items:?}"
    );
    assert!(items.len() > 4, "piece by piece: {items:?}");
}

#[tokio::test]
async fn a_stream_goes_on_over_a_restart_of_the_view_server() {
    need!(Slurm, Postgres);
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let (api, user) = (world.api(3), world.user(3));
    let part = r#"awk 'BEGIN { for (n = 1; n <= 4000; n++) print "line " n ": grün 日本 🦀 x" }'; sleep 0.2"#;
    let script =
        format!("for part in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do {part}; done; echo whole");
    let id = api
        .submit(json!({ "script": format!("#!/bin/sh\n{script}\n") }))
        .await;
    let follower = world
        .site
        .start_cli(&user.name, ["logs", "-f", id.as_str()])
        .await
        .unwrap();
    let waiter = world
        .site
        .start_cli(&user.name, ["submit", "--wait", "--", "sleep", "4"])
        .await
        .unwrap();
    eventually("the first output", || async {
        (!follower.stdout().is_empty()).then_some(())
    })
    .await;
    for _ in 0..2 {
        world.site.kill9("view-server").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        world.site.start_view_server().await.unwrap();
        let so_far = follower.stdout().len();
        eventually("more output", || async {
            (follower.stdout().len() > so_far).then_some(())
        })
        .await;
    }
    // In order, too.
    world.site.stop_service("view-server").await.unwrap();
    world.site.start_view_server().await.unwrap();
    let job = api.ended(&id).await;
    assert_eq!(job.status.state, Succeeded);
    let exit = tokio::time::timeout(crate::worlds::PATIENCE, follower.daemon().wait()).await;
    assert_eq!(
        exit.unwrap().unwrap().code,
        Some(0),
        "{}",
        follower.stderr()
    );
    let file = std::fs::read(world.site.job_dir(&user.name, &id).unwrap().join("stdout")).unwrap();
    let lines: String = (1..=4_000)
        .map(|n| format!("line {n}: grün 日本 🦀 x\n"))
        .collect();
    assert!(
        file == format!("{}whole\n", lines.repeat(16)).as_bytes(),
        "the job's own file"
    );
    let shown = follower.stdout();
    let differs = shown.iter().zip(&file).position(|(a, b)| a != b);
    assert!(
        shown == file,
        "{} of {} bytes, first difference at {differs:?}",
        shown.len(),
        file.len()
    );
    let exit = tokio::time::timeout(crate::worlds::PATIENCE, waiter.daemon().wait()).await;
    assert_eq!(exit.unwrap().unwrap().code, Some(0), "{}", waiter.stderr());
    world.site.stop().await.unwrap();
}
