//! Jobs through the API.

use std::collections::BTreeSet;

use forebay_http::{Code, client::Answer};
use forebay_wire::{
    JobId, JobState,
    api::{Cluster, EventKind, Job, JobEvent, JobTask, Me, Page},
};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    server::{Server, problem, spec},
    work::{ended, released, started},
};

#[tokio::test]
async fn a_job_from_hand_in_to_end() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let mut agent = server.agent().await;
    let me: Me = ann.client.get("/api/v1/me").await.expect("me");
    assert_eq!(me.name, "ann");
    let clusters: Page<Cluster> = ann.client.get("/api/v1/clusters").await.expect("clusters");
    let names: Vec<_> = clusters
        .items
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    assert_eq!(names, ["box", "hpc"]);
    let one: Cluster = ann
        .client
        .get("/api/v1/clusters/hpc")
        .await
        .expect("a cluster");
    assert_eq!(one.integration, "slurm");
    assert_eq!(
        problem(ann.client.get::<Cluster>("/api/v1/clusters/none").await).code,
        Code::NotFound
    );

    let answer = ann
        .raw("/api/v1/jobs", &spec("a \"name\"").to_string())
        .await
        .expect("a job");
    assert_eq!(answer.status, StatusCode::CREATED);
    let job: Job = answer.json().expect("a job");
    assert_eq!(
        answer.header("location"),
        Some(format!("/api/v1/jobs/{}", job.id).as_str())
    );
    assert_eq!((job.rev, job.status.state), (1, JobState::Queued));
    assert_eq!(ann.job(job.id).await, job);

    assert_eq!(agent.claim(5).await.jobs[0].job, job.id);
    agent.report(vec![released(job.id), started(job.id)]).await;
    assert_eq!(ann.job(job.id).await.status.state, JobState::Running);
    let wanted = ann
        .client
        .call(Method::POST, &format!("/api/v1/jobs/{}/cancel", job.id))
        .send()
        .await;
    let wanted: Answer<_> = wanted.expect("accepted");
    assert_eq!(wanted.status, StatusCode::ACCEPTED);
    assert!(
        wanted
            .json::<Job>()
            .expect("a job")
            .status
            .cancel_wanted_at
            .is_some()
    );
    agent.report(vec![ended(job.id, JobState::Failed, 3)]).await;
    let end = ann.job(job.id).await;
    assert_eq!(
        (end.status.state, end.status.exit.map(|exit| exit.code)),
        (JobState::Failed, Some(3))
    );
    let again = ann
        .client
        .call(Method::POST, &format!("/api/v1/jobs/{}/cancel", job.id))
        .send()
        .await;
    assert_eq!(problem(again).code, Code::Conflict);

    let path = format!("/api/v1/jobs/{}/events", job.id);
    let all: Page<JobEvent> = ann.client.get(&path).await.expect("events");
    assert_eq!(all.items.len(), 6);
    assert_eq!(all.next, None);
    let page: Page<JobEvent> = ann
        .client
        .get(&format!("{path}?after=1&limit=2"))
        .await
        .expect("events");
    assert_eq!(
        page.items[0].kind,
        EventKind::State {
            state: JobState::Submitting
        }
    );
    assert_eq!(page.next.as_deref(), Some("3"));
    let tasks: Page<JobTask> = ann
        .client
        .get(&format!("/api/v1/jobs/{}/tasks", job.id))
        .await
        .expect("tasks");
    assert!(tasks.items.is_empty());
}

