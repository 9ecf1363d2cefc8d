//! What the command says about itself.

use crate::run::User;

const COMMANDS: [&str; 14] = [
    "login",
    "logout",
    "whoami",
    "submit",
    "jobs",
    "show",
    "logs",
    "cancel",
    "clusters",
    "completions",
    "db run",
    "db upgrade",
    "db url",
    "db psql",
];

#[test]
fn every_help_teaches() {
    let user = User::new();
    insta::assert_snapshot!("help", user.run(&["--help"]).ok().out());
    insta::assert_snapshot!("help_db", user.run(&["db", "--help"]).ok().out());
    for command in COMMANDS {
        let mut line: Vec<&str> = command.split(' ').collect();
        line.push("--help");
        let name = format!("help_{}", command.replace(' ', "_"));
        insta::assert_snapshot!(name, user.run(&line).ok().out());
    }
}

#[test]
fn the_version_is_the_products() {
    assert_eq!(
        User::new().run(&["--version"]).ok().out(),
        format!("forebay {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_command_line_is_code_2() {
    for line in [
        &[][..],
        &["no-such"],
        &["submit"],
        &["jobs", "--state", "dancing"],
        &["show", "4711"],
        &["logs", "--json", "last"],
    ] {
        let done = User::new().run(line);
        assert_eq!(done.code, Some(2), "{line:?}: {}", done.all());
        assert_eq!(done.out(), "", "{line:?}");
    }
}

#[test]
fn shells_can_load_the_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = User::new().run(&["completions", shell]).ok().out();
        assert!(script.contains("idempotency-key"), "{shell}: {script}");
    }
    let script = User::new().run(&["completions", "bash"]).ok();
    let user = User::new();
    user.file("completions", &script.out());
    let bash = std::process::Command::new("bash")
        .args(["-n", "completions"])
        .current_dir(user.home.path())
        .status();
    assert!(bash.expect("bash").success());
}

#[test]
fn a_script_that_is_not_there_says_how_to_run_a_program() {
    let done = User::new().run(&["submit", "no-such.sh"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("submit -- PROGRAM"), "{}", done.all());
}
