//! Tests of the configuration: what is accepted, and where each problem is said to be.

use forebay_postgres::Target;

use super::*;

fn config(text: &str) -> Result<Config, String> {
    Config::from_text("view-server.toml", text, Strictness::default())
        .map_err(|error| error.to_string())
}

#[test]
fn nothing_is_said_and_everything_has_a_value() {
    let config = config("").expect("the defaults");
    assert_eq!(config.address(), "127.0.0.1:3001");
    assert_eq!(
        config.limits,
        Limits {
            connections: 1_024,
            body_bytes: 4 << 20,
            script_bytes: 4 << 20,
            site_return: std::time::Duration::from_secs(40),
        }
    );
    assert_eq!(config.retention, Retention::default());
    let Target::Private {
        socket_dir,
        database,
        role,
    } = config.database.target
    else {
        panic!("the private instance is the default");
    };
    assert_eq!(
        (socket_dir.to_str(), database.as_str(), role.as_str()),
        (Some("/run/forebay/dev/db"), "forebay", "forebay")
    );
}

#[test]
fn all_problems_are_named_with_their_places() {
    let error = config(
        "listen = \"0.0.0.0:3001\"\nunix_socket = \"here\"\nenvironment = \"Prod\"\n\n[database]\n\
         url = \"postgresql://a@/b\"\nsocket_dir = \"/run/x\"\nconnections = 0\n[limits]\nbody_bytes = 1\n",
    )
    .expect_err("many problems");
    let places: Vec<_> = error
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "view-server.toml:1:10 listen",
            "view-server.toml:2:15 unix_socket",
            "view-server.toml:3:15 environment",
            "view-server.toml:6:7 database.url",
            "view-server.toml:7:14 database.socket_dir",
            "view-server.toml:8:15 database.connections",
            "view-server.toml:10:14 limits.body_bytes",
        ],
        "{error}"
    );
    let error = config("listen = 5\nsurprise = 1\n").expect_err("a wrong type and an unknown key");
    assert!(error.contains("view-server.toml:"), "{error}");
}

#[test]
fn insecure_settings_are_for_development() {
    let beyond = "listen = \"0.0.0.0:3001\"";
    assert!(
        config(beyond)
            .expect_err("refused")
            .contains("beyond loopback")
    );
    assert!(config(&format!("{beyond}\nbehind_tls = true")).is_ok());
    let dev = Config::from_text("x", beyond, Strictness { dev: true }).expect("allowed");
    assert_eq!(dev.address(), "0.0.0.0:3001");
    let password = "[database]\nurl = \"postgresql://a:secret@localhost/b\"";
    let refused = config(password).expect_err("refused");
    assert!(
        refused.contains("url_file") && !refused.contains("secret@"),
        "{refused}"
    );
}

#[test]
fn where_the_page_is_and_finds_feeds() {
    let good =
        config("ui_dir = \"/usr/share/forebay/ui\"\nrealtime_url = \"http://127.0.0.1:5001/\"");
    let good = good.expect("good");
    assert_eq!(good.ui_dir, Some("/usr/share/forebay/ui".into()));
    assert_eq!(good.realtime_url.as_deref(), Some("http://127.0.0.1:5001"));
    for bad in [
        "portal",
        "ws://portal",
        "https://portal/rt",
        "https://portal?x",
        "https://me@portal",
        "https://portal; script-src *",
    ] {
        let error = config(&format!("realtime_url = \"{bad}\"")).expect_err(bad);
        assert!(error.contains("realtime_url: must be an origin"), "{error}");
    }
    let beyond = config("realtime_url = \"http://portal.example.org\"");
    assert!(beyond.expect_err("refused").contains("beyond loopback"));
    assert!(config("realtime_url = \"https://portal.example.org\"").is_ok());
    assert!(config("ui_dir = \"ui\"").is_err());
}
