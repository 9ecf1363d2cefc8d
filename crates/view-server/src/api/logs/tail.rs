//! The kept end of a log, answered as a range of the whole.

use forebay_central::LogTail;
use forebay_http::{Code, Problem, Response, reply};
use forebay_streams::range::{ByteRange, Resolved};
use forebay_wire::ipc::LOG_SIZE_HEADER;
use http::{HeaderValue, StatusCode, header::CONTENT_RANGE};

use super::{CONTENT_TYPE, plain};

/// The log of a job that never printed.
pub(super) fn nothing() -> LogTail {
    LogTail {
        offset: 0,
        body: Vec::new(),
    }
}

/// What of the range is kept; without a range, all that is. What was asked for
/// but is not kept is left out: `Content-Range` tells what this is.
pub(super) fn answer(tail: &LogTail, range: Option<ByteRange>) -> Result<Response, Problem> {
    let total = tail.offset.saturating_add(tail.body.len() as u64);
    let part = match range {
        None => (total > 0).then_some(Resolved {
            start: 0,
            length: total,
            total,
        }),
        Some(range) => Some(range.resolve(total).map_err(|_| outside(total))?),
    };
    let kept = part.and_then(|part| within(tail, part));
    if part.is_some() && kept.is_none() && !tail.body.is_empty() {
        return Err(outside(total));
    }
    let body = match kept {
        Some(kept) => {
            // Within the body: `kept` begins at its offset or behind.
            let from = usize::try_from(kept.start - tail.offset).unwrap_or(usize::MAX);
            let length = usize::try_from(kept.length).unwrap_or(usize::MAX);
            tail.body.iter().skip(from).take(length).copied().collect()
        }
        None => Vec::new(),
    };
    let whole = kept.is_none_or(|kept| kept.start == 0 && kept.length == total && range.is_none());
    let status = if whole {
        StatusCode::OK
    } else {
        StatusCode::PARTIAL_CONTENT
    };
    let mut response = reply::bytes(status, CONTENT_TYPE, body);
    let headers = response.headers_mut();
    if let Some(kept) = kept.filter(|_| !whole)
        && let Ok(value) = HeaderValue::from_str(&kept.content_range())
    {
        headers.insert(CONTENT_RANGE, value);
    }
    headers.insert(LOG_SIZE_HEADER, HeaderValue::from(total));
    plain(&mut response);
    Ok(response)
}

/// The part of `part` that the tail has.
fn within(tail: &LogTail, part: Resolved) -> Option<Resolved> {
    let end = part.start + part.length;
    let start = part.start.max(tail.offset);
    (start < end).then_some(Resolved {
        start,
        length: end - start,
        total: part.total,
    })
}

fn outside(total: u64) -> Problem {
    Problem::new(
        Code::RangeNotSatisfiable,
        format!("The range lies outside what is kept of this log of {total} bytes."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> LogTail {
        LogTail {
            offset: 10,
            body: b"abcdef".to_vec(),
        }
    }

    fn check(tail: &LogTail, range: Option<&str>, want: (u16, Option<&str>)) {
        let range = range.map(|text| text.parse().expect("a range"));
        let got = match answer(tail, range) {
            Ok(response) => {
                let text = |name: &str| {
                    response
                        .headers()
                        .get(name)
                        .map(|v| v.to_str().expect("text").to_owned())
                };
                (response.status().as_u16(), text("content-range"))
            }
            Err(problem) => (problem.code.status(), None),
        };
        assert_eq!((got.0, got.1.as_deref()), want);
    }

    #[test]
    fn ranges_of_a_tail() {
        check(&tail(), None, (206, Some("bytes 10-15/16")));
        check(&tail(), Some("bytes=12-13"), (206, Some("bytes 12-13/16")));
        check(&tail(), Some("bytes=0-"), (206, Some("bytes 10-15/16")));
        check(&tail(), Some("bytes=-4"), (206, Some("bytes 12-15/16")));
        check(&tail(), Some("bytes=0-9"), (416, None));
        check(&tail(), Some("bytes=16-"), (416, None));
        let whole = LogTail {
            offset: 0,
            ..tail()
        };
        check(&whole, None, (200, None));
        check(&whole, Some("bytes=0-5"), (206, Some("bytes 0-5/6")));
        check(&nothing(), None, (200, None));
        check(&nothing(), Some("bytes=0-"), (416, None));
    }
}
