//! Values of options that need checking: jobs, variables.

use std::str::FromStr;

use forebay_wire::JobId;

/// A job on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRef {
    /// By its id.
    Id(JobId),
    /// `last`: the newest of one's own.
    Last,
}

impl FromStr for JobRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "last" | "@last") {
            return Ok(Self::Last);
        }
        text.parse()
            .map(Self::Id)
            .map_err(|e| format!("{e}; `last` is your newest job"))
    }
}

/// A variable for a job's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; absent when it is to be taken from our own environment.
    pub value: Option<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let first = name.bytes().next();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || first.is_none_or(|b| b.is_ascii_digit()) {
            return Err("expected NAME=VALUE, or NAME to pass on your own; \
                        names are made of letters, digits and _"
                .to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_by_id_or_the_last() {
        assert_eq!("last".parse(), Ok(JobRef::Last));
        assert_eq!("@last".parse(), Ok(JobRef::Last));
        let id = "j01jdzz2v8nf3tbw0q5c7m9xk4e";
        assert_eq!(id.parse(), Ok(JobRef::Id(id.parse().expect("an id"))));
        let error = "4711".parse::<JobRef>().expect_err("no id of ours");
        assert!(
            error.contains("begins with `j`") && error.contains("`last`"),
            "{error}"
        );
    }

    #[test]
    fn variables_keep_their_value_as_it_is() {
        let variable = |name: &str, value: Option<&str>| {
            Ok(Variable {
                name: name.to_owned(),
                value: value.map(str::to_owned),
            })
        };
        assert_eq!("A=b=c d\n".parse(), variable("A", Some("b=c d\n")));
        assert_eq!("A=".parse(), variable("A", Some("")));
        assert_eq!("_A1".parse(), variable("_A1", None));
        for bad in ["", "=x", "1A=x", "A B=x", "A;B=x", "é=x"] {
            assert!(bad.parse::<Variable>().is_err(), "{bad}");
        }
    }
}
