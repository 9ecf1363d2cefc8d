//! What is refused: with a code, a sentence and the field; nothing written, nothing executed.

use forebay_testbed::need;
use forebay_wire::JobState::{Cancelled, Pending, Rejected};
use forebay_wire::{Code, Problem};
use http::Method;
use serde_json::{Value, json};

use crate::worlds::{World, plain_slurm};

/// A body, the status it is answered with, and what must be found in fields or sentences.
struct Case {
    what: &'static str,
    body: Value,
    code: Code,
    field: &'static str,
}

fn spec(more: Value) -> Value {
    let mut spec = json!({ "cluster": "hpc" });
    let fields = more.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    json!({ "spec": spec })
}

fn cases(witness: &str) -> Vec<Case> {
    let ok = json!(["touch", witness]);
    let script = |text: &str| format!("{text}\ntouch {witness}\n");
    let case = |what, body, code, field| Case {
        what,
        body,
        code,
        field,
    };
    let invalid = |what, more, field| case(what, spec(more), Code::Invalid, field);
    let mut cases = vec![
        case("no spec", json!({}), Code::Malformed, "spec"),
        case("no object", json!([1]), Code::Malformed, ""),
        case(
            "an unknown field",
            spec(json!({ "command": ok, "nodes": 2 })),
            Code::Malformed,
            "spec.nodes",
        ),
        case(
            "an unknown option",
            spec(json!({ "command": ok, "slurm": { "nodez": 1 } })),
            Code::Malformed,
            "spec.slurm.nodez",
        ),
        case(
            "a wrong type",
            spec(json!({ "command": "true" })),
            Code::Malformed,
            "spec.command",
        ),
        case(
            "another wrong type",
            spec(json!({ "command": ok, "time_limit_s": "1h" })),
            Code::Malformed,
            "spec.time_limit_s",
        ),
        case(
            "a negative count",
            spec(json!({ "command": ok, "resources": { "nodes": -1 } })),
            Code::Malformed,
            "spec.resources.nodes",
        ),
        invalid("neither script nor command", json!({}), "spec.script"),
        invalid(
            "both",
            json!({ "command": ok, "script": script("#!/bin/sh") }),
            "spec.script",
        ),
        invalid(
            "an unknown cluster",
            json!({ "command": ok, "cluster": "elsewhere" }),
            "spec.cluster",
        ),
        invalid(
            "no interpreter",
            json!({ "script": script("echo hello") }),
            "spec.script",
        ),
        invalid(
            "a NUL",
            json!({ "script": script("#!/bin/sh\necho \0") }),
            "spec.script",
        ),
        invalid(
            "a NUL in a command",
            json!({ "command": ["touch", format!("{witness}\0")] }),
            "spec.command",
        ),
        invalid("an empty command", json!({ "command": [] }), "spec.command"),
        invalid(
            "Windows' line ends",
            json!({ "script": script("#!/bin/sh\r\necho\r") }),
            "spec.script",
        ),
        invalid(
            "a long name",
            json!({ "command": ok, "name": "n'\"\n".repeat(2_500) }),
            "spec.name",
        ),
        invalid(
            "a name of two lines",
            json!({ "command": ok, "name": "a\n#SBATCH --uid=0" }),
            "spec.name",
        ),
        invalid(
            "no nodes",
            json!({ "command": ok, "resources": { "nodes": 0 } }),
            "spec.resources.nodes",
        ),
        invalid(
            "a bad variable",
            json!({ "command": ok, "environment": { "A B": "1" } }),
            "spec.environment",
        ),
        invalid(
            "a variable of Slurm's",
            json!({ "command": ok, "environment": { "SLURM_CONF": "/tmp/x" } }),
            "spec.environment",
        ),
        invalid(
            "a line break in an option",
            json!({ "command": ok, "slurm": { "partition": "debug\n#SBATCH --uid=0" } }),
            "spec.slurm.partition",
        ),
    ];
    // However they are written.
    for line in [
        "--uid=0",
        "--ui 0",
        "--gid=0",
        "--gi=0",
        "--wrap=id",
        "--wr id",
        "--wait",
        "-W",
        "--parsable",
        "--pars",
        "--test-only",
        "--test",
        "-Mother",
    ] {
        let text = script(&format!("#!/bin/sh\n#SBATCH {line}"));
        cases.push(invalid(
            "a forbidden line",
            json!({ "script": text }),
            "spec.script",
        ));
        let text = json!({ "command": ok, "slurm": { "directives": [line] } });
        cases.push(invalid(
            "a forbidden directive",
            text,
            "spec.slurm.directives",
        ));
    }
    cases
}

fn says(problem: &Problem, field: &str) -> bool {
    let fields = problem
        .details
        .iter()
        .any(|detail| detail.field.starts_with(field));
    fields || (problem.code == Code::Malformed && problem.message.contains(field))
}

