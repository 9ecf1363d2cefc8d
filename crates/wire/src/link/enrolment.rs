//! How an agent becomes known, and how it says who it is afterwards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OpenSession;
use crate::{KeyId, Pin, SiteName, Timestamp};

/// What is signed is this and the statement: a signature made for another
/// purpose is not one of these.
pub const ASSERTION_CONTEXT: &str = "forebay-link-session-v1\n";
/// How long a statement is good, seconds.
pub const ASSERTION_S: u64 = 60;
/// How far an agent's clock may be ahead of the central side's, seconds. Behind
/// it may be by almost as much as a statement is good for.
pub const CLOCK_SKEW_S: u64 = 30;

/// What an operator hands to a site: `TOKEN@URL#PIN`, or without a pin where
/// there is no certificate, or one that the site's system vouches for. To be
/// kept in a file of mode 0600.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The one-time token.
    pub token: String,
    /// Where the view-server is.
    pub url: String,
    /// What its certificate's key is.
    pub pin: Option<Pin>,
}

/// The text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketError;

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "that is not what `forebay-view-server site enrol` prints: TOKEN@URL or TOKEN@URL#PIN",
        )
    }
}

impl std::error::Error for TicketError {}

impl Ticket {
    /// The whole ticket, its secret included.
    pub fn text(&self) -> String {
        let pin = self.pin.map(|pin| format!("#{pin}")).unwrap_or_default();
        format!("{}@{}{pin}", self.token, self.url)
    }
}

impl fmt::Debug for Ticket {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("url", &self.url)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let (token, rest) = text.trim().split_once('@').ok_or(TicketError)?;
        let (url, pin) = match rest.split_once('#') {
            Some((url, pin)) => (url, Some(pin.parse().map_err(|_| TicketError)?)),
            None => (rest, None),
        };
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !plain(token) || !plain(url) || !token.starts_with("fe_") {
            return Err(TicketError);
        }
        Ok(Self {
            token: token.to_owned(),
            url: url.to_owned(),
            pin,
        })
    }
}

/// Registers the site's key; the bearer token is the ticket's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
}

/// The key is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The site that it speaks for.
    pub site: SiteName,
    /// The key's name.
    pub key: KeyId,
    /// The installation that its statements are for.
    pub installation: Uuid,
}

/// A signed [`Statement`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The key that signed it.
    pub key: KeyId,
    /// The JSON of a [`Statement`], exactly as it was signed.
    pub statement: String,
    /// The Ed25519 signature of [`ASSERTION_CONTEXT`] and the statement, 128 hexadecimal digits.
    pub signature: String,
}

/// What an agent says when it opens the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Who it believes to be. The key says who it is: another site is refused.
    pub site: SiteName,
    /// The installation that it speaks to.
    pub aud: Uuid,
    /// Now, by the agent's clock.
    pub issued_at: Timestamp,
    /// At most [`ASSERTION_S`] later.
    pub expires_at: Timestamp,
    /// Different each time: a statement is good once.
    pub jti: Uuid,
    /// Versions and clusters.
    #[serde(flatten)]
    pub open: OpenSession,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_come_back_and_hide_their_secret() {
        let pin = Pin::new([7; 32]);
        for pin in [None, Some(pin)] {
            let ticket = Ticket {
                token: "fe_k1_s-e_cret".into(),
                url: "https://[::1]:3001/forebay".into(),
                pin,
            };
            assert_eq!(format!("{}\n", ticket.text()).parse(), Ok(ticket.clone()));
            assert!(!format!("{ticket:?}").contains("cret"));
        }
        for bad in [
            "",
            "fe_k1_s",
            "@http://x",
            "fb_k1_s@http://x",
            "fe_k1_s@",
            "fe_k1_s@http://x#",
            "fe_k1_s@http://x#sha256:00",
            "fe_k1_s@http://x y",
        ] {
            assert_eq!(bad.parse::<Ticket>(), Err(TicketError), "{bad}");
        }
    }
}
