//! The database goes away and comes back; the process lives on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_http::Code;
use forebay_wire::api::{Health, Job, Page};

use crate::{
    instance::{Database, Instance},
    server::{Server, problem, spec},
    stream::Sse,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_database_costs_some_answers_and_no_more() {
    let db = Database::within(Arc::new(Instance::start())).await;
    let mut server = Server::with(db).await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let job = ann.submit("before").await;
    let path = format!("/api/v1/jobs/{}/events", job.id);
    let mut events = Sse::open(&ann.client, &path, None).await;
    assert_eq!(events.next().await.expect("an event").id, "1");
    let live: Health = server
        .anonymous()
        .get("/health/ready")
        .await
        .expect("ready");
    assert!(live.ok);

    // Stopping and starting blocks a thread, which is this test's own.
    let instance = Arc::get_mut(&mut server.db.instance).expect("nobody else's");
    tokio::task::block_in_place(|| instance.halt());
    let read = problem(
        ann.client
            .get::<Job>(&format!("/api/v1/jobs/{}", job.id))
            .await,
    );
    assert_eq!(read.code, Code::Unavailable);
    let write = problem(
        ann.client
            .post::<_, Job>("/api/v1/jobs", &spec("lost"))
            .await,
    );
    assert_eq!(write.code, Code::Unavailable);
    assert!(
        !write.message.to_lowercase().contains("sql") && !write.message.contains('/'),
        "{write:?}"
    );
    assert!(
        server
            .anonymous()
            .get::<Health>("/health/ready")
            .await
            .is_err()
    );
    server
        .anonymous()
        .get::<Health>("/health/live")
        .await
        .expect("it lives");

    let instance = Arc::get_mut(&mut server.db.instance).expect("nobody else's");
    tokio::task::block_in_place(|| instance.launch());
    let began = Instant::now();
    let list: Page<Job> = loop {
        match ann.client.get("/api/v1/jobs").await {
            Ok(list) => break list,
            Err(_) if began.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    println!(
        "served again {:?} after the database was back",
        began.elapsed()
    );
    assert_eq!(
        list.items.iter().map(|job| job.id).collect::<Vec<_>>(),
        [job.id]
    );
    ann.submit("after").await;
    // The stream that was open lives on as well.
    let cancel = ann
        .client
        .call(
            http::Method::POST,
            &format!("/api/v1/jobs/{}/cancel", job.id),
        )
        .send()
        .await;
    cancel.expect("cancelled");
    assert_eq!(events.next().await.expect("an event").id, "2");
    assert_eq!(events.next().await, None);
}
