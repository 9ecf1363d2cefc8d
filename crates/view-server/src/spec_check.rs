//! Whether a job's spec may be handed in. Pure; finds every problem, not only
//! the first, and names the field of each.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forebay_slurm::{
    options::{Policy, parse_directives},
    script::{BatchScript, ScriptError},
};
use forebay_wire::{
    Code, Detail, Problem,
    api::{JobSpec, Resources, SlurmOptions},
};

use fields::Fields;

/// The integration that takes the `slurm` object.
const SLURM: &str = "slurm";
/// Characters of a name.
const NAME_CHARS: usize = 200;
/// Bytes of a path or of one option's value.
const TEXT_BYTES: usize = 4_096;
/// Words of a command, and their bytes in all. The kernel's own limit is above this.
const COMMAND_WORDS: usize = 4_096;
const COMMAND_BYTES: usize = 128 << 10;
/// Variables, and their bytes in all, names included.
const VARIABLES: usize = 1_000;
const VARIABLE_BYTES: usize = 256 << 10;
/// Directives.
const DIRECTIVES: usize = 200;
/// Five years, seconds.
const TIME_LIMIT_S: u64 = 5 * 366 * 24 * 3_600;

/// What the check must know beside the spec.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The clusters that exist, by name, with their integrations.
    pub clusters: BTreeMap<&'a str, &'a str>,
    /// The most bytes of a script.
    pub script_bytes_max: usize,
}

/// 422 with every field at fault, or nothing.
pub fn check(spec: &JobSpec, facts: &Facts<'_>) -> Result<(), Problem> {
    let mut fields = Fields::default();
    let integration = facts.clusters.get(spec.cluster.as_str()).copied();
    if integration.is_none() {
        fields.problem("spec.cluster", unknown_cluster(facts));
    }
    // Where the cluster is unknown, the rest is checked as for Slurm: stricter.
    let is_slurm = integration.is_none_or(|integration| integration == SLURM);
    name(&mut fields, spec);
    program(&mut fields, spec, is_slurm, facts.script_bytes_max);
    resources(&mut fields, &spec.resources);
    fields.within("spec.time_limit_s", spec.time_limit_s, 1, TIME_LIMIT_S);
    fields.path("spec.directory", spec.directory.as_deref());
    fields.path("spec.output.stdout", spec.output.stdout.as_deref());
    fields.path("spec.output.stderr", spec.output.stderr.as_deref());
    environment(&mut fields, &spec.environment);
    if let Some(options) = &spec.slurm {
        if is_slurm {
            slurm(&mut fields, options);
        } else if let Some(integration) = integration {
            let message = format!(
                "The cluster is of the kind `{integration}`, which has no Slurm options. Leave `slurm` out."
            );
            fields.problem("spec.slurm", message);
        }
    }
    problem(fields.found)
}

fn problem(details: Vec<Detail>) -> Result<(), Problem> {
    let message = match details.as_slice() {
        [] => return Ok(()),
        [only] => only.message.clone(),
        several => format!("{} fields are not valid.", several.len()),
    };
    let mut problem = Problem::new(Code::Invalid, message);
    problem.details = details;
    Err(problem)
}

fn unknown_cluster(facts: &Facts<'_>) -> String {
    let known: Vec<_> = facts.clusters.keys().copied().collect();
    match known.as_slice() {
        [] => "There is no such cluster; no cluster is known yet.".into(),
        known => format!("There is no such cluster. Known are: {}.", known.join(", ")),
    }
}

fn name(fields: &mut Fields, spec: &JobSpec) {
    let Some(name) = &spec.name else { return };
    if name.is_empty() {
        fields.problem("spec.name", "Must not be empty; leave it out instead.");
    }
    let chars = name.chars().count();
    if chars > NAME_CHARS {
        fields.problem(
            "spec.name",
            format!("Has {chars} characters; at most {NAME_CHARS} are allowed."),
        );
    }
    if name.chars().any(char::is_control) {
        fields.problem(
            "spec.name",
            "Must not hold line breaks or other control characters.",
        );
    }
}

fn program(fields: &mut Fields, spec: &JobSpec, is_slurm: bool, script_bytes_max: usize) {
    match (&spec.script, &spec.command) {
        (None, None) => fields.problem("spec.script", "Give either `script` or `command`."),
        (Some(_), Some(_)) => {
            fields.problem(
                "spec.script",
                "Give either `script` or `command`, not both.",
            );
        }
        _ => {}
    }
    if let Some(text) = &spec.script {
        script(fields, text, is_slurm, script_bytes_max);
    }
    if let Some(command) = &spec.command {
        let bytes: usize = command.iter().map(|word| word.len() + 1).sum();
        if command.first().is_none_or(String::is_empty) {
            fields.problem("spec.command", "Must name a program.");
        }
        if command.len() > COMMAND_WORDS || bytes > COMMAND_BYTES {
            let message = format!(
                "At most {COMMAND_WORDS} words and {COMMAND_BYTES} bytes are allowed; use `script`."
            );
            fields.problem("spec.command", message);
        }
        for (index, word) in command.iter().enumerate() {
            if word.contains('\0') {
                fields.problem(
                    format!("spec.command[{index}]"),
                    "Must not hold a NUL character.",
                );
            }
        }
    }
}

