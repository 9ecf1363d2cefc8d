//! What people see as it happens: a job followed over realtime, from its queue to its end, on several replicas.

use std::time::Duration;

use bytes::Bytes;
use forebay_http::Client;
use forebay_testbed::site::{CLUSTER, Options, Scheduler, Site};
use forebay_testbed::{accounts, need};
use forebay_wire::feed::{Message, Object};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

/// An event stream of one topic.
struct Feed {
    pieces: Box<dyn Stream<Item = std::io::Result<Bytes>> + Send + Unpin>,
    text: String,
}

impl Feed {
    async fn open(address: &str, token: &str, topic: &str, last: Option<&str>) -> Option<Self> {
        let client = Client::tcp(&format!("http://{address}")).unwrap();
        let client = client.with_bearer(&token.into()).unwrap();
        let mut call = client.call(http::Method::GET, &format!("/rt/v1/events?topic={topic}"));
        if let Some(last) = last {
            call = call.header("last-event-id", last).unwrap();
        }
        Some(Self {
            pieces: Box::new(call.stream().await.ok()?.into_bytes()),
            text: String::new(),
        })
    }

    /// The next message with its cursor; none when the stream broke.
    async fn next(&mut self) -> Option<(Option<String>, Message)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    block.lines().find_map(|line| {
                        Some(
                            line.strip_prefix(name)?
                                .strip_prefix(':')?
                                .trim()
                                .to_owned(),
                        )
                    })
                };
                if let Some(data) = field("data") {
                    return Some((field("id"), serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let piece = tokio::time::timeout(Duration::from_secs(60), self.pieces.next()).await;
            self.text
                .push_str(std::str::from_utf8(&piece.unwrap()?.ok()?).unwrap());
        }
    }
}

/// Numbers of events in the order in which they became known, across breaks.
async fn follow(site: &Site, replica: usize, token: &str, job: &str) -> (Vec<i64>, String) {
    let (mut seqs, mut state, mut cursor): (Vec<i64>, _, Option<String>) =
        (Vec::new(), String::new(), None);
    let is_end = |state: &str| {
        state
            .parse::<forebay_wire::JobState>()
            .is_ok_and(forebay_wire::JobState::is_end)
    };
    while !is_end(&state) {
        let address = site.realtime_address(replica);
        let topic = format!("job/{job}");
        let Some(mut feed) = Feed::open(&address, token, &topic, cursor.as_deref()).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while !is_end(&state) {
            let Some((id, message)) = feed.next().await else {
                break;
            };
            cursor = id.or(cursor);
            let items = match message {
                Message::Snapshot(snapshot) => snapshot.items,
                Message::Delta(delta) => vec![delta.item],
                Message::Heartbeat(_) => continue,
                Message::Problem(refusal) => panic!("{refusal:?}"),
            };
            for item in items {
                let Object::Job(Some(job)) = item.object else {
                    panic!("no job");
                };
                state = job.status.state.to_string();
                let last = seqs.last().copied().unwrap_or(0);
                seqs.extend(
                    job.events
                        .iter()
                        .map(|event| event.seq)
                        .filter(|seq| *seq > last),
                );
            }
        }
    }
    (seqs, state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_seen_to_its_end_while_realtime_is_killed() {
    need!(Postgres);
    let user = accounts::current().unwrap();
    let user = if user.uid == 0 {
        accounts::test_account(1).unwrap()
    } else {
        user
    };
    let user = user.name;
    let site = Site::start(Options {
        scheduler: Scheduler::Local { slots: 2 },
        users: vec![user.clone()],
        realtime: 2,
        ..Options::default()
    })
    .await
    .unwrap();
    let token = site.token(&user).unwrap();
    let api = Client::tcp(&site.api_url()).unwrap();
    let api = api.with_bearer(&token.clone().into()).unwrap();
    let body = json!({"spec": {"cluster": CLUSTER, "command": ["sleep", "2"]}});
    let job: Value = api.post("/api/v1/jobs", &body).await.unwrap();
    let job = job["id"].as_str().unwrap();
    let kill = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        site.kill9("realtime").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        site.start_realtime(0).await.unwrap();
    };
    let ((one, state), (two, _), ()) = tokio::join!(
        follow(&site, 0, &token, job),
        follow(&site, 1, &token, job),
        kill
    );
    assert_eq!(state, "succeeded");
    let all: Vec<i64> = (1..).take(one.len()).collect();
    assert_eq!(
        (&one, &two),
        (&all, &all),
        "none is missing and none comes twice"
    );
    assert!(one.len() >= 5, "{one:?}");
    site.stop().await.unwrap();
}
