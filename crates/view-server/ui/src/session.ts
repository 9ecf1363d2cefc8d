// Who is signed in, what there is to work with, and the feed that goes with it.
import { ask, get, whenSignedOut } from "./api";
import { Feed, openFeed, socketUrl } from "./feed";
import { Signal } from "./signal";
import type { Cluster, Me, Page, PageSettings, SignedIn } from "./types";

export type Session =
  | { state: "unknown" }
  /** `why`: what to say above the form. */
  | { state: "out"; why?: string }
  | { state: "in"; me: Me; feed: Feed };

export const session = new Signal<Session>({ state: "unknown" });
export const clusters = new Signal<Cluster[] | undefined>(undefined);

let realtime: string | null | undefined;
let stopClusters: (() => void) | undefined;

/** Asks whether there is a session; a page that is opened does that first. */
export async function start(): Promise<void> {
  whenSignedOut(() => out("Your session has ended. Sign in again to go on."));
  try {
    const settings = await get<PageSettings>("/api/v1/page");
    realtime = settings.realtime_url;
    if (settings.me) signedIn(settings.me);
    else out();
  } catch (error) {
    out((error as Error).message);
  }
}

export async function signIn(token: string): Promise<void> {
  const made = await get<SignedIn>("/api/v1/session", { method: "POST", body: { token }, quiet: true });
  signedIn(made.me);
}

export async function signOut(): Promise<void> {
  try {
    await ask("/api/v1/session", { method: "DELETE", quiet: true });
  } catch (error) {
    // Without a session there is nothing to end.
    if ((error as { status?: number }).status !== 401) throw error;
  }
  out("You have signed out.");
}

function signedIn(me: Me): void {
  const feed = openFeed(socketUrl(realtime, location.origin), () => void get<Me>("/api/v1/me").catch(() => undefined));
  session.value = { state: "in", me, feed };
  stopClusters = watchClusters(feed);
}

function out(why?: string): void {
  if (session.value.state === "in") session.value.feed.close();
  stopClusters?.();
  stopClusters = undefined;
  clusters.value = undefined;
  session.value = why === undefined ? { state: "out" } : { state: "out", why };
}

const EVERY_MS = 15_000;

/** The clusters' health: asked now and then, since a site that falls silent says nothing. */
function watchClusters(feed: Feed): () => void {
  let stopped = false;
  const look = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const page = await get<Page<Cluster>>("/api/v1/clusters");
      if (stopped) return;
      clusters.value = page.items;
      feed.note();
    } catch {
      // The header shows since when nothing was heard.
    }
  };
  void look();
  const timer = setInterval(() => void look(), EVERY_MS);
  const seen = () => void look();
  document.addEventListener("visibilitychange", seen);
  return () => {
    stopped = true;
    clearInterval(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}

/** The feed of whoever is signed in; only pages behind the sign-in ask. */
export function useFeed(): Feed {
  const now = session.value;
  if (now.state !== "in") throw new Error("nobody is signed in");
  return now.feed;
}
