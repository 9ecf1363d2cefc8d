//! Rights that end, end streams within seconds.

use forebay_http::Code;
use forebay_wire::feed::{Message, Topic};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    reader::{Events, Socket},
    rig::Rig,
    world::actor,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_ends_its_streams() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let hers_too = rig.token("ann").await;
    let mut sockets = [
        Socket::open(&server, &ann).await,
        Socket::open(&server, &hers_too).await,
    ];
    for socket in &mut sockets {
        socket.subscribe(&Topic::Jobs, None).await;
        socket.snapshot().await;
    }
    let mut events = Events::open(&server, &ann, "topic=jobs", None).await;
    events.next().await.expect("a snapshot");
    let (store, operator) = (&rig.world.store, actor("operator"));
    store
        .token_revoke(ann.caller.token, &operator)
        .await
        .expect("revoked");
    let [mut ended, mut going_on] = sockets;
    let Message::Problem(refusal) = ended.news().await else {
        panic!("it is over");
    };
    assert_eq!(
        (refusal.topic, refusal.problem.code),
        (None, Code::Unauthenticated)
    );
    assert_eq!(ended.goodbye().await, Some(CloseCode::Policy));
    let Some(Message::Problem(refusal)) = events.next().await else {
        panic!("it is over");
    };
    assert_eq!(refusal.problem.code, Code::Unauthenticated);
    assert_eq!(events.next().await, None);
    assert_eq!(
        Socket::try_open(&server, &[("authorization", &ann.bearer())])
            .await
            .err()
            .map(|r| r.0),
        Some(401)
    );
    // Another token of the same user is not meant; disabling the user is.
    going_on.subscribe(&Topic::Announcements, None).await;
    going_on.snapshot().await;
    store
        .user_disable("ann", &operator)
        .await
        .expect("disabled");
    assert_eq!(going_on.goodbye().await, Some(CloseCode::Policy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_deleted_ends_its_topic() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let job = rig.submit(&ann, "x").await;
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Job(job), None).await;
    socket.snapshot().await;
    rig.sql(&format!("DELETE FROM jobs WHERE id = '{}'", job.uuid()))
        .await;
    let Message::Problem(refusal) = socket.news().await else {
        panic!("it is gone");
    };
    assert_eq!(refusal.topic, Some(Topic::Job(job)));
    assert_eq!(refusal.problem.code, Code::NotFound);
}
