//! Environment variables, read in one place so that tests need not change the
//! process's own.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Where variables come from.
pub struct Environment(Box<Source>);

type Source = dyn Fn(&str) -> Option<OsString>;

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        Self(Box::new(|name| std::env::var_os(name)))
    }

    /// The given ones and no others.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, OsString)> = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Self(Box::new(move |name| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        }))
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The same, as text.
    pub fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value
            .into_string()
            .map_err(|_| Failure::usage(format!("the variable {name} is not UTF-8 text")))?;
        Ok(Some(text))
    }

    /// Where the user keeps configuration, by the XDG rules: `$XDG_CONFIG_HOME`,
    /// if it is absolute, else `~/.config`.
    pub fn config_home(&self) -> Result<PathBuf, Failure> {
        let absolute = |name| {
            self.get(name)
                .map(PathBuf::from)
                .filter(|path: &PathBuf| path.is_absolute())
        };
        absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(Path::new(".config"))))
            .ok_or_else(|| {
                Failure::new("there is no place for the configuration: neither XDG_CONFIG_HOME nor HOME is set")
                    .hint("Set HOME, or give FOREBAY_URL and FOREBAY_TOKEN_FILE instead of signing in.")
            })
    }
}
