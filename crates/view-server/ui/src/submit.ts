// From the form's fields to what the API takes, and from its refusals back to the fields. Pure.
import { type Read, memory, readCount, readDuration, readEnvironment, readMemory, writeDuration } from "./format";
import type { JobSpec, Problem, SlurmOptions } from "./types";

/** What the fields hold, as text. */
export type Fields = Record<FieldName, string>;

export type FieldName =
  | "cluster"
  | "name"
  | "script"
  | "time"
  | "nodes"
  | "tasks"
  | "cpus"
  | "memory"
  | "gpus"
  | "directory"
  | "environment"
  | SlurmField;

export type SlurmField =
  | "partition"
  | "account"
  | "qos"
  | "reservation"
  | "constraint"
  | "array"
  | "dependency"
  | "begin"
  | "gres"
  | "mail_user"
  | "mail_type"
  | "directives";

/** What is wrong, by field; `form` for what is no field's. */
export type Wrong = Partial<Record<FieldName | "form", string>>;

export const TEMPLATE = `#!/bin/bash
set -euo pipefail

echo "Hello from $(hostname)"
for step in 1 2 3 4 5; do
    echo "step $step"
    sleep 1
done
`;

export const SLURM_FIELDS: { name: Exclude<SlurmField, "directives">; label: string; example: string }[] = [
  { name: "partition", label: "Partition", example: "the cluster's default" },
  { name: "account", label: "Account", example: "your default" },
  { name: "qos", label: "QOS", example: "your default" },
  { name: "reservation", label: "Reservation", example: "" },
  { name: "constraint", label: "Node features", example: "avx512" },
  { name: "gres", label: "Generic resources", example: "gpu:a100:2" },
  { name: "array", label: "Array", example: "0-9%2" },
  { name: "dependency", label: "Depends on", example: "afterok:123" },
  { name: "begin", label: "Not before", example: "now+1hour" },
  { name: "mail_user", label: "Mail to", example: "" },
  { name: "mail_type", label: "Mail at", example: "END,FAIL" },
];

/** Where the API's fields are in the form. */
const PLACES: [string, FieldName][] = [
  ["spec.cluster", "cluster"],
  ["spec.name", "name"],
  ["spec.script", "script"],
  ["spec.command", "script"],
  ["spec.time_limit_s", "time"],
  ["spec.resources.nodes", "nodes"],
  ["spec.resources.tasks", "tasks"],
  ["spec.resources.cpus_per_task", "cpus"],
  ["spec.resources.memory_mib", "memory"],
  ["spec.resources.gpus", "gpus"],
  ["spec.directory", "directory"],
  ["spec.environment", "environment"],
  ["spec.slurm.directives", "directives"],
  ...SLURM_FIELDS.map(({ name }): [string, FieldName] => [`spec.slurm.${name}`, name]),
];

export const ADVANCED: readonly FieldName[] = [
  "tasks",
  "gpus",
  "directory",
  "environment",
  "directives",
  ...SLURM_FIELDS.map(({ name }) => name),
];

export function empty(cluster: string): Fields {
  const fields = Object.fromEntries(PLACES.map(([, name]) => [name, ""])) as Fields;
  return { ...fields, cluster, script: TEMPLATE };
}

/** The job to hand in, or what is wrong with the fields. */
export function specOf(fields: Fields, slurm: boolean): { spec: JobSpec } | { wrong: Wrong } {
  const wrong: Wrong = {};
  const read = <T>(name: FieldName, by: (text: string) => Read<T>): T | undefined => {
    const { value, error } = by(fields[name]);
    if (error) wrong[name] = error;
    return value;
  };
  const text = (name: FieldName): string | undefined => fields[name].trim() || undefined;
  if (fields.cluster === "") wrong.cluster = "Choose a cluster.";
  if (fields.script.trim() === "") wrong.script = "Write what is to run, beginning with #!/bin/bash.";
  else if (!fields.script.startsWith("#!")) wrong.script = "The first line must say what runs it: #!/bin/bash.";
  const resources = plain({
    nodes: read("nodes", readCount),
    tasks: read("tasks", readCount),
    cpus_per_task: read("cpus", readCount),
    memory_mib: read("memory", readMemory),
    gpus: read("gpus", readCount),
  });
  const options: Partial<SlurmOptions> = plain(
    Object.fromEntries(SLURM_FIELDS.map(({ name }) => [name, text(name)])),
  );
  const directives = fields.directives
    .split("\n")
    .map((line) => line.replace(/^\s*#SBATCH\s+/, "").trim())
    .filter((line) => line !== "");
  if (directives.length > 0) options.directives = directives;
  const spec = plain({
    cluster: fields.cluster,
    name: text("name"),
    // As a browser's text area may have it otherwise: a shell knows no carriage return.
    script: fields.script.replaceAll("\r\n", "\n"),
    time_limit_s: read("time", readDuration),
    resources: Object.keys(resources).length > 0 ? resources : undefined,
    directory: text("directory"),
    environment: read("environment", readEnvironment),
    slurm: slurm && Object.keys(options).length > 0 ? options : undefined,
  }) as unknown as JobSpec;
  return Object.keys(wrong).length > 0 ? { wrong } : { spec };
}

function plain<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** A refusal by field. What names no field of the form is said above it. */
export function wrongOf({ message, details = [] }: Problem): Wrong {
  const wrong: Wrong = {};
  const others: string[] = [];
  for (const detail of details) {
    const place = PLACES.find(([path]) => detail.field === path || /^[.[]/.test(detail.field.slice(path.length)) && detail.field.startsWith(path));
    if (!place) others.push(detail.message);
    else wrong[place[1]] = wrong[place[1]] ? `${wrong[place[1]]} ${detail.message}` : detail.message;
  }
  if (others.length > 0) wrong.form = others.join(" ");
  else if (details.length === 0) wrong.form = message;
  return wrong;
}

/** The fields for a job that was handed in before. */
export function fieldsOf(spec: JobSpec): Fields {
  const { resources, slurm } = spec;
  const number = (value: number | null | undefined) => (value ? String(value) : "");
  const fields = empty(spec.cluster);
  for (const { name } of SLURM_FIELDS) fields[name] = slurm?.[name] ?? "";
  return {
    ...fields,
    name: spec.name ?? "",
    script: spec.script ?? `#!/bin/sh\nexec ${(spec.command ?? []).map(quoted).join(" ")}\n`,
    time: spec.time_limit_s ? writeDuration(spec.time_limit_s) : "",
    nodes: number(resources?.nodes),
    tasks: number(resources?.tasks),
    cpus: number(resources?.cpus_per_task),
    memory: resources?.memory_mib ? memory(resources.memory_mib) : "",
    gpus: number(resources?.gpus),
    directory: spec.directory ?? "",
    environment: Object.entries(spec.environment ?? {})
      .map(([name, value]) => `${name}=${value}`)
      .join("\n"),
    directives: (slurm?.directives ?? []).join("\n"),
  };
}

/** A word as a shell reads it back. */
function quoted(word: string): string {
  return /^[\w./=:,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