fn script(fields: &mut Fields, text: &str, is_slurm: bool, bytes_max: usize) {
    // The text itself is checked the same for all; only Slurm reads its directives.
    let error =
        BatchScript::parse_within(text.as_bytes().to_vec(), Policy::script(), bytes_max).err();
    match error {
        None => {}
        Some(ScriptError::Directives(errors)) => {
            for error in errors.iter().filter(|_| is_slurm) {
                fields.problem("spec.script", sentence(&error.to_string()));
            }
        }
        Some(error) => fields.problem("spec.script", sentence(&error.to_string())),
    }
}

fn resources(fields: &mut Fields, resources: &Resources) {
    let narrow = |count: Option<u32>| count.map(u64::from);
    fields.within("spec.resources.nodes", narrow(resources.nodes), 1, 100_000);
    fields.within(
        "spec.resources.tasks",
        narrow(resources.tasks),
        1,
        10_000_000,
    );
    fields.within(
        "spec.resources.cpus_per_task",
        narrow(resources.cpus_per_task),
        1,
        65_535,
    );
    fields.within(
        "spec.resources.memory_mib",
        resources.memory_mib,
        1,
        1 << 30,
    );
    fields.within("spec.resources.gpus", narrow(resources.gpus), 1, 1_000_000);
}

fn environment(fields: &mut Fields, variables: &BTreeMap<String, String>) {
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    if variables.len() > VARIABLES || bytes > VARIABLE_BYTES {
        let message = format!(
            "At most {VARIABLES} variables with {VARIABLE_BYTES} bytes in all are allowed."
        );
        fields.problem("spec.environment", message);
        return;
    }
    for (name, value) in variables {
        let mut bytes = name.bytes();
        let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let plain = bytes.next().is_some_and(first)
            && bytes.all(|byte| first(byte) || byte.is_ascii_digit());
        let field = format!("spec.environment.{}", name.escape_debug());
        if !plain {
            fields.problem(
                field,
                "A variable's name has letters, digits and `_`, and does not begin with a digit.",
            );
        } else if name.starts_with("SLURM_") || name.starts_with("SBATCH_") {
            fields.problem(
                field,
                "Variables of Slurm's own cannot be set; use `resources` and `slurm`.",
            );
        } else if value.contains('\0') {
            fields.problem(field, "Must not hold a NUL character.");
        }
    }
}

fn slurm(fields: &mut Fields, options: &SlurmOptions) {
    let texts = [
        ("partition", &options.partition),
        ("account", &options.account),
        ("qos", &options.qos),
        ("reservation", &options.reservation),
        ("constraint", &options.constraint),
        ("array", &options.array),
        ("dependency", &options.dependency),
        ("begin", &options.begin),
        ("gres", &options.gres),
        ("licenses", &options.licenses),
        ("nodelist", &options.nodelist),
        ("exclude", &options.exclude),
        ("mail_type", &options.mail_type),
        ("mail_user", &options.mail_user),
        ("comment", &options.comment),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            fields.line(format!("spec.slurm.{name}"), value);
        }
    }
    if let Some(nice) = options.nice
        && !(-2_147_483_645..=2_147_483_645).contains(&nice)
    {
        fields.problem(
            "spec.slurm.nice",
            "Must be between -2147483645 and 2147483645.",
        );
    }
    if options.directives.len() > DIRECTIVES {
        let message = format!("At most {DIRECTIVES} are allowed.");
        return fields.problem("spec.slurm.directives", message);
    }
    for (index, directive) in options.directives.iter().enumerate() {
        if directive.len() > TEXT_BYTES {
            fields.problem(format!("spec.slurm.directives[{index}]"), "Is too long.");
        }
    }
    if let Err(errors) = parse_directives(&options.directives, Policy::strict()) {
        for error in errors {
            let index = error.line.map_or(0, |line| line.saturating_sub(1));
            // The place is the field's; the message need not say it again.
            let message = forebay_slurm::options::DirectiveError {
                line: None,
                ..error
            }
            .to_string();
            fields.problem(
                format!("spec.slurm.directives[{index}]"),
                sentence(&message),
            );
        }
    }
}

/// Messages of the adapter begin small and end without a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    let mut sentence = first.unwrap_or_default() + chars.as_str();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}
