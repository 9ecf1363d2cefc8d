// One job: how it is, what happened, what it printed, what was asked for.
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused, get } from "../api";
import type { Feed, JobItem } from "../feed";
import { between, date, duration, exact, exit, memory, reason, time } from "../format";
import { Badge, Elapsed, Skeleton, Stale, When, staleness, useTitle } from "../parts/basics";
import { LogView } from "../parts/log-view";
import { useFeed } from "../session";
import { follow } from "../sse";
import { isEnd, look } from "../states";
import { failed, note } from "../toast";
import type { Event, Job, Page, Task } from "../types";
import { NotFound } from "./not-found";

export function JobPage({ id }: { id: string }) {
  const { job, events, missing, problem, load } = useJob(useFeed(), id);
  useTitle(job?.spec.name ?? "Job");
  if (missing) return <NotFound what="job" />;
  if (!job) {
    return problem ? (
      <p class="notice bad" role="alert">
        {problem}{" "}
        <button type="button" class="quiet" onClick={load}>
          Try again
        </button>
      </p>
    ) : (
      <Skeleton lines={10} />
    );
  }
  return <Shown job={job} events={events} reload={load} />;
}

/** A job and the steps of its life, kept up to date; each step once, by its number. */
function useJob(feed: Feed, id: string) {
  const [job, setJob] = useState<Job | undefined>();
  const [events, setEvents] = useState<Event[]>([]);
  const [missing, setMissing] = useState(false);
  const [problem, setProblem] = useState<string | undefined>();
  const known = useRef(new Map<number, Event>());
  const rev = useRef(0);

  const path = `/api/v1/jobs/${id}`;
  const take = (fresh: Event[]) => {
    const before = known.current.size;
    for (const event of fresh) known.current.set(event.seq, event);
    if (known.current.size > before) setEvents([...known.current.values()].sort((a, b) => a.seq - b.seq));
  };
  const load = async () => {
    try {
      const fresh = await get<Job>(path);
      feed.note();
      setProblem(undefined);
      if (fresh.rev < rev.current) return;
      rev.current = fresh.rev;
      setJob(fresh);
    } catch (error) {
      if (!(error instanceof Refused)) failed(error);
      else if (error.status === 404) setMissing(true);
      else if (!error.isSignedOut) setProblem(error.problem.message);
    }
  };
  const loadEvents = async () => {
    let after = 0;
    // A job has a few; one that is started anew for ever has many.
    for (let pages = 0; pages < 10; pages += 1) {
      const page = await get<Page<Event>>(`${path}/events?limit=200&after=${after}`);
      take(page.items);
      if (!page.next) return;
      after = Number(page.next);
    }
  };

  useEffect(() => {
    void load();
    loadEvents().catch((error: unknown) => {
      if (!(error instanceof Refused)) failed(error);
    });
    const told = (item: JobItem) => {
      if (item.events) take(item.events);
      if (item.rev < rev.current) return;
      rev.current = item.rev;
      // What the feed leaves out (the paths of the logs) is fetched with the rest.
      setJob((before) => (before ? { ...before, rev: item.rev, status: { ...before.status, ...item.status } } : before));
      void load();
    };
    return feed.watch(`job/${id}`, {
      snapshot: (items) => {
        for (const item of items) if (item.kind === "job" && item.body) told(item.body as JobItem);
      },
      delta: (item) => {
        if (item.kind !== "job") return;
        if (item.body) told(item.body as JobItem);
        else setMissing(true);
      },
      refused: (problem) => {
        if (problem.code === "not_found") setMissing(true);
      },
      instead: () =>
        follow({
          url: (after) => `${path}/events?after=${after ?? Math.max(0, ...known.current.keys())}`,
          onEvent: ({ event, data }) => {
            if (event !== "event") return false;
            const step = JSON.parse(data) as Event;
            take([step]);
            feed.note();
            void load();
            return step.kind === "state" && isEnd(step.state);
          },
          onState: (running) => {
            if (running) void load();
          },
        }),
    });
    // One job for the life of this page: another one has another key.
  }, []);

  return { job, events, missing, problem, load: () => void load() };
}

