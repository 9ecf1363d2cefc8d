//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

#[test]
fn every_word_of_the_table_is_read_back() {
    for (base, long, short) in BASES {
        for word in [*long, *short, &long.to_ascii_lowercase()] {
            assert_eq!(
                JobState::parse(word),
                JobState::from(base.clone()),
                "{word}"
            );
        }
    }
    for (flag, long, short, implied) in FLAGS {
        for word in [long, short].into_iter().filter(|word| !word.is_empty()) {
            let state = JobState::parse(word);
            assert_eq!(
                (&state.flags, &state.base),
                (&vec![flag.clone()], implied),
                "{word}"
            );
        }
    }
}

#[test]
fn cancelled_by_keeps_the_uid() {
    let state = JobState::parse("CANCELLED by 0");
    assert_eq!(state.cancelled_by, Some(0));
    assert!(state.is_terminal());
    assert_eq!(JobState::parse("CANCELLED+").base, BaseState::Cancelled);
    assert_eq!(JobState::parse("CANCELLED by somebody").cancelled_by, None);
}

#[test]
fn only_an_end_without_cleaning_up_is_terminal() {
    for (text, terminal) in [
        ("COMPLETED", true),
        ("OUT_OF_MEMORY", true),
        ("DEADLINE", true),
        ("COMPLETED,COMPLETING", false),
        ("COMPLETING", false),
        ("STAGE_OUT", false),
        ("FAILED,REQUEUED", false),
        ("PENDING,SPECIAL_EXIT", false),
        ("REVOKED", false),
        ("?", false),
        ("", false),
        ("SOMETHING_NEW", false),
    ] {
        assert_eq!(JobState::parse(text).is_terminal(), terminal, "{text}");
    }
}

#[test]
fn unknown_words_are_kept() {
    let state = JobState::parse("HIBERNATING");
    assert_eq!(state.base, BaseState::Unknown("HIBERNATING".into()));
    let state = JobState::from_words(["RUNNING", "GLOWING", "CONFIGURING"]);
    assert_eq!(state.base, BaseState::Running);
    assert_eq!(state.to_string(), "RUNNING,CONFIGURING,GLOWING");
}

#[test]
fn held_is_told_by_reason_or_flag() {
    assert!(JobState::parse("PD").is_held("JobHeldUser"));
    assert!(JobState::parse("PENDING").is_held("(launch failed requeued held)"));
    assert!(JobState::parse("REQUEUE_HOLD").is_held(""));
    assert!(!JobState::parse("PENDING").is_held("Priority"));
    assert!(!JobState::parse("RUNNING").is_held("JobHeldUser"));
}

#[test]
fn json_is_a_word_or_a_list() {
    let one: JobState = serde_json::from_str("\"COMPLETING\"").unwrap();
    assert_eq!(one.base, BaseState::Hidden);
    let many: JobState = serde_json::from_str(r#"["RUNNING","CONFIGURING"]"#).unwrap();
    assert_eq!(
        serde_json::to_string(&many).unwrap(),
        "\"RUNNING,CONFIGURING\""
    );
}

proptest! {
    #[test]
    fn any_text_is_read_and_known_states_round_trip(text in "\\PC{0,60}") {
        let _ = JobState::parse(&text);
    }

    #[test]
    fn known_states_round_trip(base in 0..BASES.len(), flags in proptest::collection::vec(0..FLAGS.len(), 0..4)) {
        let words: Vec<&str> = std::iter::once(BASES[base].1).chain(flags.iter().map(|f| FLAGS[*f].1)).collect();
        let state = JobState::from_words(words);
        prop_assert_eq!(JobState::parse(&state.to_string()), state);
    }
}
