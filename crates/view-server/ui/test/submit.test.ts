import assert from "node:assert/strict";
import { test } from "node:test";
import { empty, fieldsOf, specOf, wrongOf } from "../src/submit";
import type { JobSpec, Problem } from "../src/types";

const good = (fields: Parameters<typeof specOf>[0], slurm = true): JobSpec => {
  const made = specOf(fields, slurm);
  assert.ok("spec" in made, JSON.stringify(made));
  return made.spec;
};

test("only what was filled in is sent", () => {
  const fields = { ...empty("hpc"), script: "#!/bin/sh\r\ntrue\r\n" };
  assert.deepEqual(good(fields), { cluster: "hpc", script: "#!/bin/sh\ntrue\n" });
  const full = {
    ...fields,
    name: " x ",
    time: "1h",
    nodes: "2",
    cpus: "4",
    memory: "4G",
    environment: "A=1",
    partition: "gpu",
    directives: "#SBATCH --nice=5\n\n -x n3 ",
  };
  const spec = {
    cluster: "hpc",
    name: "x",
    script: "#!/bin/sh\ntrue\n",
    time_limit_s: 3600,
    resources: { nodes: 2, cpus_per_task: 4, memory_mib: 4096 },
    environment: { A: "1" },
    slurm: { partition: "gpu", directives: ["--nice=5", "-x n3"] },
  };
  assert.deepEqual(good(full), spec);
  assert.equal(good(full, false).slurm, undefined, "another kind of cluster has no such options");
  // Handed in again, it is the same.
  assert.deepEqual(good(fieldsOf(spec as unknown as JobSpec)), spec);
});

test("what cannot be read is said at its field", () => {
  const made = specOf({ ...empty(""), script: "echo", time: "soon", nodes: "-1", environment: "x" }, true);
  assert.ok("wrong" in made);
  assert.deepEqual(Object.keys(made.wrong).sort(), ["cluster", "environment", "nodes", "script", "time"]);
});

test("refusals are shown at their fields", () => {
  const refused = (details: { field: string; message: string }[]) =>
    wrongOf({ code: "invalid", message: "2 fields are not valid.", details } as unknown as Problem);
  const detail = (field: string) => ({ field, message: field });
  assert.deepEqual(
    refused(["spec.time_limit_s", "spec.slurm.directives[1]", "spec.environment.SBATCH_WAIT", "spec.name"].map(detail)),
    {
      time: "spec.time_limit_s",
      directives: "spec.slurm.directives[1]",
      environment: "spec.environment.SBATCH_WAIT",
      name: "spec.name",
    },
  );
  assert.deepEqual(refused(["spec.names", "spec.slurm"].map(detail)), { form: "spec.names spec.slurm" });
  assert.deepEqual(refused([]), { form: "2 fields are not valid." });
});

test("a command becomes a script that runs the same", () => {
  const { script } = fieldsOf({ cluster: "c", command: ["printf", "%s", "it's", "a b"] } as unknown as JobSpec);
  assert.equal(script, "#!/bin/sh\nexec printf %s 'it'\\''s' 'a b'\n");
});
