// Small parts that many pages use.
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { ago, between, duration, exact } from "../format";
import { clock, useSignal } from "../signal";
import { isEnd, look } from "../states";
import type { Freshness, JobState, JobStatus } from "../types";

export function Badge({ state }: { state: JobState }) {
  const { label, tone, hint } = look(state);
  return (
    <span class={`badge ${tone}`} title={hint} data-state={state}>
      <span class="dot" aria-hidden="true" />
      {label}
    </span>
  );
}

const STALE: Record<Exclude<Freshness, "live">, string> = {
  stale: "Its cluster does not answer at present; this is what was known last.",
  missing: "The scheduler does not list it at present; this is what was known last.",
};

export function Stale({ status }: { status: JobStatus }) {
  if (status.freshness === "live" || isEnd(status.state)) return null;
  return (
    <span class="stale" title={STALE[status.freshness]}>
      {status.freshness === "stale" ? "not answering" : "missing"}
    </span>
  );
}

export function staleness(freshness: Freshness): string | undefined {
  return freshness === "live" ? undefined : STALE[freshness];
}

/** A moment, relative to now; the whole of it for those who point at it. */
export function When({ at }: { at: string }) {
  const now = useSignal(clock);
  return (
    <time dateTime={at} title={exact(at)}>
      {ago(at, now)}
    </time>
  );
}

/** How long it has run, or waited. */
export function Elapsed({ status, created, limit }: { status: JobStatus; created: string; limit?: number | null | undefined }) {
  const now = useSignal(clock);
  const { started_at: began, ended_at: ended, state } = status;
  if (!began) {
    if (isEnd(state)) return <span class="dim">—</span>;
    return <span class="dim">waits {duration(between(created, now))}</span>;
  }
  const ran = duration(between(began, ended ?? now));
  return (
    <span>
      {ran}
      {limit ? <span class="dim"> of {duration(limit)}</span> : null}
    </span>
  );
}

/** Grey bars in place of what is still being fetched. */
export function Skeleton({ lines }: { lines: number }) {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} class={`bar w${(index * 3) % 4}`} />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <svg viewBox="0 0 48 32" width="72" height="48" aria-hidden="true">
        <path d="M4 12c6-6 12-6 20 0s14 6 20 0M4 22c6-6 12-6 20 0s14 6 20 0" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** The window's title, and the page's name for those who hear it. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Forebay`;
  }, [title]);
}
