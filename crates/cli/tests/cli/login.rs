//! Signing in, and whose token goes where.

use std::os::unix::fs::PermissionsExt as _;

use crate::{
    fake::{Fake, TOKEN},
    run::User,
};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_token_from_a_pipe_is_checked_and_kept_private() {
    let fake = Fake::start();
    let user = User::new();
    let done = user
        .pipe(&["login", "--url", &fake.url()], &format!("{TOKEN}\n"))
        .ok();
    assert!(
        done.out()
            .starts_with(&format!("Signed in to {} as ada; ", fake.url())),
        "{}",
        done.all()
    );
    let file = user.path(".config/forebay/cli.toml");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a directory")), 0o700);
    assert_eq!(
        user.run(&["whoami"]).ok().out(),
        format!("ada (u01jdzz2v8nf3tbw0q5c7m9xk4e) at {}\n", fake.url())
    );
    assert_eq!(user.run(&["jobs"]).ok().out(), "");

    // Again, with a default for submissions; the server is known now.
    user.pipe(&["login", "--cluster", "hpc"], TOKEN).ok();
    let text = std::fs::read_to_string(&file).expect("read");
    assert!(
        text.contains("cluster = \"hpc\"") && text.contains(&fake.url()),
        "{text}"
    );

    user.run(&["logout"]).ok();
    assert!(
        !std::fs::read_to_string(&file)
            .expect("read")
            .contains("fb_")
    );
    let done = user.run(&["jobs"]);
    assert_eq!(done.code, Some(1));
    insta::assert_snapshot!(done.stderr.replace(&fake.url(), "URL"));
}

#[test]
fn xdg_config_home_is_respected() {
    let fake = Fake::start();
    let user = User::new();
    let place = user.path("elsewhere");
    let user = user.with("XDG_CONFIG_HOME", place.to_str().expect("text"));
    let file = user.file("token", TOKEN);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
    user.run(&["login", "--url", &fake.url(), "--token-file", &file])
        .ok();
    assert_eq!(mode(&place.join("forebay/cli.toml")), 0o600);
    assert!(!user.path(".config").exists());
}

#[test]
fn what_the_server_refuses_is_not_kept() {
    let fake = Fake::start();
    let user = User::new();
    let done = user.pipe(&["login", "--url", &fake.url()], "fb_k1_wrong\n");
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("This token is not known here.") && !done.stderr.contains("wrong"),
        "{}",
        done.all()
    );
    assert!(!user.path(".config").exists());
    // What is no token is not even sent.
    let before = fake.state().seen.len();
    assert_eq!(
        user.pipe(&["login", "--url", &fake.url()], "hunter2\n")
            .code,
        Some(1)
    );
    assert_eq!(fake.state().seen.len(), before);
}

#[test]
fn files_that_others_can_read_hold_no_tokens() {
    let fake = Fake::start();
    let user = User::new();
    let file = user.file("token", TOKEN);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let done = user.run(&["login", "--url", &fake.url(), "--token-file", &file]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("chmod 0600"), "{}", done.all());

    user.pipe(&["login", "--url", &fake.url()], TOKEN).ok();
    let stored = user.path(".config/forebay/cli.toml");
    std::fs::set_permissions(&stored, std::fs::Permissions::from_mode(0o640)).expect("changed");
    let done = user.run(&["jobs"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("chmod 0600"), "{}", done.all());
}

#[test]
fn a_token_goes_to_its_own_server_only() {
    let (home, other) = (Fake::start(), Fake::start());
    let user = User::new();
    user.pipe(&["login", "--url", &home.url()], TOKEN).ok();
    let user = user.with("FOREBAY_URL", &other.url());
    assert_eq!(user.run(&["jobs"]).code, Some(1));
    assert_eq!(other.state().seen, Vec::<String>::new());
    // With a token of its own, it does.
    user.with("FOREBAY_TOKEN", TOKEN).run(&["jobs"]).ok();
    assert_eq!(other.state().seen.len(), 1);
}

#[test]
fn tokens_do_not_cross_networks_unencrypted() {
    let user = User::new().with("FOREBAY_TOKEN", TOKEN);
    let done = user.run(&["login", "--url", "http://hpc.example.org"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("ssh -L"), "{}", done.all());
}
