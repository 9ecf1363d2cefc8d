//! Everything a server bounds.

use std::time::Duration;

/// Bounds of one server. All of them have a default that suits a service on one host.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, upgraded ones included. More wait in the kernel's queue; they are
    /// not refused.
    pub connections_max: u32,
    /// From accepting a connection to the end of its first request's headers.
    pub header_timeout: Duration,
    /// A connection without a request under way is closed after this; also the time in which a
    /// later request's headers must be complete.
    pub idle_timeout: Duration,
    /// A peer that takes nothing of what is written to it for so long is cut.
    pub write_timeout: Duration,
    /// The longest pause between two pieces of a request's body.
    pub body_timeout: Duration,
    /// No body may be larger, whatever a handler allows. Bytes.
    pub body_bytes_max: usize,
    /// From the end of the headers to the begin of the answer, unless the route has its own.
    pub request_timeout: Duration,
    /// Requests under way at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// When the service stops: how long requests under way, event streams and upgraded connections
    /// have to end before they are cut.
    pub drain_deadline: Duration,
    /// Take the request's id from `x-request-id`, because every caller is one of ours.
    pub trust_request_id: bool,
    /// Refuse unix peers with the overflow uid (65534), under which accounts of other user
    /// namespaces appear.
    pub refuse_overflow_uid: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            body_bytes_max: 16 << 20,
            request_timeout: Duration::from_secs(60),
            streams_max: 256,
            drain_deadline: Duration::from_secs(10),
            trust_request_id: false,
            refuse_overflow_uid: true,
        }
    }
}