#[tokio::test]
async fn another_users_job_is_no_job() {
    let server = Server::start().await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    let mut agent = server.agent().await;
    let job = ann.submit("mine").await.id;
    agent.claim(1).await;
    agent.report(vec![released(job)]).await;
    let unknown = JobId::new();
    for id in [
        job.to_string(),
        unknown.to_string(),
        "j1".into(),
        "..".into(),
        "%00".into(),
    ] {
        for (method, below) in [
            (Method::GET, ""),
            (Method::GET, "/tasks"),
            (Method::GET, "/events"),
            (Method::GET, "/logs/stdout"),
            (Method::POST, "/cancel"),
        ] {
            for accept in ["application/json", "text/event-stream"] {
                let call = bob
                    .client
                    .call(method.clone(), &format!("/api/v1/jobs/{id}{below}"));
                let answer = call
                    .header("accept", accept)
                    .expect("a header")
                    .send()
                    .await;
                assert_eq!(problem(answer).code, Code::NotFound, "{method} {id}{below}");
            }
        }
    }
    let list: Page<Job> = bob
        .client
        .get("/api/v1/jobs?name=mine")
        .await
        .expect("a list");
    assert!(list.items.is_empty());
    assert_eq!(ann.job(job).await.status.cancel_wanted_at, None);
    // Both tries, and the answers to them, are on record.
    let audit = server
        .store
        .audit_list(Some("user:bob"), 50)
        .await
        .expect("the audit");
    let refused = audit
        .iter()
        .filter(|entry| entry.object == job.to_string() && entry.result == "not_found");
    assert_eq!(refused.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_makes_one_job() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let post = |body: Value| {
        let call = ann
            .client
            .call(Method::POST, "/api/v1/jobs")
            .json(&body)
            .expect("JSON");
        call.header("Idempotency-Key", "one")
            .expect("a header")
            .send()
    };
    let all = futures_util::future::join_all((0..20).map(|_| post(spec("once")))).await;
    let mut ids = BTreeSet::new();
    for answer in all {
        let answer = answer.expect("the first answer");
        assert_eq!(answer.status, StatusCode::CREATED);
        ids.insert(answer.json::<Job>().expect("a job").id);
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(
        problem(post(spec("another")).await).code,
        Code::IdempotencyMismatch
    );
    let list: Page<Job> = ann.client.get("/api/v1/jobs").await.expect("a list");
    assert_eq!(list.items.len(), 1);
    // The same, laid out otherwise.
    let loose = "{ \"spec\" : {\"command\":[\"true\"],\"name\":\"once\",\"cluster\":\"hpc\"} }";
    let call = ann
        .client
        .call(Method::POST, "/api/v1/jobs")
        .body("application/json", loose);
    let same = call
        .header("Idempotency-Key", "one")
        .expect("a header")
        .send()
        .await
        .expect("the first answer");
    assert_eq!(
        same.json::<Job>().expect("a job").id,
        *ids.first().expect("one")
    );
}

#[tokio::test]
async fn pages_filters_and_sorts() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let agent = server.agent().await;
    for name in ["delta", "alpha", "charlie", "bravo"] {
        ann.submit(name).await;
    }
    agent.claim(1).await;
    let names = |query: &str| {
        let (path, client) = (format!("/api/v1/jobs?{query}"), ann.client.clone());
        async move {
            let page: Page<Job> = client.get(&path).await.expect("a page");
            let names: Vec<_> = page
                .items
                .into_iter()
                .filter_map(|job| job.spec.name)
                .collect();
            (names.join(" "), page.next)
        }
    };
    assert_eq!(names("").await.0, "bravo charlie alpha delta");
    assert_eq!(
        names("sort=created_at").await.0,
        "delta alpha charlie bravo"
    );
    assert_eq!(names("sort=-name").await.0, "delta charlie bravo alpha");
    assert_eq!(
        names("name=A&sort=name&cluster=hpc").await.0,
        "alpha bravo charlie delta"
    );
    assert_eq!(names("name=HA").await.0, "charlie alpha");
    assert_eq!(names("state=submitting").await.0, "delta");
    assert_eq!(
        names("state=submitting,queued&sort=name").await.0,
        "alpha bravo charlie delta"
    );
    let (first, next) = names("sort=name&limit=3").await;
    assert_eq!(first, "alpha bravo charlie");
    let next = next.expect("more");
    assert_eq!(
        names(&format!("sort=name&limit=3&cursor={next}")).await,
        ("delta".into(), None)
    );
    let other = ann
        .client
        .get::<Value>(&format!("/api/v1/jobs?sort=-name&cursor={next}"))
        .await;
    assert_eq!(problem(other).details[0].field, "cursor");
}

/// 1,000 jobs, pages of 100, and a new job between every two pages.
#[tokio::test]
async fn page_two_is_page_two() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let bodies: Vec<_> = (0..1_000)
        .map(|number| spec(&format!("{number:04}")))
        .collect();
    let began = std::time::Instant::now();
    for chunk in bodies.chunks(8) {
        let posts = chunk
            .iter()
            .map(|body| ann.client.post::<_, Job>("/api/v1/jobs", body));
        for job in futures_util::future::join_all(posts).await {
            job.expect("a job");
        }
    }
    println!(
        "1,000 jobs handed in, 8 at a time: {:.0} a second",
        1_000.0 / began.elapsed().as_secs_f64()
    );
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<Job> = ann
            .client
            .get(&format!("/api/v1/jobs?limit=100{cursor}"))
            .await
            .expect("a page");
        seen.extend(page.items.into_iter().map(|job| (job.created_at, job.id)));
        ann.submit("late").await;
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (1_000, 1_000));
    assert!(seen.is_sorted_by(|a, b| a > b), "the newest first");
}

/// Whoever hands a job in and hangs up has handed it in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_up_does_not_undo_a_change() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let address = server.base.strip_prefix("http://").expect("an address");
    let token = server
        .store
        .token_create("ann", "", None, &crate::server::operator())
        .await
        .expect("a token");
    let token = secrecy::ExposeSecret::expose_secret(&token.token).to_owned();
    for number in 0..20 {
        let body = spec(&format!("{number}")).to_string();
        let mut io = tokio::net::TcpStream::connect(address)
            .await
            .expect("a connection");
        let head = format!(
            "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        io.write_all(head.as_bytes()).await.expect("sent");
        // Long enough for the request to be read, too short for the answer.
        tokio::time::sleep(std::time::Duration::from_millis(number / 5)).await;
        drop(io);
    }
    let mut jobs = 0;
    for _ in 0..60 {
        let list: Page<Job> = ann.client.get("/api/v1/jobs").await.expect("a list");
        jobs = list.items.len();
        if jobs == 20 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    println!("{jobs} of 20 requests were read before their connection was cut");
    assert!(jobs > 0);
    // What was begun was ended: each job has its line of audit.
    let audit = server
        .store
        .audit_list(Some("user:ann"), 100)
        .await
        .expect("the audit");
    assert_eq!(audit.len(), jobs);
    assert!(audit.iter().all(|entry| entry.result == "ok"));
}
