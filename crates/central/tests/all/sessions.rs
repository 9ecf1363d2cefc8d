//! Sign-ins of the page: good ones, and every way for one to end.

use forebay_central::{Caller, Error, NewSession, SESSIONS_MAX};
use forebay_wire::TokenId;
use secrecy::{ExposeSecret as _, SecretString};

use crate::world::{World, actor};

/// A user and a token of theirs.
async fn token(world: &World, name: &str) -> (TokenId, SecretString) {
    let operator = actor("operator");
    world.store.user_add(name, &operator).await.expect("new");
    let new = world
        .store
        .token_create(name, "", None, &operator)
        .await
        .expect("a token");
    (new.id, new.token)
}

async fn open(world: &World, token: &SecretString) -> NewSession {
    let opened = world.store.session_open(token, "test", "uid 0").await;
    opened.expect("a session")
}

/// Refused as a credential, and for streams that were opened with it.
async fn check_ended(world: &World, session: &NewSession, why: &str) {
    let refused = world.store.authenticate_session(&session.secret).await;
    assert!(matches!(refused, Err(Error::Unauthenticated)), "{why}");
    let good = world.store.still_good(&session.caller).await;
    assert!(!good.expect("an answer"), "{why}");
}

async fn execute(world: &World, sql: &str) {
    let client = world.store.pool().get().await.expect("a connection");
    client.batch_execute(sql).await.expect("done");
}

#[tokio::test]
async fn a_session_is_its_tokens_and_ends_with_it() {
    let world = World::new().await;
    let (id, ann) = token(&world, "ann").await;
    let (_, bob) = token(&world, "bob").await;
    let bobs = open(&world, &bob).await;
    let first = open(&world, &ann).await;
    let caller = world
        .store
        .authenticate_session(&first.secret)
        .await
        .expect("good");
    assert_eq!(caller, first.caller);
    assert_eq!((caller.name.as_str(), caller.token), ("ann", id));
    assert!(world.store.still_good(&caller).await.expect("an answer"));

    // A session is no token, and a token no session.
    assert!(world.store.authenticate(&first.secret).await.is_err());
    assert!(world.store.authenticate_session(&ann).await.is_err());
    let wrong = world.store.session_open(&first.secret, "test", "").await;
    assert!(matches!(wrong, Err(Error::Unauthenticated)));
    // Another secret with the right id.
    let text = first.secret.expose_secret();
    let flipped = if text.ends_with('A') { 'B' } else { 'A' };
    let text = format!("{}{flipped}", &text[..text.len() - 1]);
    assert!(
        world
            .store
            .authenticate_session(&text.into())
            .await
            .is_err()
    );

    // Signed out: this one alone.
    let second = open(&world, &ann).await;
    let actor = actor("user:ann");
    let closed = world.store.session_close(&first.caller, &actor).await;
    closed.expect("closed");
    check_ended(&world, &first, "signed out").await;
    assert!(
        world
            .store
            .authenticate_session(&second.secret)
            .await
            .is_ok()
    );
    let by_token = Caller {
        session: None,
        ..second.caller.clone()
    };
    assert!(world.store.session_close(&by_token, &actor).await.is_err());

    let revoked = world.store.token_revoke(id, &actor).await;
    revoked.expect("revoked");
    check_ended(&world, &second, "its token is revoked").await;
    assert!(world.store.session_open(&ann, "test", "").await.is_err());
    assert!(world.store.authenticate_session(&bobs.secret).await.is_ok());
    let disabled = world.store.user_disable("bob", &actor).await;
    disabled.expect("disabled");
    check_ended(&world, &bobs, "its user is disabled").await;

    let audit = world.store.audit_list(Some("user:ann"), 10).await;
    let audit = audit.expect("the audit");
    let count = |action: &str| audit.iter().filter(|entry| entry.action == action).count();
    assert_eq!((count("session.open"), count("session.close")), (2, 1));
}

#[tokio::test]
async fn a_session_ends_by_itself_and_goes() {
    let world = World::new().await;
    let (_, ann) = token(&world, "ann").await;
    let idle = open(&world, &ann).await;
    let idle_for =
        |time: &str| format!("UPDATE page_sessions SET used_at = now() - interval '{time}'");
    execute(&world, &idle_for("11 hours 59 minutes")).await;
    let used = world.store.authenticate_session(&idle.secret).await;
    used.expect("just in time");
    // That was a use: the time begins anew.
    let client = world.store.pool().get().await.expect("a connection");
    let row = client
        .query_one(
            "SELECT now() - used_at < interval '1 hour' FROM page_sessions",
            &[],
        )
        .await
        .expect("a row");
    assert!(row.get::<_, bool>(0));
    execute(&world, &idle_for("12 hours 1 second")).await;
    check_ended(&world, &idle, "nobody used it").await;

    let old = open(&world, &ann).await;
    execute(
        &world,
        "UPDATE page_sessions SET expires_at = now() - interval '1 second'",
    )
    .await;
    check_ended(&world, &old, "it is too old").await;
    execute(
        &world,
        "UPDATE page_sessions SET expires_at = now() - interval '2 days'",
    )
    .await;
    let keep = forebay_central::Retention::default();
    assert!(world.store.tend(&keep).await.expect("tended") >= 2);
    let row = client
        .query_one("SELECT count(*) FROM page_sessions", &[])
        .await
        .expect("a count");
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_token_has_so_many_sessions_and_no_secret_is_kept() {
    let world = World::new().await;
    let (_, ann) = token(&world, "ann").await;
    let mut sessions = Vec::new();
    for _ in 0..=SESSIONS_MAX {
        sessions.push(open(&world, &ann).await);
    }
    check_ended(&world, &sessions[0], "crowded out").await;
    let client = world.store.pool().get().await.expect("a connection");
    let rows = client
        .query("SELECT s::text FROM page_sessions s", &[])
        .await
        .expect("rows");
    assert_eq!(rows.len(), SESSIONS_MAX as usize);
    for session in &sessions[1..] {
        let good = world.store.authenticate_session(&session.secret).await;
        good.expect("not the oldest");
        // The secret itself may hold underscores.
        let text = session.secret.expose_secret();
        let secret = text.splitn(3, '_').nth(2).expect("three parts");
        assert!(!format!("{session:?}").contains(secret));
        for row in &rows {
            assert!(!row.get::<_, String>(0).contains(secret));
        }
    }
}
