// The status view: who watches, what is lost and why, how old pictures are, and whether the relay is healthy.

import { Refused, get } from "./api.js";
import { element, itemise, say } from "./element.js";
import { Plot, Series } from "./plot.js";
import { count, duration, rate, trouble } from "./words.js";

/** Milliseconds between two looks. */
const INTERVAL = 1000;

/** Viewers that the table shows; the rest is counted. */
const MAX_ROWS = 50;

/** Streams and reasons whose figures are remembered: names come from outside. */
const MAX_SERIES = 256;

/** Frames that a browser did not get because it asked for fewer, or was not ready: newest wins, nothing is missing. */
const ASKED = "skipped";

const KINDS = { udp: "screen", tcp: "screen (TCP)", ws: "browser", webrtc: "video", mjpeg: "MJPEG", snapshot: "snapshots" };

/** Watches the relay while it is open. */
export class Status {
  #parts;
  #timer = 0;
  #busy = false;
  #series = new Map();
  #plots = new Map();
  #lost = new Map();
  #grid;
  #link;

  /** @param {HTMLElement} host that the view is built in */
  constructor(host, grid, link) {
    this.#grid = grid;
    this.#link = link;
    this.#parts = build(host);
    document.addEventListener("visibilitychange", () => this.#timer && !document.hidden && this.#look());
  }

  /** Whether it watches. */
  get isOpen() {
    return this.#timer !== 0;
  }

  open() {
    if (this.isOpen) return;
    this.#timer = setInterval(() => this.#look(), INTERVAL);
    this.#look();
  }

  close() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }

  async #look() {
    if (this.#busy || document.hidden) return;
    this.#busy = true;
    const [health, streams, viewers] = await Promise.all([ask("api/health"), ask("api/streams"), ask("api/viewers")]);
    this.#busy = false;
    if (!this.isOpen) return;
    this.#ownFigures();
    this.#showHealth(health);
    if (streams.value) this.#showStreams(streams.value.streams ?? []);
    this.#showViewers(viewers);
  }

  #ownFigures() {
    const now = performance.now();
    const panes = this.#grid.inView.filter((pane) => pane.state === "live");
    const ages = panes.map((pane) => pane.figures.age(0.5, now, 2 * INTERVAL)).filter((age) => age !== null);
    const drawn = panes.reduce((sum, pane) => sum + pane.figures.rate(now, 2 * INTERVAL), 0);
    this.#tile("age", "Oldest pane here", ages.length > 0 ? Math.max(...ages) : null, duration);
    this.#tile("drawn", "Pictures drawn here", drawn, rate);
    const error = this.#link.clock.error(now);
    say(this.#parts.clock, error === null ? "" : `Ages are right within ${error.toFixed(1)} ms.`);
  }

  #showHealth({ value, error }) {
    const { health } = this.#parts;
    const problems = value?.problems ?? [];
    const good = problems.length > 0 ? "Healthy, but not all that is set is there" : "Healthy";
    health.dataset.good = error || (value.healthy && problems.length > 0) ? "unknown" : value.healthy;
    say(health, error ?? (value.healthy ? good : `Not healthy: ${value.reasons.join("; ")}`));
    itemise(this.#parts.problems, problems);
  }

