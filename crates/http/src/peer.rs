//! Who is at the other end of a connection, as the kernel knows it.

use std::{fmt, net::SocketAddr};

/// The uid that stands for "some account this user namespace has no name for". Nobody is it.
pub(crate) const OVERFLOW_UID: u32 = 65_534;

/// The other end of a connection. Taken from the connection, never from what was sent over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The account of the process that connected, on a unix socket.
    pub uid: Option<u32>,
    /// Address and port, over TCP.
    pub addr: Option<SocketAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, self.addr) {
            (Some(uid), _) => write!(f, "uid {uid}"),
            (None, Some(addr)) => write!(f, "{addr}"),
            (None, None) => f.write_str("link"),
        }
    }
}
