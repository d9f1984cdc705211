// Numbers and times for people. Times come in seconds since the epoch, sizes in bytes.

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
];

/** 0.004 → "4 ms", 3.2 → "3.2 s", 75 → "1 min 15 s", null → "–". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0005) return "< 1 ms";
  if (seconds < 0.9995) return `${seconds < 0.00995 ? round(seconds * 1000, 1) : Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${round(seconds, 1)} s`;
  const at = UNITS.findIndex(([, size]) => Math.round(seconds) >= size);
  const [unit, size] = UNITS[at];
  const [small, step] = UNITS[at + 1] ?? ["s", 1];
  const rest = Math.floor((Math.round(seconds) % size) / step);
  return `${Math.floor(Math.round(seconds) / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
}

/** "12 s ago", "in 3 min", "now". */
export function away(seconds, now = Date.now() / 1000) {
  const gone = now - seconds;
  if (Math.abs(gone) < 1) return "now";
  const rough =
    Math.abs(gone) < 60 ? `${Math.round(Math.abs(gone))} s` : duration(Math.abs(gone)).split(/(?<=[a-z]) /)[0];
  return gone > 0 ? `${rough} ago` : `in ${rough}`;
}

/** The time of today, else date and time, in the reader's zone: "14:03:27", "3 Mar, 14:03". */
export function moment(seconds) {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  const clock = at.toLocaleTimeString("en-GB", today ? {} : { hour: "2-digit", minute: "2-digit" });
  return today ? clock : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${clock}`;
}

/** A report of progress: "1200 of 9000 · documents · 250/s · 31 s left". */
export function howFar(far) {
  const parts = [far.total ? `${far.done} of ${far.total}` : String(far.done), far.message];
  if (far.per_second) parts.push(`${round(far.per_second, far.per_second < 100 ? 1 : 0)}/s`);
  if (far.seconds_left != null) parts.push(`${duration(Math.max(1, Math.round(far.seconds_left)))} left`);
  return parts.filter(Boolean).join(" · ");
}

/** The whole truth about an instant, for a title. */
export function exact(seconds) {
  return new Date(seconds * 1000).toISOString().replace("T", " ").replace("Z", " UTC");
}

/** 12345 → "12,345". */
export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en-GB");
}

/** 3500000 → "3.3 MiB". */
export function bytes(number) {
  const at = Math.max(0, Math.min(4, Math.floor(Math.log2(Math.max(1, number)) / 10)));
  return `${at ? round(number / 1024 ** at, 1) : number} ${["B", "KiB", "MiB", "GiB", "TiB"][at]}`;
}

/** 0.9972 → "99.7 %". */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${round(share * 100, 1)} %`;
}

/** The beginning of an id, enough to tell it from others by eye. */
export function brief(id) {
  return id.slice(0, 8);
}

function round(number, places) {
  return String(Number(number.toFixed(places)));
}