  #showStreams(streams) {
    const sorted = streams.toSorted((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
    const rows = sorted.map((stream) => {
      const fps = this.#note(`fps ${stream.name}`, stream.fps ?? null);
      const age = this.#note(`age ${stream.name}`, stream.age_ms ?? null);
      const why = trouble(stream);
      return [
        cell("th", stream.name),
        cell("td", why ?? stream.state ?? "live", why ? "bad" : "good"),
        this.#plotted(`fps ${stream.name}`, `Frames a second of ${stream.name}`, rate(stream.fps ?? 0), fps),
        this.#plotted(`age ${stream.name}`, `Age of ${stream.name}`, duration(stream.age_ms), age),
        cell("td", `${stream.viewers ?? 0} + ${stream.clients ?? 0}`),
      ];
    });
    fill(this.#parts.streams, rows, "There are no streams yet.");
  }

  #showViewers({ value, error, refused }) {
    const { viewers, word } = this.#parts;
    const list = value?.viewers ?? [];
    say(word, refused ? "Who watches is shown only with the administrator's token." : (error ?? ""));
    if (!value) return viewers.replaceChildren();
    this.#tile("viewers", "Viewers", list.length, count);
    this.#showLosses(list);
    const rows = list.slice(0, MAX_ROWS).map((viewer) => [
      cell("th", viewer.name || viewer.address || "–", "", viewer.address),
      cell("td", KINDS[viewer.kind] ?? viewer.kind),
      cell("td", viewer.stream ?? ""),
      cell("td", viewer.fps === null || viewer.fps === undefined ? "–" : rate(viewer.fps)),
      cell("td", duration(viewer.age_ms)),
      cell("td", count(total(viewer.lost)), "", reasons(viewer.lost)),
      cell("td", verdict(viewer), { right: "good", late: "fair", wrong: "bad", blind: "bad" }[viewer.health]),
      cell("td", viewer.last_shown_ms === null ? "–" : `${duration(viewer.last_shown_ms)} ago`),
    ]);
    fill(viewers, rows, "Nobody watches.");
    if (list.length > MAX_ROWS) say(word, `${list.length - MAX_ROWS} more are not shown.`);
  }

  // Counts begin anew with each viewer: only what one and the same viewer lost more is a loss of this second.
  #showLosses(viewers) {
    const [before, now, losses] = [this.#lost, new Map(), new Map()];
    for (const viewer of viewers) {
      const { all, ...reasons } = viewer.lost ?? {};
      for (const [reason, lost] of Object.entries(reasons)) {
        const key = JSON.stringify([viewer.kind, viewer.address, viewer.stream, reason]);
        now.set(key, (now.get(key) ?? 0) + lost);
      }
    }
    for (const [key, lost] of now) {
      const reason = JSON.parse(key).at(-1);
      losses.set(reason, (losses.get(reason) ?? 0) + Math.max(0, lost - (before.get(key) ?? lost)));
    }
    this.#lost = now;
    const { [ASKED]: asked, ...others } = Object.fromEntries(losses);
    this.#tile("lost", "Frames lost a second", total(others), count);
    const rows = [...losses].sort().map(([reason, lost]) => {
      const series = this.#note(`lost ${reason}`, lost);
      return [cell("th", spoken(reason)), this.#plotted(`lost ${reason}`, `Lost: ${spoken(reason)}`, `${count(lost)} a second`, series)];
    });
    fill(this.#parts.losses, rows, "Nothing is lost.");
  }

  #tile(key, label, value, words) {
    const series = this.#note(key, value);
    const tile = this.#parts.tiles.querySelector(`[data-key="${key}"]`) ?? this.#newTile(key, label);
    say(tile.querySelector("dd"), value === null ? "–" : words(value));
    this.#plots.get(key).draw(series);
  }

  #newTile(key, label) {
    const plot = new Plot(`${label} over the last two minutes`);
    this.#plots.set(key, plot);
    const tile = element("div", { class: "tile", "data-key": key }, element("dt", {}, label), element("dd"), plot.element);
    this.#parts.tiles.append(tile);
    return tile;
  }

  #plotted(key, label, text, series) {
    if (!this.#plots.has(key)) this.#plots.set(key, new Plot(`${label} over the last two minutes`));
    const plot = this.#plots.get(key);
    plot.draw(series);
    return element("td", { class: "plotted" }, element("span", {}, text), plot.element);
  }

  #note(key, value) {
    if (!this.#series.has(key)) {
      if (this.#series.size >= MAX_SERIES) {
        this.#series.clear();
        this.#plots.forEach((_, known) => known.includes(" ") && this.#plots.delete(known));
      }
      this.#series.set(key, new Series());
    }
    const series = this.#series.get(key);
    series.add(value);
    return series;
  }
}

function build(host) {
  const part = (name) => host.querySelector(`[data-part="${name}"]`);
  const names = ["health", "problems", "tiles", "clock", "streams", "losses", "viewers", "word"];
  return Object.fromEntries(names.map((name) => [name, part(name)]));
}

async function ask(path) {
  try {
    return { value: await get(path) };
  } catch (error) {
    return { error: error instanceof Refused ? "A token is needed" : "The relay does not answer", refused: error instanceof Refused };
  }
}

function cell(name, text, look, title) {
  return element(name, { scope: name === "th" ? "row" : null, class: look || null, title: title || null }, text);
}

function fill(body, rows, empty) {
  const columns = body.parentElement.querySelectorAll("thead th").length || 2;
  const nothing = [[element("td", { colspan: columns, class: "empty" }, empty)]];
  body.replaceChildren(...(rows.length > 0 ? rows : nothing).map((cells) => element("tr", {}, ...cells)));
}

// Where a viewer tells how many it lost in all, reasons are what the relay knows of that.
function total({ all, ...lost } = {}) {
  return all ?? Object.values(lost).reduce((sum, value) => sum + value, 0);
}

function reasons({ all, ...lost } = {}) {
  return Object.entries(lost).map(([reason, value]) => `${spoken(reason)}: ${value}`).join(", ");
}

// Whether a screen is right by its detections, and how far off in the mean; or why it shows no frames.
function verdict({ health, error_px: error, not_shown: reason }) {
  if (!health) return "–";
  if (reason) return `${health}: ${reason}`;
  return error === null || error === undefined ? health : `${health}, ${error} px`;
}

function spoken(reason) {
  return reason === ASKED ? "skipped to keep up" : reason.replaceAll("_", " ");
}
