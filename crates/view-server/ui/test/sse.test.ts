import assert from "node:assert/strict";
import { test } from "node:test";
import { type Outside, Parser, type ServerEvent, follow } from "../src/sse";
import { Time, settle } from "./world";

test("events in pieces of any size", () => {
  const text = ": hello\n\nid: 1\nevent: log\ndata: {\"a\":1}\n\ndata: two\r\ndata:lines\r\n\r\nid: 3\ndata\n\nevent: none\n\n";
  const whole = new Parser().push(text);
  assert.deepEqual(whole, [
    { event: "log", data: '{"a":1}', id: "1" },
    { event: "message", data: "two\nlines", id: "1" },
    { event: "message", data: "", id: "3" },
  ]);
  for (let size = 1; size < 12; size += 1) {
    const parser = new Parser();
    const found: ServerEvent[] = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(found, whole, `${size} at a time`);
  }
});

interface Connection {
  url: string;
  push(text: string): void;
  end(): void;
  aborted: boolean;
}

function world() {
  const time = new Time();
  const connections: Connection[] = [];
  let visible = true;
  const watchers = new Set<() => void>();
  let answer: ((url: string) => Response | undefined) | undefined;
  const env: Outside = {
    now: () => time.now(),
    random: () => time.random(),
    later: (then, ms) => time.later(then, ms),
    fetch: async (url, init) => {
      const given = answer?.(url);
      if (given) return given;
      let control: ReadableStreamDefaultController<Uint8Array> | undefined;
      const body = new ReadableStream<Uint8Array>({
        start: (given) => {
          control = given;
        },
      });
      const connection: Connection = {
        url,
        aborted: false,
        push: (text) => control?.enqueue(new TextEncoder().encode(text)),
        end: () => control?.close(),
      };
      init.signal?.addEventListener("abort", () => {
        connection.aborted = true;
        control?.error(new Error("aborted"));
      });
      connections.push(connection);
      return new Response(body);
    },
    visible: () => visible,
    whenVisible: (then) => {
      watchers.add(then);
      return () => watchers.delete(then);
    },
  };
  const show = (now: boolean) => {
    visible = now;
    for (const watcher of watchers) watcher();
  };
  const last = () => {
    const connection = connections.at(-1);
    assert.ok(connection);
    return connection;
  };
  return { time, env, connections, last, show, refuse: (by: (url: string) => Response | undefined) => (answer = by) };
}

function start(env: Outside, isLast: (event: ServerEvent) => boolean = () => false) {
  const seen: string[] = [];
  const states: string[] = [];
  const stop = follow(
    {
      url: (after) => `/x?after=${after ?? 0}`,
      onEvent: (event) => {
        seen.push(`${event.id}:${event.data}`);
        return isLast(event);
      },
      onState: (running) => states.push(running ? "running" : "waiting"),
      onEnd: (problem) => states.push(`end ${problem?.code ?? ""}`.trim()),
    },
    env,
  );
  return { seen, states, stop };
}

test("goes on behind the last event after a break", async () => {
  const { env, last, connections, time } = world();
  const { seen, states, stop } = start(env);
  await settle();
  last().push("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: not who");
  await settle();
  last().end();
  await time.pass(1_000);
  assert.deepEqual(
    connections.map((connection) => connection.url),
    ["/x?after=0", "/x?after=2"],
  );
  last().push("id: 3\ndata: c\n\n");
  await settle();
  assert.deepEqual(seen, ["1:a", "2:b", "3:c"]);
  assert.deepEqual(states, ["running", "waiting", "running"]);
  stop();
  assert.ok(last().aborted);
  await time.pass(60_000);
  assert.equal(connections.length, 2);
});

test("ends with the last event", async () => {
  const { env, last, connections, time } = world();
  const { seen, states } = start(env, (event) => event.data === "end");
  await settle();
  last().push("id: 1\ndata: a\n\nid: 2\ndata: end\n\nid: 3\ndata: never\n\n");
  await time.pass(60_000);
  assert.deepEqual(seen, ["1:a", "2:end"]);
  assert.deepEqual(states, ["running", "end"]);
  assert.equal(connections.length, 1);
});

test("a refusal ends it, and what may come back is waited for", async () => {
  const { env, refuse, time } = world();
  const problem = (status: number, code: string) => Response.json({ code, message: "no" }, { status });
  let asked = 0;
  refuse(() => {
    asked += 1;
    return asked < 4 ? problem(503, "unavailable") : problem(404, "not_found");
  });
  const { states } = start(env);
  await time.pass(60_000);
  assert.equal(asked, 4);
  assert.deepEqual(states, ["waiting", "waiting", "waiting", "end not_found"]);
});

test("silence and a page that nobody sees", async () => {
  const { env, last, connections, show, time } = world();
  const { stop } = start(env);
  await settle();
  last().push(": alive\n\n");
  await time.pass(44_000);
  last().push(": alive\n\n");
  await time.pass(44_000);
  assert.equal(connections.length, 1);
  await time.pass(2_000);
  assert.ok(connections[0]?.aborted);
  assert.equal(connections.length, 2);
  show(false);
  await time.pass(4_000);
  assert.ok(!last().aborted, "a glance elsewhere changes nothing");
  await time.pass(60_000);
  assert.ok(last().aborted);
  assert.equal(connections.length, 2);
  show(true);
  await settle();
  assert.equal(connections.length, 3);
  stop();
});
