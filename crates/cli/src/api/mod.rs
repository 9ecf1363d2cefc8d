//! The API of the view-server, as its calls.

mod error;
mod patience;
pub mod sse;
mod stream;

pub use error::ApiError;
pub use patience::Patience;
pub use stream::{Events, LogBytes};

use std::ops::Range;

use forebay_http::{Client, client::Call, tls::Trust};
use forebay_service::logs;
use forebay_wire::{
    ClusterName, JobId,
    api::{CreateJob, LogStream, Page},
};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{access::Access, failure::Failure, server::Server};

/// What the API gives in one page at most.
const PAGE_MAX: usize = 200;
/// More pages than this are not asked for; the server would have to be broken.
const PAGES_MAX: usize = 10_000;
const USER_AGENT: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"));

/// The API of one server, as one user.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    server: Server,
    cluster: Option<ClusterName>,
}

/// Parameters of a list.
pub type Parameters = Vec<(&'static str, String)>;

/// A part of a log, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// From an offset to what is now the end.
    From(u64),
    /// As many bytes before what is now the end.
    Last(u64),
    /// From an offset to another.
    Between(Range<u64>),
}

impl Api {
    /// For a server and a token; connects when first asked.
    pub fn new(access: Access) -> Result<Self, Failure> {
        let Access {
            server,
            token,
            pin,
            cluster,
        } = access;
        let trust = pin.map_or(Trust::System, Trust::Pin);
        let client =
            Client::to(&server.to_string(), trust).and_then(|client| client.with_bearer(&token));
        let client = client.map_err(|error| Failure::new(logs::chain(&error)))?;
        Ok(Self {
            client,
            server,
            cluster,
        })
    }

    /// Whom we ask.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where jobs go that name no cluster.
    pub fn default_cluster(&self) -> Option<&ClusterName> {
        self.cluster.as_ref()
    }

    /// An object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        Ok(self.call(Method::GET, path)?.send().await?.json()?)
    }

    /// An action without a body.
    pub async fn post(&self, path: &str) -> Result<Value, ApiError> {
        Ok(self.call(Method::POST, path)?.send().await?.json()?)
    }

    /// Hands a job in. With the same key, the same job: repeating is safe.
    pub async fn create(&self, body: &CreateJob, key: &str) -> Result<Value, ApiError> {
        let call = self
            .call(Method::POST, "/api/v1/jobs")?
            .json(body)?
            .header("idempotency-key", key)?;
        Ok(call.send().await?.json()?)
    }

    /// A list: as many pages as it takes for `limit` objects. The answer has
    /// `next` when there are more.
    pub async fn pages(
        &self,
        path: &str,
        parameters: &Parameters,
        limit: usize,
    ) -> Result<Page<Value>, ApiError> {
        let mut all = no_items();
        for _ in 0..PAGES_MAX {
            let wanted = limit.saturating_sub(all.items.len()).min(PAGE_MAX);
            let mut call = self.call(Method::GET, path)?;
            for (name, value) in parameters {
                call = call.query(name, value);
            }
            call = call.query("limit", &wanted.to_string());
            if let Some(cursor) = &all.next {
                call = call.query("cursor", cursor);
            }
            let page: Page<Value> = call.send().await?.json()?;
            let came = page.items.len();
            all.items.extend(page.items);
            all.next = page.next;
            if all.next.is_none() || all.items.len() >= limit || came == 0 {
                break;
            }
        }
        Ok(all)
    }

    /// The first events of a job, at most `limit`.
    pub async fn events_so_far(&self, id: JobId, limit: usize) -> Result<Page<Value>, ApiError> {
        let mut all = no_items();
        let mut after = 0;
        while all.items.len() < limit {
            let wanted = (limit - all.items.len()).min(PAGE_MAX);
            let call = self.call(Method::GET, &format!("/api/v1/jobs/{id}/events"))?;
            let call = call
                .query("after", &after.to_string())
                .query("limit", &wanted.to_string());
            let page: Page<Value> = call.send().await?.json()?;
            let last = page
                .items
                .iter()
                .filter_map(|event| event.get("seq")?.as_i64())
                .max();
            all.items.extend(page.items);
            all.next = page.next;
            match last {
                Some(last) if all.next.is_some() && last > after => after = last,
                _ => break,
            }
        }
        Ok(all)
    }

    /// What an answer says, as far as it is understood.
    pub fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, ApiError> {
        serde_json::from_value(answer).map_err(|error| ApiError::Unread(error.to_string()))
    }

    /// The events of a job behind `after`, as they happen.
    pub async fn events(&self, id: JobId, after: i64) -> Result<Events, ApiError> {
        let call = self.call(Method::GET, &format!("/api/v1/jobs/{id}/events"))?;
        Events::open(call.query("after", &after.to_string())).await
    }

    /// A log from an offset on, as it grows.
    pub async fn follow_log(
        &self,
        id: JobId,
        stream: LogStream,
        task: Option<u32>,
        from: u64,
    ) -> Result<Events, ApiError> {
        Events::open(
            self.log_call(id, stream, task)?
                .query("from", &from.to_string()),
        )
        .await
    }

    /// Part of a log as it is in the file.
    pub async fn log(
        &self,
        id: JobId,
        stream: LogStream,
        task: Option<u32>,
        span: &Span,
    ) -> Result<LogBytes, ApiError> {
        LogBytes::open(self.log_call(id, stream, task)?, span).await
    }

    fn log_call(&self, id: JobId, stream: LogStream, task: Option<u32>) -> Result<Call, ApiError> {
        let call = self.call(Method::GET, &format!("/api/v1/jobs/{id}/logs/{stream}"))?;
        Ok(match task {
            Some(task) => call.query("task", &task.to_string()),
            None => call,
        })
    }

    fn call(&self, method: Method, path: &str) -> Result<Call, ApiError> {
        Ok(self
            .client
            .call(method, path)
            .header("user-agent", USER_AGENT)?)
    }
}

fn no_items() -> Page<Value> {
    Page {
        items: Vec::new(),
        next: None,
    }
}
