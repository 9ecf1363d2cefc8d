//! The link between a site and its view-servers: who is believed, and what happens when it is cut.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_testbed::packages;
use forebay_testbed::process::{Command, Output};
use forebay_testbed::site::{Options, Scheduler, Site};
use forebay_testbed::{need, programs};
use forebay_wire::JobState::{self, Pending, Queued, Running, Submitting, Succeeded};
use serde_json::json;

use crate::api::Api;
use crate::worlds::{World, eventually};

/// How long the link is cut; ten minutes in the long form.
fn cut() -> Duration {
    let long = std::env::var_os("FOREBAY_LONG").is_some_and(|value| value == "1");
    Duration::from_secs(if long { 600 } else { 8 })
}

fn local(slots: u32) -> Options {
    Options {
        scheduler: Scheduler::Local { slots },
        ..Options::default()
    }
}

/// The API of one of several view-servers.
fn api_of(world: &World, replica: u16) -> Api {
    let token = world.site.token(&world.user(1).name).unwrap();
    Api::new(&world.site.api_url_of(replica), Some(&token))
}

/// What the agent says of its link.
fn log_of(site: &Site, service: &str) -> String {
    std::fs::read_to_string(site.log_file(service)).unwrap_or_default()
}

fn private_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A site that nobody runs, to be enrolled with a ticket.
struct Stranger<'a> {
    site: &'a Site,
    dir: PathBuf,
}

impl<'a> Stranger<'a> {
    fn new(site: &'a Site, name: &str) -> Self {
        let dir = site.dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let agent = site.dir().join("etc/agent.toml");
        let text = std::fs::read_to_string(agent).unwrap();
        let own = site.dir().join("enrolment").display().to_string();
        let other = dir.join("enrolment").display().to_string();
        assert!(text.contains(&own), "{text}");
        std::fs::write(dir.join("agent.toml"), text.replace(&own, &other)).unwrap();
        Self { site, dir }
    }

    async fn enrol(&self, ticket: &str) -> Output {
        let file = self.dir.join("ticket");
        private_file(&file, ticket);
        let config = self.dir.join("agent.toml").display().to_string();
        let program = programs::path("forebay-agent").unwrap();
        let file = file.display().to_string();
        let args = ["--config", &config, "enrol", "--token-file", &file];
        let command = Command::new(program, "/dev/null").args(args);
        self.site.run(command, b"").await.unwrap()
    }

    async fn is_refused(&self, ticket: &str, words: &str) {
        let output = self.enrol(ticket).await;
        assert!(!output.exit.success(), "{ticket} was taken");
        assert!(output.stderr().contains(words), "{}", output.stderr());
        assert!(!self.dir.join("enrolment/enrolment.json").exists());
    }
}

#[tokio::test]
async fn a_site_over_tls_knows_its_server_by_its_key() {
    need!(Postgres);
    let options = Options {
        tls: true,
        ..local(2)
    };
    let world = World::start_with(options).await;
    let site = &world.site;
    let pin = site.pin().unwrap().to_string();
    assert!(site.api_url().starts_with("https://"));
    // The link, the tunnel and the command, all of it over TLS.
    let shown = world
        .cli_ok(1, &["submit", "--follow", "--", "echo", "over TLS"])
        .await;
    assert_eq!(shown.trim(), "over TLS");

    // The command believes that key, and no other; without one, the system's authorities, who
    // know nothing of this server.
    let user = &world.user(1).name;
    let wrong = format!("sha256:{}", "5a".repeat(32));
    let command = site.cli(user).unwrap().env("FOREBAY_PIN", &wrong);
    let refused = site.run(command.args(["jobs"]), b"").await.unwrap();
    assert!(!refused.exit.success());
    let said = refused.stderr();
    assert!(said.contains(&pin) && said.contains(&wrong), "{said}");
    let login = ["login", "--url", &site.api_url(), "--pin", &pin];
    let token = site.token_file(user).display().to_string();
    let home = site.dir().join("run").join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
    let signed_in = |args: &[&str]| {
        let command = site.cli(user).unwrap().args(args.iter().copied());
        let home = home.display().to_string();
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home)
    };
    let done = signed_in(&[&login[..], &["--token-file", &token]].concat());
    let done = site.run(done, b"").await.unwrap();
    assert!(done.exit.success(), "{}", done.stderr());

    // So does an agent.
    let stranger = Stranger::new(site, "wrong-pin");
    let ticket = site.admin(&["site", "enrol", "there"]).await.unwrap();
    let ticket = ticket.trim();
    assert!(ticket.ends_with(&format!("#{pin}")), "{ticket}");
    let forged = ticket.replace(&pin, &wrong);
    stranger
        .is_refused(&forged, "is not the server that was pinned")
        .await;
    let unpinned = ticket.replace(&format!("#{pin}"), "");
    stranger.is_refused(&unpinned, "certificate").await;
    let plain = unpinned.replace("https://", "http://");
    stranger.is_refused(&plain, "did not enrol").await;
    let output = stranger.enrol(ticket).await;
    assert!(output.exit.success(), "{}", output.stderr());
}