function Shown({ job, events, reload }: { job: Job; events: Event[]; reload: () => void }) {
  const { spec, status } = job;
  // That a program ended with an error is said with its exit code already.
  const why = status.reason && !(status.reason === "NonZeroExitCode" && status.exit) ? reason(status.reason) : undefined;
  const stale = isEnd(status.state) ? undefined : staleness(status.freshness);
  const tasks = useTasks(job);
  return (
    <>
      <p class="crumbs">
        <a href="/">My jobs</a>
      </p>
      <div class="title">
        <h1 class={spec.name ? "" : "unnamed"}>{spec.name || "Job without a name"}</h1>
        <span aria-live="polite">
          <Badge state={status.state} /> <Stale status={status} />
        </span>
        <span class="actions">
          <a class="button" href={`/submit?from=${job.id}`}>
            Submit again
          </a>
          {!isEnd(status.state) && <Cancel job={job} reload={reload} />}
        </span>
      </div>
      <p class="lead" aria-live="polite">
        {summary(job)}
        {why ? ` ${why}` : ""}
      </p>
      {stale && <p class="notice">{stale}</p>}
      <div class="two">
        <div class="wide">
          {/* Its logs have names only when its tasks are known. */}
          {status.tasks && !tasks ? <Skeleton lines={6} /> : <LogView job={job.id} tasks={tasks?.map((task) => task.index) ?? []} begun={Boolean(status.started_at)} />}
          <Script job={job} />
        </div>
        <div class="narrow">
          <Facts job={job} />
          {tasks && <Tasks tasks={tasks} />}
          <Timeline events={events} />
        </div>
      </div>
    </>
  );
}

function summary({ status }: Job): string {
  if (status.cancel_wanted_at && !isEnd(status.state)) return "It is being cancelled.";
  if (status.state === "running" && status.nodes) return `It runs on ${status.nodes}.`;
  const hint = look(status.state).hint;
  if (status.state === "failed" && status.exit) return `It ended with an error: ${exit(status.exit.code, status.exit.signal)}.`;
  return hint;
}

