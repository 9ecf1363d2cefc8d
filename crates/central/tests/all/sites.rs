//! Links: epochs, tokens, clusters, and what is wanted of a site.

use forebay_central::{Again, DesiredCursor, Error, Link};
use forebay_wire::{Code, link::Want};

use crate::world::{World, actor};

#[tokio::test]
async fn a_newer_link_supersedes_the_older() {
    let world = World::new().await;
    let site = world.known_site("here").await;
    let (first, old) = world.open(&site, &["hpc"]).await;
    world.store.link_current(&old).await.expect("the newest");
    let (second, new) = world.open(&site, &["hpc"]).await;
    assert_eq!(second.epoch, first.epoch + 1);
    assert_eq!(
        second.installation,
        world.store.installation().await.expect("one")
    );
    world.store.link_heard(&new).await.expect("the newest");
    for refused in [
        world.store.link_current(&old).await,
        world.store.link_heard(&old).await,
        world.store.open_jobs(&old, None).await.map(drop),
    ] {
        let problem = refused.expect_err("superseded").problem();
        assert_eq!(problem.code, Code::Superseded);
    }
    // The site's key, once revoked, takes its links with it.
    world
        .store
        .site_revoke(&new.site, None, &actor("operator"))
        .await
        .expect("revoked");
    assert!(matches!(
        world.store.link_current(&new).await,
        Err(Error::Unauthenticated)
    ));
    assert!(
        world
            .store
            .authenticate_link(&second.token.into())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_cluster_name_belongs_to_one_site() {
    let world = World::new().await;
    let here = world.known_site("here").await;
    let there = world.known_site("there").await;
    world.open(&here, &["hpc", "old"]).await;
    let taken = world
        .try_open(&there, &["hpc"])
        .await
        .expect_err("another site's");
    assert_eq!(taken.problem().code, Code::Conflict);
    let names = || async {
        let clusters = world.store.clusters().await.expect("a list");
        clusters
            .iter()
            .map(|cluster| format!("{}@{}", cluster.name, cluster.site))
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["hpc@here", "old@here"]);
    // What a site no longer declares is no longer offered.
    world.open(&here, &["hpc"]).await;
    assert_eq!(names().await, ["hpc@here"]);
}

/// The next that is wanted. Transactions of other tests in the instance may hold
/// the feed back for a moment.
async fn wanted(
    world: &World,
    link: &Link,
    mut cursor: DesiredCursor,
) -> (Vec<Want>, DesiredCursor) {
    for _ in 0..1_000 {
        let page = world
            .store
            .desired(&link.site, cursor)
            .await
            .expect("a page");
        // Somebody else's transaction in the instance holds a part back: what is read in two
        // pieces may be told twice.
        if page.again == Again::Soon {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            continue;
        }
        if !page.wants.is_empty() {
            return (page.wants, page.next);
        }
        cursor = page.next;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("nothing was wanted");
}

#[tokio::test]
async fn what_is_wanted_reaches_the_site_once() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let site = world.known_site("here").await;
    let (session, link) = world.open(&site, &["hpc"]).await;
    let cursor: DesiredCursor = session.desired_after.parse().expect("a cursor");
    let cluster: forebay_wire::ClusterName = "hpc".parse().expect("a name");
    for number in 0..20 {
        world.submit(&ann, &format!("job {number}")).await;
    }
    let (wants, next) = wanted(&world, &link, cursor).await;
    assert_eq!(wants, [Want::Work { cluster }]);
    let job = world.claim(&link, 1).await.jobs.remove(0).job;
    world
        .store
        .job_cancel(&ann, job, &actor("user"))
        .await
        .expect("wanted");
    let (wants, next) = wanted(&world, &link, next).await;
    assert_eq!(wants, [Want::Cancel { job }]);
    let page = world.store.desired(&link.site, next).await.expect("a page");
    assert_eq!(page.wants, []);
    // Another site hears nothing of it.
    let other = "there".parse().expect("a name");
    let page = world.store.desired(&other, cursor).await.expect("a page");
    assert_eq!(page.wants, []);
    // A cursor of another life of the feed.
    let foreign: DesiredCursor = "1.2.3".parse().expect("a cursor");
    let page = world
        .store
        .desired(&link.site, foreign)
        .await
        .expect("a page");
    assert_eq!(page.wants, [Want::Resync]);
    let page = world
        .store
        .desired(&link.site, page.next)
        .await
        .expect("a page");
    assert_eq!(page.wants, []);
}
