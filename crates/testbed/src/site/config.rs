//! The services' configuration files.

use std::path::Path;

use super::{CLUSTER, Options, Scheduler};

/// What the files need to know.
pub(super) struct Settings<'a> {
    pub(super) options: &'a Options,
    pub(super) environment: &'a str,
    pub(super) dir: &'a Path,
    /// Of the agent and its user-agents.
    pub(super) run_dir: &'a Path,
    /// Of the agent's database.
    pub(super) socket_dir: &'a Path,
    pub(super) view_server: &'a str,
    /// Where the page finds realtime, if there is one.
    pub(super) realtime: Option<&'a str>,
    pub(super) agent: &'a str,
    pub(super) user_agent: &'a Path,
    /// Where agents reach the view-server.
    pub(super) agents_reach: &'a str,
}

/// Text as TOML writes it: JSON's strings are a part of TOML's.
fn text(value: impl Into<String>) -> String {
    serde_json::Value::String(value.into()).to_string()
}

fn path(path: &Path) -> String {
    text(path.display().to_string())
}

/// Where the page lies for the view-server, which may read nothing of ours.
pub(super) const UI: &str = "ui";

pub(super) fn view_server(settings: &Settings<'_>) -> String {
    let tls = if settings.options.tls {
        let file = |name| path(&settings.dir.join("tls").join(name));
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        format!("[tls]\ncert = {cert}\nkey = {key}\n")
    } else {
        String::new()
    };
    let ui = match settings.options.ui_dir {
        Some(_) => format!("ui_dir = {}\n", path(&settings.dir.join(UI))),
        None => String::new(),
    };
    let realtime = settings.realtime.map_or_else(String::new, |address| {
        format!("realtime_url = {}\n", text(format!("http://{address}")))
    });
    format!(
        "listen = {listen}\n\
         url = {url}\n\
         environment = {environment}\n\
         {ui}\
         {realtime}\
         {tls}[database]\n\
         socket_dir = {socket_dir}\n\
         [log]\n\
         filter = {filter}\n",
        listen = text(settings.view_server),
        url = text(settings.agents_reach),
        environment = text(settings.environment),
        socket_dir = path(&settings.dir.join("s")),
        filter = text(&settings.options.log_filter),
    )
}

/// Of the replica that listens there.
pub(super) fn realtime(settings: &Settings<'_>, listen: &str) -> String {
    let scheme = if settings.options.tls {
        "https"
    } else {
        "http"
    };
    format!(
        "listen = {listen}\n\
         environment = {environment}\n\
         origins = [{origin}]\n\
         {lines}\n\
         [database]\n\
         socket_dir = {socket_dir}\n\
         [log]\n\
         filter = {filter}\n",
        listen = text(listen),
        environment = text(settings.environment),
        origin = text(format!("{scheme}://{}", settings.view_server)),
        lines = settings.options.realtime_lines,
        socket_dir = path(&settings.dir.join("s")),
        filter = text(&settings.options.log_filter),
    )
}

pub(super) fn agent(settings: &Settings<'_>) -> String {
    let dir = settings.dir;
    let poll = settings
        .options
        .poll_ms
        .map_or_else(String::new, |poll| format!("poll_ms = {poll}\n"));
    let (integration, table) = match &settings.options.scheduler {
        Scheduler::Slurm { conf } => ("slurm", format!("[cluster.slurm]\nconf = {}\n", path(conf))),
        Scheduler::Local { slots } => ("local", format!("[cluster.local]\nslots = {slots}\n")),
    };
    format!(
        "environment = {environment}\n\
         run_dir = {run_dir}\n\
         listen = {listen}\n\
         [link]\n\
         enrolment = {enrolment}\n\
         [database]\n\
         socket_dir = {socket_dir}\n\
         [user_agents]\n\
         program = {program}\n\
         log_dir = {log_dir}\n\
         end_with_agent = true\n\
         [log]\n\
         filter = {filter}\n\
         [[cluster]]\n\
         name = {name}\n\
         integration = {integration}\n\
         status_s = 1\n\
         sweep_s = 2\n\
         {poll}{table}",
        environment = text(settings.environment),
        run_dir = path(settings.run_dir),
        listen = text(settings.agent),
        enrolment = path(&dir.join("enrolment")),
        socket_dir = path(settings.socket_dir),
        program = path(settings.user_agent),
        log_dir = path(&dir.join("log")),
        filter = text(&settings.options.log_filter),
        name = text(CLUSTER),
        integration = text(integration),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &Options) -> Settings<'_> {
        Settings {
            options,
            environment: "testbed-20000",
            dir: Path::new("/var/tmp/x"),
            run_dir: Path::new("/var/tmp/x/run"),
            socket_dir: Path::new("/var/tmp/x/s"),
            realtime: None,
            view_server: "127.0.0.1:20000",
            agent: "127.0.0.1:20001",
            user_agent: Path::new("/var/tmp/a \"b\"/forebay-user-agent"),
            agents_reach: "http://127.0.0.1:20000",
        }
    }

    #[test]
    fn the_files_of_a_local_site() {
        let options = Options::default();
        insta::assert_snapshot!("view_server", view_server(&settings(&options)));
        insta::assert_snapshot!("realtime", realtime(&settings(&options), "127.0.0.1:20002"));
        insta::assert_snapshot!("agent", agent(&settings(&options)));
    }

    #[test]
    fn the_files_of_a_slurm_site_are_toml() {
        let conf = "/var/tmp/s/slurm.conf".into();
        let options = Options {
            scheduler: Scheduler::Slurm { conf },
            poll_ms: None,
            ui_dir: Some("/target/ui".into()),
            ..Options::default()
        };
        let view: toml::Table = view_server(&settings(&options)).parse().unwrap();
        assert_eq!(view["ui_dir"].as_str(), Some("/var/tmp/x/ui"));
        let agent: toml::Table = agent(&settings(&options)).parse().unwrap();
        let cluster = &agent["cluster"][0];
        assert_eq!(
            cluster["slurm"]["conf"].as_str(),
            Some("/var/tmp/s/slurm.conf")
        );
        assert_eq!(cluster.get("poll_ms"), None);
        let program = agent["user_agents"]["program"].as_str();
        assert_eq!(program, Some("/var/tmp/a \"b\"/forebay-user-agent"));
    }
}
