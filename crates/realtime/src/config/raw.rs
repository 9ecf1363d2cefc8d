//! The file as it is written. Unknown keys are errors.

use std::path::PathBuf;

use forebay_service::config::Spanned;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) behind_tls: Option<bool>,
    pub(super) unix_socket: Option<Spanned<PathBuf>>,
    pub(super) environment: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) database: Database,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) origins: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) log: Log,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) url: Option<Spanned<String>>,
    pub(super) url_file: Option<Spanned<PathBuf>>,
    pub(super) socket_dir: Option<Spanned<PathBuf>>,
    pub(super) name: Option<String>,
    pub(super) role: Option<String>,
    pub(super) connections: Option<Spanned<usize>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) clients: Option<Spanned<u32>>,
    pub(super) clients_per_user: Option<Spanned<u32>>,
    pub(super) poll_ms: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    Pretty,
    Json,
}
