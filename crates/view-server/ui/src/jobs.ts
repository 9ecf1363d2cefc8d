// Rows of the list of jobs: from the API's pages and from the feed, by the newer revision. Pure.
import type { JobItem } from "./feed";
import type { Job, JobStatus } from "./types";

export interface Row {
  id: string;
  rev: number;
  created_at: string;
  name: string;
  cluster: string;
  limit: number | undefined;
  status: JobStatus;
}

export function rowOf(job: Job): Row {
  return {
    id: job.id,
    rev: job.rev,
    created_at: job.created_at,
    name: job.spec.name ?? "",
    cluster: job.spec.cluster,
    limit: job.spec.time_limit_s ?? undefined,
    status: job.status,
  };
}

/** A fetched page; what the feed has told since stays. */
export function merge(known: Row[], fetched: Row[]): Row[] {
  const before = new Map(known.map((row) => [row.id, row]));
  return fetched.map((row) => {
    const newer = before.get(row.id);
    return newer && newer.rev > row.rev ? newer : row;
  });
}

/** Rows with what the feed tells; and whether the page must be fetched anew for it. */
export function apply(rows: Row[], item: JobItem): { rows: Row[]; unknown: boolean } {
  const at = rows.findIndex((row) => row.id === item.id);
  const known = rows[at];
  if (!known) return { rows, unknown: true };
  if (item.rev < known.rev) return { rows, unknown: false };
  const next = [...rows];
  next[at] = { ...known, rev: item.rev, status: item.status };
  return { rows: next, unknown: false };
}
