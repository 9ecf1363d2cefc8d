//! A server's certificate and key, read again when their files change.

use super::{TlsError, pin_of, provider};
use forebay_service::secrets;
use forebay_wire::Pin;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use secrecy::ExposeSecret as _;
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// A chain of certificates is smaller, and so is a key.
const BYTES_MAX: u64 = 256 << 10;

/// A certificate with its key, for a listener. Clones are the same: what
/// [`refresh`](Self::refresh) reads anew, all connections from then on are served with.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    pin: Pin,
    seen: [Seen; 2],
}

/// What tells a file from what took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Seen {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl Certificates {
    /// From PEM files: the certificate with those that lead to its authority, and its key, which
    /// nobody else may be able to read.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = read(cert, key)?;
        Ok(Self(Arc::new(Inner {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(current),
        })))
    }

    /// Reads the files again if they have changed, and says whether it did. On an error the old
    /// certificate stays: of two files that are written one after the other, the second may be
    /// missing for a moment.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let Inner { cert, key, .. } = &*self.0;
        if look(cert, key)? == self.current().seen {
            return Ok(false);
        }
        let new = read(cert, key)?;
        *self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// What clients pin.
    pub fn pin(&self) -> Pin {
        self.current().pin
    }

    fn current(&self) -> Current {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}

fn look(cert: &Path, key: &Path) -> Result<[Seen; 2], TlsError> {
    let cert = Seen::of(cert).map_err(|source| TlsError::Certificate {
        path: cert.to_owned(),
        source: source.into(),
    })?;
    let key = Seen::of(key).map_err(|source| TlsError::Key {
        path: key.to_owned(),
        source: source.into(),
    })?;
    Ok([cert, key])
}

fn read(cert: &Path, key: &Path) -> Result<Current, TlsError> {
    // Before the contents: what changes meanwhile is read again.
    let seen = look(cert, key)?;
    let chain = chain(cert).map_err(|source| TlsError::Certificate {
        path: cert.to_owned(),
        source,
    })?;
    let private = private_key(key).map_err(|source| TlsError::Key {
        path: key.to_owned(),
        source,
    })?;
    let pin = match chain.first() {
        Some(first) => pin_of(first).map_err(TlsError::Pair)?,
        None => return Err(TlsError::Pair(rustls::Error::NoCertificatesPresented)),
    };
    // Checks that they belong together.
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(TlsError::Pair)?;
    Ok(Current {
        certified: Arc::new(certified),
        pin,
        seen,
    })
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(format!("it is larger than {BYTES_MAX} bytes").into());
    }
    let text = fs::read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain?;
    if chain.is_empty() {
        return Err("it holds no certificate in PEM form".into());
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Cause> {
    let bytes_max = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
    let text = secrets::read(path, bytes_max)?;
    Ok(PrivateKeyDer::from_pem_slice(
        text.expose_secret().as_bytes(),
    )?)
}
