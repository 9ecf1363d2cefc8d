// My jobs: filters, order and page are in the address; rows change as the jobs do.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Refused, get } from "../api";
import type { Feed, JobItem } from "../feed";
import { type Row, apply, merge, rowOf } from "../jobs";
import { Badge, Elapsed, Empty, Skeleton, Stale, When, useTitle } from "../parts/basics";
import { go, href } from "../router";
import { clusters, useFeed } from "../session";
import { useSignal } from "../signal";
import { GROUPS, isState, look } from "../states";
import { failed } from "../toast";
import type { Job, JobState, Page } from "../types";

const ROWS = 50;
/** Without realtime. */
const EVERY_MS = 5_000;
/** However much changes, the list is fetched once in so long. */
const PAUSE_MS = 1_000;

interface Wanted {
  states: JobState[];
  name: string;
  cluster: string;
  sort: string;
  cursor: string;
}

function wanted(query: URLSearchParams): Wanted {
  return {
    states: (query.get("state") ?? "").split(",").filter(isState),
    name: query.get("name") ?? "",
    cluster: query.get("cluster") ?? "",
    sort: query.get("sort") ?? "",
    cursor: query.get("cursor") ?? "",
  };
}

function address(path: string, { states, name, cluster, sort, cursor }: Wanted, limit?: number): string {
  const more = limit === undefined ? {} : { limit: String(limit) };
  return href(path, { state: states.join(","), name, cluster, sort, cursor, ...more });
}

export function JobsPage({ query }: { query: URLSearchParams }) {
  useTitle("My jobs");
  const now = wanted(query);
  const { rows, next, problem, load } = useJobs(useFeed(), address("/api/v1/jobs", now, ROWS));
  // Another filter or order begins with the first page.
  const change = (part: Partial<Wanted>, replace = false) =>
    go(address("/", { ...now, cursor: "", ...part }), replace);
  const filtered = now.states.length > 0 || now.name !== "" || now.cluster !== "";
  return (
    <>
      <div class="title">
        <h1>My jobs</h1>
        <a class="button primary" href="/submit">
          Submit a job
        </a>
      </div>
      <Filters now={now} change={change} />
      {problem && (
        <p class="notice bad" role="alert">
          {problem}{" "}
          <button type="button" class="quiet" onClick={load}>
            Try again
          </button>
        </p>
      )}
      {rows === undefined ? (
        !problem && <Skeleton lines={8} />
      ) : rows.length === 0 ? (
        <NoJobs filtered={filtered} more={now.cursor !== ""} clear={() => change({ states: [], name: "", cluster: "" })} />
      ) : (
        <Table rows={rows} sort={now.sort} change={change} />
      )}
      {rows && (rows.length > 0 || now.cursor) && (
        <nav class="pages" aria-label="Pages of the list">
          <span class="dim" role="status">
            {rows.length === 1 ? "1 job" : `${rows.length} jobs`}
            {next || now.cursor ? " on this page" : ""}
          </span>
          {now.cursor && (
            <a class="button" href={address("/", { ...now, cursor: "" })}>
              First page
            </a>
          )}
          {next && (
            <a class="button" href={address("/", { ...now, cursor: next })}>
              Next page
            </a>
          )}
        </nav>
      )}
    </>
  );
}

/** The rows of one address of the API, kept up to date. */
function useJobs(feed: Feed, url: string) {
  const [rows, setRows] = useState<Row[] | undefined>();
  const [next, setNext] = useState<string | undefined>();
  const [problem, setProblem] = useState<string | undefined>();
  const current = useRef<{ url: string; rows: Row[] | undefined }>({ url, rows: undefined });

  const load = useCallback(async () => {
    try {
      const page = await get<Page<Job>>(url);
      if (current.current.url !== url) return;
      const fresh = merge(current.current.rows ?? [], page.items.map(rowOf));
      current.current.rows = fresh;
      setRows(fresh);
      setNext(page.next ?? undefined);
      setProblem(undefined);
      feed.note();
    } catch (error) {
      if (current.current.url !== url) return;
      if (!(error instanceof Refused)) failed(error);
      // What is shown stays; the header says how old it is.
      else if (!error.isSignedOut && current.current.rows === undefined) {
        setRows(undefined);
        setProblem(error.problem.message);
      }
    }
  }, [feed, url]);

  useEffect(() => {
    // What is shown stays until there is the next: a page that blinks at each letter is hard to read.
    current.current = { url, rows: undefined };
    setProblem(undefined);
    void load();
    const soon = pause(() => void load());
    const told = (item: JobItem) => {
      if (!current.current.rows) return;
      const { rows, unknown } = apply(current.current.rows, item);
      current.current.rows = rows;
      setRows(rows);
      // Whether it belongs on this page now, the server knows.
      if (unknown || url.includes("state=")) soon.call();
    };
    const stop = feed.watch("jobs", {
      snapshot: (items) => {
        for (const item of items) if (item.kind === "job" && item.body) told(item.body as JobItem);
      },
      delta: (item) => {
        if (item.kind !== "job") return;
        if (item.body) told(item.body as JobItem);
        else soon.call();
      },
      instead: () => {
        const timer = setInterval(() => {
          if (document.visibilityState === "visible") void load();
        }, EVERY_MS);
        return () => clearInterval(timer);
      },
    });
    return () => {
      stop();
      soon.stop();
    };
  }, [feed, url, load]);

  return { rows, next, problem, load: () => void load() };
}

