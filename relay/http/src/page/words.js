// Figures and states in words.

/** Milliseconds without a newer picture after which the last one is not live any more, as on screens... */
const LIVE_FOR = 1200;

/** ... unless pictures are rare: then so many intervals, and never more than this. */
const INTERVALS = 3;
const LONGEST_LIVE = 10_000;

/** Streams named in one sentence. */
const MAX_NAMED = 8;

/** Milliseconds that a picture is live for when `fps` of them come a second (0: not known). */
export function liveFor(fps) {
  return Math.min(LONGEST_LIVE, Math.max(LIVE_FOR, fps > 0 ? (INTERVALS * 1000) / fps : 0));
}

/** Why pictures that come are not drawn, in the words that screens have for it. */
export const NOT_SHOWN = {
  undecodable: "Pictures come but cannot be decoded",
  "not-displayed": "Pictures come but are not drawn",
};

/** That the relay has no stream of this name, and which it has. */
export function missing(name, others) {
  const named = others.slice(0, MAX_NAMED).join(", ") + (others.length > MAX_NAMED ? ", …" : "");
  return `The relay has no stream ${name}; it has ${named || "none"}`;
}

/** Until the next try, `milliseconds` from now. */
export function nextTry(milliseconds) {
  return milliseconds < 100 ? "Trying now" : `Next try in ${duration(milliseconds)}`;
}

const STATES = {
  opening: "The camera is being opened",
  stalled: "The camera is silent",
  unplugged: "The camera is unplugged",
  busy: "Another program holds the camera",
  "wrong format": "The camera offers no format that fits",
  failed: "The camera failed",
  ended: "The input came to its end",
  idle: "The camera rests until somebody watches",
};

/** What keeps `stream` (an entry of the relay's list) from being live, or null. */
export function trouble(stream) {
  if (stream.source_gone) return "The source is gone";
  if (!(stream.state in STATES)) return null;
  return stream.reason || STATES[stream.state];
}

/** A time in milliseconds, short: "8 ms", "1.2 s", "3 min". */
export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined || Number.isNaN(milliseconds)) return "–";
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** A rate, short: "30 fps", "0.5 fps". */
export function rate(value) {
  return `${value >= 9.95 || value === 0 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, "")} fps`;
}

/** A count with its unit of size: 1234567 is "1.2 M". */
export function count(value) {
  if (value < 10_000) return String(Math.round(value * 10) / 10);
  if (value < 1e6) return `${Math.round(value / 1e3)} k`;
  return `${(value / 1e6).toFixed(1)} M`;
}