function Cancel({ job, reload }: { job: Job; reload: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const wanted = Boolean(job.status.cancel_wanted_at);
  const cancel = async () => {
    dialog.current?.close();
    setBusy(true);
    try {
      await get<Job>(`/api/v1/jobs/${job.id}/cancel`, { method: "POST" });
      note("The job is being cancelled.");
    } catch (error) {
      failed(error);
    }
    setBusy(false);
    reload();
  };
  return (
    <>
      <button type="button" class="danger" disabled={busy || wanted} onClick={() => dialog.current?.showModal()}>
        {wanted ? "Being cancelled" : "Cancel"}
      </button>
      <dialog ref={dialog} aria-labelledby="cancel-title">
        <h2 id="cancel-title">Cancel this job?</h2>
        <p>What it has printed and written so far stays. It cannot be taken up again from there.</p>
        <div class="choices">
          <button type="button" onClick={() => dialog.current?.close()}>
            Keep it
          </button>
          <button type="button" class="danger" onClick={() => void cancel()}>
            Cancel the job
          </button>
        </div>
      </dialog>
    </>
  );
}

function Facts({ job }: { job: Job }) {
  const { spec, status } = job;
  const { resources } = spec;
  const asked = [
    resources?.nodes && `${resources.nodes} ${resources.nodes === 1 ? "node" : "nodes"}`,
    resources?.tasks && `${resources.tasks} ${resources.tasks === 1 ? "task" : "tasks"}`,
    resources?.cpus_per_task && `${resources.cpus_per_task} ${resources.cpus_per_task === 1 ? "core" : "cores"} a task`,
    resources?.memory_mib && `${memory(resources.memory_mib)} a node`,
    resources?.gpus && `${resources.gpus} GPU${resources.gpus === 1 ? "" : "s"}`,
  ].filter((part): part is string => Boolean(part));
  const rows: [string, preact.ComponentChildren][] = [["Cluster", spec.cluster]];
  if (spec.slurm?.partition) rows.push(["Partition", spec.slurm.partition]);
  if (status.scheduler_id && status.scheduler_id !== job.id) {
    rows.push(["Scheduler's id", <code>{status.scheduler_id}</code>]);
  }
  rows.push(["Elapsed", <Elapsed status={status} created={job.created_at} limit={spec.time_limit_s} />]);
  if (asked.length > 0) rows.push(["Asked for", asked.join(", ")]);
  if (status.nodes) rows.push(["Runs on", <code>{status.nodes}</code>]);
  if (status.run > 0) rows.push(["Started anew", `${status.run} times`]);
  if (status.exit) rows.push(["Ended with", <span data-exit>{exit(status.exit.code, status.exit.signal)}</span>]);
  rows.push(["Submitted", <When at={job.created_at} />]);
  if (spec.directory) rows.push(["Directory", <code>{spec.directory}</code>]);
  rows.push(["Id", <code>{job.id}</code>]);
  const files: [string, string | null | undefined][] = [
    ["Output", status.stdout_path],
    ["Errors", status.stderr_path === status.stdout_path ? undefined : status.stderr_path],
  ];
  return (
    <section class="card" aria-label="About this job">
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {status.stdout_path && (
        <details>
          <summary>Its files on the cluster</summary>
          <dl class="files">
            {files.map(([name, path]) =>
              path ? (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>
                    <code>{path}</code>
                  </dd>
                </div>
              ) : null,
            )}
          </dl>
        </details>
      )}
    </section>
  );
}

function Timeline({ events }: { events: Event[] }) {
  const first = events[0];
  return (
    <section class="card" aria-labelledby="timeline">
      <h2 id="timeline">What happened</h2>
      {events.length === 0 ? (
        <Skeleton lines={3} />
      ) : (
        <ol class="timeline">
          {events.map((event) => {
            const { label, tone } = step(event);
            const after = first && event !== first ? between(first.at, event.at) : 0;
            return (
              <li key={event.seq} class={tone} data-seq={event.seq}>
                <span class="what">{label}</span>
                <time dateTime={event.at} title={exact(event.at)}>
                  {event === first ? `${date(event.at)}:${time(event.at).slice(-2)}` : time(event.at)}
                  {after >= 1 && <span class="dim"> +{duration(after)}</span>}
                </time>
                {event.message && <p>{reason(event.message)}</p>}
              </li>
            );
          })}
        </ol>
      )}
    </section>
  );
}

function step(event: Event): { label: string; tone: string } {
  if (event.kind === "state") {
    const { label, tone } = look(event.state);
    return { label: event.run > 0 && !isEnd(event.state) ? `${label} (run ${event.run + 1})` : label, tone };
  }
  if (event.kind === "cancel_wanted") return { label: "Cancel asked for", tone: "off" };
  const words = { live: "Its cluster answers again", stale: "Its cluster does not answer", missing: "Not listed by the scheduler" };
  return { label: words[event.freshness], tone: event.freshness === "live" ? "good" : "wait" };
}

/** The tasks of an array; none while they are not known. */
function useTasks({ id, rev, status }: Job): Task[] | undefined {
  const [tasks, setTasks] = useState<Task[] | undefined>();
  useEffect(() => {
    if (!status.tasks) return;
    let gone = false;
    get<Page<Task>>(`/api/v1/jobs/${id}/tasks?limit=200`)
      .then((page) => {
        if (!gone && page.items.length > 0) setTasks(page.items);
      })
      .catch((error: unknown) => {
        if (!(error instanceof Refused)) failed(error);
      });
    return () => {
      gone = true;
    };
  }, [id, rev, status.tasks]);
  return tasks;
}

function Tasks({ tasks }: { tasks: Task[] }) {
  return (
    <section class="card" aria-labelledby="tasks">
      <h2 id="tasks">Tasks</h2>
      <ul class="tasks">
        {tasks.map((task) => (
          <li key={task.index}>
            <code>{task.index}</code> <Badge state={task.state} />
            {task.exit && <span class="dim"> {exit(task.exit.code, task.exit.signal)}</span>}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Script({ job: { spec } }: { job: Job }) {
  const program = spec.script ?? spec.command?.map((word) => (/[^\w./=:-]/.test(word) ? JSON.stringify(word) : word)).join(" ");
  const more = Object.entries({ ...spec.slurm }).filter(([, value]) => value !== false && value !== null);
  const variables = Object.entries(spec.environment ?? {});
  return (
    <section class="card" aria-labelledby="script">
      <h2 id="script">{spec.script ? "Script" : "Command"}</h2>
      <pre class="script" tabIndex={0}>
        {program}
      </pre>
      {more.length > 0 && (
        <>
          <h3>Options for Slurm</h3>
          <dl class="facts">
            {more.map(([name, value]) => (
              <div key={name}>
                <dt>{name.replaceAll("_", " ")}</dt>
                <dd>
                  <code>{Array.isArray(value) ? value.join(" ") : String(value)}</code>
                </dd>
              </div>
            ))}
          </dl>
        </>
      )}
      {variables.length > 0 && (
        <>
          <h3>Environment</h3>
          <pre class="script">{variables.map(([name, value]) => `${name}=${value}`).join("\n")}</pre>
        </>
      )}
    </section>
  );
}
