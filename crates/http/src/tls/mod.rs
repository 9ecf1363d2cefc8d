//! TLS by rustls, with one crypto provider: ring.
//!
//! A server has [`Certificates`], which are read again when their files change.
//! A client has a [`Trust`]: one key, or the system's roots. There is no third
//! way: nothing here accepts just any certificate.

mod client;
mod server;

pub use client::Trust;
pub use server::Certificates;

pub(crate) use client::{TlsTarget, server_name};

use forebay_wire::Pin;
use rustls::{crypto::CryptoProvider, pki_types::CertificateDer, server::ParsedCertificate};
use sha2::{Digest as _, Sha256};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

/// A certificate, a key or a set of roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate's file.
    #[error("cannot read the certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key's file.
    #[error("cannot use the key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The two do not belong together, or are of a kind that is not spoken here.
    #[error("the certificate and its key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// This system has no certificates of authorities.
    #[error("this system has no certificates of authorities; install its package ca-certificates")]
    NoRoots,
    /// The settings cannot be used.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

/// The only provider, named wherever one is wanted: a process-wide default could be another.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// What a certificate's public key is pinned by.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> Result<Pin, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let key = parsed.subject_public_key_info();
    Ok(Pin::new(Sha256::digest(key.as_ref()).into()))
}

/// Another key than the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server's certificate has the key {found}, not the pinned {expected}")]
pub(crate) struct WrongPin {
    pub(crate) expected: Pin,
    pub(crate) found: Pin,
}

/// An error of the handshake, as one of input and output.
pub(crate) fn handshake(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
