// The panes, their order and arrangement, and how many pictures each asks for.

import { MAX_PANES } from "./address.js";
import { place } from "./layout.js";
import { Pane } from "./pane.js";
import { share } from "./rates.js";

/** Milliseconds between two looks at everything: a stale picture is found within that. */
const LOOK_INTERVAL = 250;

/** Milliseconds that a pane which came by itself stays when the relay does not list its stream any more. */
const GONE_AFTER = 30_000;

/**
 * Emits `change` when what is shown or how it is arranged became another, `state` (`detail`: the pane) when a pane's
 * state did, `act` (`detail`: `{ name, pane }`) when a button of a pane is pressed, and `notice` (`detail`: words).
 */
export class Grid extends EventTarget {
  panes = [];
  /** Whether the panes were chosen; else all streams are shown. */
  chosen = false;
  /** "auto" or a key of GRIDS. */
  size = "auto";
  /** "auto", "full" or most pictures a second, as text. */
  limit = "auto";
  /** Names of the streams that are shown as video. */
  videos = new Set();
  /** The pane that fills the window, if any. */
  enlarged = null;
  /** The page in view, from 0, where there are more panes than places. */
  page = 0;

  #host;
  #link;
  #painter;
  #list;
  #listed = new Map();
  #hovered = null;
  #selected = null;
  #seen;

