//! A job of one user does not exist for another, whichever way one looks.

use forebay_testbed::need;
use forebay_wire::Code;
use forebay_wire::JobState::Running;
use http::Method;
use std::os::unix::fs::MetadataExt;

use crate::worlds::World;

/// Every route below a job, with its method.
const OF_A_JOB: [(&str, Method); 8] = [
    ("", Method::GET),
    ("/tasks", Method::GET),
    ("/events", Method::GET),
    ("/events?after=0", Method::GET),
    ("/logs/stdout", Method::GET),
    ("/logs/stderr", Method::GET),
    ("/logs/stdout?from=0", Method::GET),
    ("/cancel", Method::POST),
];

#[tokio::test]
async fn over_http() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let (owner, other, nobody) = (world.api(1), world.api(2), world.anonymous());
    let id = owner.script("echo my secret; sleep 300").await;
    owner.until_state(&id, Running).await;
    let streams: [&[(&str, &str)]; 2] = [&[], &[("accept", "text/event-stream")]];
    for (route, method) in OF_A_JOB {
        let path = format!("/api/v1/jobs/{id}{route}");
        for headers in streams {
            let problem = other
                .call(method.clone(), &path, None, headers)
                .await
                .unwrap_err();
            assert_eq!(problem.code, Code::NotFound, "{method} {path} {headers:?}");
            // The same words as for a job that nobody has.
            let nowhere = path.replace(&id, "j01jdzz2v8nf3tbw0q5c7m9xk4e");
            let absent = other
                .call(method.clone(), &nowhere, None, headers)
                .await
                .unwrap_err();
            assert_eq!(absent.message, problem.message, "{path}");
            let problem = nobody
                .call(method.clone(), &path, None, headers)
                .await
                .unwrap_err();
            assert_eq!(
                problem.code,
                Code::Unauthenticated,
                "{method} {path} {headers:?}"
            );
        }
    }
    let is_listed =
        |jobs: Vec<forebay_wire::api::Job>| jobs.iter().any(|job| job.id.to_string() == id);
    assert!(is_listed(owner.jobs("").await) && !is_listed(other.jobs("").await));
    let others: Vec<_> = other
        .jobs("")
        .await
        .into_iter()
        .map(|job| job.owner)
        .collect();
    assert!(
        others.iter().all(|owner| *owner == world.user(2).name),
        "{others:?}"
    );
    for path in [
        "/api/v1/jobs",
        "/api/v1/clusters",
        "/api/v1/clusters/hpc",
        "/api/v1/me",
    ] {
        assert_eq!(
            nobody.get(path).await.unwrap_err().code,
            Code::Unauthenticated,
            "{path}"
        );
    }
    // It runs on, untouched.
    let job = owner.job(&id).await;
    assert_eq!(
        (job.status.state, job.status.cancel_wanted_at),
        (Running, None)
    );
    owner.cancel(&id).await.unwrap();
    owner.ended(&id).await;
}

#[tokio::test]
async fn by_the_command() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let owner = world.api(3);
    let id = owner.script("echo my secret; sleep 300").await;
    owner.until_state(&id, Running).await;
    for args in [
        vec!["show", &id],
        vec!["show", "--json", &id],
        vec!["logs", &id],
        vec!["logs", "-f", &id],
        vec!["logs", "--stderr", &id],
        vec!["cancel", &id],
    ] {
        let output = world.cli(4, &args).await;
        assert_eq!(output.exit.code, Some(1), "{args:?}: {}", output.stdout());
        assert!(!output.stdout().contains("secret"), "{args:?}");
        assert!(!output.stderr().is_empty(), "{args:?}");
    }
    let listed = world.cli_ok(4, &["jobs", "--all-pages", "--json"]).await;
    assert!(!listed.contains(&id), "{listed}");
    let job = owner.job(&id).await;
    assert_eq!(
        (job.status.state, job.status.cancel_wanted_at),
        (Running, None)
    );
    owner.cancel(&id).await.unwrap();
    owner.ended(&id).await;
}

#[tokio::test]
async fn a_users_files_and_processes_are_that_users() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let (api, user) = (world.api(2), world.user(2));
    let id = api.script("echo mine; sleep 300").await;
    api.until_state(&id, Running).await;
    let dir = world.site.job_dir(&user.name, &id).unwrap();
    for path in [dir.clone(), dir.join("script"), dir.join("stdout")] {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(meta.uid(), user.uid, "{}", path.display());
    }
    // Slurm makes the outputs as it makes all files; nobody else gets to them.
    let mode = std::fs::symlink_metadata(&dir).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700, "{}: {mode:o}", dir.display());
    let user_agents = world.site.user_agents();
    assert!(
        user_agents.iter().any(|(_, uid)| *uid == user.uid),
        "{user_agents:?}"
    );
    assert!(
        user_agents.iter().all(|(_, uid)| *uid != 0),
        "{user_agents:?}"
    );
    // Of the services only the agent is root: it starts the user-agents.
    for (name, pid) in world.site.processes() {
        let uid = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert!(uid != 0 || name != "view-server", "{name} runs as root");
    }
    // The token is in no process's arguments or environment.
    let token = world.site.token(&user.name).unwrap();
    for (_, pid) in world.site.processes() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&token));
        }
    }
    api.cancel(&id).await.unwrap();
    api.ended(&id).await;
}
