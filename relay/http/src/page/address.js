// What the address of the page says: `#cam1,cam2` names the streams of the panes in their order, none means all; after
// them may come `&grid=9`, `&rate=10`, `&video=cam1,cam2` (shown as video), `&view=status` and `&view=screens`.

import { GRIDS } from "./layout.js";

/** Panes of a page: more are not legible, and a relay grants no more subscriptions to one browser. */
export const MAX_PANES = 64;

const NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** Rates that can be chosen. */
export const RATES = ["auto", "2", "5", "10", "15", "full"];

/** The settings in `hash`; what it does not say, or says wrongly, is absent. `streams` null: all. */
export function read(hash) {
  const [names = "", ...pairs] = decode(hash.replace(/^#/, "")).split("&");
  const list = (text) => text.split(",").filter((name) => NAME.test(name)).slice(0, MAX_PANES);
  const streams = list(names);
  const said = { streams: streams.length > 0 ? streams : null };
  for (const pair of pairs) {
    const [key, value] = pair.split("=");
    if (key === "grid" && (value === "auto" || value in GRIDS)) said.grid = value;
    if (key === "rate" && RATES.includes(value)) said.rate = value;
    if (key === "video") said.videos = list(value ?? "");
    if (key === "view" && (value === "status" || value === "screens")) said[value] = true;
  }
  return said;
}

/** The hash for these settings: what is usual is left out. */
export function write({ streams, grid, rate, videos, status, screens }) {
  const words = [(streams ?? []).join(",")];
  if (grid !== "auto") words.push(`grid=${grid}`);
  if (rate !== "auto") words.push(`rate=${rate}`);
  if (videos.length > 0) words.push(`video=${videos.join(",")}`);
  if (status) words.push("view=status");
  if (screens) words.push("view=screens");
  const hash = words.join("&");
  return hash === "" ? "" : `#${hash}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
