import assert from "node:assert/strict";
import { test } from "node:test";
import { Feed, type Item, type Socket, Topic, type Watcher, socketUrl } from "../src/feed";
import { Time, settle } from "./world";

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: Record<string, unknown>[] = [];
  closed = false;

  send(text: string): void {
    assert.ok(!this.closed, "sent after it was closed");
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }

  close(): void {
    this.closed = true;
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  cut(code: number): void {
    this.onclose?.({ code });
  }
}

function world() {
  const time = new Time();
  const sockets: FakeSocket[] = [];
  let checked = 0;
  const feed = new Feed("ws://x/rt/v1/ws", {
    now: () => time.now(),
    random: () => time.random(),
    later: (then, ms) => time.later(then, ms),
    open: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket;
    },
    checkSession: () => {
      checked += 1;
    },
  });
  const last = () => {
    const socket = sockets.at(-1);
    assert.ok(socket);
    return socket;
  };
  return { time, sockets, feed, last, checked: () => checked };
}

class Seen implements Watcher {
  log: string[] = [];
  asking = 0;

  snapshot(items: Item[]): void {
    this.log.push(`snapshot ${items.map((item) => `${item.key}@${item.rev}`).join(",")}`);
  }

  delta(item: Item): void {
    const events = (item.body as { events?: { seq: number }[] } | null)?.events;
    const numbers = events ? ` [${events.map((event) => event.seq).join(",")}]` : "";
    this.log.push(`${item.body === null ? "gone " : ""}${item.key}@${item.rev}${numbers}`);
  }

  refused(problem: { code: string }): void {
    this.log.push(`refused ${problem.code}`);
  }

  instead(): () => void {
    this.asking += 1;
    return () => {
      this.asking -= 1;
    };
  }
}

const item = (key: string, rev: number, seqs?: number[]): Item => ({
  kind: "job",
  key,
  rev,
  body: seqs ? { events: seqs.map((seq) => ({ seq })) } : {},
});
const delta = (topic: string, cursor: string, of: Item) => ({ type: "delta", topic, cursor, ...of });
const snapshot = (topic: string, cursor: string, items: Item[]) => ({ type: "snapshot", topic, cursor, items });

test("a snapshot, then deltas; what is old is dropped", () => {
  const { feed, last } = world();
  const seen = new Seen();
  feed.watch("jobs", seen);
  last().onopen?.();
  assert.deepEqual(last().sent, [{ type: "subscribe", topic: "jobs" }]);
  last().say(snapshot("jobs", "1.1.1", [item("a", 3), item("b", 1)]));
  last().say(delta("jobs", "1.2.1", item("a", 4)));
  last().say(delta("jobs", "1.2.2", item("a", 3)));
  last().say(delta("jobs", "1.2.3", item("c", 1)));
  last().say(delta("jobs", "1.2.4", { ...item("b", 2), body: null }));
  assert.deepEqual(seen.log, ["snapshot a@3,b@1", "a@4", "c@1", "gone b@2"]);
  assert.equal(feed.way.value, "live");
  assert.equal(seen.asking, 0);
});

test("no event comes twice and none is missing", () => {
  const topic = new Topic();
  topic.snapshot("1", [item("j", 3, [1, 2, 3])]);
  const numbers = (of: Item | undefined) =>
    (of?.body as { events: { seq: number }[] } | undefined)?.events.map((event) => event.seq);
  assert.deepEqual(numbers(topic.delta("2", item("j", 4, [3, 4]))), [4]);
  assert.deepEqual(numbers(topic.delta("2", item("j", 4, [3, 4]))), []);
  assert.deepEqual(numbers(topic.delta("3", item("j", 6, [5, 6]))), [5, 6]);
  assert.equal(topic.delta("3", item("j", 5, [5])), undefined);
  assert.equal(topic.cursor, "3");
});

