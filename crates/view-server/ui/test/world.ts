// Time that tests move, and chance that they choose.
import type { Env } from "../src/wait";

export class Time implements Env {
  private at = 1_000_000;
  private timers: { at: number; then: () => void }[] = [];

  now(): number {
    return this.at;
  }

  random(): number {
    return 0.5;
  }

  later(then: () => void, ms: number): () => void {
    const timer = { at: this.at + ms, then };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** How many wait. */
  get waiting(): number {
    return this.timers.length;
  }

  /** Moves on, running what is due in its order. */
  async pass(ms: number): Promise<void> {
    const end = this.at + ms;
    await settle();
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.at = Math.max(this.at, due.at);
      due.then();
      await settle();
    }
    this.at = end;
  }
}

/** Lets promises that are ready run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}
