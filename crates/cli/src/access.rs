//! Which server to ask, and as whom: variables before settings.

use std::path::Path;

use forebay_service::secrets;
use forebay_wire::{ClusterName, Pin};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    environment::Environment,
    failure::Failure,
    server::Server,
    settings::{self, Settings},
};

/// The longest token that is read.
pub const TOKEN_BYTES_MAX: usize = 512;

/// A server and the token to show it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where.
    pub server: Server,
    /// As whom.
    pub token: SecretString,
    /// What its certificate's key is; without it, an authority that this system trusts vouches.
    pub pin: Option<Pin>,
    /// Where jobs go that name no cluster.
    pub cluster: Option<ClusterName>,
}

const SIGN_IN: &str = "Sign in with: forebay login --url URL";

impl Access {
    /// From the variables `FOREBAY_URL`, `FOREBAY_PIN`, `FOREBAY_TOKEN_FILE`, `FOREBAY_TOKEN`
    /// and `FOREBAY_CLUSTER`, and for what they leave open from the settings.
    pub fn find(environment: &Environment) -> Result<Self, Failure> {
        let token = token_of(environment)?;
        let server = server_of(environment)?;
        // Who brings both needs no settings, not even a home for them.
        let settings = match settings::path(environment) {
            Ok(path) => settings::load(&path)?,
            Err(_) if server.is_some() && token.is_some() => Settings::default(),
            Err(homeless) => return Err(homeless),
        };
        let cluster = match environment.text("FOREBAY_CLUSTER")? {
            Some(name) => Some(
                name.parse()
                    .map_err(|e| Failure::usage(format!("FOREBAY_CLUSTER: {e}")))?,
            ),
            None => settings.cluster.clone(),
        };
        let insecure = settings.insecure
            || environment
                .get("FOREBAY_INSECURE")
                .is_some_and(|value| value == "1");
        let (server, token) = join(server, token, &settings)?;
        check(&server, insecure)?;
        let pin = match pin_of(environment)? {
            Some(pin) => Some(pin),
            // A key is its server's.
            None if settings.server.as_ref() == Some(&server) => settings.pin,
            None => None,
        };
        Ok(Self {
            server,
            token,
            pin,
            cluster,
        })
    }
}

/// A stored token goes to the server that it was stored for, and nowhere else.
fn join(
    server: Option<Server>,
    token: Option<SecretString>,
    settings: &Settings,
) -> Result<(Server, SecretString), Failure> {
    let stored = settings.server.as_ref();
    let Some(server) = server.as_ref().or(stored) else {
        return Err(Failure::new("you are not signed in: no server is known").hint(SIGN_IN));
    };
    let token = match token {
        Some(token) => token,
        None if stored == Some(server) => settings.token.clone().ok_or_else(|| {
            Failure::new("you are not signed in")
                .hint(format!("Sign in with: forebay login --url {server}"))
        })?,
        None => {
            return Err(Failure::new(format!("there is no token for {server}"))
                .detail("FOREBAY_URL names another server than the one you signed in to; its token stays there")
                .hint("Set FOREBAY_TOKEN_FILE as well, or unset FOREBAY_URL."));
        }
    };
    Ok((server.clone(), token))
}

/// Refuses servers on the way to which others could read the token.
pub fn check(server: &Server, insecure: bool) -> Result<(), Failure> {
    const TUNNEL: &str = "Reach the server through a tunnel (ssh -L 3001:127.0.0.1:3001 HOST) and use http://127.0.0.1:3001.";
    if insecure || !server.is_exposed() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{server} is not encrypted: your token could be read on the way"
    ))
    .hint(format!(
        "{TUNNEL}\nOn a network you trust: forebay login --insecure, or FOREBAY_INSECURE=1."
    )))
}

fn server_of(environment: &Environment) -> Result<Option<Server>, Failure> {
    let Some(url) = environment.text("FOREBAY_URL")? else {
        return Ok(None);
    };
    url.parse()
        .map(Some)
        .map_err(|e| Failure::usage(format!("FOREBAY_URL: {e}")))
}

/// The key in `FOREBAY_PIN`.
pub fn pin_of(environment: &Environment) -> Result<Option<Pin>, Failure> {
    let Some(pin) = environment.text("FOREBAY_PIN")? else {
        return Ok(None);
    };
    pin.parse()
        .map(Some)
        .map_err(|e| Failure::usage(format!("FOREBAY_PIN: {e}")))
}

fn token_of(environment: &Environment) -> Result<Option<SecretString>, Failure> {
    match (
        environment.get("FOREBAY_TOKEN_FILE"),
        environment.text("FOREBAY_TOKEN")?,
    ) {
        (Some(_), Some(_)) => Err(Failure::usage(
            "FOREBAY_TOKEN_FILE and FOREBAY_TOKEN are both set",
        )
        .hint("Unset one of them; the file is the safer.")),
        (Some(path), None) => token_in(Path::new(&path)).map(Some),
        (None, Some(token)) => checked(token.into()).map(Some),
        (None, None) => Ok(None),
    }
}

