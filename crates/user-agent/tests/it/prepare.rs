//! The job's directory and script.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use forebay_wire::ipc::Prepared;
use forebay_wire::{Code, JobId};

use crate::rig::{Rig, own};

#[tokio::test]
async fn a_script_is_written_once() {
    let rig = Rig::start().await;
    let job = JobId::new();
    let script = "#!/bin/sh\necho ünïcode\n";
    let prepared: Prepared = rig.prepare(job, script).await.json();
    assert_eq!(
        prepared.directory,
        format!("{}/state/test/jobs/{job}", rig.home.display())
    );
    assert_eq!(prepared.script, format!("{}/script", prepared.directory));
    assert_eq!(prepared.home, rig.account.home.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(&prepared.script).unwrap(), script);
    for path in [
        &prepared.script,
        &prepared.directory,
        &format!("{}/state/test", rig.home.display()),
    ] {
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid()),
            (0o700, rig.account.uid),
            "{path}"
        );
    }

    assert_eq!(rig.prepare(job, script).await.json::<Prepared>(), prepared);
    assert_eq!(
        rig.prepare(job, "#!/bin/sh\n").await.problem().code,
        Code::Conflict
    );
    assert_eq!(
        rig.prepare(job, &format!("{script}#")).await.problem().code,
        Code::Conflict
    );
    assert_eq!(std::fs::read_to_string(&prepared.script).unwrap(), script);
    let names: Vec<_> = std::fs::read_dir(&prepared.directory)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["script"], "nothing temporary is left");
}

#[tokio::test]
async fn what_is_no_script_is_refused_and_nothing_written() {
    let rig = Rig::start().await;
    let job = JobId::new();
    for script in ["", "echo no interpreter", "#!/bin/sh\n\0"] {
        let problem = rig.prepare(job, script).await.problem();
        assert_eq!(
            (problem.code, problem.details[0].field.as_str()),
            (Code::Invalid, "script"),
            "{script:?}"
        );
    }
    let long = format!("#!/bin/sh\n{}", "#".repeat(5 << 20));
    assert_eq!(rig.prepare(job, &long).await.problem().code, Code::TooLarge);
    for path in ["/v1/jobs/nonsense/prepare", "/v1/jobs/..%2F..%2Fx/prepare"] {
        let status = rig
            .post(path, &serde_json::json!({"script": "#!/bin/sh"}))
            .await
            .status;
        assert!((400..500).contains(&status), "{status}");
    }
    assert!(!rig.home.join(format!("state/test/jobs/{job}")).exists());
}

#[tokio::test]
async fn links_are_not_followed_anywhere_below() {
    let rig = Rig::start().await;
    let elsewhere = rig.home.join("elsewhere");
    crate::rig::make_dir(&elsewhere, &rig.account);
    rig.prepare(JobId::new(), "#!/bin/sh\n")
        .await
        .json::<Prepared>();
    let jobs = rig.home.join("state/test/jobs");

    // In the job's place, in the script's place, and higher up.
    let job = JobId::new();
    symlink(&elsewhere, jobs.join(job.to_string())).unwrap();
    let problem = rig.prepare(job, "#!/bin/sh\n").await.problem();
    assert_eq!(problem.code, Code::Conflict);
    assert!(
        problem.message.contains("symbolic link"),
        "{}",
        problem.message
    );

    let job = JobId::new();
    let directory = jobs.join(job.to_string());
    crate::rig::make_dir(&directory, &rig.account);
    symlink(elsewhere.join("target"), directory.join("script")).unwrap();
    assert_eq!(
        rig.prepare(job, "#!/bin/sh\n").await.problem().code,
        Code::Conflict
    );

    std::fs::rename(&jobs, rig.home.join("moved")).unwrap();
    symlink(&elsewhere, &jobs).unwrap();
    assert_eq!(
        rig.prepare(JobId::new(), "#!/bin/sh\n")
            .await
            .problem()
            .code,
        Code::Conflict
    );

    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn other_things_in_the_way_are_told() {
    let rig = Rig::start().await;
    rig.prepare(JobId::new(), "#!/bin/sh\n")
        .await
        .json::<Prepared>();
    let jobs = rig.home.join("state/test/jobs");
    let job = JobId::new();
    std::fs::write(jobs.join(job.to_string()), "").unwrap();
    assert_eq!(
        rig.prepare(job, "#!/bin/sh\n").await.problem().code,
        Code::Conflict
    );

    let job = JobId::new();
    let directory = jobs.join(job.to_string());
    crate::rig::make_dir(&directory, &rig.account);
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        directory.join("script"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    own(&directory.join("script"), &rig.account);
    assert_eq!(
        rig.prepare(job, "#!/bin/sh\n").await.problem().code,
        Code::Conflict
    );

    // Rights that others had are taken back.
    std::fs::set_permissions(&jobs, std::fs::Permissions::from_mode(0o777)).unwrap();
    rig.prepare(JobId::new(), "#!/bin/sh\n")
        .await
        .json::<Prepared>();
    assert_eq!(std::fs::metadata(&jobs).unwrap().mode() & 0o777, 0o700);
}