#[tokio::test]
async fn a_ticket_is_good_once_and_not_in_the_clear() {
    need!(Postgres);
    let world = World::start_with(local(1)).await;
    let site = &world.site;
    let used = std::fs::read_to_string(site.dir().join("tokens/.site")).unwrap();
    let stranger = Stranger::new(site, "stranger");
    stranger.is_refused(&used, "was used at").await;
    let exposed = "fe_k1_x@http://192.0.2.1:3001";
    stranger
        .is_refused(exposed, "beyond loopback without TLS")
        .await;
    stranger.is_refused("something else", "site enrol").await;
    let file = stranger.dir.join("ticket");
    let ticket = site.admin(&["site", "enrol", "there"]).await.unwrap();
    let output = stranger.enrol(&ticket).await;
    assert!(output.exit.success(), "{}", output.stderr());
    let key = stranger.dir.join("enrolment/key");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    // Once more: it says so before it asks anybody.
    let again = stranger.enrol(&ticket).await;
    assert!(
        again.stderr().contains("site there already"),
        "{}",
        again.stderr()
    );
    // A file that others can read is not read.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = stranger.dir.join("agent.toml").display().to_string();
    let program = programs::path("forebay-agent").unwrap();
    let file = file.display().to_string();
    let args = ["--config", &config, "enrol", "--token-file", &file];
    let command = Command::new(program, "/dev/null").args(args);
    let open = site.run(command, b"").await.unwrap();
    assert!(!open.exit.success());
    // From standard input, as from a pipe.
    std::fs::remove_dir_all(stranger.dir.join("enrolment")).unwrap();
    let ticket = site.admin(&["site", "enrol", "there"]).await.unwrap();
    let program = programs::path("forebay-agent").unwrap();
    let command = Command::new(program, "/dev/null").args(["--config", &config, "enrol"]);
    let piped = site.run(command, ticket.as_bytes()).await.unwrap();
    assert!(piped.exit.success(), "{}", piped.stderr());
    // Of no secret is there a word in any log.
    let secret = used.split('@').next().unwrap().rsplit('_').next().unwrap();
    for service in ["agent", "view-server"] {
        assert!(!log_of(site, service).contains(secret), "{service}");
    }
}

