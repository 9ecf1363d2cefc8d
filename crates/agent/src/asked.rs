//! A job's spec as it was handed in, and what this version understands of it.

use std::ops::Deref;

use forebay_wire::api::JobSpec;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What somebody asked for. It may name things that only a newer Forebay knows: the job is then
/// refused, because without them it would be another job. Kept as it came, so that this is known
/// after a restart too, and to a newer agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    spec: JobSpec,
    raw: Value,
    unknown: Vec<String>,
}

impl Asked {
    /// Reads it. What is no spec at all is an error.
    pub fn read(raw: Value) -> Result<Self, serde_json::Error> {
        let (spec, unknown) = forebay_http::read_noting_unknown(&raw)?;
        Ok(Self { spec, raw, unknown })
    }

    /// Why the job cannot be run by this version, if it cannot.
    pub fn refusal(&self) -> Option<String> {
        let field = self.unknown.first()?;
        Some(format!(
            "spec.{}: the agent of this site, version {}, does not know this field. Leave it out, \
             or ask the site's operator for a newer agent.",
            field.chars().take(100).collect::<String>(),
            env!("CARGO_PKG_VERSION")
        ))
    }
}

impl Deref for Asked {
    type Target = JobSpec;

    fn deref(&self) -> &JobSpec {
        &self.spec
    }
}

impl Serialize for Asked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let known = json!({"cluster": "hpc", "command": ["true"], "slurm": {"qos": "high"}});
        let asked = Asked::read(known.clone()).expect("a spec");
        assert_eq!(asked.refusal(), None);
        assert_eq!(asked.cluster.as_str(), "hpc");

        let mut newer = known;
        newer["slurm"]["qpus"] = json!(2);
        let asked = Asked::read(newer.clone()).expect("a spec");
        let refusal = asked.refusal().expect("refused");
        assert!(refusal.starts_with("spec.slurm.qpus: "), "{refusal}");
        assert_eq!(json!(asked), newer, "kept as it came");
        assert!(Asked::read(json!({"command": ["true"]})).is_err());
    }
}
