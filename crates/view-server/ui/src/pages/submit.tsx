// Handing in a script. What is refused is said at its field.
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused, get, newKey } from "../api";
import { Skeleton, useTitle } from "../parts/basics";
import { go } from "../router";
import { clusters } from "../session";
import { useSignal } from "../signal";
import { ADVANCED, type FieldName, type Fields, SLURM_FIELDS, type Wrong, empty, fieldsOf, specOf, wrongOf } from "../submit";
import { failed, note } from "../toast";
import type { Cluster, Job } from "../types";

export function SubmitPage({ from }: { from: string | null }) {
  useTitle("Submit a job");
  const known = useSignal(clusters);
  const [before, setBefore] = useState<Fields | undefined>();
  useEffect(() => {
    if (!from) return;
    get<Job>(`/api/v1/jobs/${encodeURIComponent(from)}`)
      .then((job) => setBefore(fieldsOf(job.spec)))
      .catch((error: unknown) => {
        failed(error);
        go("/submit", true);
      });
  }, [from]);
  if (!known || (from && !before)) return <Skeleton lines={10} />;
  const first = known.find((cluster) => cluster.status.freshness === "live") ?? known[0];
  return <Form known={known} begin={before ?? empty(first?.name ?? "")} />;
}

function Form({ known, begin }: { known: Cluster[]; begin: Fields }) {
  const [fields, setFields] = useState(begin);
  const [wrong, setWrong] = useState<Wrong>({});
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const advanced = useRef<HTMLDetailsElement>(null);
  // The same job sent twice, by two clicks or after a break, is one job.
  const key = useRef({ of: "", key: "" });
  const cluster = known.find((one) => one.name === fields.cluster);
  const slurm = cluster?.integration !== "local";

  const set = (name: FieldName, text: string) => {
    setFields((now) => ({ ...now, [name]: text }));
    if (wrong[name]) setWrong(({ [name]: _, ...others }) => others);
  };
  const refuse = (now: Wrong) => {
    setWrong(now);
    if (advanced.current && ADVANCED.some((name) => now[name])) advanced.current.open = true;
    // Once it is drawn, the first of them is where one goes on.
    setTimeout(() => form.current?.querySelector<HTMLElement>("[aria-invalid], .notice.bad")?.focus());
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    const made = specOf(fields, slurm);
    if ("wrong" in made) return refuse(made.wrong);
    setWrong({});
    setBusy(true);
    const body = { spec: made.spec };
    const text = JSON.stringify(body);
    if (key.current.of !== text) key.current = { of: text, key: newKey() };
    try {
      const headers = { "idempotency-key": key.current.key };
      const job = await get<Job>("/api/v1/jobs", { method: "POST", body, headers });
      note("The job was handed in.");
      go(`/jobs/${job.id}`);
    } catch (error) {
      setBusy(false);
      if (error instanceof Refused && [400, 413, 422].includes(error.status)) refuse(wrongOf(error.problem));
      else failed(error);
    }
  };
  const field = { fields, wrong, set };

  return (
    <form ref={form} onSubmit={submit} noValidate class="submit" aria-busy={busy}>
      <div class="title">
        <h1>Submit a job</h1>
      </div>
      {known.length === 0 && <p class="notice">No cluster is known yet. Whoever runs this installation adds the first one.</p>}
      {wrong.form && (
        <p class="notice bad" role="alert" tabIndex={-1}>
          {wrong.form}
        </p>
      )}
      <div class="two">
        <div class="wide">
          <div class="card">
            <div class="field">
              <label for="script">Script</label>
              <textarea
                id="script"
                class="code"
                rows={18}
                spellcheck={false}
                autoCapitalize="off"
                value={fields.script}
                onInput={(event) => set("script", event.currentTarget.value)}
                {...invalid("script", wrong)}
              />
              <Said name="script" wrong={wrong} />
              <p class="help">
                It runs as your own account. Its <code>#SBATCH</code> lines are read; the other fields come first.
              </p>
            </div>
          </div>
        </div>
        <div class="narrow">
          <div class="card">
            <div class="field">
              <label for="cluster">Cluster</label>
              <select
                id="cluster"
                value={fields.cluster}
                onChange={(event) => set("cluster", event.currentTarget.value)}
                {...invalid("cluster", wrong)}
              >
                {fields.cluster === "" && <option value="">Choose one</option>}
                {known.map(({ name, status }) => (
                  <option key={name} value={name}>
                    {name}
                    {status.freshness === "live" ? "" : " (does not answer)"}
                  </option>
                ))}
              </select>
              <Said name="cluster" wrong={wrong} />
              {cluster && cluster.status.freshness !== "live" && (
                <p class="help">It does not answer at present. The job waits until it does.</p>
              )}
            </div>
            <Line name="name" label="Name" example="my first job" {...field} />
            <div class="pair">
              <Line name="time" label="Time limit" example="30m, 2h, 1d" {...field} />
              <Line name="nodes" label="Nodes" example="1" numeric {...field} />
            </div>
            <div class="pair">
              <Line name="cpus" label="Cores a task" example="1" numeric {...field} />
              <Line name="memory" label="Memory a node" example="4 GiB" {...field} />
            </div>
            <details ref={advanced}>
              <summary>Advanced options</summary>
              <div class="pair">
                <Line name="tasks" label="Tasks" example="1" numeric {...field} />
                <Line name="gpus" label="GPUs" example="0" numeric {...field} />
              </div>
              <Line name="directory" label="Directory" example="your home" {...field} />
              <Lines name="environment" label="Environment" example={"NAME=value\nOTHER=value"} {...field} />
              {slurm && (
                <>
                  {SLURM_FIELDS.map(({ name, label, example }) => (
                    <Line key={name} name={name} label={label} example={example} list={name === "partition" ? partitions(cluster) : []} {...field} />
                  ))}
                  <Lines
                    name="directives"
                    label="Other options of sbatch"
                    example={"--ntasks-per-node=4\n--exclude=n3"}
                    help="One on each line, as sbatch has them."
                    {...field}
                  />
                </>
              )}
            </details>
            <button type="submit" class="primary wide-button" disabled={busy}>
              {busy ? "Handing it in…" : "Submit"}
            </button>
          </div>
        </div>
      </div>
    </form>
  );
}

