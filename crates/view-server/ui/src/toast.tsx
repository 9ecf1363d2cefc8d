// What went wrong or right, at the edge of the page, until it is read.
import { Refused } from "./api";
import { Signal, useSignal } from "./signal";

interface Toast {
  id: number;
  kind: "error" | "note";
  text: string;
  request: string;
}

const toasts = new Signal<Toast[]>([]);
const SHOWN_MAX = 4;
const NOTE_MS = 5_000;
let last = 0;

function show(kind: Toast["kind"], text: string, request = ""): number {
  last += 1;
  const others = toasts.value.filter((other) => other.text !== text);
  toasts.value = [...others, { id: last, kind, text, request }].slice(-SHOWN_MAX);
  return last;
}

function close(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function note(text: string): void {
  const id = show("note", text);
  setTimeout(() => close(id), NOTE_MS);
}

/** An error stays until it is closed: its number is asked for. */
export function failed(error: unknown): void {
  if (error instanceof Refused) {
    if (!error.isSignedOut) show("error", error.problem.message, error.problem.request_id ?? "");
  } else {
    console.error(error);
    show("error", "Something went wrong in this page. Reload it, and report it if it comes again.");
  }
}

export function Toasts() {
  const list = useSignal(toasts);
  return (
    <div class="toasts" role="region" aria-label="Messages">
      {list.map((toast) => (
        <div key={toast.id} class={`toast ${toast.kind}`} role={toast.kind === "error" ? "alert" : "status"}>
          <div>
            <p>{toast.text}</p>
            {toast.request && (
              <p class="small">
                Request <code>{toast.request}</code>
              </p>
            )}
          </div>
          <button type="button" class="plain" aria-label="Close this message" onClick={() => close(toast.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