  constructor(host, link, painter) {
    super();
    this.#host = host;
    this.#link = link;
    this.#painter = painter;
    this.#seen = new IntersectionObserver((entries) => this.#scrolled(entries), { root: host });
    new ResizeObserver(() => this.arrange()).observe(host);
    link.addEventListener("streams", ({ detail }) => this.#know(detail));
    link.addEventListener("state", () => this.look());
    host.addEventListener("focusin", ({ target }) => this.#select(this.#paneOf(target)));
    document.addEventListener("visibilitychange", () => this.look());
    setInterval(() => this.look(), LOOK_INTERVAL);
  }

  /** The relay's list; undefined before there is one. */
  get streams() {
    return this.#list;
  }

  /** Names of the streams that are pictures for people, and of those that prove screens. */
  get choices() {
    const canaries = new Set((this.#list ?? []).map((stream) => stream.canary).filter(Boolean));
    const names = (this.#list ?? []).map((stream) => stream.name).sort(inOrder);
    return { streams: names.filter((name) => !canaries.has(name)), canaries: names.filter((name) => canaries.has(name)) };
  }

  /** Shows these streams, or all (null). */
  open(names) {
    this.chosen = names !== null;
    const wanted = names ?? this.choices.streams.slice(0, MAX_PANES);
    this.panes.slice(wanted.length).forEach((pane) => this.#close(pane));
    wanted.forEach((name, at) => (at < this.panes.length ? this.panes[at].show(name) : this.#append(name)));
    this.arrange();
  }

  /** Adds a pane with the stream `name`. */
  add(name) {
    if (this.panes.length >= MAX_PANES) return;
    this.chosen = true;
    const pane = this.#append(name);
    this.enlarged = null;
    this.page = this.#pageOf(pane);
    this.arrange();
    this.focus(pane);
  }

  /** Removes a pane. */
  remove(pane) {
    const at = this.panes.indexOf(pane);
    this.chosen = true;
    this.#close(pane);
    this.arrange();
    if (this.panes.length > 0) this.focus(this.panes[Math.min(at, this.panes.length - 1)]);
  }

  /** Shows the stream of `pane` as video, or as single pictures again. */
  turnVideo({ stream }) {
    if (!this.videos.delete(stream)) this.videos.add(stream);
    this.arrange();
  }

  /** Lets `pane` fill the window; null: back to all. */
  enlarge(pane) {
    const before = this.enlarged;
    this.enlarged = pane;
    if (!pane && before) this.page = this.#pageOf(before);
    this.arrange();
    if (pane ?? before) this.focus(pane ?? before);
  }

  /** Turns so many pages on. */
  turn(pages) {
    this.page = (this.page + pages + this.pages) % this.pages;
    this.arrange();
  }

  /** How many pages there are. */
  get pages() {
    return this.size === "auto" ? 1 : Math.max(1, Math.ceil(this.panes.length / Number(this.size)));
  }

  /** The panes on the page in view. */
  get inView() {
    if (this.enlarged) return [this.enlarged];
    if (this.size === "auto") return this.panes;
    const places = Number(this.size);
    return this.panes.slice(this.page * places, (this.page + 1) * places);
  }

  /** The pane that keys are for: the large one, the one with the focus, or the only one. */
  get current() {
    return this.enlarged ?? this.#selected ?? (this.panes.length === 1 ? this.panes[0] : null);
  }

  /** Moves the focus to a pane. */
  focus(pane) {
    this.#select(pane);
    pane.element.focus({ preventScroll: false });
  }

  /** Moves the focus by rows and columns; while one pane is large, the next or former one takes its place. */
  move(rows, columns) {
    const { inView, panes } = this;
    if (panes.length === 0) return;
    if (this.enlarged) {
      const at = panes.indexOf(this.enlarged) + rows + columns;
      this.enlarge(panes[(at + panes.length) % panes.length]);
      return;
    }
    const at = inView.indexOf(this.#selected);
    if (at < 0) return this.focus(inView[0]);
    const next = at + columns + rows * Number(this.#host.dataset.columns);
    if (next >= 0 && next < inView.length) this.focus(inView[next]);
    else if (this.pages > 1) this.turn(Math.sign(next - at));
  }

  /** Puts everything in its place. */
  arrange() {
    this.page = Math.min(this.page, this.pages - 1);
    const { inView } = this;
    const size = this.enlarged ? "1" : this.size;
    const box = this.#host.getBoundingClientRect();
    const { columns, width, height, scrolls } = place(size, inView.length, box.width, box.height);
    Object.assign(this.#host.dataset, { columns, scrolls, enlarged: this.enlarged !== null });
    this.#host.style.setProperty("--columns", columns);
    this.#host.style.setProperty("--width", `${width}px`);
    this.#host.style.setProperty("--height", `${height}px`);
    const shown = new Set(inView);
    this.panes.forEach((pane) => {
      pane.element.hidden = !shown.has(pane);
      pane.element.tabIndex = pane === (this.#selected ?? inView[0]) ? 0 : -1;
      pane.enlarged(pane === this.enlarged);
    });
    this.dispatchEvent(new Event("change"));
    this.look();
  }

  /** Looks at everything again: states, figures, rates. */
  look() {
    const [now, { choices }] = [performance.now(), this];
    const rates = share(this.panes.map((pane) => this.#case(pane)), this.#limit(), navigator.hardwareConcurrency);
    this.panes.forEach((pane, at) => {
      pane.by(this.#link.video && this.videos.has(pane.stream));
      pane.want(document.hidden ? 0 : rates[at], delay(rates[at], at, this.panes.length));
      pane.refresh(now, this.#entry(pane.stream), choices, at + 1);
    });
  }

  #case(pane) {
    const entry = this.#entry(pane.stream);
    return {
      visible: !pane.element.hidden && pane.visible,
      focused: pane === this.enlarged || pane === this.#hovered || pane.element.contains(document.activeElement),
      fps: entry?.nominal_fps ?? entry?.fps ?? 0,
      width: entry?.width ?? 0,
      height: entry?.height ?? 0,
    };
  }

  #limit() {
    return this.limit === "auto" || this.limit === "full" ? this.limit : Number(this.limit);
  }

  #entry(name) {
    return this.#list && (this.#list.find((stream) => stream.name === name) ?? null);
  }

  #know(list) {
    this.#list = list;
    const now = performance.now();
    list.forEach(({ name }) => this.#listed.set(name, now));
    if (!this.chosen) this.#follow(now);
    this.look();
  }

  // All streams are shown: those that came get a pane, those long gone lose theirs.
  #follow(now) {
    const { streams, canaries } = this.choices;
    const gone = ({ stream }) => canaries.includes(stream) || now - (this.#listed.get(stream) ?? 0) > GONE_AFTER;
    const leaving = this.panes.filter(gone);
    leaving.forEach((pane) => this.#close(pane));
    const coming = streams.filter((name) => !this.panes.some((pane) => pane.stream === name));
    for (const name of coming.slice(0, MAX_PANES - this.panes.length)) {
      const after = this.panes.findIndex((pane) => inOrder(name, pane.stream) < 0);
      this.#append(name, after < 0 ? this.panes.length : after);
    }
    if (leaving.length + coming.length > 0) this.arrange();
  }

  #append(name, at = this.panes.length) {
    const pane = new Pane(name, this.#link, this.#painter);
    this.#host.insertBefore(pane.element, this.panes[at]?.element ?? null);
    this.panes.splice(at, 0, pane);
    this.#seen.observe(pane.element);
    pane.addEventListener("choose", ({ detail }) => this.#choose(pane, detail));
    pane.addEventListener("state", () => this.dispatchEvent(new CustomEvent("state", { detail: pane })));
    pane.addEventListener("notice", ({ detail }) => this.dispatchEvent(new CustomEvent("notice", { detail })));
    for (const name of ["remove", "enlarge", "fullscreen", "snapshot", "copy", "video", "controls"]) {
      pane.addEventListener(name, () => this.dispatchEvent(new CustomEvent("act", { detail: { name, pane } })));
    }
    pane.element.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && this.#hover(pane));
    pane.element.addEventListener("pointerleave", () => this.#hovered === pane && this.#hover(null));
    return pane;
  }

  #choose(pane, name) {
    pane.show(name);
    this.chosen = true;
    this.arrange();
  }

  #close(pane) {
    this.#seen.unobserve(pane.element);
    this.panes.splice(this.panes.indexOf(pane), 1);
    if (this.enlarged === pane) this.enlarged = null;
    if (this.#hovered === pane) this.#hovered = null;
    if (this.#selected === pane) this.#selected = null;
    pane.close();
  }

  #hover(pane) {
    this.#hovered = pane;
    this.look();
  }

  #select(pane) {
    if (!pane || pane === this.#selected) return;
    if (this.#selected) this.#selected.element.tabIndex = -1;
    this.#selected = pane;
    pane.element.tabIndex = 0;
  }

  #paneOf(target) {
    return this.panes.find((pane) => pane.element.contains(target)) ?? null;
  }

  #pageOf(pane) {
    return this.size === "auto" ? 0 : Math.floor(this.panes.indexOf(pane) / Number(this.size));
  }

  #scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      const pane = this.#paneOf(target);
      if (pane) pane.visible = isIntersecting;
    }
    this.look();
  }
}

// cam2 comes before cam10.
function inOrder(one, other) {
  return one.localeCompare(other, "en", { numeric: true });
}

// Panes that ask at the same moment get their pictures at the same moments, and each picture waits for the others to be
// drawn: those with a rate begin one after the other within the time between two pictures.
function delay(fps, at, count) {
  return fps ? (at * 1000) / (fps * count) : 0;
}
