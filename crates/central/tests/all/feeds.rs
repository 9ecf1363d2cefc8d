//! What realtime reads: each object once, to whom it belongs, from a cursor or as a snapshot.

use forebay_central::{
    Again, Error,
    feeds::{Changes, Cursor, Source},
};
use forebay_wire::{
    JobState,
    feed::{Level, Object},
};

use crate::world::{World, actor, at, released, saw};

/// All that came after `cursor`, read anew until nobody else's transaction in the instance holds a
/// part of it back: what is read in two pieces is told twice.
async fn read(world: &World, cursor: &Cursor, wanted: impl Fn(&Source) -> bool) -> Changes {
    let mut all: Option<Changes> = None;
    let mut from = *cursor;
    loop {
        let page = world
            .store
            .changes(&from, None, &wanted)
            .await
            .expect("read");
        let page = page.expect("a good cursor");
        from = page.next;
        let again = page.again;
        match &mut all {
            Some(all) => {
                all.changes.extend(page.changes);
                all.next = page.next;
                all.skipped += page.skipped;
            }
            None => all = Some(page),
        }
        match again {
            Again::No => return all.expect("a page"),
            Again::Now => {}
            Again::Soon => {
                (all, from) = (None, *cursor);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_job_is_read_once_with_all_its_new_events() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let link = world.linked().await;
    let job = world.submit(&ann, "x").await.id;
    let (hers, his) = (Source::Job(job, ann.user), Source::Job(job, bob.user));
    let (states, cursor) = world
        .store
        .states(&[hers.clone(), his.clone(), Source::Jobs(bob.user)])
        .await
        .expect("states");
    let events = |object: &Object| match object {
        Object::Job(Some(job)) => job.events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        other => panic!("no job: {other:?}"),
    };
    assert_eq!(
        events(&states[0].as_ref().expect("hers").items[0].object),
        [1]
    );
    assert_eq!(states[1], None, "not his");
    assert!(states[2].as_ref().expect("his jobs").items.is_empty());
    // A snapshot's cursor may be of a moment before what it shows: another test's transaction holds the feed back.
    let cursor = read(&world, &cursor, |_| false).await.next;

    world.claim(&link, 1).await;
    world
        .report(&link, vec![saw(job, at(1), released("7"))])
        .await;
    let all = read(&world, &cursor, |_| true).await;
    assert_eq!(all.skipped, 0);
    let mut sources: Vec<_> = all.changes.iter().map(|change| &change.source).collect();
    sources.sort();
    let mine = Source::Jobs(ann.user);
    assert_eq!(sources, [&hers, &mine], "each once, and nothing for bob");
    assert!(all.changes.is_sorted_by_key(|change| change.cursor));
    for change in &all.changes {
        let Object::Job(Some(item)) = &change.item.object else {
            panic!("{change:?}");
        };
        assert_eq!(item.status.state, JobState::Pending);
        assert_eq!(item.status.stdout_path, None);
        let told = if change.source == hers {
            vec![2, 3]
        } else {
            vec![]
        };
        assert_eq!(events(&change.item.object), told);
    }
    // From the place of one of them, only what is behind it.
    let last = all.changes.last().expect("some").cursor;
    assert!(read(&world, &last, |_| true).await.changes.is_empty());
    // Nothing is read of what nobody wants.
    assert!(read(&world, &cursor, |_| false).await.changes.is_empty());
    assert_eq!(
        world
            .store
            .may_read(&[hers, his, mine])
            .await
            .expect("asked"),
        [true, false, true]
    );
}

/// Whoever could write a row of the feed could not make it show another's job.
#[tokio::test]
async fn the_jobs_own_row_says_whose_it_is() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let _link = world.linked().await;
    let job = world.submit(&ann, "x").await.id;
    let cursor = world.store.feed_now().await.expect("a cursor");
    let cursor = read(&world, &cursor, |_| false).await.next;
    let client = world.store.pool().get().await.expect("a connection");
    client
        .batch_execute(&format!(
            "INSERT INTO feed (topic, kind, key, rev, body) VALUES ('user:{bob}', 'job', '{job}', 9,
             '{{\"owner\": \"{bob}\", \"events_from\": 0, \"event_seq\": 1}}'), ('surprise', 'x', 'y', 1, '{{}}')",
            bob = bob.user
        ))
        .await
        .expect("written");
    drop(client);
    let all = read(&world, &cursor, |_| true).await;
    assert!(all.changes.is_empty(), "{all:?}");
    assert_eq!(all.skipped, 1);
}

#[tokio::test]
async fn announcements_are_checked_limited_and_go() {
    let world = World::new().await;
    let (store, operator) = (&world.store, actor("operator"));
    let cursor = store.feed_now().await.expect("a cursor");
    for bad in ["", "  \n ", "a\0b", "bell\u{7}", &"x".repeat(2_001)] {
        let refused = store.announce(bad, Level::Info, None, &operator).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{bad:?}");
    }
    let past = Some(at(-900_000_000));
    store
        .announce("It is over.", Level::Info, past, &operator)
        .await
        .expect("announced");
    let id = store
        .announce(" Come\nin. ", Level::Warning, None, &operator)
        .await
        .expect("announced");
    let (states, _) = store
        .states(&[Source::Announcements])
        .await
        .expect("states");
    let items = &states[0].as_ref().expect("a state").items;
    assert_eq!(items.len(), 1, "only what is in force");
    store
        .announcement_withdraw(id, &operator)
        .await
        .expect("withdrawn");
    store
        .announcement_withdraw(id, &operator)
        .await
        .expect("again is fine");
    let unknown = forebay_wire::AnnouncementId::new();
    let refused = store.announcement_withdraw(unknown, &operator).await;
    assert!(matches!(refused, Err(Error::NotFound(_))));
    let all = read(&world, &cursor, |_| true).await;
    let told = all
        .changes
        .iter()
        .find(|change| change.item.key == id.to_string());
    let told = told.expect("told of");
    assert_eq!(told.item.object, Object::Announcement(None));
    assert_eq!(told.item.rev, 3);
    for n in 0..50 {
        store
            .announce(&format!("{n}"), Level::Info, None, &operator)
            .await
            .expect("announced");
    }
    let refused = store
        .announce("too many", Level::Info, None, &operator)
        .await;
    assert!(matches!(refused, Err(Error::Conflict(_))));
    // Old ones go for good.
    let client = store.pool().get().await.expect("a connection");
    client
        .batch_execute(
            "UPDATE announcements SET created_at = now() - interval '90 days',
                        withdrawn_at = withdrawn_at - interval '90 days'",
        )
        .await
        .expect("aged");
    drop(client);
    let gone = store
        .tend(&forebay_central::Retention::default())
        .await
        .expect("tended");
    assert!(gone >= 1, "{gone}");
    assert_eq!(store.announcements().await.expect("listed").len(), 50);
}

#[tokio::test]
async fn many_callers_are_asked_for_at_once() {
    let world = World::new().await;
    let callers = [
        world.user("ann").await,
        world.user("bob").await,
        world.user("eve").await,
    ];
    let (store, operator) = (&world.store, actor("operator"));
    store
        .token_revoke(callers[1].token, &operator)
        .await
        .expect("revoked");
    store
        .user_disable("eve", &operator)
        .await
        .expect("disabled");
    let good = store.all_still_good(&callers).await.expect("asked");
    assert_eq!(good, [true, false, false]);
}
