import assert from "node:assert/strict";
import { test } from "node:test";
import { type Row, apply, merge } from "../src/jobs";
import type { JobItem } from "../src/feed";

const row = (id: string, rev: number, state = "queued"): Row =>
  ({ id, rev, created_at: "", name: id, cluster: "hpc", limit: 60, status: { state } }) as unknown as Row;
const item = (id: string, rev: number, state: string) => ({ id, rev, status: { state } }) as unknown as JobItem;

test("the newer revision counts, whichever way it came", () => {
  const rows = [row("b", 2), row("a", 1)];
  const told = apply(rows, item("a", 3, "running"));
  assert.equal(told.rows[1]?.status.state, "running");
  assert.equal(told.rows[1]?.limit, 60, "what the feed does not tell stays");
  assert.equal(rows[1]?.rev, 1, "nothing is changed in place");
  assert.deepEqual(apply(told.rows, item("a", 2, "pending")).rows, told.rows);
  // A page that was fetched before that and came after it.
  const fetched = merge(told.rows, [row("c", 1), row("b", 5, "failed"), row("a", 2, "pending")]);
  assert.deepEqual(
    fetched.map((one) => `${one.id} ${one.status.state}`),
    ["c queued", "b failed", "a running"],
  );
  assert.equal(apply(rows, item("z", 1, "queued")).unknown, true);
});