/** Calls at once and then not again for a while; what was asked for meanwhile follows. */
function pause(then: () => void): { call(): void; stop(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let again = false;
  const call = () => {
    if (timer !== undefined) {
      again = true;
      return;
    }
    then();
    timer = setTimeout(() => {
      timer = undefined;
      if (again) {
        again = false;
        call();
      }
    }, PAUSE_MS);
  };
  return { call, stop: () => clearTimeout(timer) };
}

type Change = (part: Partial<Wanted>, replace?: boolean) => void;

function Filters({ now, change }: { now: Wanted; change: Change }) {
  const known = useSignal(clusters) ?? [];
  const typing = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(typing.current), []);
  const has = (states: JobState[]) => states.every((state) => now.states.includes(state));
  const toggle = (states: JobState[]) => {
    const without = now.states.filter((state) => !states.includes(state));
    change({ states: has(states) ? without : [...without, ...states] });
  };
  // States of a group that was not taken as a whole: by a link from elsewhere.
  const single = now.states.filter((state) => !GROUPS.some((group) => group.states.includes(state) && has(group.states)));
  return (
    <div class="filters" role="search" aria-label="Filter the jobs">
      <div class="chips">
        {GROUPS.map(({ name, states }) => (
          <button key={name} type="button" class="chip" aria-pressed={has(states)} onClick={() => toggle(states)}>
            {name}
          </button>
        ))}
        {single.map((state) => (
          <button key={state} type="button" class="chip" aria-pressed={true} onClick={() => toggle([state])}>
            {look(state).label} <span aria-hidden="true">×</span>
            <span class="unseen">, remove this filter</span>
          </button>
        ))}
      </div>
      <div class="row">
        {(known.length > 1 || now.cluster) && (
          <label>
            <span class="unseen">Cluster</span>
            <select value={now.cluster} onChange={(event) => change({ cluster: event.currentTarget.value })}>
              <option value="">All clusters</option>
              {[...new Set([...known.map((cluster) => cluster.name), ...(now.cluster ? [now.cluster] : [])])].map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <label class="search">
          <span class="unseen">Name</span>
          <input
            type="search"
            placeholder="Find by name"
            maxLength={200}
            defaultValue={now.name}
            onInput={(event) => {
              const name = event.currentTarget.value;
              clearTimeout(typing.current);
              typing.current = setTimeout(() => change({ name }, true), 300);
            }}
          />
        </label>
        <label class="order">
          <span class="unseen">Order</span>
          <select value={now.sort} onChange={(event) => change({ sort: event.currentTarget.value })}>
            <option value="">Newest first</option>
            <option value="created_at">Oldest first</option>
            <option value="name">Name, A to Z</option>
            <option value="-name">Name, Z to A</option>
          </select>
        </label>
      </div>
    </div>
  );
}

function NoJobs({ filtered, more, clear }: { filtered: boolean; more: boolean; clear: () => void }) {
  if (filtered || more) {
    return (
      <Empty title="No job fits">
        <p>{more ? "This page of the list is empty now." : "None of your jobs is like that."}</p>
        <p>
          <button type="button" onClick={clear}>
            Show all jobs
          </button>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="No jobs yet">
      <p>Hand in a script, and follow it here from the queue to its last line of output.</p>
      <p>
        <a class="button primary" href="/submit">
          Submit your first job
        </a>
      </p>
    </Empty>
  );
}

function Table({ rows, sort, change }: { rows: Row[]; sort: string; change: Change }) {
  const order = (key: string, first: string, second: string) => {
    const now = sort === first ? "ascending" : sort === second ? "descending" : "none";
    const next = key === "name" ? (sort === "name" ? "-name" : "name") : sort === "" ? "created_at" : "";
    return { now: now as "ascending" | "descending" | "none", press: () => change({ sort: next }) };
  };
  const [byName, byTime] = [order("name", "name", "-name"), order("time", "created_at", "")];
  const head = (text: string, { now, press }: ReturnType<typeof order>) => (
    <th scope="col" aria-sort={now}>
      <button type="button" class="sort" onClick={press}>
        {text}
        <span aria-hidden="true">{now === "ascending" ? " ↑" : now === "descending" ? " ↓" : ""}</span>
      </button>
    </th>
  );
  return (
    <div class="card flush">
      <table class="jobs">
        <thead>
          <tr>
            {head("Name", byName)}
            <th scope="col">State</th>
            <th scope="col">Cluster</th>
            <th scope="col">Elapsed</th>
            {head("Submitted", byTime)}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id} data-job={row.id}>
              <td class="name">
                <a href={`/jobs/${row.id}`}>{row.name || <span class="unnamed">without a name</span>}</a>
                <code class="id" title={row.id}>
                  {row.id}
                </code>
              </td>
              <td class="state">
                <Badge state={row.status.state} /> <Stale status={row.status} />
                {row.status.cancel_wanted_at && !row.status.ended_at && <span class="stale">being cancelled</span>}
              </td>
              <td class="cluster">
                {row.cluster}
                {row.status.scheduler_id && row.status.scheduler_id !== row.id && <span class="dim"> {row.status.scheduler_id}</span>}
              </td>
              <td class="elapsed">
                <Elapsed status={row.status} created={row.created_at} limit={row.limit} />
              </td>
              <td class="submitted">
                <When at={row.created_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
