// How long to wait before trying again, and what time and chance are, so that tests have their own.

export interface Env {
  now(): number;
  random(): number;
  later(then: () => void, ms: number): () => void;
}

export const real: Env = {
  now: () => Date.now(),
  random: () => Math.random(),
  later: (then, ms) => {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
};

const LEAST_MS = 250;
const MOST_MS = 30_000;

/** Doubled with each failure, and anything between the least and that: a crowd does not come back at once. */
export function backoff(failures: number, env: Env): number {
  const most = Math.min(MOST_MS, LEAST_MS * 2 ** Math.min(failures, 10));
  return LEAST_MS + env.random() * (most - LEAST_MS);
}
