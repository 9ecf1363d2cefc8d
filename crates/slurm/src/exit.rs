//! How a job ended: exit code and signal, in the forms of the command line and of JSON.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Slurm's "no value" in a 32-bit field.
const NO_VAL: u64 = 0xffff_fffe;

/// A job's exit code and the signal that ended it; both zero is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitStatus {
    /// What the batch script returned, 0 to 255.
    pub code: u32,
    /// The signal that ended it, 0 for none.
    pub signal: u32,
}

/// The text is not an exit status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an exit status such as `1:0`")]
pub struct ParseExitError(pub String);

impl ExitStatus {
    /// Whether the script returned 0 and no signal ended it.
    pub fn success(self) -> bool {
        self.code == 0 && self.signal == 0
    }

    /// Reads a raw wait status, as `squeue` of 22.05 and the REST API up to v0.0.38 print it;
    /// `None` for Slurm's "no value".
    pub fn from_wait_status(raw: u64) -> Option<Self> {
        if raw == NO_VAL || raw == 0xffff_ffff {
            return None;
        }
        // 1 is no signal: Slurm itself sets it, for a job that it ended.
        if raw == 1 {
            return Some(Self { code: 1, signal: 0 });
        }
        let raw = u32::try_from(raw & 0xffff).ok()?;
        Some(Self {
            code: raw >> 8,
            signal: raw & 0x7f,
        })
    }

    /// Reads the shapes of `--json` and the REST API: a raw wait status, `"1:0"`, or an object
    /// with `return_code` and `signal` (numbers, or `{set, number}` objects).
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::from_wait_status(number.as_u64()?),
            Value::String(text) => text.parse().ok(),
            Value::Object(object) => {
                if let Some(inner) = object.get("number") {
                    let set = object.get("set").and_then(Value::as_bool).unwrap_or(true);
                    return if set { Self::from_json(inner) } else { None };
                }
                let code = object.get("return_code").and_then(plain_number);
                let signal = object
                    .get("signal")
                    .and_then(|signal| {
                        signal
                            .get("id")
                            .or_else(|| signal.get("signal_id"))
                            .or(Some(signal))
                    })
                    .and_then(plain_number);
                match (code, signal) {
                    (None, None) => None,
                    (code, signal) => Some(Self {
                        code: code.unwrap_or(0),
                        signal: signal.unwrap_or(0),
                    }),
                }
            }
            _ => None,
        }
    }
}

/// A number, or the number in `{set, infinite, number}` when it is set.
fn plain_number(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::Object(object) => {
            if !object.get("set").and_then(Value::as_bool).unwrap_or(true) {
                return None;
            }
            object.get("number")?.as_u64()?
        }
        _ => return None,
    };
    if number == NO_VAL {
        None
    } else {
        u32::try_from(number).ok()
    }
}

impl FromStr for ExitStatus {
    type Err = ParseExitError;

    /// Reads `code:signal`, or a raw wait status.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseExitError(text.chars().take(40).collect());
        if let Some((code, signal)) = text.trim().split_once(':') {
            let code = code.parse().map_err(|_| fail())?;
            let signal = signal.parse().map_err(|_| fail())?;
            Ok(Self { code, signal })
        } else {
            let raw = text.trim().parse().map_err(|_| fail())?;
            Self::from_wait_status(raw).ok_or_else(fail)
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.code, self.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read() {
        let killed = ExitStatus { code: 0, signal: 9 };
        let failed = ExitStatus { code: 3, signal: 0 };
        assert_eq!("0:9".parse(), Ok(killed));
        assert_eq!("3:0".parse(), Ok(failed));
        assert_eq!("768".parse(), Ok(failed));
        assert_eq!("9".parse(), Ok(killed));
        assert_eq!("1".parse(), Ok(ExitStatus { code: 1, signal: 0 }));
        assert!("0:0".parse::<ExitStatus>().is_ok_and(ExitStatus::success));
        assert!("4294967294".parse::<ExitStatus>().is_err());
        assert!("".parse::<ExitStatus>().is_err());
        assert!("1:x".parse::<ExitStatus>().is_err());
    }

    #[test]
    fn json_forms_are_read() {
        let failed = Some(ExitStatus { code: 3, signal: 0 });
        for value in [
            json!(768),
            json!("3:0"),
            json!({"status": "ERROR", "return_code": 3}),
            json!({"status": ["ERROR"], "return_code": {"set": true, "infinite": false, "number": 3},
                   "signal": {"id": {"set": false, "infinite": false, "number": 0}, "name": ""}}),
            json!({"return_code": 3, "signal": {"signal_id": 0, "name": "NONE"}}),
        ] {
            assert_eq!(ExitStatus::from_json(&value), failed, "{value}");
        }
        let killed = json!({"status": ["SIGNALED"], "return_code": {"set": false, "number": 0},
                            "signal": {"id": {"set": true, "number": 9}, "name": "KILL"}});
        assert_eq!(
            ExitStatus::from_json(&killed),
            Some(ExitStatus { code: 0, signal: 9 })
        );
        assert_eq!(ExitStatus::from_json(&json!(null)), None);
        assert_eq!(ExitStatus::from_json(&json!(4_294_967_294_u64)), None);
    }

    proptest! {
        #[test]
        fn round_trips(code in 0u32..256, signal in 0u32..128) {
            let status = ExitStatus { code, signal };
            prop_assert_eq!(status.to_string().parse::<ExitStatus>(), Ok(status));
        }

        #[test]
        fn reads_any_text_without_panic(text in "\\PC{0,30}") {
            let _ = text.parse::<ExitStatus>();
        }
    }
}
