// A value that parts of the page watch.
import { useEffect, useReducer } from "preact/hooks";

export class Signal<T> {
  private readonly watchers = new Set<() => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set value(next: T) {
    if (Object.is(next, this.current)) return;
    this.current = next;
    for (const watcher of [...this.watchers]) watcher();
  }

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }
}

/** The value now; the component is drawn again when it changes. */
export function useSignal<T>(signal: Signal<T>): T {
  const [, draw] = useReducer((count: number, _: void) => count + 1, 0);
  useEffect(() => {
    const seen = signal.value;
    const stop = signal.watch(() => draw());
    // It may have changed between drawing and watching.
    if (!Object.is(seen, signal.value)) draw();
    return stop;
  }, [signal]);
  return signal.value;
}

/** Now, in milliseconds, once a second, for everything that counts seconds. */
export const clock = new Signal(Date.now());

let ticking: ReturnType<typeof setInterval> | undefined;

/** Starts the clock; a page that nobody sees does not draw. */
export function startClock(): void {
  ticking ??= setInterval(() => {
    if (document.visibilityState === "visible") clock.value = Date.now();
  }, 1000);
}
