// A log on the screen: both outputs, an array's tasks, following, marks where something was left
// out. Text is put into the document by hand: a log of megabytes is no matter for comparing trees.
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes } from "../format";
import { Lines, type Log, type Part, logPath, openLog } from "../log";
import type { LogStream } from "../types";

/** What the document holds; older lines go. */
const SHOWN_MAX = 1 << 20;
/** Text is put in pieces of about this size, so that they can go again. */
const PIECE = 16 << 10;
/** So near the end, the reader wants to see the end. */
const NEAR_PX = 24;

export function LogView({ job, tasks, begun }: { job: string; tasks: number[]; begun: boolean }) {
  const [stream, setStream] = useState<LogStream>("stdout");
  const [task, setTask] = useState<number | undefined>(tasks[0]);
  const chosen = task ?? tasks[0];
  const tabs: [LogStream, string][] = [
    ["stdout", "Output"],
    ["stderr", "Errors"],
  ];
  return (
    <section class="card flush log" aria-label="What the job printed">
      <div class="log-bar">
        <div class="tabs" role="tablist" aria-label="Which output">
          {tabs.map(([name, label]) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={stream === name}
              aria-controls="log"
              tabIndex={stream === name ? 0 : -1}
              onClick={() => setStream(name)}
              onKeyDown={(event) => {
                if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
                const other = name === "stdout" ? "stderr" : "stdout";
                setStream(other);
                document.getElementById(`tab-${other}`)?.focus();
              }}
            >
              {label}
            </button>
          ))}
        </div>
        {tasks.length > 0 && (
          <label class="task">
            Task{" "}
            <select value={String(chosen)} onChange={(event) => setTask(Number(event.currentTarget.value))}>
              {tasks.map((index) => (
                <option key={index}>{index}</option>
              ))}
            </select>
          </label>
        )}
        <Output key={`${stream} ${chosen}`} log={{ job, stream, task: chosen, begun }} />
      </div>
    </section>
  );
}

type State = { kind: "waiting" | "live" | "ended"; problem?: string | undefined };

/** So long after a touch, a wheel or a key, what scrolls is the reader's doing. */
const TOUCHED_MS = 1_000;

function Output({ log }: { log: Log }) {
  const { job, stream, task } = log;
  const box = useRef<HTMLDivElement>(null);
  const text = useRef<HTMLPreElement>(null);
  const [state, setState] = useState<State>({ kind: "waiting" });
  const [size, setSize] = useState(0);
  const [following, setFollowing] = useState(true);
  const wants = useRef(true);
  const touched = useRef(Number.NEGATIVE_INFINITY);

  const touch = () => {
    touched.current = performance.now();
  };
  const follow = (now: boolean) => {
    wants.current = now;
    setFollowing(now);
    if (now && box.current) box.current.scrollTop = box.current.scrollHeight;
  };

  useEffect(() => {
    const pre = text.current;
    if (!pre) return;
    const paper = new Paper(pre);
    let frame = 0;
    const toEnd = () => {
      frame = 0;
      if (wants.current && box.current) box.current.scrollTop = box.current.scrollHeight;
    };
    // As it was when this was opened: whether the job had begun then.
    const stop = openLog(log, {
      parts: (parts) => {
        for (const part of parts) paper.add(part);
        frame ||= requestAnimationFrame(toEnd);
      },
      size: setSize,
      state: (kind, problem) => setState({ kind, problem: problem?.message }),
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [job, stream, task]);

  const path = logPath(job, stream, task);
  const words = { waiting: "connecting", live: "live", ended: "complete" }[state.kind];
  const name = `${job}.${task === undefined ? "" : `${task}.`}${stream}`;
  return (
    <>
      <span class="log-state">
        <span class={`live ${state.kind === "live" ? "on" : state.kind === "ended" ? "done" : "asked"}`} data-log={state.kind}>
          <span class="dot" aria-hidden="true" />
          <span role="status">{state.problem && state.kind === "ended" ? "not to be had" : words}</span>
        </span>
        {size > 0 && <span class="dim">{bytes(size)}</span>}
      </span>
      <span class="log-tools">
        <label class="check">
          <input type="checkbox" checked={following} onChange={(event) => follow(event.currentTarget.checked)} /> Follow
        </label>
        <a class="small" href={path} download={name} target="_blank" rel="noopener">
          Download
        </a>
      </span>
      <div
        class="log-box"
        id="log"
        role="tabpanel"
        aria-labelledby={`tab-${stream}`}
        tabIndex={0}
        ref={box}
        onWheel={touch}
        onTouchMove={touch}
        onKeyDown={touch}
        onPointerDown={() => {
          // The bar at the side is held until it is let go.
          touched.current = Number.POSITIVE_INFINITY;
          addEventListener("pointerup", touch, { once: true });
        }}
        onScroll={({ currentTarget: at }) => {
          // New lines and old ones that go move it, too: only its reader ends the following.
          if (performance.now() - touched.current > TOUCHED_MS) return;
          const near = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR_PX;
          if (near !== wants.current) {
            wants.current = near;
            setFollowing(near);
          }
        }}
      >
        {size === 0 && (
          <p class="nothing">
            {state.problem ?? { waiting: "Looking for it…", live: "Nothing was printed yet.", ended: "It printed nothing here." }[state.kind]}
          </p>
        )}
        <pre ref={text} />
      </div>
    </>
  );
}

/** Pieces of text in a `pre`, the oldest of which go. */
class Paper {
  private readonly lines = new Lines();
  private readonly open = document.createTextNode("");
  private last: Text | undefined;
  private shown = 0;
  private gone = 0;
  private mark: HTMLElement | undefined;

  constructor(private readonly pre: HTMLElement) {
    pre.replaceChildren(this.open);
  }

  add(part: Part): void {
    if (part.kind === "skipped") {
      const gap = part.from === 0 ? "earlier output is" : "output is";
      this.note(`${bytes(part.to - part.from)} of ${gap} not shown here; the download has it all`);
      return;
    }
    const { whole, open } = this.lines.push(part.text);
    if (whole !== "") this.text(whole);
    this.open.data = open;
    this.trim();
  }

  private text(text: string): void {
    if (this.last && this.last.length < PIECE) this.last.appendData(text);
    else {
      this.last = document.createTextNode(text);
      this.pre.insertBefore(this.last, this.open);
    }
    this.shown += text.length;
  }

  private note(text: string): void {
    const mark = document.createElement("span");
    mark.className = "skipped";
    mark.textContent = text;
    this.pre.insertBefore(mark, this.open);
    this.last = undefined;
  }

  private trim(): void {
    while (this.shown > SHOWN_MAX) {
      const oldest = [...this.pre.childNodes].find((node) => node !== this.mark && node !== this.open);
      if (!oldest || oldest === this.last) return;
      const length = oldest instanceof Text ? oldest.length : 0;
      this.shown -= length;
      this.gone += length;
      oldest.remove();
      if (!this.mark) {
        this.mark = document.createElement("span");
        this.mark.className = "skipped";
        this.pre.prepend(this.mark);
      }
      this.mark.textContent = `${bytes(this.gone)} of earlier output are no longer shown here; the download has it all`;
    }
  }
}
