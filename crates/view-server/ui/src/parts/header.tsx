// The bar above all pages: where to go, how the clusters are, how fresh this is, who is here.
import { useState } from "preact/hooks";
import { duration } from "../format";
import type { Feed } from "../feed";
import { place } from "../router";
import { clusters, signOut } from "../session";
import { clock, useSignal } from "../signal";
import { failed } from "../toast";
import type { Cluster, Me } from "../types";

export function Header({ me, feed }: { me: Me; feed: Feed }) {
  const { path } = useSignal(place);
  const [leaving, setLeaving] = useState(false);
  const at = (to: string) => (path === to ? { "aria-current": "page" as const } : {});
  const leave = () => {
    setLeaving(true);
    signOut().catch((error: unknown) => {
      setLeaving(false);
      failed(error);
    });
  };
  return (
    <header class="top">
      <a class="skip" href="#main" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the page
      </a>
      <div class="bar-inner">
        <a class="brand" href="/">
          <Mark />
          Forebay
        </a>
        <nav aria-label="Pages">
          <a href="/" {...at("/")}>
            My jobs
          </a>
          <a href="/submit" {...at("/submit")}>
            Submit
          </a>
        </nav>
        <div class="health">
          <Clusters />
          <Live feed={feed} />
        </div>
        <div class="who">
          <span class="me" title="Jobs run as this account">
            {me.name}
          </span>
          <button type="button" class="quiet" onClick={leave} disabled={leaving}>
            Sign out
          </button>
        </div>
      </div>
    </header>
  );
}

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M6 12c3.5-3.2 6.5-3.2 10 0s6.500 3.200 10 0" />
      <path d="M6 20c3.500-3.200 6.500-3.200 10 0s6.500 3.200 10 0" />
    </svg>
  );
}

function Clusters() {
  const list = useSignal(clusters);
  if (!list) return null;
  return (
    <ul class="clusters" aria-label="Clusters">
      {list.slice(0, 8).map((cluster) => (
        <li key={cluster.name} class={cluster.status.freshness} title={told(cluster)}>
          <span class="dot" aria-hidden="true" />
          <span class="name">{cluster.name}</span>
          <span class="unseen">{cluster.status.freshness === "live" ? " answers" : " does not answer"}</span>
        </li>
      ))}
    </ul>
  );
}

function told({ integration, status }: Cluster): string {
  const kind = status.version ? `${integration} ${status.version}` : integration;
  const [free, all] = (status.partitions ?? []).reduce(
    ([a, b], partition) => [a + partition.cpus_idle, b + partition.cpus],
    [0, 0],
  );
  const cores = all > 0 ? `; ${free} of ${all} cores are free` : "";
  const wrong = status.freshness === "live" ? "" : "; does not answer at present";
  return `${kind}${cores}${wrong}${status.message ? `. ${status.message}` : ""}`;
}

/** Beyond that, what is shown may be old. */
const FRESH_S = 45;

function Live({ feed }: { feed: Feed }) {
  const now = useSignal(clock);
  const heard = useSignal(feed.heard);
  const way = useSignal(feed.way);
  const seconds = heard === 0 ? 0 : Math.max(0, (now - heard) / 1000);
  const fresh = heard > 0 && seconds < FRESH_S;
  const state = !fresh ? "off" : way === "live" ? "on" : "asked";
  const words = { on: "Live", asked: "Updating", off: heard === 0 ? "Connecting" : "Offline" }[state];
  const since = seconds < 2 ? "just now" : `${duration(seconds)} ago`;
  const how = state === "asked" ? " There is no live feed at present; lists are asked for every few seconds." : "";
  const title = heard === 0 ? "Nothing was heard yet." : `Updated ${since}.${how}`;
  return (
    <span class={`live ${state}`} title={title} data-live={state}>
      <span class="dot" aria-hidden="true" />
      <span role="status">{words}</span>
      {heard > 0 && <span class="since">updated {since}</span>}
    </span>
  );
}
