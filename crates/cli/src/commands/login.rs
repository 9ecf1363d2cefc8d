//! `forebay login`, `logout` and `whoami`.

use forebay_wire::{ClusterName, Pin, api::Me};
use secrecy::SecretString;
use serde_json::Value;

use super::{Context, prompt};
use crate::{
    access::{self, Access},
    api::Api,
    args::{LoginArgs, WhoamiArgs},
    failure::Failure,
    server::Server,
    settings::{self, Settings},
    text::plain,
};

/// What to remember if the server agrees.
pub(super) struct Wanted {
    server: Server,
    pin: Option<Pin>,
    token: SecretString,
    cluster: Option<ClusterName>,
    insecure: bool,
}

/// Finds out where to and as whom; asks if need be.
pub(super) fn ask(args: &LoginArgs, context: &Context) -> Result<Wanted, Failure> {
    let environment = &context.environment;
    let before = settings::load(&settings::path(environment)?)?;
    let from_variable = match environment.text("FOREBAY_URL")? {
        Some(url) => Some(
            url.parse()
                .map_err(|e| Failure::usage(format!("FOREBAY_URL: {e}")))?,
        ),
        None => None,
    };
    let server: Server = args
        .url
        .clone()
        .or(from_variable)
        .or_else(|| before.server.clone())
        .ok_or_else(|| {
            Failure::usage("which server? none is known yet")
                .hint("Name it: forebay login --url http://127.0.0.1:3001")
        })?;
    let same = before.server.as_ref() == Some(&server);
    let insecure = args.insecure || (same && before.insecure);
    access::check(&server, insecure)?;
    let pin = args.pin.or(access::pin_of(environment)?);
    let pin = pin.or(before.pin.filter(|_| same));
    let file = args
        .token_file
        .clone()
        .or_else(|| environment.get("FOREBAY_TOKEN_FILE").map(Into::into));
    let token = match file {
        Some(file) => access::token_in(&file)?,
        None => access::checked(prompt::secret(&format!("Token for {server}: "))?)?,
    };
    // Names of clusters belong to a server.
    let cluster = args.cluster.clone().or(before.cluster.filter(|_| same));
    Ok(Wanted {
        server,
        pin,
        token,
        cluster,
        insecure,
    })
}

/// Checks the token with the server and remembers it.
pub(super) async fn run(wanted: Wanted, context: &Context) -> Result<(), Failure> {
    let Wanted {
        server,
        pin,
        token,
        cluster,
        insecure,
    } = wanted;
    let api = Api::new(Access {
        server: server.clone(),
        token: token.clone(),
        pin,
        cluster: None,
    })?;
    let me: Me = api.get("/api/v1/me").await?;
    let path = settings::path(&context.environment)?;
    let settings = Settings {
        server: Some(server.clone()),
        pin,
        token: Some(token),
        cluster,
        insecure,
    };
    settings::store(&settings, &path)?;
    let (name, path) = (plain(&me.name), path.display().to_string());
    context.console.line(&format!(
        "Signed in to {server} as {name}; remembered in {}.",
        plain(&path)
    ))
}

/// Forgets the token and keeps the rest.
pub(super) fn forget(context: &Context) -> Result<(), Failure> {
    let path = settings::path(&context.environment)?;
    let mut settings = settings::load(&path)?;
    if settings.token.take().is_none() {
        return context.console.line("You were not signed in.");
    }
    settings::store(&settings, &path)?;
    let server = settings
        .server
        .map_or_else(String::new, |server| format!(" for {server}"));
    context.console.line(&format!(
        "The token{server} is forgotten here. It stays valid until it expires or is revoked."
    ))
}

/// Says who the server takes us for.
pub(super) async fn whoami(args: &WhoamiArgs, context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let me: Value = api.get("/api/v1/me").await?;
    if args.json {
        return context.console.json(&me);
    }
    let me: Me = api.read(me)?;
    context.console.line(&format!(
        "{} ({}) at {}",
        plain(&me.name),
        me.id,
        api.server()
    ))
}
