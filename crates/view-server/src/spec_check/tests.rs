//! Every rule, and that no NUL gets through anywhere.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn facts() -> Facts<'static> {
    Facts {
        clusters: BTreeMap::from([("hpc", "slurm"), ("box", "local")]),
        script_bytes_max: 1_000,
    }
}

fn problems(spec: &Value) -> Vec<(String, String)> {
    let spec: JobSpec = serde_json::from_value(spec.clone()).expect("a spec");
    match check(&spec, &facts()) {
        Ok(()) => Vec::new(),
        Err(problem) => {
            assert_eq!(problem.code, Code::Invalid);
            problem
                .details
                .into_iter()
                .map(|detail| (detail.field, detail.message))
                .collect()
        }
    }
}

/// The good spec with `changes` merged in.
fn with(changes: &Value) -> Value {
    let mut spec = json!({"cluster": "hpc", "command": ["true"]});
    for (key, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            spec.as_object_mut().expect("an object").remove(key);
        } else {
            spec[key] = value.clone();
        }
    }
    spec
}

/// Exactly these fields are at fault.
#[track_caller]
fn check_fields(changes: &Value, want: &[&str]) {
    let found = problems(&with(changes));
    let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, want, "{found:?}");
    for (_, message) in &found {
        assert!(
            message.ends_with('.') && message.chars().next().is_some_and(|c| !c.is_lowercase()),
            "{message}"
        );
    }
}

#[test]
fn good_ones() {
    check_fields(&json!({}), &[]);
    check_fields(
        &json!({
            "name": "a \"quoted\" name, é", "directory": "runs/1", "time_limit_s": 60,
            "resources": {"nodes": 1, "tasks": 4, "cpus_per_task": 2, "memory_mib": 100, "gpus": 1},
            "environment": {"A": "1\n2", "_b9": ""}, "output": {"stdout": "%j.out"},
            "slurm": {"partition": "short", "array": "0-9%2", "directives": ["--ntasks-per-node=4", "-x n3"]},
        }),
        &[],
    );
    check_fields(
        &json!({"command": null, "script": "#!/bin/sh\n#SBATCH -N2\nhostname\n"}),
        &[],
    );
    check_fields(
        &json!({"cluster": "box", "command": null, "script": "#!/bin/sh\n#SBATCH --uid=0\n"}),
        &[],
    );
}