#[tokio::test]
async fn a_revoked_site_is_refused_until_it_is_enrolled_anew() {
    need!(Postgres);
    let world = World::start_with(local(1)).await;
    let (site, api) = (&world.site, world.api(1));
    site.admin(&["site", "revoke", "here"]).await.unwrap();
    let began = Instant::now();
    eventually("the refusal in the agent's log", || async {
        log_of(site, "agent")
            .contains("key was revoked")
            .then_some(())
    })
    .await;
    println!("refused {:?} after it was revoked", began.elapsed());
    assert!(site.named("agent").unwrap().is_running(), "it stays up");
    let id = api.submit(json!({ "command": ["true"] })).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(api.job(&id).await.status.state, Queued);
    // The same directory, the agent not restarted.
    std::fs::rename(site.dir().join("enrolment"), site.dir().join("revoked")).unwrap();
    let ticket = site.admin(&["site", "enrol", "here"]).await.unwrap();
    let file = site.dir().join("again");
    private_file(&file, &ticket);
    let config = site.dir().join("etc/agent.toml").display().to_string();
    let file = file.display().to_string();
    let args = ["--config", &config, "enrol", "--token-file", &file];
    let program = programs::path("forebay-agent").unwrap();
    let command = Command::new(program, "/dev/null").args(args);
    let output = site.run(command, b"").await.unwrap();
    assert!(output.exit.success(), "{}", output.stderr());
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
}

#[tokio::test]
async fn either_of_two_replicas_will_do() {
    need!(Postgres);
    let options = Options {
        replicas: 2,
        ..local(2)
    };
    let world = World::start_with(options).await;
    let (one, other) = (api_of(&world, 0), api_of(&world, 1));
    let jobs = [(&one, "first"), (&other, "second")];
    for (api, word) in jobs {
        let id = api.submit(json!({ "command": ["echo", word] })).await;
        for asked in [&one, &other] {
            assert_eq!(asked.ended(&id).await.status.state, Succeeded);
            assert_eq!(asked.stdout(&id).await, format!("{word}\n"));
        }
    }
    // One of them dies, whichever has the tunnel; the other takes over.
    for (dies, replica, lives) in [("view-server", 0, &other), ("view-server-2", 1, &one)] {
        world.site.kill9(dies).await.unwrap();
        let id = lives.submit(json!({ "command": ["echo", dies] })).await;
        assert_eq!(lives.ended(&id).await.status.state, Succeeded);
        let log = eventually("its log", || async { lives.log(&id, "stdout").await.ok() }).await;
        assert_eq!(log, format!("{dies}\n").into_bytes());
        world.site.start_replica(replica).await.unwrap();
    }
}

/// Each step once and in order, without gaps.
async fn is_whole(api: &Api, id: &str) {
    let events = api.events(id).await;
    let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<i64> = (1..).take(events.len()).collect();
    assert_eq!(numbers, expected, "{events:#?}");
    let states: Vec<JobState> = api.states(id).await;
    let steps = [Queued, Submitting, Pending, Running, Succeeded];
    let states: Vec<JobState> = states
        .into_iter()
        .filter(|state| *state != JobState::Ending)
        .collect();
    assert_eq!(states, steps, "{events:#?}");
}

#[tokio::test]
async fn a_site_that_is_cut_off_goes_on_and_tells_all_of_it_afterwards() {
    need!(Postgres);
    let options = Options {
        front: true,
        ..local(2)
    };
    let world = World::start_with(options).await;
    let (site, api) = (&world.site, world.api(1));
    let witness = world.witness(1);
    let mut ids = Vec::new();
    for number in 0..8 {
        let script = format!("sleep 0.3; echo {number} >>{}", witness.path());
        ids.push(api.script(&script).await);
    }
    for id in &ids {
        let claimed = |job: &forebay_wire::api::Job| job.status.state != Queued;
        api.until(id, "claimed", claimed).await;
    }
    site.cut_link(true).unwrap();
    let began = Instant::now();
    eventually("the jobs ran", || async {
        (witness.lines().len() == ids.len()).then_some(())
    })
    .await;
    tokio::time::sleep(cut().saturating_sub(began.elapsed())).await;
    let told = api.job(ids.last().unwrap()).await.status.state;
    assert!(!told.is_end(), "nobody can know yet: {told}");
    // What is handed in meanwhile waits.
    let late = api.submit(json!({ "command": ["true"] })).await;
    assert_eq!(api.job(&late).await.status.state, Queued);
    assert!(site.named("agent").unwrap().is_running());
    site.cut_link(false).unwrap();
    let mended = Instant::now();
    for id in ids.iter().chain([&late]) {
        assert_eq!(api.ended(id).await.status.state, Succeeded);
        is_whole(&api, id).await;
    }
    println!("cut for {:?}, all told {:?} later", cut(), mended.elapsed());
    let mut lines = witness.lines();
    lines.sort();
    let expected: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected, "each ran once");
}

