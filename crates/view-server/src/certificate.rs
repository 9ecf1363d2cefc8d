//! `tls …`: a certificate for a host that has none.
#![allow(clippy::print_stdout, reason = "commands speak to people")]

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use forebay_http::tls::{Certificates, TlsError};
use forebay_wire::Timestamp;

use crate::command::{SelfSigned, Tls};

/// Browsers accept no longer ones. Who pins the key does not look at dates.
const DAYS: u64 = 398;
/// Clocks differ a little.
const BEFORE: Duration = Duration::from_secs(3_600);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Its contents.
    #[error("the certificate cannot be made; is each name a host name or an address?")]
    Make(#[source] rcgen::Error),
    /// A file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was written cannot be used.
    #[error("the certificate cannot be used")]
    Use(#[source] TlsError),
}

/// `tls …`
pub fn tls(command: Tls) -> Result<(), CertificateError> {
    match command {
        Tls::SelfSigned(options) => self_signed(&options),
        Tls::Pin { cert, key } => {
            let made = Certificates::load(&cert, &key).map_err(CertificateError::Use)?;
            println!("{}", made.pin());
            Ok(())
        }
    }
}

fn self_signed(options: &SelfSigned) -> Result<(), CertificateError> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names = names.to_vec();
    names.extend(options.name.iter().cloned());
    let mut params = rcgen::CertificateParams::new(names).map_err(CertificateError::Make)?;
    let now = Timestamp::now().get();
    params.not_before = now - BEFORE;
    params.not_after = now + Duration::from_secs(DAYS * 86_400);
    let subject = options.name.first().map_or("localhost", String::as_str);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, subject);
    let key = rcgen::KeyPair::generate().map_err(CertificateError::Make)?;
    let cert = params.self_signed(&key).map_err(CertificateError::Make)?;
    // The key first: a certificate without one is of no use.
    write(&options.key, 0o600, &key.serialize_pem())?;
    write(&options.cert, 0o644, &cert.pem())?;
    let made = Certificates::load(&options.cert, &options.key).map_err(CertificateError::Use)?;
    println!(
        "Made a certificate for {subject}, good for {DAYS} days. Its key is {}.",
        made.pin()
    );
    Ok(())
}

/// A new file: one that is there is left alone.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), CertificateError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|source| CertificateError::Write {
        path: path.to_owned(),
        source,
    })
}