#[tokio::test]
async fn bad_requests_are_refused_whole() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    // Nobody else uses it in this world: whatever appears is of this test.
    let api = world.api(4);
    let witness = world.witness(4);
    let before = api.jobs("&name=refused").await.len();
    for case in cases(&witness.path()) {
        let mut body = case.body.clone();
        if let Some(spec) = body.get_mut("spec")
            && spec.get("name").is_none()
        {
            spec["name"] = json!("refused");
        }
        let problem = match api.post_jobs(&body, &[]).await {
            Err(problem) => problem,
            Ok(job) => panic!("{} was taken: {:?}", case.what, job.spec),
        };
        assert_eq!(problem.code, case.code, "{}: {problem:?}", case.what);
        assert!(says(&problem, case.field), "{}: {problem:?}", case.what);
        assert!(
            !problem.message.is_empty() && !problem.request_id.is_empty(),
            "{problem:?}"
        );
        assert!(
            problem.message.len() < 2_000,
            "{}: a sentence, not the input",
            case.what
        );
    }
    for (what, kind, bytes) in [
        ("no JSON", "application/json", b"{\"spec\": ".to_vec()),
        (
            "not UTF-8",
            "application/json",
            b"{\"spec\": \"\xff\"}".to_vec(),
        ),
        ("nothing", "application/json", Vec::new()),
    ] {
        let refused = api
            .call(Method::POST, "/api/v1/jobs", Some((kind, bytes)), &[])
            .await;
        assert_eq!(refused.unwrap_err().code, Code::Malformed, "{what}");
    }
    let large = format!(
        "#!/bin/sh\n# {}\ntouch {}\n",
        "x".repeat(5 << 20),
        witness.path()
    );
    let refused = api.post_jobs(&spec(json!({ "script": large })), &[]).await;
    assert_eq!(refused.unwrap_err().code, Code::TooLarge);
    assert_eq!(
        api.jobs("&name=refused").await.len(),
        before,
        "nothing was written"
    );
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(
        !std::path::Path::new(&witness.path()).exists(),
        "nothing was executed"
    );
}

#[tokio::test]
async fn slurms_own_refusals_become_sentences() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(2);
    let witness = world.witness(2);
    let command = json!(["touch", witness.path()]);
    for (more, words) in [
        (
            json!({ "slurm": { "partition": "nowhere" } }),
            ["partition", "nowhere"],
        ),
        (
            json!({ "resources": { "cpus_per_task": 5000 } }),
            ["cpu", ""],
        ),
        (json!({ "resources": { "nodes": 500 } }), ["node", ""]),
        (
            json!({ "slurm": { "partition": "short" }, "time_limit_s": 864_000 }),
            ["time", ""],
        ),
    ] {
        let mut spec = more.clone();
        spec["command"] = command.clone();
        let id = api.submit(spec).await;
        let job = api.ended(&id).await;
        assert_eq!(job.status.state, Rejected, "{more}: {:?}", job.status);
        let reason = job.status.reason.unwrap();
        let lower = reason.to_lowercase();
        assert!(
            words.iter().all(|word| lower.contains(word)),
            "{more}: {reason}"
        );
        assert!(!lower.contains("sbatch: error"), "{more}: {reason}");
        assert!(
            reason.ends_with('.') && reason.len() > 20,
            "{more}: {reason}"
        );
        // The command says so too, with a code of its own.
        if words[1] == "nowhere" {
            let output = world
                .cli(2, &["submit", "--wait", "-p", "nowhere", "--", "true"])
                .await;
            assert_eq!(output.exit.code, Some(121), "{}", output.stderr());
            assert!(output.stderr().contains("nowhere"), "{}", output.stderr());
        }
    }
    let queue = plain_slurm()
        .await
        .text("squeue", &["-h", "-t", "all", "-o", "%P"], None)
        .await;
    assert!(!queue.unwrap().contains("nowhere"));
    assert!(!std::path::Path::new(&witness.path()).exists());
}

#[tokio::test]
async fn what_slurm_lets_wait_for_ever_waits_and_says_why() {
    need!(Slurm, SlurmAccounting, Postgres);
    // Its limits are not enforced at submission, as is Slurm's default.
    let world = World::accounting().await;
    let api = world.api(3);
    let spec = json!({ "command": ["true"], "resources": { "nodes": 500 } });
    let id = api.submit(spec).await;
    let job = api.until(&id, "waiting with a reason", |job| {
        job.status.state == Pending && job.status.reason.is_some()
    });
    assert!(job.await.status.reason.unwrap().len() > 5);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(api.job(&id).await.status.state, Pending);
    api.cancel(&id).await.unwrap();
    assert_eq!(api.ended(&id).await.status.state, Cancelled);
}
