//! How sites become known, and who is not believed.

use std::time::Duration;

use forebay_central::{AssertionError, ENROLMENT, Error, Replica};
use forebay_wire::{
    Code, KeyId, Pin,
    link::{Assertion, Statement},
};
use uuid::Uuid;

use crate::world::{Key, World, actor, key_pair, open_session, public};

#[tokio::test]
async fn an_enrolment_token_is_good_once_and_for_one_key() {
    let world = World::new().await;
    let (store, operator) = (&world.store, actor("operator"));
    let site = "here".parse().expect("a name");
    let token = store
        .site_enrol(&site, ENROLMENT, &operator)
        .await
        .expect("a token")
        .token;
    let (first, second) = (public(&key_pair()), public(&key_pair()));
    let enrolled = store
        .enrol(&token, &first, &operator)
        .await
        .expect("enrolled");
    // The answer was lost: the same again.
    let again = store.enrol(&token, &first, &operator).await;
    assert_eq!(again.expect("the same answer"), enrolled);
    let used = store
        .enrol(&token, &second, &operator)
        .await
        .expect_err("used");
    let told = used.problem();
    assert_eq!(told.code, Code::Unauthenticated);
    assert!(told.message.contains("was used at"), "{told:?}");
    // Too old, and revoked.
    for revoke in [false, true] {
        let lives = Duration::from_millis(if revoke { 60_000 } else { 1 });
        let token = store
            .site_enrol(&site, lives, &operator)
            .await
            .expect("a token");
        if revoke {
            store
                .site_revoke(&site, None, &operator)
                .await
                .expect("revoked");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let over = store.enrol(&token.token, &second, &operator).await;
        assert!(matches!(over, Err(Error::EnrolmentOver)), "{over:?}");
    }
    // A key is one site's.
    let there = "there".parse().expect("a name");
    let token = store
        .site_enrol(&there, ENROLMENT, &operator)
        .await
        .expect("a token");
    let refused = store.enrol(&token.token, &first, &operator).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    for bad in ["", "fe_x", "fb_k1_x"] {
        let bad = store.enrol(&bad.into(), &second, &operator).await;
        assert!(matches!(bad, Err(Error::Unauthenticated)), "{bad:?}");
    }
    // Nothing of the secret is in the database.
    let secret = secrecy::ExposeSecret::expose_secret(&token.token).to_owned();
    let client = store.pool().get().await.expect("a connection");
    let rows = client
        .query("SELECT enrolment_tokens::text FROM enrolment_tokens", &[])
        .await
        .expect("rows");
    let secret = secret.rsplit('_').next().expect("a secret");
    for row in rows {
        assert!(!row.get::<_, String>(0).contains(secret));
    }
}

async fn refusal(world: &World, assertion: &Assertion) -> AssertionError {
    match world.store.authenticate_site(assertion).await {
        Err(Error::Assertion(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_statement_is_believed_once() {
    let world = World::new().await;
    let key = world.enrolled("here").await;
    let signed = key.sign(&key.statement(open_session(&["hpc"])));
    let (known, open) = world
        .store
        .authenticate_site(&signed)
        .await
        .expect("believed");
    assert_eq!(known.name.as_str(), "here");
    assert_eq!(open, open_session(&["hpc"]));
    assert_eq!(refusal(&world, &signed).await, AssertionError::Replayed);
    // Two replicas at the same moment: one of them.
    let signed = key.sign(&key.statement(open_session(&["hpc"])));
    let (one, other) = tokio::join!(
        world.store.authenticate_site(&signed),
        world.store.authenticate_site(&signed)
    );
    assert_eq!(
        usize::from(one.is_ok()) + usize::from(other.is_ok()),
        1,
        "{one:?} {other:?}"
    );
}

#[tokio::test]
async fn statements_that_are_not_the_keys_own_are_refused() {
    let world = World::new().await;
    let key = world.enrolled("here").await;
    let other = world.enrolled("there").await;
    let good = key.statement(open_session(&["hpc"]));
    let shifted = |seconds: i64| {
        let shift = std::time::Duration::from_secs(seconds.unsigned_abs());
        let move_ = |at: forebay_wire::Timestamp| {
            if seconds < 0 {
                (at.get() - shift).into()
            } else {
                (at.get() + shift).into()
            }
        };
        Statement {
            issued_at: move_(good.issued_at),
            expires_at: move_(good.expires_at),
            ..good.clone()
        }
    };
    // Signed by another key, under this one's name and under its own.
    let forged = Assertion {
        key: key.enrolled.key,
        ..other.sign(&good)
    };
    assert_eq!(refusal(&world, &forged).await, AssertionError::Unknown);
    let lent = other.sign(&good);
    assert_eq!(refusal(&world, &lent).await, AssertionError::OtherSite);
    // Changed behind the signature.
    let mut changed = key.sign(&good);
    changed.statement = changed.statement.replace("\"hpc\"", "\"xyz\"");
    assert_eq!(refusal(&world, &changed).await, AssertionError::Unknown);
    let mut cut = key.sign(&good);
    cut.signature.truncate(20);
    assert_eq!(refusal(&world, &cut).await, AssertionError::Unknown);
    // A key that nobody enrolled.
    let stranger = Assertion {
        key: KeyId::new(),
        ..key.sign(&good)
    };
    assert_eq!(refusal(&world, &stranger).await, AssertionError::Unknown);
    // For another installation.
    let elsewhere = Statement {
        aud: Uuid::new_v4(),
        ..good.clone()
    };
    let refused = refusal(&world, &key.sign(&elsewhere)).await;
    assert!(matches!(refused, AssertionError::OtherAudience { .. }));
    // An hour old, and an hour ahead.
    for seconds in [-3_600, 3_600] {
        let refused = refusal(&world, &key.sign(&shifted(seconds))).await;
        let AssertionError::Clock { skew_s, .. } = refused else {
            panic!("{refused:?}");
        };
        assert!((skew_s - seconds).abs() < 30, "{skew_s}");
    }
    let forever = Statement {
        expires_at: shifted(3_600).expires_at,
        ..good.clone()
    };
    let refused = refusal(&world, &key.sign(&forever)).await;
    assert_eq!(refused, AssertionError::Lifetime);
    // Something else that was signed with the right words before it.
    let garbage = Key {
        pair: key.pair,
        enrolled: key.enrolled,
    };
    let text = "{}".to_owned();
    let signature = garbage.pair.sign(
        [forebay_wire::link::ASSERTION_CONTEXT, &text]
            .concat()
            .as_bytes(),
    );
    let garbled = Assertion {
        key: garbage.enrolled.key,
        signature: forebay_wire::hex::encode(signature.as_ref()),
        statement: text,
    };
    assert_eq!(refusal(&world, &garbled).await, AssertionError::Malformed);
    // And the good one is still good: none of these used it up.
    let signed = garbage.sign(&good);
    world
        .store
        .authenticate_site(&signed)
        .await
        .expect("believed");
}

#[tokio::test]
async fn a_revoked_key_opens_nothing() {
    let world = World::new().await;
    let key = world.enrolled("here").await;
    let second = world.enrolled("here").await;
    let operator = actor("operator");
    let site = key.enrolled.site.clone();
    world
        .store
        .site_revoke(&site, Some(key.enrolled.key), &operator)
        .await
        .expect("revoked");
    let signed = key.sign(&key.statement(open_session(&["hpc"])));
    assert_eq!(refusal(&world, &signed).await, AssertionError::Revoked);
    // The site's other key is not touched.
    let signed = second.sign(&second.statement(open_session(&["hpc"])));
    let known = world.store.authenticate_site(&signed).await;
    known.expect("believed");
    let keys = world.store.site_keys().await.expect("keys");
    let revoked: Vec<_> = keys.iter().map(|key| key.revoked_at.is_some()).collect();
    assert_eq!(revoked, [true, false]);
    let again = world
        .store
        .site_revoke(&site, Some(key.enrolled.key), &operator)
        .await;
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
}

/// A process that had a link does not take the site back from one that came later.
#[tokio::test]
async fn a_process_that_was_superseded_stays_so() {
    let world = World::new().await;
    let site = world.known_site("here").await;
    let (one, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
    let open = |process, again| {
        let open = forebay_wire::link::OpenSession {
            process,
            again,
            ..open_session(&["hpc"])
        };
        let (store, site) = (world.store.clone(), site.clone());
        async move { store.link_open(&site, &open, &actor("site")).await }
    };
    open(one, false).await.expect("the first");
    open(one, true).await.expect("renewed");
    let newest = open(other, false).await.expect("another process").epoch;
    let refused = open(one, true).await.expect_err("superseded");
    assert!(
        matches!(refused, Error::Superseded { epoch } if epoch == newest),
        "{refused:?}"
    );
    open(other, true).await.expect("renewed");
}

#[tokio::test]
async fn replicas_know_each_other_by_what_they_write() {
    let world = World::new().await;
    let store = &world.store;
    let replica = Replica {
        id: Uuid::new_v4(),
        url: "https://127.0.0.1:1".into(),
        pin: Some(Pin::new([3; 32])),
    };
    let here = "here".parse().expect("a name");
    let there = "there".parse().expect("a name");
    store
        .replica_heard(&replica, std::slice::from_ref(&here))
        .await
        .expect("heard");
    let me = Uuid::new_v4();
    let found = store.replica_of(&here, me).await.expect("a look");
    assert_eq!(found.as_ref(), Some(&replica));
    for (site, me) in [(&there, me), (&here, replica.id)] {
        assert_eq!(store.replica_of(site, me).await.expect("a look"), None);
    }
    // Silent for too long, and gone.
    let client = store.pool().get().await.expect("a connection");
    client
        .execute("UPDATE replicas SET seen_at = now() - interval '30 s'", &[])
        .await
        .expect("aged");
    assert_eq!(store.replica_of(&here, me).await.expect("a look"), None);
    store
        .replica_heard(&replica, std::slice::from_ref(&here))
        .await
        .expect("heard");
    store.replica_gone(replica.id).await.expect("gone");
    assert_eq!(store.replica_of(&here, me).await.expect("a look"), None);

    let token = store.replica_token().await.expect("a token");
    store.authenticate_replica(&token).await.expect("a replica");
    client
        .execute("UPDATE replica_tokens SET expires_at = now()", &[])
        .await
        .expect("aged");
    for bad in [token, "fr_x".into(), "".into()] {
        assert!(store.authenticate_replica(&bad).await.is_err());
    }
}
