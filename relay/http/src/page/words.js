// Figures and states in words.

/** Milliseconds without a newer picture after which the last one is not live any more. */
export const STALE_AFTER = 2000;

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