function partitions(cluster: Cluster | undefined): string[] {
  return (cluster?.status.partitions ?? []).map((partition) => partition.name);
}

function invalid(name: FieldName, wrong: Wrong) {
  return wrong[name] ? { "aria-invalid": true as const, "aria-describedby": `${name}-wrong` } : {};
}

function Said({ name, wrong }: { name: FieldName; wrong: Wrong }) {
  return wrong[name] ? (
    <p class="wrong" id={`${name}-wrong`}>
      {wrong[name]}
    </p>
  ) : null;
}

interface FieldProps {
  name: FieldName;
  label: string;
  example: string;
  fields: Fields;
  wrong: Wrong;
  set: (name: FieldName, text: string) => void;
}

function Line({ name, label, example, fields, wrong, set, numeric, list = [] }: FieldProps & { numeric?: boolean; list?: string[] }) {
  return (
    <div class="field">
      <label for={name}>{label}</label>
      <input
        id={name}
        type="text"
        inputMode={numeric ? "numeric" : "text"}
        autoComplete="off"
        autoCapitalize="off"
        spellcheck={false}
        placeholder={example}
        value={fields[name]}
        list={list.length > 0 ? `${name}-list` : undefined}
        onInput={(event) => set(name, event.currentTarget.value)}
        {...invalid(name, wrong)}
      />
      {list.length > 0 && (
        <datalist id={`${name}-list`}>
          {list.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
      <Said name={name} wrong={wrong} />
    </div>
  );
}

function Lines({ name, label, example, help, fields, wrong, set }: FieldProps & { help?: string }) {
  return (
    <div class="field">
      <label for={name}>{label}</label>
      <textarea
        id={name}
        class="code"
        rows={3}
        spellcheck={false}
        autoCapitalize="off"
        placeholder={example}
        value={fields[name]}
        onInput={(event) => set(name, event.currentTarget.value)}
        {...invalid(name, wrong)}
      />
      <Said name={name} wrong={wrong} />
      {help && <p class="help">{help}</p>}
    </div>
  );
}
