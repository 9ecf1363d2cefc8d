// Server-sent events by `fetch`: as EventSource, but a refusal can be read, a silent connection is
// noticed, and a page that nobody sees holds none. Resumes behind the last event.
import { readProblem, signedOut } from "./api";
import type { Problem } from "./types";
import { type Env, backoff, real } from "./wait";

export interface ServerEvent {
  id?: string;
  event: string;
  data: string;
}

/** Text in pieces of any size into events. */
export class Parser {
  private rest = "";
  private data: string[] = [];
  private event = "";
  private id: string | undefined;

  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    this.rest += text;
    for (;;) {
      const match = /\r\n|\n|\r/.exec(this.rest);
      // A carriage return at the very end may be half of a line end.
      if (!match || (match[0] === "\r" && match.index === this.rest.length - 1)) return found;
      const line = this.rest.slice(0, match.index);
      this.rest = this.rest.slice(match.index + match[0].length);
      const event = this.line(line);
      if (event) found.push(event);
    }
  }

  private line(line: string): ServerEvent | undefined {
    if (line === "") {
      const { data, event } = this;
      this.data = [];
      this.event = "";
      if (data.length === 0) return undefined;
      const found = { event: event || "message", data: data.join("\n") };
      return this.id === undefined ? found : { ...found, id: this.id };
    }
    const at = line.indexOf(":");
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id" && !value.includes("\0")) this.id = value;
    return undefined;
  }
}

export interface Stream {
  /** Where to read, behind the last event that was seen. */
  url(after: string | undefined): string;
  /** Says whether that was the last one. */
  onEvent(event: ServerEvent): boolean;
  /** It runs, or it is tried again, for this reason if the server gave one. */
  onState?(running: boolean, problem?: Problem): void;
  /** There will be no more: after the last event, or because it was refused. */
  onEnd?(problem?: Problem): void;
}

export interface Outside extends Env {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Whether somebody looks. */
  visible(): boolean;
  whenVisible(then: () => void): () => void;
}

export const outside: Outside = {
  ...real,
  fetch: (url, init) => fetch(url, init),
  visible: () => document.visibilityState === "visible",
  whenVisible: (then) => {
    document.addEventListener("visibilitychange", then);
    return () => document.removeEventListener("visibilitychange", then);
  },
};

/** The server says something each 15 seconds. */
const SILENCE_MS = 45_000;
/** Browsers allow six connections to a server: a page that nobody sees gives its own back. */
const UNSEEN_MS = 5_000;

/** Follows a stream until its end; the answer stops it. */
export function follow(stream: Stream, env: Outside = outside): () => void {
  let after: string | undefined;
  let failures = 0;
  let stopped = false;
  let current: AbortController | undefined;
  let cancelWait: (() => void) | undefined;
  let cancelUnseen: (() => void) | undefined;

  const end = (problem?: Problem) => {
    if (stopped) return;
    stop();
    stream.onEnd?.(problem);
  };
  const again = (problem?: Problem) => {
    if (stopped) return;
    stream.onState?.(false, problem);
    cancelWait = env.later(run, backoff(failures, env));
    failures += 1;
  };

  function run(): void {
    if (stopped || current || !env.visible()) return;
    cancelWait?.();
    cancelWait = undefined;
    const controller = new AbortController();
    current = controller;
    let silence = env.later(() => controller.abort(), SILENCE_MS);
    const heard = () => {
      silence();
      silence = env.later(() => controller.abort(), SILENCE_MS);
    };
    read(controller.signal, heard)
      .catch(() => again())
      .finally(() => {
        silence();
        if (current === controller) current = undefined;
      });
  }

  async function read(signal: AbortSignal, heard: () => void): Promise<void> {
    const response = await env.fetch(stream.url(after), {
      headers: { accept: "text/event-stream" },
      cache: "no-store",
      signal,
    });
    if (!response.ok || !response.body) {
      const problem = await readProblem(response);
      if (response.status === 401) signedOut();
      // What is refused now is refused again; what is busy or away may come back.
      const final = response.status >= 400 && response.status < 500 && response.status !== 429;
      current = undefined;
      return final ? end(problem) : again(problem);
    }
    stream.onState?.(true);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parser = new Parser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || stopped) break;
      heard();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        failures = 0;
        after = event.id ?? after;
        if (stream.onEvent(event)) {
          void reader.cancel().catch(() => undefined);
          return end();
        }
        if (stopped) return;
      }
    }
    current = undefined;
    again();
  }

  const unwatch = env.whenVisible(() => {
    cancelUnseen?.();
    if (env.visible()) run();
    else {
      cancelUnseen = env.later(() => {
        current?.abort();
      }, UNSEEN_MS);
    }
  });

  function stop(): void {
    stopped = true;
    cancelWait?.();
    cancelUnseen?.();
    unwatch();
    current?.abort();
  }

  run();
  return stop;
}
