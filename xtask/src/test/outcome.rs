//! What test programs say about themselves.

/// Sums over test programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Failed tests, as far as they were named.
    pub(crate) failures: Vec<Failure>,
    /// Whether libtest gave its sum, be it of no tests.
    summed: bool,
}

/// A failed test.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failure {
    /// Where it ran; empty until its program ended.
    pub(crate) program: String,
    pub(crate) test: String,
}

impl Outcome {
    /// Takes in a line of libtest's output.
    pub(crate) fn note(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let before = rest.split(word).next()?;
                before
                    .rsplit([' ', '.'])
                    .find(|part| !part.is_empty())?
                    .parse()
                    .ok()
            };
            self.summed = true;
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(Failure {
                test: name.to_owned(),
                ..Failure::default()
            });
        }
    }

    /// The program ended. One that fails without a failed test (it crashed, was
    /// killed, or has no harness) is one failure; one that says nothing and
    /// ends well is one test that passed.
    pub(crate) fn ended(&mut self, well: bool, program: &str) {
        if !well && self.failed == 0 {
            self.fail(program, "ended badly without naming a test".to_owned());
        } else if well && !self.summed {
            self.passed = 1;
        }
        for failure in &mut self.failures {
            program.clone_into(&mut failure.program);
        }
    }

    /// Something failed that is no test of libtest's.
    pub(crate) fn fail(&mut self, program: &str, test: String) {
        self.failed += 1;
        self.failures.push(Failure {
            program: program.to_owned(),
            test,
        });
    }

    /// One failure of the run itself.
    pub(crate) fn broken() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &[&str], well: bool) -> Outcome {
        let mut outcome = Outcome::default();
        for line in lines {
            outcome.note(line);
        }
        outcome.ended(well, "p");
        outcome
    }

    #[test]
    fn sums_over_several_results() {
        let sum = outcome(
            &[
                "test a ... ok",
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
                "test b::c ... FAILED",
                "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            ],
            false,
        );
        assert_eq!((sum.passed, sum.failed), (15, 2));
        let expected = Failure {
            program: "p".into(),
            test: "b::c".into(),
        };
        assert_eq!(sum.failures, [expected]);
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        assert_eq!(outcome(&["test a ... "], false).failed, 1);
        let late = ["test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured"];
        assert_eq!(
            outcome(&late, false).failed,
            1,
            "also after its tests passed"
        );
    }

    #[test]
    fn a_program_without_harness_counts_as_one() {
        assert_eq!(outcome(&["anything"], true).passed, 1);
        let none = ["test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured"];
        assert_eq!(
            outcome(&none, true).passed,
            0,
            "libtest with no tests is not one"
        );
    }

    #[test]
    fn text_that_only_looks_like_a_result_changes_nothing() {
        let mut outcome = Outcome::default();
        outcome.note("the test result: ok. 9 passed; 9 failed");
        assert_eq!(outcome, Outcome::default());
    }
}
