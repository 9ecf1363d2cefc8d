//! Tokens: `<kind>_<id>_<secret>`. The id finds the row, and of the secret only
//! the digest is kept.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use forebay_wire::TokenId;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;
/// The same as base64 without padding.
const SECRET_CHARS: usize = 43;

/// The digest of a secret, as stored.
pub(crate) type Digest = [u8; 32];

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A user: `fb_`.
    User,
    /// A site that is to be enrolled, once: `fe_`.
    Enrolment,
    /// One link of a site: `fl_`.
    Link,
    /// One view-server before another: `fr_`.
    Replica,
    /// One sign-in of the page: `fp_`.
    Page,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::User => "fb",
            Self::Enrolment => "fe",
            Self::Link => "fl",
            Self::Replica => "fr",
            Self::Page => "fp",
        }
    }
}

/// A token just made: the only time that its secret is known here.
pub struct NewToken {
    /// Its public part.
    pub id: TokenId,
    /// The whole token, to be shown once.
    pub token: SecretString,
    pub(crate) digest: Digest,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl NewToken {
    pub(crate) fn generate(kind: Kind) -> Result<Self, getrandom::Error> {
        let mut secret = [0u8; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        let id = TokenId::new();
        let secret = URL_SAFE_NO_PAD.encode(secret);
        Ok(Self {
            id,
            digest: digest(&secret),
            token: format!("{}_{id}_{secret}", kind.prefix()).into(),
        })
    }
}

fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// A token as somebody presents it.
pub(crate) struct Presented {
    pub(crate) id: TokenId,
    digest: Digest,
}

impl Presented {
    /// `None` for what cannot be a token of this kind.
    pub(crate) fn parse(kind: Kind, token: &SecretString) -> Option<Self> {
        let rest = token
            .expose_secret()
            .strip_prefix(kind.prefix())?
            .strip_prefix('_')?;
        // The secret itself may hold underscores; the id does not.
        let (id, secret) = rest.split_once('_')?;
        (secret.len() == SECRET_CHARS).then_some(())?;
        Some(Self {
            id: id.parse().ok()?,
            digest: digest(secret),
        })
    }

    /// Compares in a time that does not depend on where they differ.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        if stored.len() != self.digest.len() {
            return false;
        }
        let differing = self
            .digest
            .iter()
            .zip(stored)
            .fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_recognised() {
        for kind in [
            Kind::User,
            Kind::Enrolment,
            Kind::Link,
            Kind::Replica,
            Kind::Page,
        ] {
            let new = NewToken::generate(kind).expect("randomness");
            let presented = Presented::parse(kind, &new.token).expect("well formed");
            assert_eq!(presented.id, new.id);
            assert!(presented.matches(&new.digest));
            let other = NewToken::generate(kind).expect("randomness");
            assert!(!presented.matches(&other.digest));
            assert!(!presented.matches(&[]));
            assert!(!format!("{new:?}").contains(new.token.expose_secret()));
        }
    }

    #[test]
    fn other_kinds_and_other_texts_are_refused() {
        let site = NewToken::generate(Kind::Enrolment).expect("randomness");
        assert!(Presented::parse(Kind::User, &site.token).is_none());
        let whole = site.token.expose_secret();
        for text in [
            "",
            "fe",
            "fe_",
            "fe__",
            "fe_k_x",
            &whole[..whole.len() - 1],
            &format!("{whole}x"),
        ] {
            assert!(
                Presented::parse(Kind::Enrolment, &text.into()).is_none(),
                "{text}"
            );
        }
    }
}
