//! Who is asking, and whether we are well.

use serde::{Deserialize, Serialize};

use crate::UserId;

/// The answer of `GET /api/v1/me`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Me {
    /// The user's id.
    pub id: UserId,
    /// The user's name, which is also the name of the Unix account.
    pub name: String,
}

/// The answer of `GET /health/live` and `GET /health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// Whether this service can do its work.
    pub ok: bool,
    /// The program's version.
    pub version: String,
    /// What is missing, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