#[tokio::test]
async fn of_two_agents_of_one_site_the_later_has_it() {
    need!(Postgres);
    let world = World::start_with(local(2)).await;
    let (site, api) = (&world.site, world.api(1));
    let first = api.submit(json!({ "command": ["true"] })).await;
    assert_eq!(api.ended(&first).await.status.state, Succeeded);
    // On the same database there is one only, and the one that runs is not disturbed.
    let twin = site.run_twin_agent().await.unwrap();
    assert!(!twin.exit.success());
    let said = format!("{}{}", twin.stdout(), twin.stderr());
    assert!(said.contains("a site has one agent"), "{said}");
    assert!(site.named("agent").unwrap().is_running());
    // With a database of its own it has the same key, and so the same right: the later wins.
    let older = site.named("agent").unwrap();
    let newer = site.start_other_agent().await.unwrap();
    eventually("the older ends", || async {
        (!older.is_running()).then_some(())
    })
    .await;
    let log = log_of(site, "agent");
    assert!(
        log.contains("another agent has opened the link of this site"),
        "{log}"
    );
    let witness = world.witness(1);
    let script = format!("echo ran >>{}", witness.path());
    let id = api.script(&script).await;
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    assert_eq!(witness.lines(), ["ran"]);
    assert!(newer.is_running(), "{}", newer.log_tail());
}

#[tokio::test]
async fn a_clock_an_hour_off_cuts_the_link_and_nothing_else() {
    need!(Postgres, Faketime);
    let dir = forebay_testbed::dirs::Dir::new("clock").unwrap();
    let clock = dir.path().join("clock");
    // Put in place whole: it is read at every look at the clock.
    let set = |shift: &str| {
        let new = dir.path().join("new");
        std::fs::write(&new, format!("{shift}\n")).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let library = packages::faketime().unwrap().display().to_string();
    let agent_env = BTreeMap::from([
        ("LD_PRELOAD".to_owned(), library),
        (
            "FAKETIME_TIMESTAMP_FILE".to_owned(),
            clock.display().to_string(),
        ),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        // Clocks are set; time goes on as it did.
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]);
    let options = Options {
        agent_env,
        ..local(2)
    };
    let world = World::start_with(options).await;
    let (site, api) = (&world.site, world.api(1));
    for (shift, words) in [("+3600", "3600 s apart"), ("-3600", "-3600 s apart")] {
        let witness = world.witness(1);
        let script = format!("sleep 3; echo ran >>{}", witness.path());
        let id = api.script(&script).await;
        api.until_state(&id, Running).await;
        set(shift);
        // A link that is open stays good; its next beginning is refused.
        site.stop_service("view-server").await.unwrap();
        site.start_view_server().await.unwrap();
        let said = eventually("the skew in the agent's log", || async {
            let log = log_of(site, "agent");
            let near = |line: &&str| line.contains("The clocks are");
            let line = log.lines().rfind(near)?.to_owned();
            // Taken a second later or earlier.
            let about = [
                words,
                &words.replace("3600", "3599"),
                &words.replace("3600", "3601"),
            ];
            about
                .iter()
                .any(|words| line.contains(*words))
                .then_some(line)
        })
        .await;
        for part in ["the agent says 20", "this side 20"] {
            assert!(said.contains(part), "{said}");
        }
        eventually("the job runs to its end", || async {
            (witness.lines() == ["ran"]).then_some(())
        })
        .await;
        assert!(site.named("agent").unwrap().is_running());
        assert_eq!(api.job(&id).await.status.state, Running, "nobody can know");
        set("+0");
        assert_eq!(api.ended(&id).await.status.state, Succeeded);
        is_whole(&api, &id).await;
        assert_eq!(witness.lines(), ["ran"]);
    }
}
