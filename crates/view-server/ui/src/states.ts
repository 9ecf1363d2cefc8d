// The states of a job in words, and how they look.
import type { JobState } from "./types";

export type Tone = "wait" | "run" | "good" | "bad" | "off";

interface Look {
  label: string;
  tone: Tone;
  /** What it means, for people who see it for the first time. */
  hint: string;
}

const LOOKS: Record<JobState, Look> = {
  draft: { label: "Draft", tone: "off", hint: "Not handed in yet." },
  queued: { label: "Queued", tone: "wait", hint: "Waiting for its site to take it." },
  submitting: { label: "Submitting", tone: "wait", hint: "Being handed to the scheduler." },
  pending: { label: "Pending", tone: "wait", hint: "In the scheduler's queue." },
  running: { label: "Running", tone: "run", hint: "Its program runs." },
  ending: { label: "Ending", tone: "run", hint: "Its program has ended; the scheduler is cleaning up." },
  succeeded: { label: "Succeeded", tone: "good", hint: "Ended with exit code 0." },
  failed: { label: "Failed", tone: "bad", hint: "Its program ended with an error." },
  cancelled: { label: "Cancelled", tone: "off", hint: "Cancelled by its owner or an operator." },
  timed_out: { label: "Timed out", tone: "bad", hint: "Ended by the scheduler at its time limit." },
  out_of_memory: { label: "Out of memory", tone: "bad", hint: "It needed more memory than it was given." },
  node_failed: { label: "Node failed", tone: "bad", hint: "The node that it ran on failed." },
  preempted: { label: "Preempted", tone: "bad", hint: "Ended in favour of a more important job." },
  rejected: { label: "Rejected", tone: "bad", hint: "The scheduler would not take it." },
  lost: { label: "Lost", tone: "bad", hint: "The scheduler no longer knows it, and no record of its end was found." },
};

export const STATES = Object.keys(LOOKS) as JobState[];

export function look(state: JobState): Look {
  return LOOKS[state] ?? { label: state, tone: "off", hint: "" };
}

export function isState(text: string): text is JobState {
  return Object.hasOwn(LOOKS, text);
}

const OPEN: JobState[] = ["draft", "queued", "submitting", "pending", "running", "ending"];

export function isEnd(state: JobState): boolean {
  return !OPEN.includes(state);
}

/** What people filter by. */
export const GROUPS: { name: string; states: JobState[] }[] = [
  { name: "Waiting", states: ["queued", "submitting", "pending"] },
  { name: "Running", states: ["running", "ending"] },
  { name: "Succeeded", states: ["succeeded"] },
  {
    name: "Failed",
    states: ["failed", "timed_out", "out_of_memory", "node_failed", "preempted", "rejected", "lost"],
  },
  { name: "Cancelled", states: ["cancelled"] },
];