/// The token in a file that only its owner can read.
pub fn token_in(path: &Path) -> Result<SecretString, Failure> {
    let token = secrets::read(path, TOKEN_BYTES_MAX)
        .map_err(|e| Failure::caused("cannot read the token", &e))?;
    checked(token)
}

/// A token as it may stand in a header; surrounding white space is a slip of the paste.
pub fn checked(token: SecretString) -> Result<SecretString, Failure> {
    let text = token.expose_secret().trim();
    let plausible = text.len() <= TOKEN_BYTES_MAX
        && text
            .strip_prefix("fb_")
            .is_some_and(|rest| rest.contains('_'))
        && text.bytes().all(|b| b.is_ascii_graphic());
    if !plausible {
        return Err(Failure::new("that is not a Forebay token: they look like fb_ID_SECRET")
            .hint("Whoever runs your Forebay makes one for you with: forebay-view-server token create"));
    }
    Ok(text.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:3001";

    fn signed_in() -> Settings {
        Settings {
            server: Some(URL.parse().expect("an address")),
            token: Some("fb_k1_stored".to_owned().into()),
            ..Settings::default()
        }
    }

    fn joined(
        url: Option<&str>,
        token: Option<&str>,
        settings: &Settings,
    ) -> Result<(String, String), Failure> {
        let url = url.map(|url| url.parse().expect("an address"));
        let (server, token) = join(url, token.map(|t| t.to_owned().into()), settings)?;
        Ok((server.to_string(), token.expose_secret().to_owned()))
    }

    #[test]
    fn a_stored_token_stays_with_its_server() {
        let stored = Ok((URL.to_owned(), "fb_k1_stored".to_owned()));
        let ok = |r: Result<_, Failure>| r.map_err(|_| ());
        assert_eq!(ok(joined(None, None, &signed_in())), stored);
        assert_eq!(
            ok(joined(Some("http://127.0.0.1:3001/"), None, &signed_in())),
            stored
        );
        let elsewhere =
            joined(Some("http://127.0.0.1:9"), None, &signed_in()).expect_err("refused");
        assert!(
            elsewhere
                .to_string()
                .contains("there is no token for http://127.0.0.1:9"),
            "{elsewhere}"
        );
        let own = joined(Some("http://127.0.0.1:9"), Some("fb_k2_own"), &signed_in());
        assert_eq!(
            ok(own),
            Ok(("http://127.0.0.1:9".to_owned(), "fb_k2_own".to_owned()))
        );
        let nobody = joined(None, None, &Settings::default()).expect_err("refused");
        assert!(nobody.to_string().contains("forebay login"), "{nobody}");
    }

    #[test]
    fn plain_http_stays_on_this_host() {
        let exposed: Server = "http://hpc.example.org".parse().expect("an address");
        assert!(check(&exposed, false).is_err());
        assert!(check(&exposed, true).is_ok());
        assert!(check(&URL.parse().expect("an address"), false).is_ok());
        let encrypted: Server = "https://hpc.example.org".parse().expect("an address");
        assert!(check(&encrypted, false).is_ok());
    }

    #[test]
    fn tokens_fit_into_a_header() {
        assert_eq!(
            checked(" fb_k_s\n".to_owned().into())
                .expect("good")
                .expose_secret(),
            "fb_k_s"
        );
        for bad in ["", "fb_", "fb_x", "Bearer fb_k_s", "fb_k_s\nX: y", "fb_k_é"] {
            assert!(checked(bad.to_owned().into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_need_no_home() {
        let variables = [
            ("FOREBAY_URL", URL),
            ("FOREBAY_TOKEN", "fb_k_s"),
            ("FOREBAY_CLUSTER", "hpc"),
        ];
        let access = Access::find(&Environment::of(&variables)).expect("found");
        assert_eq!(access.cluster.expect("named").as_str(), "hpc");
        assert_eq!(access.pin, None);
        let pin = format!("sha256:{}", "0a".repeat(32));
        let pinned = [&variables[..], &[("FOREBAY_PIN", pin.as_str())]].concat();
        let access = Access::find(&Environment::of(&pinned)).expect("found");
        assert_eq!(access.pin.expect("a key").to_string(), pin);
        let both = [("FOREBAY_TOKEN", "fb_k_s"), ("FOREBAY_TOKEN_FILE", "/x")];
        assert_eq!(
            Access::find(&Environment::of(&both))
                .expect_err("ambiguous")
                .exit(),
            2
        );
    }
}
