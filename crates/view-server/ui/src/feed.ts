// What changes, as it changes: one WebSocket to realtime for the whole page.
//
// A topic begins with a snapshot and goes on with deltas. After a break each topic is resumed
// behind its last cursor. The same may come twice: an older revision of an object and an event
// whose number was seen are dropped here. While realtime cannot be reached, whoever watches a topic
// asks the view-server instead (`instead`), and the socket is tried again.
import { Signal } from "./signal";
import type { Event, JobStatus, Problem } from "./types";
import { type Env, backoff, real } from "./wait";

/** An object of a topic; a `body` of null says that it is gone. */
export interface Item {
  kind: string;
  key: string;
  rev: number;
  body: unknown;
}

/** A job as feeds show it. */
export interface JobItem {
  id: string;
  rev: number;
  created_at: string;
  cluster: string;
  name?: string;
  status: JobStatus;
  events?: Event[];
}

export interface Watcher {
  /** Replaces all that was known of the topic. */
  snapshot(items: Item[]): void;
  delta(item: Item): void;
  /** There is no such topic for us. */
  refused?(problem: Problem): void;
  /** Begins to ask the view-server; the answer ends that. */
  instead(): () => void;
}

type Message =
  | { type: "snapshot"; topic: string; cursor: string; items: Item[] }
  | ({ type: "delta"; topic: string; cursor: string } & Item)
  | { type: "heartbeat"; topic?: string; cursor?: string }
  | { type: "problem"; topic?: string; problem: Problem };

export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface Wires extends Env {
  open(url: string): Socket;
  /** The socket was closed for want of a session: asks whether there still is one. */
  checkSession(): void;
}

/** How the page stands to realtime. */
export type Way = "connecting" | "live" | "asking";

const SILENCE_MS = 45_000;
/** So long a break is not worth another way. */
const GRACE_MS = 2_000;
const STOPPING = 1001;
const NO_RIGHTS = 1008;
/** Objects remembered by their revision, for each topic. */
const REVISIONS_MAX = 10_000;

/** What is known of a topic. */
export class Topic {
  cursor: string | undefined;
  private readonly revisions = new Map<string, number>();
  private readonly numbers = new Map<string, number>();

  /** All of it anew. */
  snapshot(cursor: string, items: Item[]): Item[] {
    this.cursor = cursor;
    this.revisions.clear();
    this.numbers.clear();
    for (const item of items) this.note(item);
    return items;
  }

  /** What is new of it; nothing if it was known. */
  delta(cursor: string, item: Item): Item | undefined {
    this.cursor = cursor;
    const known = this.revisions.get(key(item));
    if (known !== undefined && item.rev < known) return undefined;
    const seen = this.numbers.get(key(item)) ?? 0;
    const events = eventsOf(item);
    this.note(item);
    if (!events) return item;
    const fresh = events.filter((event) => event.seq > seen);
    return { ...item, body: { ...(item.body as object), events: fresh } };
  }

  private note(item: Item): void {
    this.revisions.set(key(item), item.rev);
    const last = eventsOf(item)?.at(-1)?.seq;
    if (last !== undefined) this.numbers.set(key(item), Math.max(last, this.numbers.get(key(item)) ?? 0));
    if (this.revisions.size > REVISIONS_MAX) {
      const [oldest] = this.revisions.keys();
      if (oldest !== undefined) {
        this.revisions.delete(oldest);
        this.numbers.delete(oldest);
      }
    }
  }
}

const key = (item: Item) => `${item.kind}/${item.key}`;

function eventsOf(item: Item): Event[] | undefined {
  const events = (item.body as { events?: Event[] } | null)?.events;
  return Array.isArray(events) ? events : undefined;
}

interface Watched {
  topic: Topic;
  watchers: Map<Watcher, (() => void) | undefined>;
}

export class Feed {
  readonly way = new Signal<Way>("connecting");
  /** When something was last heard, by this way or another. */
  readonly heard = new Signal<number>(0);
  private readonly topics = new Map<string, Watched>();
  private socket: Socket | undefined;
  private isOpen = false;
  private failures = 0;
  private cancelRetry: (() => void) | undefined;
  private cancelSilence: (() => void) | undefined;
  private cancelGrace: (() => void) | undefined;

  constructor(
    private readonly url: string,
    private readonly wires: Wires,
  ) {}

  /** Watches a topic; the answer ends that. */
  watch(name: string, watcher: Watcher): () => void {
    const watched = this.topics.get(name) ?? { topic: new Topic(), watchers: new Map() };
    this.topics.set(name, watched);
    watched.watchers.set(watcher, this.way.value === "asking" ? watcher.instead() : undefined);
    // Also for a topic that is watched already: the new watcher needs a snapshot.
    watched.topic.cursor = undefined;
    if (this.isOpen) this.subscribe(name, watched);
    else if (!this.cancelRetry) this.connect();
    return () => {
      watched.watchers.get(watcher)?.();
      watched.watchers.delete(watcher);
      if (watched.watchers.size > 0 || this.topics.get(name) !== watched) return;
      this.topics.delete(name);
      if (this.isOpen) this.socket?.send(JSON.stringify({ type: "unsubscribe", topic: name }));
    };
  }

  /** Something was heard by another way. */
  note(): void {
    this.heard.value = this.wires.now();
  }

