//! Tokens: good ones, and every way not to be.

use std::time::Duration;

use forebay_central::Error;
use forebay_wire::Code;

use crate::world::{World, actor};

#[tokio::test]
async fn a_token_is_good_until_it_is_not() {
    let world = World::new().await;
    let store = &world.store;
    let operator = actor("operator");
    store.user_add("ann", &operator).await.expect("new");
    let again = store
        .user_add("ann", &operator)
        .await
        .expect_err("a duplicate");
    assert_eq!(again.problem().code, Code::Conflict);
    for bad in ["", "a b", "-x", "a/b", "ann\n"] {
        assert!(store.user_add(bad, &operator).await.is_err(), "{bad:?}");
    }
    let none = store.token_create("bob", "", None, &operator).await;
    assert!(matches!(none, Err(Error::NotFound("user"))));

    let token = store
        .token_create("ann", "laptop", None, &operator)
        .await
        .expect("a token");
    let caller = store.authenticate(&token.token).await.expect("good");
    assert_eq!(caller.name, "ann");
    assert!(store.still_good(&caller).await.expect("an answer"));

    // Another secret with the right id.
    let text = secrecy::ExposeSecret::expose_secret(&token.token).to_owned();
    let flipped = if text.ends_with('A') { 'B' } else { 'A' };
    let wrong = format!("{}{flipped}", &text[..text.len() - 1]);
    for bad in [wrong.as_str(), "fb_", "", "fs_x_y"] {
        let refused = store.authenticate(&bad.into()).await;
        assert!(matches!(refused, Err(Error::Unauthenticated)), "{bad}");
    }

    let short = Some(Duration::from_millis(300));
    let short = store
        .token_create("ann", "", short, &operator)
        .await
        .expect("a token");
    assert!(store.authenticate(&short.token).await.is_ok());
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(
        store.authenticate(&short.token).await.is_err(),
        "it has expired"
    );

    store
        .token_revoke(token.id, &operator)
        .await
        .expect("revoked");
    assert!(store.authenticate(&token.token).await.is_err());
    assert!(!store.still_good(&caller).await.expect("an answer"));

    let third = store
        .token_create("ann", "", None, &operator)
        .await
        .expect("a token");
    assert_eq!(
        store.token_list(Some("ann")).await.expect("a list").len(),
        3
    );
    store
        .user_disable("ann", &operator)
        .await
        .expect("disabled");
    assert!(
        store.authenticate(&third.token).await.is_err(),
        "the user is disabled"
    );

    let audit = store
        .audit_list(Some("operator"), 100)
        .await
        .expect("the audit");
    let actions: Vec<_> = audit
        .iter()
        .map(|entry| entry.action.as_str())
        .rev()
        .collect();
    assert_eq!(
        actions,
        [
            "user.add",
            "token.create",
            "token.create",
            "token.revoke",
            "token.create",
            "user.disable"
        ]
    );
}

#[tokio::test]
async fn no_secret_is_in_the_database() {
    let world = World::new().await;
    let operator = actor("operator");
    world.store.user_add("ann", &operator).await.expect("new");
    let token = world
        .store
        .token_create("ann", "note", None, &operator)
        .await
        .expect("a token");
    let text = secrecy::ExposeSecret::expose_secret(&token.token).to_owned();
    // The secret itself may hold underscores.
    let secret = text.splitn(3, '_').nth(2).expect("three parts").to_owned();
    let client = world.store.pool().get().await.expect("a connection");
    let rows = client
        .query("SELECT tokens::text FROM tokens", &[])
        .await
        .expect("rows");
    for row in rows {
        let row: String = row.get(0);
        assert!(!row.contains(&secret), "{row}");
    }
}
