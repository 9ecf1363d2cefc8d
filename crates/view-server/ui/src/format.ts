// Numbers, times and reasons as people read and write them. Pure.

/** `42 s`, `3 min 05 s`, `2 h 07 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [d, h, m, s] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  const two = (value: number) => String(value).padStart(2, "0");
  if (d > 0) return h > 0 ? `${d} d ${h} h` : `${d} d`;
  if (h > 0) return m > 0 ? `${h} h ${two(m)} min` : `${h} h`;
  if (m > 0) return s > 0 ? `${m} min ${two(s)} s` : `${m} min`;
  return `${s} s`;
}

/** Seconds between two moments of the API. */
export function between(from: string, to: string | number): number {
  const end = typeof to === "number" ? to : Date.parse(to);
  return (end - Date.parse(from)) / 1000;
}

/** `just now`, `5 min ago`, `3 h ago`, and beyond a day the date. */
export function ago(moment: string, now: number): string {
  const seconds = between(moment, now);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return date(moment);
}

/** `27 Nov, 14:05` in the reader's time zone. */
export function date(moment: string): string {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return moment;
  const day = at.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  return `${day}, ${time(moment, false)}`;
}

/** `14:05:09`. */
export function time(moment: string, seconds = true): string {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return moment;
  const two = (value: number) => String(value).padStart(2, "0");
  const text = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return seconds ? `${text}:${two(at.getSeconds())}` : text;
}

/** The whole moment, for those who point at it. */
export function exact(moment: string): string {
  const at = new Date(moment);
  return Number.isNaN(at.getTime()) ? moment : at.toLocaleString();
}

/** `512 B`, `3.4 KiB`, `1.2 GiB`. */
export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** MiB as people write it: `4 GiB`, `1536 MiB`. */
export function memory(mib: number): string {
  return mib >= 1024 && mib % 1024 === 0 ? `${mib / 1024} GiB` : `${mib} MiB`;
}

/** What a field holds: a value, nothing, or what is wrong with it. */
export type Read<T> = { value?: T; error?: string };

/** `90` (minutes, as sbatch has it), `1:30:00`, `2-12`, `45m`, `2h`, `1d`, `90s`; in seconds. */
export function readDuration(text: string): Read<number> {
  const plain = text.trim().toLowerCase();
  if (plain === "") return {};
  const wrong = { error: "Write it as 30m, 2h, 1d, 1:30:00 or 2-12:00:00; a number alone is minutes." };
  const units: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
  if (/^(\d+\s*[smhd]\s*)+$/.test(plain)) {
    let sum = 0;
    for (const [, count, unit] of plain.matchAll(/(\d+)\s*([smhd])/g)) {
      sum += Number(count) * (units[unit ?? "s"] ?? 1);
    }
    return within(sum, wrong);
  }
  const match = /^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$/.exec(plain);
  if (!match) return wrong;
  const [days, a, b, c] = [match[1], match[2], match[3], match[4]].map((part) =>
    part === undefined ? undefined : Number(part),
  );
  if (a === undefined) return wrong;
  // As sbatch reads it: m, m:s, h:m:s, d-h, d-h:m, d-h:m:s.
  const seconds =
    days !== undefined
      ? days * 86_400 + a * 3600 + (b ?? 0) * 60 + (c ?? 0)
      : c !== undefined
        ? a * 3600 + (b ?? 0) * 60 + c
        : a * 60 + (b ?? 0);
  return within(seconds, wrong);
}

function within(seconds: number, wrong: Read<number>): Read<number> {
  return Number.isSafeInteger(seconds) && seconds > 0 ? { value: seconds } : wrong;
}

/** `4G`, `512 MiB`, `1.5 GiB`; a number alone is MiB, as for sbatch. In MiB. */
export function readMemory(text: string): Read<number> {
  const plain = text.trim().toLowerCase();
  if (plain === "") return {};
  const wrong = { error: "Write it as 512M, 4G or 1.5 GiB; a number alone is MiB." };
  const match = /^(\d+(?:\.\d+)?)\s*(k|m|g|t)?(?:i?b)?$/.exec(plain);
  if (!match) return wrong;
  const factor = { k: 1 / 1024, m: 1, g: 1024, t: 1024 * 1024 }[match[2] ?? "m"] ?? 1;
  const mib = Math.ceil(Number(match[1]) * factor);
  return Number.isSafeInteger(mib) && mib > 0 ? { value: mib } : wrong;
}

