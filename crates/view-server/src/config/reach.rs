//! Where others reach this server, and with what certificate.

use std::{net::IpAddr, path::PathBuf};

use forebay_http::tls::Certificates;
use forebay_service::{
    Strictness,
    config::{Problems, Spanned},
    logs,
};

use super::{absolute, raw};

/// How it is reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// What it shows to whoever connects.
    pub certificates: Option<Certificates>,
    /// Where agents reach it, if that is not where it listens.
    pub url: Option<String>,
    /// Where the other replicas reach it, if that is not where it listens.
    pub replica_url: Option<String>,
}

pub(super) fn reach(raw: &raw::Raw, problems: &mut Problems, strictness: Strictness) -> Reach {
    let mut given = |value: &Option<Spanned<String>>| {
        let value = value.as_ref()?;
        url(value, problems, strictness)
    };
    let (url, replica_url) = (given(&raw.url), given(&raw.replica_url));
    Reach {
        certificates: certificates(&raw.tls, problems),
        url,
        replica_url,
    }
}

fn certificates(raw: &raw::Tls, problems: &mut Problems) -> Option<Certificates> {
    let path = |value: &Option<Spanned<PathBuf>>, problems: &mut Problems| {
        value.as_ref().and_then(|path| absolute(path, problems))
    };
    match (&raw.cert, &raw.key) {
        (None, None) => None,
        (Some(span), None) | (None, Some(span)) => {
            problems.at(span.span(), "give both cert and key");
            None
        }
        (Some(span), Some(_)) => {
            let (cert, key) = (path(&raw.cert, problems)?, path(&raw.key, problems)?);
            match Certificates::load(&cert, &key) {
                Ok(certificates) => Some(certificates),
                Err(error) => {
                    problems.at(span.span(), logs::chain(&error));
                    None
                }
            }
        }
    }
}

fn url(value: &Spanned<String>, problems: &mut Problems, strictness: Strictness) -> Option<String> {
    let text = value.get_ref().trim_end_matches('/');
    let uri = text.parse::<http::Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| {
        let host = uri.host()?;
        let bare = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
        bare.then_some((uri.scheme_str()?, host))
    });
    match parts {
        Some(("https", _)) => {}
        Some(("http", host)) if is_loopback(host) => {}
        Some(("http", _)) => {
            let message = "reaches beyond loopback without TLS: use https://";
            strictness.insecure(problems, value.span(), message);
        }
        _ => {
            problems.at(
                value.span(),
                "must be a URL such as https://forebay.example.org",
            );
            return None;
        }
    }
    Some(text.to_owned())
}

/// Whether a host's name says that it is this one.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
