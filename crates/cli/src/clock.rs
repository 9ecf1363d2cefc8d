//! Moments and spans, for reading.

use forebay_wire::Timestamp;

use crate::units::duration;

const DAY: i64 = 86_400;
/// After so long, a date says more than a number of days.
const RECENT: i64 = 28 * DAY;

/// How long ago a moment was: `12s ago`, `3m ago`, `5h ago`, `6d ago`, and
/// the date itself after four weeks. What lies ahead by another host's clock
/// is `now`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.unix() - then.unix() {
        ..=0 => "now".to_owned(),
        s @ 1..60 => format!("{s}s ago"),
        s @ 60..3600 => format!("{}m ago", s / 60),
        s @ 3600..DAY => format!("{}h ago", s / 3600),
        s if s < RECENT => format!("{}d ago", s / DAY),
        _ => then.get().date().to_string(),
    }
}

/// The span between two moments as `M:SS`, `H:MM:SS` or `D-HH:MM:SS`.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    duration::print(u64::try_from(to.unix() - from.unix()).unwrap_or(0))
}

/// A moment in full, to the second, UTC: `2026-03-01 12:00:00Z`.
pub fn full(at: Timestamp) -> String {
    let at = at.get();
    let (h, m, s) = at.to_hms();
    format!("{} {h:02}:{m:02}:{s:02}Z", at.date())
}

/// A moment in full and, while that helps, how long ago it was.
pub fn both(at: Timestamp, now: Timestamp) -> String {
    if now.unix() - at.unix() < RECENT {
        format!("{} ({})", full(at), ago(at, now))
    } else {
        full(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_772_366_400 + seconds).expect("in range")
    }

    #[test]
    fn times_read_as_people_say_them() {
        let cases = [
            (0, "now"),
            (59, "59s ago"),
            (60, "1m ago"),
            (3599, "59m ago"),
            (7200, "2h ago"),
            (3 * DAY, "3d ago"),
            (40 * DAY, "2026-03-01"),
            (-5, "now"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(at(0), at(seconds)), text, "{seconds}");
        }
        assert_eq!(full(at(3)), "2026-03-01 12:00:03Z");
        assert_eq!(both(at(0), at(60)), "2026-03-01 12:00:00Z (1m ago)");
        assert_eq!(both(at(0), at(RECENT)), "2026-03-01 12:00:00Z");
        assert_eq!(between(at(0), at(3700)), "1:01:40");
        assert_eq!(between(at(5), at(0)), "0:00");
    }
}