/** A whole number above zero. */
export function readCount(text: string): Read<number> {
  const plain = text.trim();
  if (plain === "") return {};
  const value = Number(plain);
  const good = /^\d+$/.test(plain) && Number.isSafeInteger(value) && value > 0;
  return good ? { value } : { error: "Must be a whole number above zero." };
}

/** Lines of `NAME=value`. */
export function readEnvironment(text: string): Read<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const at = line.indexOf("=");
    const name = line.slice(0, at).trim();
    if (at < 1 || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      return { error: `“${line.trim()}” is not NAME=value.` };
    }
    found[name] = line.slice(at + 1);
  }
  return Object.keys(found).length > 0 ? { value: found } : {};
}

/** Seconds as the field for a time limit takes them. */
export function writeDuration(seconds: number): string {
  for (const [unit, length] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
  ] as const) {
    if (seconds % length === 0) return `${seconds / length}${unit}`;
  }
  return `${seconds}s`;
}

const SIGNALS: Record<number, string> = {
  1: "HUP",
  2: "INT",
  3: "QUIT",
  4: "ILL",
  6: "ABRT",
  7: "BUS",
  8: "FPE",
  9: "KILL",
  11: "SEGV",
  13: "PIPE",
  15: "TERM",
  24: "XCPU",
  25: "XFSZ",
};

/** `exit code 3`, `ended by signal 9 (KILL)`. */
export function exit(code: number, signal: number | null | undefined): string {
  if (signal) {
    const name = SIGNALS[signal];
    return name ? `ended by signal ${signal} (${name})` : `ended by signal ${signal}`;
  }
  return `exit code ${code}`;
}

/** Slurm's one-word reasons, for people. */
const REASONS: Record<string, string> = {
  Resources: "It is next, and waits for nodes to become free.",
  Priority: "Jobs of higher priority come first.",
  Dependency: "It waits for the jobs that it depends on.",
  DependencyNeverSatisfied: "What it depends on can no longer happen. Cancel it.",
  BeginTime: "The time that it was to begin at has not come.",
  JobHeldUser: "It is held. Release it on the cluster.",
  JobHeldAdmin: "An administrator holds it. Ask them why.",
  ReqNodeNotAvail: "A node that it asks for is down, drained or reserved.",
  PartitionDown: "Its partition is down.",
  PartitionInactive: "Its partition is not in use now.",
  PartitionNodeLimit: "It asks for more nodes than its partition allows.",
  PartitionTimeLimit: "It asks for more time than its partition allows.",
  Reservation: "It waits for its reservation to begin.",
  Licenses: "It waits for a licence.",
  InvalidAccount: "Its account cannot be used.",
  InvalidQOS: "Its QOS cannot be used.",
  AssocGrpCpuLimit: "Its account uses all the cores that it may.",
  AssocMaxJobsLimit: "Its account runs as many jobs as it may.",
  QOSMaxJobsPerUserLimit: "You run as many jobs as this QOS allows.",
  QOSMaxCpuPerUserLimit: "You use as many cores as this QOS allows.",
  NonZeroExitCode: "Its program ended with an error.",
  TimeLimit: "It reached its time limit.",
  OutOfMemory: "It needed more memory than it was given.",
  NodeDown: "The node that it ran on went down.",
};

/** Why a job waits or ended: in words if the scheduler has only a name for it. */
export function reason(text: string): string {
  const name = text.trim().replace(/^\(|\)$/g, "");
  // `ReqNodeNotAvail, UnavailableNodes:n1`.
  const words = REASONS[name] ?? REASONS[name.split(",")[0] ?? ""];
  return words ? `${words} (${name})` : text;
}
