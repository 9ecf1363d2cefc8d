//! The API over HTTP, as a program of somebody's would use it.

use std::time::Instant;

use forebay_http::client::{Answer, Client, ClientError};
use forebay_wire::api::{Cluster, EventKind, Job, JobEvent, JobTask, Page};
use forebay_wire::{Freshness, JobState, Problem};
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::worlds::PATIENCE;

pub(crate) struct Api {
    client: Client,
}

/// A refusal: the status and what was said.
pub(crate) type Refused = Box<Problem>;

impl Api {
    pub(crate) fn new(url: &str, token: Option<&str>) -> Self {
        let client = Client::tcp(url).unwrap();
        let client = match token {
            Some(token) => client
                .with_bearer(&SecretString::from(token.to_owned()))
                .unwrap(),
            None => client,
        };
        Self { client }
    }

    /// Any call; its body or the problem.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
        headers: &[(&str, &str)],
    ) -> Result<Answer<bytes::Bytes>, Refused> {
        let mut call = self.client.call(method, path);
        if let Some((kind, body)) = body {
            call = call.body(kind, body);
        }
        for (name, value) in headers {
            call = call.header(name, value).unwrap();
        }
        match call.send().await {
            Ok(answer) => Ok(answer),
            Err(ClientError::Problem(problem)) => Err(problem),
            Err(error) => panic!("{path}: {}", crate::worlds::chain(&error)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer<bytes::Bytes>, Refused> {
        self.call(Method::GET, path, None, &[]).await
    }

    /// Whether the service says that it can do its work.
    pub(crate) async fn is_ready(&self) -> bool {
        let call = self.client.call(Method::GET, "/health/ready");
        call.send().await.is_ok()
    }

    /// Hands in whatever is given as the body.
    pub(crate) async fn post_jobs(
        &self,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Job, Refused> {
        let body = serde_json::to_vec(body).unwrap();
        let body = Some(("application/json", body));
        let answer = self
            .call(Method::POST, "/api/v1/jobs", body, headers)
            .await?;
        assert_eq!(answer.status.as_u16(), 201);
        Ok(answer.json().unwrap())
    }

    /// Hands in a job for the cluster; `spec` lacks only that.
    pub(crate) async fn try_submit(&self, mut spec: Value) -> Result<Job, Refused> {
        if spec.get("cluster").is_none() {
            spec["cluster"] = json!("hpc");
        }
        self.post_jobs(&json!({ "spec": spec }), &[]).await
    }

    /// The same; it must be taken.
    pub(crate) async fn submit(&self, spec: Value) -> String {
        let job = self.try_submit(spec).await;
        job.unwrap_or_else(|problem| panic!("{problem:?}"))
            .id
            .to_string()
    }

    /// A script with its first line before it.
    pub(crate) async fn script(&self, text: &str) -> String {
        self.submit(json!({ "script": format!("#!/bin/sh\n{text}\n") }))
            .await
    }

    pub(crate) async fn job(&self, id: &str) -> Job {
        let job = self.try_job(id).await;
        job.unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    pub(crate) async fn try_job(&self, id: &str) -> Result<Job, Refused> {
        let answer = self.get(&format!("/api/v1/jobs/{id}")).await?;
        Ok(answer.json().unwrap())
    }

    /// Waits until the job is as wanted; at an end it never comes to that.
    pub(crate) async fn until(&self, id: &str, what: &str, wanted: impl Fn(&Job) -> bool) -> Job {
        let began = Instant::now();
        loop {
            let job = self.job(id).await;
            if wanted(&job) {
                return job;
            }
            let is_over = job.status.state.is_end() || began.elapsed() > PATIENCE;
            if is_over {
                let events = self.events(id).await;
                panic!("{id} is not {what} but {:#?}\n{events:#?}", job.status);
            }
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn until_state(&self, id: &str, state: JobState) -> Job {
        self.until(id, state.as_str(), |job| job.status.state == state)
            .await
    }

    pub(crate) async fn ended(&self, id: &str) -> Job {
        self.until(id, "ended", |job| job.status.state.is_end())
            .await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<(), Refused> {
        let path = format!("/api/v1/jobs/{id}/cancel");
        let answer = self.call(Method::POST, &path, None, &[]).await?;
        assert_eq!(answer.status.as_u16(), 202);
        Ok(())
    }

    pub(crate) async fn events(&self, id: &str) -> Vec<JobEvent> {
        let answer = self.get(&format!("/api/v1/jobs/{id}/events")).await;
        let page: Page<JobEvent> = answer.unwrap().json().unwrap();
        page.items
    }

    /// The states a job went through, in order.
    pub(crate) async fn states(&self, id: &str) -> Vec<JobState> {
        let events = self.events(id).await;
        let state = |event: &JobEvent| match event.kind {
            EventKind::State { state } => Some(state),
            _ => None,
        };
        events.iter().filter_map(state).collect()
    }

    pub(crate) async fn tasks(&self, id: &str) -> Vec<JobTask> {
        let answer = self.get(&format!("/api/v1/jobs/{id}/tasks")).await;
        let page: Page<JobTask> = answer.unwrap().json().unwrap();
        page.items
    }

    /// The whole of an output; `path` is `stdout` or `stdout?task=2`.
    pub(crate) async fn log(&self, id: &str, path: &str) -> Result<Vec<u8>, Refused> {
        let answer = self.get(&format!("/api/v1/jobs/{id}/logs/{path}")).await?;
        Ok(answer.body.to_vec())
    }

    pub(crate) async fn stdout(&self, id: &str) -> String {
        let log = self.log(id, "stdout").await;
        String::from_utf8(log.unwrap_or_else(|problem| panic!("{problem:?}"))).unwrap()
    }

    /// All jobs of one page of 200, newest first.
    pub(crate) async fn jobs(&self, query: &str) -> Vec<Job> {
        let answer = self.get(&format!("/api/v1/jobs?limit=200{query}")).await;
        let page: Page<Job> = answer.unwrap().json().unwrap();
        page.items
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        self.get("/api/v1/clusters/hpc")
            .await
            .unwrap()
            .json()
            .unwrap()
    }

    pub(crate) async fn cluster_is(&self, freshness: Freshness) -> Cluster {
        crate::worlds::eventually(&format!("a {freshness} cluster"), || async {
            let cluster = self.cluster().await;
            (cluster.status.freshness == freshness).then_some(cluster)
        })
        .await
    }
}
