//! Announcements reach everybody, are changed by operators alone, and go.

use forebay_wire::feed::{Level, Object, Topic};

use crate::{
    reader::{Events, Socket},
    rig::Rig,
    world::actor,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_reach_everybody() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let (ann, bob) = (rig.user("ann").await, rig.user("bob").await);
    let (store, operator) = (&rig.world.store, actor("operator"));
    let first = store
        .announce("Maintenance\non Tuesday.", Level::Warning, None, &operator)
        .await
        .expect("announced");
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Announcements, None).await;
    let snapshot = socket.snapshot().await;
    assert_eq!(snapshot.items.len(), 1);
    assert_eq!(snapshot.items[0].key, first.to_string());
    let mut events = Events::open(&server, &bob, "topic=announcements", None).await;
    events.next().await.expect("a snapshot");
    let second = store
        .announce("All is well.", Level::Info, None, &operator)
        .await
        .expect("announced");
    store
        .announcement_withdraw(first, &operator)
        .await
        .expect("withdrawn");
    for _ in 0..2 {
        let delta = socket.delta().await;
        match delta.item.object {
            Object::Announcement(Some(one)) => {
                assert_eq!((one.id, one.text.as_str()), (second, "All is well."));
            }
            Object::Announcement(None) => {
                assert_eq!((delta.item.key, delta.item.rev), (first.to_string(), 2));
            }
            other => panic!("{other:?}"),
        }
        events.next().await.expect("the same");
    }
    let left = store.announcements().await.expect("listed");
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [second]);
}