  /** The network is back, or somebody looks again: no need to wait. */
  hurry(): void {
    if (!this.socket) this.connect();
  }

  /** Ends it, for good. */
  close(): void {
    for (const watched of this.topics.values()) for (const end of watched.watchers.values()) end?.();
    this.topics.clear();
    this.cancelRetry?.();
    this.cancelGrace?.();
    this.drop();
  }

  private connect(): void {
    if (this.socket || this.topics.size === 0) return;
    this.cancelRetry?.();
    this.cancelRetry = undefined;
    if (this.way.value !== "asking") this.cancelGrace ??= this.wires.later(() => this.askInstead(), GRACE_MS);
    let socket: Socket;
    try {
      socket = this.wires.open(this.url);
    } catch {
      return this.retry(0);
    }
    this.socket = socket;
    this.listen();
    socket.onopen = () => {
      if (socket !== this.socket) return;
      this.isOpen = true;
      for (const [name, watched] of this.topics) this.subscribe(name, watched);
    };
    socket.onmessage = (event) => {
      if (socket === this.socket) this.receive(event.data);
    };
    socket.onclose = ({ code }) => {
      if (socket === this.socket) this.lost(code);
    };
  }

  private subscribe(name: string, watched: Watched): void {
    const after = watched.topic.cursor;
    this.socket?.send(JSON.stringify({ type: "subscribe", topic: name, ...(after ? { after } : {}) }));
  }

  private listen(): void {
    this.cancelSilence?.();
    this.cancelSilence = this.wires.later(() => this.lost(0), SILENCE_MS);
  }

  private receive(data: unknown): void {
    let message: Message;
    try {
      message = JSON.parse(String(data)) as Message;
    } catch {
      return this.lost(0);
    }
    this.listen();
    this.note();
    if (message.type !== "problem") this.live();
    switch (message.type) {
      case "snapshot": {
        const watched = this.topics.get(message.topic);
        const items = watched?.topic.snapshot(message.cursor, message.items) ?? [];
        for (const watcher of [...(watched?.watchers.keys() ?? [])]) watcher.snapshot(items);
        break;
      }
      case "delta": {
        const watched = this.topics.get(message.topic);
        const { kind, key, rev, body } = message;
        const item = watched?.topic.delta(message.cursor, { kind, key, rev, body });
        if (item) for (const watcher of [...(watched?.watchers.keys() ?? [])]) watcher.delta(item);
        break;
      }
      case "heartbeat":
        for (const [name, watched] of this.topics) {
          const isMeant = message.topic === undefined || message.topic === name;
          // Of a topic that is being begun anew it says nothing.
          if (isMeant && message.cursor && watched.topic.cursor) watched.topic.cursor = message.cursor;
        }
        break;
      case "problem":
        this.refused(message.topic, message.problem);
        break;
    }
  }

  private refused(name: string | undefined, problem: Problem): void {
    if (name === undefined) {
      if (problem.code === "unauthenticated") this.wires.checkSession();
      return;
    }
    const watched = this.topics.get(name);
    this.topics.delete(name);
    for (const [watcher, end] of watched?.watchers ?? []) {
      end?.();
      watcher.refused?.(problem);
    }
  }

  private live(): void {
    this.failures = 0;
    this.cancelGrace?.();
    this.cancelGrace = undefined;
    if (this.way.value === "live") return;
    this.way.value = "live";
    for (const watched of this.topics.values()) {
      for (const [watcher, end] of watched.watchers) {
        end?.();
        watched.watchers.set(watcher, undefined);
      }
    }
  }

  private askInstead(): void {
    this.cancelGrace?.();
    this.cancelGrace = undefined;
    if (this.way.value === "asking") return;
    this.way.value = "asking";
    for (const watched of this.topics.values()) {
      for (const [watcher, end] of watched.watchers) watched.watchers.set(watcher, end ?? watcher.instead());
    }
  }

  private lost(code: number): void {
    const wasLive = this.way.value === "live";
    this.drop();
    if (code === NO_RIGHTS) this.wires.checkSession();
    if (!wasLive) this.askInstead();
    else {
      this.way.value = "connecting";
      this.cancelGrace ??= this.wires.later(() => this.askInstead(), GRACE_MS);
    }
    this.retry(code);
  }

  private retry(code: number): void {
    if (this.topics.size === 0) return;
    // Who stops comes back: at once, but not everybody at the same moment.
    const wait = code === STOPPING ? this.wires.random() * 500 : backoff(this.failures, this.wires);
    this.failures += 1;
    this.cancelRetry?.();
    this.cancelRetry = this.wires.later(() => this.connect(), wait);
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = undefined;
    this.isOpen = false;
    this.cancelSilence?.();
    socket?.close();
  }
}

/** Where the socket is: realtime's own origin, or the page's. */
export function socketUrl(realtime: string | null | undefined, page: string): string {
  return `${(realtime ?? page).replace(/^http/, "ws").replace(/\/$/, "")}/rt/v1/ws`;
}

/** The feed over a real socket. */
export function openFeed(url: string, checkSession: () => void): Feed {
  const feed = new Feed(url, { ...real, open: (to) => new WebSocket(to) as unknown as Socket, checkSession });
  addEventListener("online", () => feed.hurry());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") feed.hurry();
  });
  return feed;
}
