// A job's output: from its last part on, then as it is printed. Offsets are bytes of the job's
// file; the same piece is never shown twice, and what is not shown is marked. Pure, but for
// `openLog` at the end.
import { Refused, ask } from "./api";
import { follow } from "./sse";
import type { LogItem, LogStream, Problem } from "./types";

/** How much of a long output is shown at first. */
export const FIRST_BYTES = 256 << 10;

/** What goes on the screen. */
export type Part =
  | { kind: "text"; text: string }
  | { kind: "skipped"; from: number; to: number };

/** Which pieces are new, by their offsets. */
export class Pieces {
  constructor(private at = 0) {}

  /** Everything before was shown. */
  get next(): number {
    return this.at;
  }

  /** What a piece adds. */
  take(item: LogItem): Part[] {
    if (item.kind === "end") return [];
    if (item.next <= this.at) return [];
    const parts: Part[] = [];
    const begin = Math.max(this.at, item.offset);
    if (item.offset > this.at) parts.push({ kind: "skipped", from: this.at, to: item.offset });
    if (item.kind === "skipped") parts.push({ kind: "skipped", from: begin, to: item.next });
    else parts.push({ kind: "text", text: item.offset < this.at ? behind(item, this.at) : item.text });
    this.at = item.next;
    return merged(parts);
  }
}

/** The part of a piece behind an offset within it. */
function behind(item: Extract<LogItem, { kind: "text" }>, at: number): string {
  const bytes = new TextEncoder().encode(item.text);
  // Where bytes were no UTF-8 the two do not fit: rather something twice than not at all.
  if (bytes.length !== item.next - item.offset) return item.text;
  return new TextDecoder().decode(bytes.subarray(at - item.offset));
}

function merged(parts: Part[]): Part[] {
  const [a, b] = parts;
  if (a?.kind === "skipped" && b?.kind === "skipped" && a.to === b.from) {
    return [{ kind: "skipped", from: a.from, to: b.to }];
  }
  return parts;
}

/** A range of a file cut to whole characters: how many bytes were left out at both sides. */
export function wholeText(bytes: Uint8Array, start: number): { text: string; before: number; after: number } {
  let begin = 0;
  // The rest of a character that began before: at most three bytes.
  if (start > 0) while (begin < 3 && begin < bytes.length && ((bytes[begin] ?? 0) & 0xc0) === 0x80) begin += 1;
  let end = bytes.length;
  for (let back = 1; back <= 3 && back <= end - begin; back += 1) {
    const byte = bytes[end - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    if (length > back) end -= back;
    break;
  }
  const text = new TextDecoder().decode(bytes.subarray(begin, end));
  return { text, before: begin, after: bytes.length - end };
}

/** Colours and cursor movements of terminals. */
// biome-ignore lint: control characters are what it looks for
const ESCAPES = /\u001b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\^_])/g;

/** Lines as a terminal shows them: what a carriage return overwrote is gone. */
export class Lines {
  private open = "";

  /** Whole lines that are now certain, and the line that is still being written. */
  push(text: string): { whole: string; open: string } {
    const all = this.open + text;
    const end = all.lastIndexOf("\n") + 1;
    this.open = all.slice(end);
    let whole = all.slice(0, end).split("\n").map(shown).join("\n");
    // A line without an end is not kept back for ever.
    if (this.open.length > 64 << 10) {
      whole += shown(this.open);
      this.open = "";
    }
    return { whole, open: shown(this.open) };
  }
}

function shown(line: string): string {
  const plain = line.includes("\u001b") ? line.replace(ESCAPES, "") : line;
  const text = plain.replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1);
}

export interface LogView {
  parts(parts: Part[]): void;
  /** The whole file's size so far, and where what is shown begins. */
  size(bytes: number): void;
  state(state: "waiting" | "live" | "ended", problem?: Problem): void;
}

export function logPath(job: string, stream: LogStream, task: number | undefined): string {
  const query = task === undefined ? "" : `?task=${task}`;
  return `/api/v1/jobs/${job}/logs/${stream}${query}`;
}

export interface Log {
  job: string;
  stream: LogStream;
  /** Of an array. */
  task: number | undefined;
  /** The job has begun to run; before, there is nothing to look for. */
  begun: boolean;
}

/** Shows a log: its last part, then what comes; the answer ends that. */
export function openLog({ job, stream, task, begun }: Log, view: LogView): () => void {
  const stop = new AbortController();
  const path = logPath(job, stream, task);
  let stopFollowing: (() => void) | undefined;
  const begin = async () => {
    const first = begun ? await lastPart(path, stop.signal) : { text: "", start: 0, end: 0 };
    if (stop.signal.aborted) return;
    if (first.start > 0) view.parts([{ kind: "skipped", from: 0, to: first.start }]);
    if (first.text !== "") view.parts([{ kind: "text", text: first.text }]);
    const pieces = new Pieces(first.end);
    view.size(first.end);
    stopFollowing = follow({
      url: (after) => `${path}${path.includes("?") ? "&" : "?"}from=${after ?? pieces.next}`,
      onEvent: (event) => {
        if (event.event !== "log") return false;
        const item = JSON.parse(event.data) as LogItem;
        const parts = pieces.take(item);
        if (parts.length > 0) view.parts(parts);
        view.size(Math.max(pieces.next, item.kind === "end" ? item.offset : item.next));
        return item.kind === "end";
      },
      onState: (running, problem) => view.state(running ? "live" : "waiting", problem),
      onEnd: (problem) => view.state("ended", problem),
    });
  };
  begin().catch((error: unknown) => {
    if (!stop.signal.aborted) view.state("ended", error instanceof Refused ? error.problem : undefined);
  });
  return () => {
    stop.abort();
    stopFollowing?.();
  };
}

/** The end of a long output. A short one is followed from its beginning. */
async function lastPart(path: string, signal: AbortSignal): Promise<{ text: string; start: number; end: number }> {
  const nothing = { text: "", start: 0, end: 0 };
  try {
    const head = await ask(path, { method: "HEAD", signal, headers: { accept: "text/plain" } });
    const size = Number(head.headers.get("forebay-log-size") ?? 0);
    if (size <= FIRST_BYTES) return nothing;
    const range = `bytes=${size - FIRST_BYTES}-${size - 1}`;
    const answer = await ask(path, { signal, headers: { accept: "text/plain", range } });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const given = /^bytes (\d+)-(\d+)\//.exec(answer.headers.get("content-range") ?? "");
    const start = Number(given?.[1] ?? 0);
    const { text, before, after } = wholeText(bytes, start);
    return { text, start: start + before, end: start + bytes.length - after };
  } catch (error) {
    // Following tells why.
    if (error instanceof Refused && error.status !== 404 && error.status !== 401) return nothing;
    throw error;
  }
}
