//! Real clusters: jobs run, daemons crash and come back, and nothing stays.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_testbed::accounts::{self, Account};
use forebay_testbed::dirs::keep;
use forebay_testbed::need;
use forebay_testbed::slurm::{Options, Slurm};

use crate::support::{child_dir, eventually, pid_alive, processes_of, test_process};

const MINUTE: Duration = Duration::from_secs(60);

/// Submits a script as `user` in a fresh directory below its home; gives the id and the directory.
async fn submit(slurm: &Slurm, user: &Account, name: &str, script: &str) -> (String, PathBuf) {
    let dir = user.home.join(format!("{}-{name}", slurm.cluster_name()));
    let text = dir.display().to_string();
    slurm
        .text("mkdir", &["-p", &text], Some(user))
        .await
        .unwrap();
    let args = [
        "--parsable",
        "--chdir",
        &text,
        "--output",
        "out",
        "--mem",
        "10",
    ];
    let command = slurm.command("sbatch", Some(user)).unwrap().args(args);
    let script = format!("#!/bin/sh\n{script}\n");
    let output = slurm.run(command, script.as_bytes(), MINUTE).await.unwrap();
    assert!(output.exit.success(), "{}", output.stderr());
    (output.stdout(), dir)
}

async fn wait_for(path: &Path) -> String {
    let end = Instant::now() + MINUTE;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < end, "{} is not written", path.display()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_closed(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

#[tokio::test]
async fn a_job_runs_as_its_owner_and_nothing_stays() {
    need!(Slurm);
    let user = accounts::test_account(1).unwrap();
    let slurm = Slurm::start(Options::default()).await.unwrap();
    let (dir, ports): (PathBuf, Vec<u16>) = (slurm.dir().to_owned(), slurm.ports().collect());
    let (_, job) = submit(&slurm, &user, "hello", "id -un; echo $SLURM_JOB_ID").await;
    let text = wait_for(&job.join("out")).await;
    assert!(text.starts_with("fbtest1\n"), "{text}");
    slurm.wait_idle(MINUTE).await.unwrap();

    // A job that would outlive its node daemon, and one that waits.
    let (_, long) = submit(
        &slurm,
        &user,
        "long",
        "echo $$ >pid; env -i setsid sleep 600",
    )
    .await;
    let pid: i32 = wait_for(&long.join("pid")).await.trim().parse().unwrap();
    submit(&slurm, &user, "held", "#SBATCH --hold\ntrue").await;
    assert!(ports.iter().any(|port| !is_closed(*port)));
    let processes: Vec<i32> = slurm.processes().into_iter().map(|(_, pid)| pid).collect();
    assert_eq!(processes.len(), 4, "munged, slurmctld and two slurmds");
    slurm.stop().await.unwrap();
    assert!(processes.iter().all(|pid| !pid_alive(*pid)) && !pid_alive(pid));
    assert_eq!(processes_of(&dir), [""; 0]);
    assert!((keep() || !dir.exists()) && ports.into_iter().all(is_closed));
    for job in [job, long, user.home.join(format!("{}-held", dir.display()))] {
        let _ = fs::remove_dir_all(job);
    }
}

#[tokio::test]
async fn accounting_keeps_the_record_through_a_restart_of_slurmdbd() {
    need!(SlurmAccounting, SlurmRest);
    let user = accounts::test_account(1).unwrap();
    let slurm = Slurm::shared(true).await.unwrap();
    let (id, dir) = submit(slurm, &user, "counted", "exit 3").await;
    assert!(slurm.kill9_dbd().await.unwrap().signal == Some(9));
    slurm.start_dbd().await.unwrap();
    let end = Instant::now() + MINUTE;
    loop {
        let args = ["-nPX", "-j", &id, "--format=User,Account,State,ExitCode"];
        let text = slurm
            .text("sacct", &args, Some(&user))
            .await
            .unwrap_or_default();
        if text == "fbtest1|research|FAILED|3:0" {
            break;
        }
        assert!(Instant::now() < end, "sacct says {text:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    fs::remove_dir_all(dir).unwrap();

    let token = slurm.token("fbtest1").await.unwrap();
    let socket = slurm.rest_socket().unwrap().display().to_string();
    let headers = format!("X-SLURM-USER-NAME: fbtest1\r\nX-SLURM-USER-TOKEN: {token}");
    let request = format!(
        "GET /slurm/v0.0.38/ping HTTP/1.1\r\nHost: x\r\n{headers}\r\nConnection: close\r\n\r\n"
    );
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!is_closed(
        slurm
            .rest_url()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    ));
}

#[tokio::test]
async fn a_killed_controller_comes_back_with_its_jobs() {
    need!(Slurm);
    let user = accounts::test_account(1).unwrap();
    let slurm = Slurm::start(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    let (id, dir) = submit(
        &slurm,
        &user,
        "through",
        "while ! test -e go; do sleep 0.05; done; echo done",
    )
    .await;
    let state = async || {
        slurm
            .text("squeue", &["-h", "-j", &id, "-o", "%T"], None)
            .await
    };
    while state().await.unwrap() != "RUNNING" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Saved every 5 seconds at most; a stop saves for certain.
    slurm.stop_controller().await.unwrap();
    // Clients try for some 18 s when nobody listens.
    let command = slurm.command("squeue", None).unwrap();
    assert!(
        slurm
            .run(command, b"", Duration::from_millis(500))
            .await
            .is_err(),
        "a stopped controller answers"
    );
    slurm.start_controller().await.unwrap();
    assert_eq!(slurm.kill9_controller().await.unwrap().signal, Some(9));
    slurm.start_controller().await.unwrap();
    assert_eq!(state().await.unwrap(), "RUNNING");
    slurm.pause_controller().await.unwrap();
    let command = slurm.command("squeue", None).unwrap();
    assert!(
        slurm
            .run(command, b"", Duration::from_millis(500))
            .await
            .is_err(),
        "a paused controller answers"
    );
    slurm.resume_controller().await.unwrap();
    slurm
        .text(
            "touch",
            &[&dir.join("go").display().to_string()],
            Some(&user),
        )
        .await
        .unwrap();
    assert_eq!(wait_for(&dir.join("out")).await, "done\n");
    slurm.wait_idle(MINUTE).await.unwrap();
    slurm.kill9_node(1).await.unwrap();
    slurm.start_node(1).await.unwrap();
    slurm.stop().await.unwrap();
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn two_clusters_side_by_side() {
    need!(Slurm);
    let user = accounts::test_account(2).unwrap();
    let (one, two) = tokio::join!(
        Slurm::start(Options::default()),
        Slurm::start(Options::default())
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.cluster_name(), two.cluster_name());
    let script = "echo $SLURM_CLUSTER_NAME";
    let ((_, first), (_, second)) = tokio::join!(
        submit(&one, &user, "a", script),
        submit(&two, &user, "b", script)
    );
    assert_eq!(
        wait_for(&first.join("out")).await.trim(),
        one.cluster_name()
    );
    assert_eq!(
        wait_for(&second.join("out")).await.trim(),
        two.cluster_name()
    );
    one.stop().await.unwrap();
    let (_, third) = submit(&two, &user, "c", script).await;
    assert_eq!(
        wait_for(&third.join("out")).await.trim(),
        two.cluster_name()
    );
    let dir = two.dir().to_owned();
    drop(two);
    assert!((keep() || !dir.exists()) && processes_of(&dir).is_empty());
    for dir in [first, second, third] {
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_killed_test_process_leaves_no_slurm() {
    need!(Slurm);
    if let Some(dir) = child_dir() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let user = accounts::test_account(1).unwrap();
            // Shared: a static that nothing ever drops.
            let slurm = Slurm::shared(false).await.unwrap();
            let script = "env -i setsid sh -c 'echo $$ >pid; sleep 600' & wait";
            let (_, job) = submit(slurm, &user, "killed", script).await;
            let pid = wait_for(&job.join("pid")).await;
            fs::remove_dir_all(job).unwrap();
            fs::write(dir.join("tmp"), format!("{}\n{pid}", slurm.dir().display())).unwrap();
            fs::rename(dir.join("tmp"), dir.join("up")).unwrap();
            std::future::pending::<()>().await;
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = test_process("slurm::a_killed_test_process_leaves_no_slurm", dir.path());
    eventually("a cluster with a job", MINUTE, || {
        dir.path().join("up").exists()
    });
    let text = fs::read_to_string(dir.path().join("up")).unwrap();
    let (place, pid) = text.trim().split_once('\n').unwrap();
    let (place, pid) = (PathBuf::from(place), pid.parse().unwrap());
    assert!(processes_of(&place).len() >= 5 && pid_alive(pid));
    let killed = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the end of Slurm", Duration::from_secs(2), || {
        processes_of(&place).is_empty() && !pid_alive(pid)
    });
    eventually("the directory's removal", Duration::from_secs(2), || {
        !place.exists()
    });
    eprintln!("all gone {:?} after the kill", killed.elapsed());
}