#[test]
fn every_field_at_fault_is_named() {
    check_fields(&json!({"cluster": "nowhere"}), &["spec.cluster"]);
    check_fields(&json!({"command": null}), &["spec.script"]);
    check_fields(&json!({"script": "#!/bin/sh\n"}), &["spec.script"]);
    for script in [
        "",
        "echo",
        "#!/bin/sh\0\n",
        "#!/bin/sh\r\ntrue\r\n",
        &format!("#!/bin/sh\n{}", "x".repeat(1_000)),
    ] {
        check_fields(
            &json!({"command": null, "script": script}),
            &["spec.script"],
        );
    }
    check_fields(
        &json!({"command": null, "script": "#!/bin/sh\n#SBATCH --uid=0\n#SBATCH --wra=x\ntrue\n"}),
        &["spec.script", "spec.script"],
    );
    check_fields(&json!({"command": []}), &["spec.command"]);
    check_fields(&json!({"command": ["a", "b\0"]}), &["spec.command[1]"]);
    check_fields(&json!({"name": ""}), &["spec.name"]);
    check_fields(
        &json!({"name": format!("{}\n'\"", "x".repeat(10_000))}),
        &["spec.name", "spec.name"],
    );
    check_fields(&json!({"time_limit_s": 0}), &["spec.time_limit_s"]);
    check_fields(
        &json!({"resources": {"nodes": 0, "tasks": 0, "cpus_per_task": 70_000, "memory_mib": 0, "gpus": 0}}),
        &[
            "spec.resources.nodes",
            "spec.resources.tasks",
            "spec.resources.cpus_per_task",
            "spec.resources.memory_mib",
            "spec.resources.gpus",
        ],
    );
    check_fields(
        &json!({"directory": "a\nb", "output": {"stdout": "", "stderr": "\0"}}),
        &["spec.directory", "spec.output.stdout", "spec.output.stderr"],
    );
    check_fields(
        &json!({"environment": {"": "1", "1A": "1", "A B": "1", "SBATCH_WAIT": "1", "SLURM_X": "1", "Z": "\0"}}),
        &[
            "spec.environment.",
            "spec.environment.1A",
            "spec.environment.A B",
            "spec.environment.SBATCH_WAIT",
            "spec.environment.SLURM_X",
            "spec.environment.Z",
        ],
    );
    check_fields(
        &json!({"cluster": "box", "slurm": {"qos": "x"}}),
        &["spec.slurm"],
    );
    check_fields(
        &json!({"slurm": {"partition": "", "comment": "a\nb"}}),
        &["spec.slurm.partition", "spec.slurm.comment"],
    );
    check_fields(
        &json!({"slurm": {"directives": [
            "--hold", "--uid=0", "--gi 5", "-W", "--wrap=x", "--test-only", "--parsab", "--zork", "-J 'x",
        ]}}),
        &[
            "spec.slurm.directives[1]",
            "spec.slurm.directives[2]",
            "spec.slurm.directives[3]",
            "spec.slurm.directives[4]",
            "spec.slurm.directives[5]",
            "spec.slurm.directives[6]",
            "spec.slurm.directives[7]",
            "spec.slurm.directives[8]",
        ],
    );
    let several = problems(&with(&json!({"cluster": "nowhere", "name": "\n"})));
    assert_eq!(several.len(), 2);
    assert!(several[0].1.contains("box, hpc"), "{several:?}");
}

/// Every text in a spec, replaced by one that holds a NUL.
#[test]
fn no_nul_gets_through() {
    let whole = json!({
        "cluster": "hpc", "name": "n", "script": "#!/bin/sh\n", "directory": "d",
        "environment": {"A": "v"}, "output": {"stdout": "o", "stderr": "e"},
        "slurm": {
            "partition": "p", "account": "a", "qos": "q", "reservation": "r", "constraint": "c", "array": "1",
            "dependency": "d", "begin": "now", "gres": "g", "licenses": "l", "nodelist": "n", "exclude": "x",
            "mail_type": "END", "mail_user": "u", "comment": "c", "directives": ["--hold"],
        },
    });
    assert_eq!(problems(&whole), []);
    // No text of the contract is left out of this test.
    let spec: JobSpec = serde_json::from_value(whole.clone()).expect("a spec");
    assert_eq!(serde_json::to_value(&spec).expect("JSON"), {
        let mut whole = whole.clone();
        whole["slurm"]["directives"] = json!(["--hold"]);
        whole
    });
    let mut pointers = Vec::new();
    texts(&whole, String::new(), &mut pointers);
    assert!(pointers.len() >= 22);
    for pointer in pointers.iter().filter(|pointer| *pointer != "/cluster") {
        let mut bad = whole.clone();
        let text = bad.pointer_mut(pointer).expect("a text");
        *text = json!(format!("{}\0", text.as_str().unwrap_or_default()));
        assert_eq!(problems(&bad).len(), 1, "{pointer}");
    }
    let key = with(&json!({"environment": {"A\0": "v"}}));
    assert_eq!(problems(&key).len(), 1);
}

fn texts(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(pointer),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                texts(item, format!("{pointer}/{key}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_directive_or_script_panics(
        directives in prop::collection::vec("[\\x00-\\x7f]{0,30}", 0..5), script in "(#!)?[\\x00-\\x7fé]{0,60}",
    ) {
        let spec = json!({"cluster": "hpc", "script": script, "slurm": {"directives": directives}});
        let found = problems(&spec);
        let nul = script.contains('\0') || directives.iter().any(|text| text.contains('\0'));
        prop_assert!(!nul || !found.is_empty());
    }
}
