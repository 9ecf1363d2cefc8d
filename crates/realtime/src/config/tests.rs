//! Tests of the configuration: what is accepted, and where each problem is said to be.

use super::*;

fn config(text: &str) -> Result<Config, String> {
    Config::from_text("realtime.toml", text, Strictness::default())
        .map_err(|error| error.to_string())
}

#[test]
fn nothing_is_said_and_everything_has_a_value() {
    let config = config("").expect("the defaults");
    assert_eq!(config.address(), "127.0.0.1:5001");
    assert_eq!(
        config.limits,
        Limits {
            clients: 12_000,
            clients_per_user: 64,
            poll: Duration::from_secs(1),
        }
    );
    assert!(config.origins.is_empty());
}

#[test]
fn all_problems_are_named_with_their_places() {
    let error = config(
        "listen = \"0.0.0.0:5001\"\norigins = [\"https://portal.example.org\", \"portal\"]\n[database]\n\
         connections = 0\n[limits]\nclients = 0\npoll_ms = 5\n",
    )
    .expect_err("many problems");
    let places: Vec<_> = error
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "realtime.toml:1:10 listen",
            "realtime.toml:2:42 origins[1]",
            "realtime.toml:4:15 database.connections",
            "realtime.toml:6:11 limits.clients",
            "realtime.toml:7:11 limits.poll_ms",
        ],
        "{error}"
    );
    assert!(config("surprise = 1\n").is_err());
}

#[test]
fn insecure_settings_are_for_development() {
    let beyond = "listen = \"0.0.0.0:5001\"";
    assert!(
        config(beyond)
            .expect_err("refused")
            .contains("beyond loopback")
    );
    assert!(config(&format!("{beyond}\nbehind_tls = true")).is_ok());
    assert!(Config::from_text("x", beyond, Strictness { dev: true }).is_ok());
}
