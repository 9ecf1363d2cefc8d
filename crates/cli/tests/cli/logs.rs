//! Output comes whole: not a byte twice, not a byte missing.

use std::fmt::Write as _;

use forebay_wire::{Code, JobState};

use crate::{
    fake::{Fake, Fault, job},
    run::User,
};

/// Text with wide characters, and bytes that are no text at all.
fn output() -> Vec<u8> {
    let mut text = String::new();
    for line in 0..60 {
        let _ = writeln!(
            text,
            "line {line}: grün 日本 \u{1b}[1mbold\u{1b}[0m \u{fffd}"
        );
    }
    let mut bytes = text.into_bytes();
    bytes.extend(b"\xff\xfe\x00binary\x80\xe2\x82\n");
    bytes
}

fn with_output() -> Fake {
    let fake = Fake::start();
    let mut done = job(1, "prints", JobState::Succeeded);
    done.stdout = output();
    done.stderr = b"on stderr\n".to_vec();
    fake.state().jobs = vec![done];
    fake
}

fn connections(fake: &Fake) -> usize {
    fake.state()
        .seen
        .iter()
        .filter(|seen| seen.contains("/logs/"))
        .count()
}

#[test]
fn what_was_printed_is_printed() {
    let fake = with_output();
    let user = User::of(&fake);
    assert_eq!(user.run(&["logs", "last"]).ok().stdout, output());
    assert_eq!(
        user.run(&["logs", "--stderr", "last"]).ok().out(),
        "on stderr\n"
    );
    let both = user.run(&["logs", "--both", "last"]).ok();
    assert_eq!(
        (both.stdout, both.stderr.as_str()),
        (output(), "on stderr\n")
    );
    assert_eq!(
        user.run(&["logs", "--tail", "9", "last"]).ok().stdout,
        output()[output().len() - 9..]
    );
    assert_eq!(
        user.run(&["logs", "--tail", "99999", "last"]).ok().stdout,
        output()
    );
    assert_eq!(
        user.run(&["logs", "--task", "7", "last"]).ok().out(),
        "task 7\n"
    );
}

#[test]
fn a_log_without_a_byte_is_no_failure() {
    let fake = with_output();
    fake.state().jobs[0].stdout.clear();
    let user = User::of(&fake);
    for line in [
        &["logs", "last"][..],
        &["logs", "--tail", "5", "last"],
        &["logs", "-f", "last"],
        &["logs", "-f", "--tail", "5", "last"],
    ] {
        let done = user.run(line).ok();
        assert_eq!(
            (done.out().as_str(), done.stderr.as_str()),
            ("", ""),
            "{line:?}"
        );
    }
}

#[test]
fn following_prints_the_same_bytes() {
    let fake = with_output();
    let user = User::of(&fake);
    assert_eq!(user.run(&["logs", "-f", "last"]).ok().stdout, output());
    let both = user.run(&["logs", "-f", "--both", "last"]).ok();
    assert_eq!(
        (both.stdout, both.stderr.as_str()),
        (output(), "on stderr\n")
    );
    assert_eq!(
        user.run(&["logs", "-f", "--tail", "100", "last"])
            .ok()
            .stdout,
        output()[output().len() - 100..]
    );
}

#[test]
fn a_cut_stream_is_taken_up_where_it_broke() {
    let fake = with_output();
    fake.state().cuts = [5, 0, 1, 17, 60, 3].into();
    let done = User::of(&fake).run(&["logs", "-f", "last"]).ok();
    assert_eq!(done.stdout, output());
    assert!(fake.state().cuts.is_empty(), "all of them happened");
    assert!(connections(&fake) >= 7);
}

#[test]
fn gaps_are_filled_from_the_file() {
    let fake = with_output();
    {
        let mut state = fake.state();
        state.skip_each = Some(3);
        state.cuts = [10].into();
        state.byte_cuts = [1, 2].into();
    }
    let done = User::of(&fake).run(&["logs", "-f", "last"]).ok();
    assert_eq!(done.stdout, output());
}

#[test]
fn a_cut_download_goes_on_where_it_broke() {
    for line in [&["logs", "last"][..], &["logs", "--tail", "2000", "last"]] {
        let fake = with_output();
        fake.state().byte_cuts = [100, 1, 0, 700].into();
        let done = User::of(&fake).run(line).ok();
        let whole = output();
        let expected = if line.len() == 2 {
            &whole[..]
        } else {
            &whole[whole.len() - 2000..]
        };
        assert_eq!(done.stdout, expected, "{line:?}");
        assert!(fake.state().byte_cuts.is_empty(), "all of them happened");
    }
}

#[test]
fn of_a_log_whose_beginning_is_out_of_reach_the_end_is_printed() {
    let fake = with_output();
    fake.state().kept = Some(50);
    let whole = output();
    let end = &whole[whole.len() - 50..];
    for line in [&["logs", "last"][..], &["logs", "-f", "last"]] {
        let done = User::of(&fake).run(line).ok();
        assert_eq!(done.stdout, end, "{line:?}");
        let missing = format!("{} bytes of stdout cannot be had now", whole.len() - 50);
        assert!(done.stderr.contains(&missing), "{}", done.all());
    }
    let tail = User::of(&fake).run(&["logs", "--tail", "20", "last"]).ok();
    assert_eq!(
        (tail.stdout.as_slice(), tail.stderr.as_str()),
        (&whole[whole.len() - 20..], "")
    );
}

#[test]
fn json_is_a_document_a_line() {
    let fake = with_output();
    fake.state().cuts = [4].into();
    let done = User::of(&fake).run(&["logs", "-f", "--json", "last"]).ok();
    assert!(!done.out().contains('\u{1b}'));
    let items: Vec<serde_json::Value> = done
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let mut next = 0;
    for item in &items {
        assert_eq!(
            (item["kind"].as_str(), item["stream"].as_str()),
            (Some("log"), Some("stdout"))
        );
        assert_eq!(
            item["item"]["offset"].as_u64(),
            Some(next),
            "neither gap nor repetition"
        );
        next = item["item"]["next"].as_u64().unwrap_or(next);
    }
    assert_eq!(items.last().expect("some")["item"]["kind"], "end");
    assert_eq!(next, output().len() as u64);
}

#[test]
fn a_server_that_stays_away_ends_the_following() {
    let fake = with_output();
    let faults = std::iter::repeat_n(("/api/v1/jobs/j", Fault::Refuse(Code::Unavailable)), 1000);
    fake.state().faults.extend(faults);
    let done = User::of(&fake).run(&["logs", "-f", "--retry-for", "1s", "last"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("trying again for up to 1 s"),
        "{}",
        done.all()
    );
    assert!(connections(&fake) > 1, "it tried again");
    // What will never do is not tried again.
    let fake = with_output();
    fake.state()
        .faults
        .push(("/api/v1/jobs/j", Fault::Refuse(Code::Forbidden)));
    assert_eq!(User::of(&fake).run(&["logs", "-f", "last"]).code, Some(1));
    assert_eq!(connections(&fake), 1);
}
