//! Configuration files as an operator writes them, with the mistakes an operator makes.
#![allow(clippy::unwrap_used, reason = "a test")]

use forebay_service::{
    Strictness,
    config::{self, ConfigError, Spanned},
    logs,
};
use serde::Deserialize;
use std::fs;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Option<Spanned<String>>,
    #[serde(default)]
    database: RawDatabase,
    #[serde(default)]
    clusters: Vec<RawCluster>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatabase {
    url: Option<Spanned<String>>,
    connections: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    name: Spanned<String>,
    #[serde(default)]
    weight: u8,
}

const MAIN: &str = "\
listen = \"127.0.0.1:3001\"

[database]
url = \"postgres:///forebay\"
connections = 20

[[clusters]]
name = \"alpha\"
";

fn parse_error(files: &[(&str, &str)]) -> String {
    config::parse::<Raw>(files)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn drop_ins_win_and_keep_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("view-server.toml");
    fs::write(&path, MAIN).unwrap();
    let drop_ins = directory.path().join("view-server.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(
        drop_ins.join("10-small.toml"),
        "[database]\nconnections = 5",
    )
    .unwrap();
    fs::write(
        drop_ins.join("20-none.toml"),
        "# für alle\n\n  [database]\nconnections = 0\n",
    )
    .unwrap();
    fs::write(drop_ins.join("30-not-read.toml~"), "nonsense").unwrap();
    fs::write(drop_ins.join(".40-hidden.toml"), "nonsense").unwrap();

    let (raw, mut problems) = config::load::<Raw>(&path).unwrap();
    assert_eq!(
        raw.database.url.as_ref().unwrap().get_ref(),
        "postgres:///forebay"
    );
    assert_eq!(raw.clusters[0].name.get_ref(), "alpha");
    assert_eq!(raw.clusters[0].weight, 0);
    problems.within(raw.database.connections.as_ref(), 1..=1000, 16);
    problems.at(raw.listen.as_ref().unwrap().span(), "is taken");
    let text = problems.finish(()).unwrap_err().to_string();
    let place = directory.path().display().to_string() + "/";
    insta::assert_snapshot!(text.replace(&place, ""), @r###"
    view-server.toml:1:10: listen: is taken
    view-server.d/20-none.toml:4:15: database.connections: must be 1 to 1000 (got 0)
    "###);
}

#[test]
fn every_wrong_value_is_reported_at_once() {
    let drop_in = "port = 1\n[database]\nconnections = \"many\"\nconections = 3\n[[clusters]]\nname = 1\n[[clusters]]\nname = \"b\"\nweight = 300\n";
    insta::assert_snapshot!(parse_error(&[("a.toml", MAIN), ("a.d/x.toml", drop_in)]), @r###"
    a.d/x.toml:1:1: port: unknown field `port`, expected one of `listen`, `database`, `clusters`
    a.d/x.toml:3:15: database.connections: invalid type: string "many", expected u32
    a.d/x.toml:4:1: database.conections: unknown field `conections`, expected `url` or `connections`
    a.d/x.toml:6:8: clusters[0].name: invalid type: integer `1`, expected a string
    a.d/x.toml:9:10: clusters[1].weight: invalid value: integer `300`, expected u8
    "###);
}

#[test]
fn syntax_errors_of_all_files_are_reported() {
    let broken = [
        ("a.toml", "listen = \"x\n[database\n"),
        ("a.d/x.toml", "ok = 1\n= 2\n"),
    ];
    insta::assert_snapshot!(parse_error(&broken), @r###"
    a.toml:1:12: invalid basic string, expected `"`
    a.toml:2:10: unclosed table, expected `]`
    a.d/x.toml:2:1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
    "###);
}

#[test]
fn missing_fields_name_their_table() {
    insta::assert_snapshot!(parse_error(&[("a.toml", "[[clusters]]\nweight = 3\n")]), @r###"a.toml:1:1: clusters[0]: missing field `name`"###);
}

#[test]
fn missing_settings_stand_at_the_nearest_table() {
    let (_, mut problems) = config::parse::<Raw>(&[("a.toml", MAIN)]).unwrap();
    problems.missing("database.password_file", "is needed with a url");
    problems.missing("tls.certificate", "is needed");
    insta::assert_snapshot!(problems.finish(()).unwrap_err(), @r###"
    a.toml:3:2: database.password_file: is needed with a url
    a.toml: tls.certificate: is needed
    "###);
}

#[test]
fn insecure_settings_are_refused_unless_dev() {
    let (raw, mut problems) =
        config::parse::<Raw>(&[("a.toml", "listen = \"0.0.0.0:80\"")]).unwrap();
    let span = raw.listen.unwrap().span();
    Strictness { dev: true }.insecure(&mut problems, span.clone(), "listens beyond loopback");
    assert!(problems.is_empty());
    Strictness::default().insecure(&mut problems, span, "listens beyond loopback");
    insta::assert_snapshot!(problems.finish(()).unwrap_err(), @r###"a.toml:1:10: listen: listens beyond loopback (allowed only with --dev)"###);
}

#[test]
fn a_missing_or_huge_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let error = config::load::<Raw>(&path).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { path: named, .. } if *named == path));
    assert!(logs::chain(&error).contains("No such file"));
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(logs::chain(&config::load::<Raw>(&path).unwrap_err()).contains("is larger than"));
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let deep = format!("listen = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(!parse_error(&[("a.toml", &deep)]).is_empty());
}
