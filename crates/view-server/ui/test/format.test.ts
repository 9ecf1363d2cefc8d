import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../src/format";
import { href } from "../src/router";
import { GROUPS, STATES, isEnd } from "../src/states";

test("durations and sizes", () => {
  const durations: [number, string][] = [
    [-3, "0 s"],
    [59.9, "59 s"],
    [60, "1 min"],
    [185, "3 min 05 s"],
    [7620, "2 h 07 min"],
    [7200, "2 h"],
    [273_600, "3 d 4 h"],
    [86_400, "1 d"],
  ];
  for (const [seconds, expected] of durations) assert.equal(format.duration(seconds), expected);
  assert.equal(format.bytes(0), "0 B");
  assert.equal(format.bytes(3500), "3.4 KiB");
  assert.equal(format.bytes(1 << 30), "1.0 GiB");
  assert.equal(format.bytes(300 << 20), "300 MiB");
  assert.equal(format.memory(4096), "4 GiB");
  assert.equal(format.memory(1500), "1500 MiB");
});

test("moments", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  const before = (seconds: number) => new Date(now - seconds * 1000).toISOString();
  assert.equal(format.ago(before(3), now), "just now");
  assert.equal(format.ago(before(42), now), "42 s ago");
  assert.equal(format.ago(before(300), now), "5 min ago");
  assert.equal(format.ago(before(7300), now), "2 h ago");
  assert.equal(format.between("2026-03-01T12:00:00Z", "2026-03-01T12:01:00.5Z"), 60.5);
  assert.equal(format.date("nonsense"), "nonsense");
});

test("what people write for times", () => {
  const good: [string, number | undefined][] = [
    ["", undefined],
    ["90", 5400],
    ["30m", 1800],
    ["2 h", 7200],
    ["1h30m", 5400],
    ["1d", 86_400],
    ["90s", 90],
    ["10:30", 630],
    ["1:30:00", 5400],
    ["2-12", 216_000],
    ["1-0:30", 88_200],
    ["1-02:03:04", 93_784],
  ];
  for (const [text, expected] of good) assert.deepEqual(format.readDuration(text), expected ? { value: expected } : {}, text);
  for (const bad of ["0", "x", "1:2:3:4", "-5", "1.5h", "h", "1h x", "9".repeat(30)]) {
    assert.ok(format.readDuration(bad).error, bad);
  }
  for (const seconds of [90, 1800, 5400, 86_400]) {
    assert.equal(format.readDuration(format.writeDuration(seconds)).value, seconds);
  }
});

test("what people write for memory, counts and variables", () => {
  const good: [string, number][] = [
    ["512", 512],
    ["512M", 512],
    ["4 GiB", 4096],
    ["1.5g", 1536],
    ["1T", 1_048_576],
    ["2048k", 2],
    ["4gb", 4096],
  ];
  for (const [text, expected] of good) assert.deepEqual(format.readMemory(text), { value: expected }, text);
  for (const bad of ["0", "-1", "4X", "G", "1e3"]) assert.ok(format.readMemory(bad).error, bad);
  assert.deepEqual(format.readCount(" 3 "), { value: 3 });
  for (const bad of ["0", "-1", "1.5", "x"]) assert.ok(format.readCount(bad).error, bad);
  assert.deepEqual(format.readEnvironment("A=1\n\nB_2=x=y \n"), { value: { A: "1", B_2: "x=y " } });
  assert.deepEqual(format.readEnvironment(" \n"), {});
  for (const bad of ["A", "=1", "A B=1", "1A=2"]) assert.ok(format.readEnvironment(bad).error, bad);
});

test("reasons and ends in words", () => {
  assert.match(format.reason("Priority"), /higher priority.*\(Priority\)/);
  assert.match(format.reason("ReqNodeNotAvail, UnavailableNodes:n1"), /down, drained.*n1\)/);
  assert.equal(format.reason("Cancelled by uid 1000."), "Cancelled by uid 1000.");
  assert.equal(format.exit(3, null), "exit code 3");
  assert.equal(format.exit(0, 9), "ended by signal 9 (KILL)");
  assert.equal(format.exit(0, 60), "ended by signal 60");
});

test("each state but a draft is in one group", () => {
  const grouped = GROUPS.flatMap((group) => group.states);
  assert.deepEqual([...grouped, "draft"].sort(), [...STATES].sort());
  assert.ok(isEnd("lost") && !isEnd("ending"));
});

test("addresses leave out what is empty", () => {
  assert.equal(href("/", { state: "", name: undefined }), "/");
  assert.equal(href("/", { state: "running,ending", name: "a b&c" }), "/?state=running,ending&name=a+b%26c");
});
