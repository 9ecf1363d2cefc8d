// Calls of the API. A refusal is a `Refused` with the server's own words.
import type { Problem } from "./types";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.message);
  }

  get isSignedOut(): boolean {
    return this.status === 401;
  }
}

/** Called when the server no longer knows us. */
let onSignedOut: () => void = () => {};

export function whenSignedOut(then: () => void): void {
  onSignedOut = then;
}

export function signedOut(): void {
  onSignedOut();
}

/** How long an answer may take. */
const PATIENCE_MS = 30_000;

export interface Call {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** A refusal for want of a session is the caller's own business. */
  quiet?: boolean;
}

/** The answer, whatever it holds; refusals and failures are thrown. */
export async function ask(path: string, call: Call = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...call.headers };
  if (call.body !== undefined) headers["content-type"] = "application/json";
  const signals = [AbortSignal.timeout(PATIENCE_MS), ...(call.signal ? [call.signal] : [])];
  let response: Response;
  try {
    response = await fetch(path, {
      method: call.method ?? "GET",
      headers,
      cache: "no-store",
      redirect: "error",
      signal: any(signals),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
  } catch (error) {
    if (call.signal?.aborted) throw error;
    throw new Refused(0, unreachable());
  }
  if (response.ok) return response;
  const refused = new Refused(response.status, await readProblem(response));
  if (refused.isSignedOut && !call.quiet) onSignedOut();
  throw refused;
}

/** The answer's JSON. */
export async function get<T>(path: string, call: Call = {}): Promise<T> {
  return (await (await ask(path, call)).json()) as T;
}

export async function readProblem(response: Response): Promise<Problem> {
  const request_id = response.headers.get("x-request-id") ?? "";
  try {
    const problem = (await response.json()) as Problem;
    if (typeof problem.message === "string") return { ...problem, request_id: problem.request_id || request_id };
  } catch {
    // Something in between answered, and not Forebay.
  }
  return {
    code: "unavailable",
    message: `The server answered ${response.status}, without saying why. Try again in a moment.`,
    retry: "after",
    details: [],
    request_id,
  };
}

function unreachable(): Problem {
  return {
    code: "unavailable",
    message: "Forebay cannot be reached. Check your connection, then try again.",
    retry: "after",
    details: [],
    request_id: "",
  };
}

/** `AbortSignal.any`, which browsers of 2023 lack. */
function any(signals: AbortSignal[]): AbortSignal {
  const first = signals[0];
  if (signals.length === 1 && first) return first;
  const all = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) all.abort(signal.reason);
    signal.addEventListener("abort", () => all.abort(signal.reason), { once: true });
  }
  return all.signal;
}

/** What names one submission, however often it is sent. */
export function newKey(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