test("after a break each topic goes on behind its last cursor", async () => {
  const { feed, last, sockets, time } = world();
  const [jobs, one] = [new Seen(), new Seen()];
  feed.watch("jobs", jobs);
  feed.watch("job/j1", one);
  last().onopen?.();
  last().say(snapshot("jobs", "1.1.1", []));
  last().say(snapshot("job/j1", "1.1.2", [item("j1", 1, [1])]));
  last().say(delta("job/j1", "1.3.1", item("j1", 2, [2])));
  last().say({ type: "heartbeat", topic: "jobs", cursor: "1.4.0" });
  last().cut(1006);
  assert.equal(sockets.length, 1);
  await time.pass(1_000);
  assert.equal(sockets.length, 2);
  last().onopen?.();
  assert.deepEqual(last().sent, [
    { type: "subscribe", topic: "jobs", after: "1.4.0" },
    { type: "subscribe", topic: "job/j1", after: "1.3.1" },
  ]);
  last().say(delta("job/j1", "1.5.0", item("j1", 3, [2, 3])));
  assert.deepEqual(one.log, ["snapshot j1@1", "j1@2 [2]", "j1@3 [3]"]);
  // A short break is none for whoever watches.
  assert.equal(one.asking, 0);
  // A heartbeat of the whole connection is good for all topics.
  last().say({ type: "heartbeat", cursor: "1.9.0" });
  last().cut(1001);
  await time.pass(500);
  last().onopen?.();
  assert.deepEqual(
    last().sent.map((command) => command["after"]),
    ["1.9.0", "1.9.0"],
  );
});

test("while realtime is away the view-server is asked, and the socket is tried ever more seldom", async () => {
  const { feed, last, sockets, time } = world();
  const seen = new Seen();
  feed.watch("jobs", seen);
  last().cut(1006);
  assert.equal(feed.way.value, "asking");
  assert.equal(seen.asking, 1);
  const late = new Seen();
  const stop = feed.watch("job/j1", late);
  assert.equal(late.asking, 1);
  const times: number[] = [];
  for (let tries = 0; tries < 12; tries += 1) {
    const before = sockets.length;
    let waited = 0;
    while (sockets.length === before) {
      await time.pass(250);
      waited += 250;
    }
    times.push(waited);
    last().cut(1006);
  }
  assert.ok((times[0] ?? 0) <= 1_000, `${times}`);
  assert.ok((times.at(-1) ?? 0) > 10_000 && Math.max(...times) <= 30_250, `${times}`);
  assert.equal(seen.asking, 1, "asked by one, however often it failed");
  stop();
  assert.equal(late.asking, 0);
  await time.pass(31_000);
  last().onopen?.();
  last().say(snapshot("jobs", "1.1.1", []));
  assert.equal(feed.way.value, "live");
  assert.equal(seen.asking, 0);
});

test("a silent socket is given up, and so is one that never opens", async () => {
  const { feed, last, sockets, time } = world();
  const seen = new Seen();
  feed.watch("jobs", seen);
  await time.pass(2_500);
  assert.equal(feed.way.value, "asking", "no answer yet: asked meanwhile");
  const first = last();
  first.onopen?.();
  first.say(snapshot("jobs", "1.1.1", []));
  await time.pass(44_000);
  first.say({ type: "heartbeat", cursor: "1.1.2" });
  await time.pass(44_000);
  assert.equal(sockets.length, 1);
  await time.pass(3_000);
  assert.ok(first.closed);
  assert.equal(sockets.length, 2);
  // What the old one still says counts for nothing.
  first.say(delta("jobs", "9.9.9", item("ghost", 1)));
  assert.ok(!seen.log.includes("ghost@1"));
});

test("a topic that is refused, and a session that has ended", async () => {
  const { feed, last, time, checked } = world();
  const seen = new Seen();
  feed.watch("job/j1", seen);
  last().onopen?.();
  last().say({ type: "problem", topic: "job/j1", problem: { code: "not_found", message: "no" } });
  assert.deepEqual(seen.log, ["refused not_found"]);
  feed.watch("jobs", new Seen());
  last().cut(1008);
  assert.equal(checked(), 1);
  await time.pass(60_000);
});

test("nothing is left when it is closed", async () => {
  const { feed, last, time } = world();
  const seen = new Seen();
  feed.watch("jobs", seen);
  last().cut(1006);
  feed.close();
  assert.equal(seen.asking, 0);
  await time.pass(120_000);
  await settle();
  assert.equal(time.waiting, 0);
  assert.ok(last().closed);
});

test("what is no message ends the connection and not the page", () => {
  const { feed, last } = world();
  feed.watch("jobs", new Seen());
  last().onopen?.();
  last().onmessage?.({ data: "{" });
  assert.ok(last().closed);
});

test("where the socket is", () => {
  assert.equal(socketUrl(undefined, "https://portal"), "wss://portal/rt/v1/ws");
  assert.equal(socketUrl("http://127.0.0.1:5001/", "http://x"), "ws://127.0.0.1:5001/rt/v1/ws");
});
