//! Reading single fields of `squeue` and `sacct`.

use time::OffsetDateTime;

use crate::exit::ExitStatus;

/// A time in seconds since 1970, as `SLURM_TIME_FORMAT=%s` prints it; `None` where there is none.
pub(super) fn time(text: &str) -> Result<Option<OffsetDateTime>, String> {
    match text.trim() {
        "" | "N/A" | "NONE" | "None" | "Unknown" | "(null)" | "NotSet" => Ok(None),
        digits => digits
            .parse::<i64>()
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .map(|time| {
                if time.unix_timestamp() == 0 {
                    None
                } else {
                    Some(time)
                }
            })
            .ok_or_else(|| format!("bad time `{digits}`")),
    }
}

/// A text, empty where Slurm says that there is none.
pub(super) fn text(field: &str) -> String {
    match field {
        "(null)" | "N/A" => String::new(),
        text => text.to_owned(),
    }
}

/// A number that may be missing.
pub(super) fn maybe_number(field: &str) -> Option<u64> {
    field.trim().parse().ok()
}

/// A number that must be there.
pub(super) fn number<T: std::str::FromStr>(field: &str, what: &str) -> Result<T, String> {
    field
        .trim()
        .parse()
        .map_err(|_| format!("bad {what} `{field}`"))
}

/// An exit status; an empty or unset one is none.
pub(super) fn exit(field: &str) -> Option<ExitStatus> {
    field.parse().ok()
}
