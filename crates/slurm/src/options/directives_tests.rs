//! Tests of [`super`].

use super::*;
use crate::options::OPTIONS;
use proptest::prelude::*;

fn arguments(words: &[&str]) -> Result<Vec<String>, Vec<String>> {
    parse_words(words, Policy::strict())
        .map(|found| found.iter().map(Directive::to_argument).collect())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn every_way_of_writing_an_option() {
    for words in [
        &["--nodes=2"][..],
        &["--nodes", "2"],
        &["-N2"],
        &["-N", "2"],
        &["--nodes=2"],
    ] {
        assert_eq!(arguments(words), Ok(vec!["--nodes=2".into()]), "{words:?}");
    }
    assert_eq!(
        arguments(&["-HQN2"]),
        Ok(vec!["--hold".into(), "--quiet".into(), "--nodes=2".into()])
    );
    // An equals sign after a letter is part of the value, as for sbatch.
    assert_eq!(arguments(&["-N=2"]), Ok(vec!["--nodes==2".into()]));
    assert_eq!(
        arguments(&["--exclusive", "-H"]),
        Ok(vec!["--exclusive".into(), "--hold".into()])
    );
    assert_eq!(
        arguments(&["--exclus=user"]),
        Ok(vec!["--exclusive=user".into()])
    );
    assert_eq!(
        arguments(&["-k", "-kset"]),
        Ok(vec!["--no-kill".into(), "--no-kill=set".into()])
    );
    assert_eq!(
        arguments(&["--comment", "--hold"]),
        Ok(vec!["--comment=--hold".into()])
    );
}

#[test]
fn errors_say_what_to_do() {
    insta::assert_snapshot!(
        "problems",
        [
            vec!["--uid=0"],
            vec!["--ui", "0"],
            vec!["-W"],
            vec!["-HW"],
            vec!["--wra=x"],
            vec!["--test"],
            vec!["--pars"],
            vec!["--par"],
            vec!["-Mother"],
            vec!["--help"],
            vec!["--no=1"],
            vec!["--patition=x"],
            vec!["--zork"],
            vec!["-z"],
            vec!["--time"],
            vec!["-t"],
            vec!["--hold=1"],
            vec!["--comment=a\nb"],
            vec!["foo"],
            vec!["-"],
            vec!["--", "x"],
        ]
        .iter()
        .map(|words| arguments(words).unwrap_err().join("\n"))
        .collect::<Vec<_>>()
        .join("\n")
    );
}

#[test]
fn a_script_may_use_a_plugins_option_but_never_a_refused_one() {
    let parse = |words: &[&str]| {
        parse_words(words, Policy::script())
            .map(|f| f.iter().map(Directive::to_argument).collect::<Vec<_>>())
    };
    assert_eq!(
        parse(&["--zork", "7", "-H"]).unwrap(),
        ["--zork=7", "--hold"]
    );
    assert_eq!(parse(&["--zork", "--hold"]).unwrap(), ["--zork", "--hold"]);
    assert_eq!(parse(&["--res=x"]).unwrap(), ["--res=x"]);
    assert!(parse(&["--zork", "--uid=0"]).is_err());
    assert!(parse(&["--par"]).is_err());
}

#[test]
fn lines_are_named() {
    let errors = parse_directives(
        &["#SBATCH -N1", "#SBATCH --gid 5 --hold", "-J 'x", "x\ny"],
        Policy::strict(),
    );
    let errors: Vec<_> = errors
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("line 2: `--gid`"), "{errors:?}");
    assert!(errors[1].starts_with("line 3:"), "{errors:?}");
    assert!(errors[2].starts_with("line 4:"), "{errors:?}");
}

proptest! {
    // No way of writing it gets a refused option through, in either mode.
    #[test]
    fn refused_options_never_pass(
        which in 0usize..6, cut in 1usize..10, value in "[a-z0-9]{0,4}",
        before in proptest::collection::vec("-{0,2}[a-zA-Z=]{0,6}", 0..3), strict in any::<bool>(),
    ) {
        let name = ["uid", "gid", "wait", "wrap", "test-only", "parsable"][which];
        let prefix = &name[..cut.min(name.len())];
        let mut words = before;
        words.push(format!("--{prefix}={value}"));
        words.push("-W".to_owned());
        let policy = if strict { Policy::strict() } else { Policy::script() };
        if let Ok(found) = parse_words(&words, policy) {
            // It can only have been swallowed as another option's value.
            for directive in found {
                prop_assert!(!["uid", "gid", "wait", "wrap", "test-only", "parsable"].contains(&directive.name()));
                if directive.spec().is_none() {
                    prop_assert!(!name.starts_with(directive.name()), "{}", directive.name());
                }
            }
        }
    }

    #[test]
    fn what_is_read_is_read_again(words in proptest::collection::vec("-{0,2}[a-zA-Z0-9=-]{0,8}", 0..5)) {
        if let Ok(found) = parse_words(&words, Policy::strict()) {
            let again: Vec<String> = found.iter().map(Directive::to_argument).collect();
            let twice: Vec<String> =
                parse_words(&again, Policy::strict()).unwrap().iter().map(Directive::to_argument).collect();
            prop_assert_eq!(again, twice);
        }
    }

    #[test]
    fn every_option_round_trips(which in 0..OPTIONS.len(), value in "[^\n\0]{1,20}") {
        let spec = &OPTIONS[which];
        let value = (spec.argument != Argument::None).then_some(value.as_str());
        match Directive::new(spec.long, value) {
            Ok(directive) => {
                prop_assert_eq!(directive.name(), spec.long);
                // An option that had no value once and may have one later reads as the later.
                prop_assert_eq!(directive.value(), value);
            }
            Err(error) => prop_assert!(instead_of(spec.long).is_some(), "{}", error),
        }
    }
}
