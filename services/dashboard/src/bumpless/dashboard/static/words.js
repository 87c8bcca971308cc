// Times, counts and states as people read them.
export const TERMINAL = new Set(["succeeded", "reverted", "halted", "cancelled"]);

export const TONES = {
  planned: "idle", staging: "work", rolling: "work", paused: "warn", succeeded: "good", failed: "bad",
  reverted: "warn", halted: "bad", cancelled: "idle",
  pending: "idle", "awaiting-approval": "warn", applying: "work", baking: "bake", passed: "good",
  pass: "good", fail: "bad", inconclusive: "warn",
  serving: "good", starting: "work", switching: "work", draining: "work", stuck: "bad", absent: "idle", drained: "warn",
};

export const tone = (state) => TONES[(state || "").split(" ")[0]] || "idle";
export const short = (id) => id.slice(0, 8);
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
export const moment = (ms) => new Date(ms).toLocaleString([], { hour12: false, dateStyle: "medium", timeStyle: "medium" });

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const count = (n, word, many) => `${n.toLocaleString()} ${n === 1 ? word : many || word + "s"}`;

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return size >= 1000 ? Math.round(value).toLocaleString() : String(Number(value.toPrecision(3)));
}

// `node-2` before `node-10`.
const order = new Intl.Collator(undefined, { numeric: true });
export const natural = (one, other) => order.compare(one, other);
