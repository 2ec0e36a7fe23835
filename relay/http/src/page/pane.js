// One pane: a picture, what is known about it, and what can be done with it.

import { element, icon, iconButton, say } from "./element.js";
import { Figures } from "./figures.js";
import { UNDECODABLE } from "./canvas.js";
import { VideoSession, capturedAt } from "./video.js";
import { picture as newestPicture } from "./api.js";
import { NOT_SHOWN, duration, liveFor, missing, nextTry, rate, trouble } from "./words.js";

/** Milliseconds over which the figures in a pane are made: short enough to follow, long enough to be read. */
const SHOWN_WINDOW = 2000;

/** Milliseconds between two reports to the relay of how the pane fares; a change is told at once. */
const REPORT_INTERVAL = 1000;

/** A picture that was so many milliseconds old when it was drawn is not live. */
const TOO_OLD = 2000;

/** Milliseconds that a first picture may take. */
const FIRST_PICTURE = 2000;

/** Milliseconds that the relay's list may be behind its pictures: it comes four times a second at most. */
const LIST_DELAY = 500;

let lastNumber = 0;

/**
 * Emits `choose` (`detail`: the name chosen), `state`, and `remove`, `enlarge`, `fullscreen`, `snapshot`, `copy`, `video` and
 * `controls` when their buttons are pressed.
 */
export class Pane extends EventTarget {
  /** What stands for this pane as long as it lives. */
  key = (lastNumber += 1);
  /** The stream's name. */
  stream;
  /**
   * "waiting" (for a first picture), "live" (new pictures are drawn), "stale", "blind" (pictures come and are not drawn),
   * "trouble", "missing", "offline" or "paused".
   */
  state = "waiting";
  /** Why it is not live, for people. */
  reason = "";
  figures = new Figures();
  /** The last picture drawn, with `shownAt` and `age`; null before. */
  picture = null;
  /** Whether it is in view. */
  visible = true;
  /** Pictures a second asked for: null all, 0 none. */
  wanted = 0;
  /** Milliseconds from asking until the first picture that came then. */
  first = null;
  /** Whether video is to be shown rather than single pictures. */
  video = false;

  #link;
  #painter;
  #canvas = element("canvas", { width: 16, height: 9 });
  #screen = element("video", { playsinline: true, autoplay: true, disablepictureinpicture: true });
  /** Video did not come: single pictures are shown instead. */
  #fellBack = false;
  #canvasId;
  #subscription = null;
  #asking = 0;
  #since = performance.now();
  #missing = false;
  /** When a picture last came that could not be decoded. */
  #brokenAt = -Infinity;
  /** Since when a picture is being drawn; null: none is. */
  #drawingSince = null;
  #report = { at: -Infinity, reason: null };
  #parts;

  constructor(stream, link, painter) {
    super();
    this.stream = stream;
    this.#link = link;
    this.#painter = painter;
    this.#parts = this.#build();
    this.element = this.#parts.pane;
    this.#canvasId = painter.add(this.#canvas);
  }

  /** Asks for so many pictures a second, null for all, 0 for none: in `delay` milliseconds. */
  want(fps, delay) {
    const connected = this.#link.state === "open";
    // What failed at one relay may work at the next.
    if (!connected) this.#fellBack = false;
    if (this.video && !connected) fps = 0;
    if (fps === this.wanted) return;
    clearTimeout(this.#asking);
    if (fps === 0) return this.#leave();
    this.wanted = fps;
    this.#asking = setTimeout(() => this.#ask(fps), delay);
  }

  #ask(fps) {
    if (this.#subscription) return this.#subscription.rate(fps);
    this.#since = performance.now();
    this.figures.restart();
    if (this.video && !this.#fellBack) this.#play();
    else this.#subscribe(fps);
  }

  #subscribe(fps) {
    const subscription = this.#link.subscribe(
      this.stream,
      fps,
      (picture, buffer) => this.#take(subscription, picture, buffer),
      (code, message) => this.#complain(code, message),
    );
    this.#subscription = subscription;
    this.#drawingSince = null;
  }

  #play() {
    const session = new VideoSession(
      this.stream,
      this.#screen,
      (shown) => this.#see(session, shown),
      (reason, seen) => this.#fallBack(session, reason, seen),
    );
    // Video has one rate, and tells the relay by itself how it fares.
    this.#subscription = { session, rate() {}, shown() {}, end: () => session.end() };
    this.#drawingSince = null;
  }

  /** Shows video, or single pictures, from now on. */
  by(video) {
    if (video === this.video) return;
    this.video = video;
    this.#fellBack = false;
    this.#leave();
  }

  // Video that came once may come again: only what never came is given up.
  #fallBack(session, reason, seen) {
    if (this.#subscription?.session !== session) return;
    this.#leave();
    if (seen) return;
    this.#fellBack = true;
    this.dispatchEvent(new CustomEvent("notice", { detail: `No video of ${this.stream}: ${reason}. Single pictures are shown` }));
  }

  /** Shows another stream from now on. */
  show(stream) {
    if (stream === this.stream) return;
    this.#leave();
    this.stream = stream;
    this.picture = null;
    this.#missing = false;
    this.#fellBack = false;
    this.element.classList.remove("drawn");
  }

  /** Ends it. */
  close() {
    this.#leave();
    this.#painter.remove(this.#canvasId);
    this.element.remove();
  }

  /** The JPEG that is shown, as it was received; of a video the relay's newest one; null when there is none. */
  snapshot() {
    if (this.picture?.by === "video") return newestPicture(this.stream).catch(() => null);
    return this.picture ? this.#painter.shown(this.#canvasId) : Promise.resolve(null);
  }

  /** Milliseconds since the picture shown was captured, or came, when the capture's time is not known. */
  pictureAge(now) {
    if (!this.picture) return null;
    const relay = this.#link.clock.at(now);
    if (this.picture.captured === null || relay === null) return now - this.picture.shownAt;
    return Math.max(0, (relay - this.picture.captured) / 1000);
  }

  /**
   * Looks again at what is known and shows it. `entry` is the stream's in the relay's list: null when it is
   * not there, undefined when there is no list yet.
   */
  refresh(now, entry, choices, position) {
    const [state, reason] = this.#judge(now, entry, choices.streams);
    this.#tell(now, entry);
    const changed = state !== this.state;
    [this.state, this.reason] = [state, reason];
    this.#write(now, position);
    this.#offer(choices);
    if (changed) this.dispatchEvent(new Event("state"));
  }

  #judge(now, entry, others) {
    if (document.hidden) return ["paused", "Paused while nobody looks"];
    if (this.#link.state !== "open") return ["offline", offline(this.#link, now)];
    const why = entry && trouble(entry);
    const age = this.pictureAge(now);
    const silent = this.#silent(now);
    const timeout = this.#timeout(entry);
    // Of a stream that stands still video goes on with a card.
    if (why && (silent > LIST_DELAY || this.picture.by === "video")) return ["trouble", why];
    if (silent <= timeout && (this.picture.age ?? 0) <= TOO_OLD) return ["live", ""];
    const notShown = this.#notShown(now, entry);
    if (notShown) return ["blind", NOT_SHOWN[notShown]];
    if (entry === null || this.#missing) return ["missing", `${missing(this.stream, others)}; it is shown when it comes`];
    if (this.#subscription === null) return ["waiting", ""];
    if (this.picture === null || this.picture.shownAt < this.#since) {
      if (now - this.#since <= FIRST_PICTURE) return ["waiting", ""];
      return age === null ? ["trouble", "No picture comes"] : ["stale", `The last picture is ${duration(age)} old`];
    }
    return ["stale", `The last picture is ${duration(age)} old`];
  }

  #silent(now) {
    return this.picture ? now - this.picture.shownAt : Infinity;
  }

  #timeout(entry) {
    const fps = entry?.nominal_fps ?? entry?.fps ?? 0;
    return liveFor(this.wanted > 0 ? Math.min(this.wanted, fps || Infinity) : fps);
  }

  // Why pictures that come are not drawn: a key of NOT_SHOWN, or null. At once when none was ever drawn.
  #notShown(now, entry) {
    const timeout = this.#timeout(entry);
    if (this.#drawingSince !== null && now - this.#drawingSince > timeout) return "not-displayed";
    if (this.picture !== null && this.#silent(now) <= timeout) return null;
    return now - this.#brokenAt <= timeout ? "undecodable" : null;
  }

  #tell(now, entry) {
    if (this.#subscription === null) return;
    const reason = this.#notShown(now, entry);
    if (reason === this.#report.reason && now - this.#report.at < REPORT_INTERVAL) return;
    this.#report = { at: now, reason };
    const ago = this.picture ? Math.round(this.#silent(now)) : null;
    this.#subscription.shown({ frames: this.figures.drawn, last_shown_ms: ago, not_shown: reason });
  }

  async #take(subscription, picture, buffer) {
    this.figures.frames += 1;
    this.figures.skipped += picture.skipped;
    const bytes = buffer.byteLength - picture.start;
    if (subscription === this.#subscription) this.#drawingSince ??= performance.now();
    const drawnAt = await this.#painter.draw(this.#canvasId, buffer, picture.start);
    subscription.credit();
    if (drawnAt === UNDECODABLE) this.figures.broken += 1;
    if (subscription !== this.#subscription) return;
    this.#drawingSince = null;
    if (drawnAt === UNDECODABLE) this.#brokenAt = performance.now();
    if (typeof drawnAt !== "number") return;
    const relay = this.#link.clock.at(drawnAt);
    const age = picture.captured === null || relay === null ? null : Math.max(0, (relay - picture.captured) / 1000);
    this.#drawn({ ...picture, shownAt: drawnAt, age, bytes, by: "pictures" });
  }

  #see(session, { rtp, shownAt, width, height }) {
    if (this.#subscription?.session !== session) return;
    const relay = this.#link.clock.at(shownAt);
    const captured = rtp === null || relay === null ? null : capturedAt(rtp, relay);
    const age = captured === null ? null : Math.max(0, (relay - captured) / 1000);
    this.figures.frames += 1;
    this.#drawn({ captured, utc: null, shownAt, age, width, height, by: "video" });
  }

  #drawn(picture) {
    if (this.picture === null || this.picture.shownAt < this.#since) this.first = picture.shownAt - this.#since;
    this.picture = picture;
    this.#missing = false;
    this.figures.draw(picture.shownAt, picture.age);
    this.element.classList.add("drawn");
    this.element.dataset.by = picture.by;
  }

  #complain(code, message) {
    if (code === "no_such_stream") this.#missing = true;
    else this.dispatchEvent(new CustomEvent("notice", { detail: message }));
  }

  #leave() {
    clearTimeout(this.#asking);
    this.wanted = 0;
    this.#subscription?.end();
    this.#subscription = null;
  }

  #build() {
    const act = (name) => () => this.dispatchEvent(new Event(name));
    const parts = {
      word: element("p", { class: "word" }),
      reason: element("p", { class: "reason" }),
      fps: element("span", { class: "fps" }),
      age: element("span", { class: "age", title: "Time from capture until drawn here" }),
      size: element("span", { class: "size" }),
      name: element("span", { class: "chosen", "aria-hidden": "true" }),
      select: element("select", { on: { change: (event) => this.#chosen(event) } }),
      enlarge: iconButton("enlarge", "Enlarge", act("enlarge")),
      way: iconButton("video", "Video, for slow networks (w)", act("video")),
      controls: iconButton("controls", "Camera controls (o)", act("controls")),
    };
    parts.figures = element("div", { class: "figures" }, parts.fps, parts.age, parts.size);
    parts.actions = element(
      "div",
      { class: "actions", role: "toolbar", "aria-label": "Actions" },
      parts.enlarge,
      iconButton("fullscreen", "Full screen (f)", act("fullscreen")),
      iconButton("camera", "Save the picture (s)", act("snapshot")),
      iconButton("link", "Copy the stream's address (c)", act("copy")),
      parts.way,
      parts.controls,
      iconButton("close", "Remove the pane (x)", act("remove")),
    );
    parts.pane = element(
      "article",
      { class: "pane", role: "group", tabindex: -1, "data-state": "waiting" },
      this.#canvas,
      this.#screen,
      element("div", { class: "veil" }, element("span", { class: "spinner", "aria-hidden": "true" }), parts.word, parts.reason),
      element("div", { class: "name" }, element("span", { class: "dot", "aria-hidden": "true" }), parts.name, icon("down"), parts.select),
      parts.figures,
      parts.actions,
    );
    this.#canvas.setAttribute("role", "img");
    // The attribute does nothing to an element that a script made.
    this.#screen.muted = true;
    for (const picture of [this.#canvas, this.#screen]) picture.addEventListener("click", act("enlarge"));
    return parts;
  }

  #chosen({ target }) {
    this.dispatchEvent(new CustomEvent("choose", { detail: target.value }));
  }

  #write(now, position) {
    const { pane, name, word, reason, figures, fps, age, size } = this.#parts;
    if (pane.dataset.state !== this.state) pane.dataset.state = this.state;
    pane.dataset.stream = this.stream;
    say(name, this.stream);
    say(word, WORDS[this.state]);
    say(reason, this.reason);
    const live = this.state === "live";
    say(fps, live ? rate(this.figures.rate(now, SHOWN_WINDOW)) : "");
    say(age, live ? duration(this.figures.age(0.5, now, SHOWN_WINDOW)) : this.picture ? duration(this.pictureAge(now)) : "");
    say(size, this.picture ? `${this.picture.width}×${this.picture.height}${this.picture.by === "video" ? " video" : ""}` : "");
    this.#parts.way.hidden = !this.#link.video;
    this.#parts.controls.hidden = this.#link.role !== "admin";
    this.#parts.way.setAttribute("aria-pressed", this.video);
    figures.hidden = this.picture === null;
    const label = `Pane ${position}: ${this.stream}, ${SPOKEN[this.state]}`;
    if (pane.getAttribute("aria-label") !== label) {
      pane.setAttribute("aria-label", label);
      for (const picture of [this.#canvas, this.#screen]) picture.setAttribute("aria-label", `Picture of ${this.stream}`);
      this.#parts.select.setAttribute("aria-label", `Stream of pane ${position}`);
    }
  }

  // A list that is rebuilt while it is open closes: only what differs is written.
  #offer({ streams, canaries }) {
    const { select } = this.#parts;
    const known = streams.includes(this.stream) || canaries.includes(this.stream);
    const wanted = JSON.stringify([known ? streams : [this.stream, ...streams], canaries]);
    if (select.dataset.offered !== wanted) {
      const [names, others] = JSON.parse(wanted);
      const option = (name) => element("option", { value: name }, name);
      select.replaceChildren(...names.map(option));
      if (others.length > 0) select.append(element("optgroup", { label: "Canaries" }, ...others.map(option)));
      select.dataset.offered = wanted;
    }
    if (select.value !== this.stream) select.value = this.stream;
  }

  /** Tells whether this pane fills the window. */
  enlarged(yes) {
    const { enlarge } = this.#parts;
    enlarge.replaceChildren(icon(yes ? "reduce" : "enlarge"));
    const label = yes ? "Back to all (Escape)" : "Enlarge (Enter)";
    enlarge.setAttribute("aria-label", label);
    enlarge.title = label;
  }
}

const WORDS = {
  waiting: "Waiting for a picture",
  live: "",
  stale: "Stale",
  blind: "No picture",
  trouble: "No signal",
  missing: "No such stream",
  offline: "No connection",
  paused: "Paused",
};

const SPOKEN = { ...WORDS, waiting: "waiting for a picture", live: "live", blind: "no picture", trouble: "no signal" };

function offline(link, now) {
  if (link.state !== "waiting") return "Connecting to the relay";
  return nextTry(link.retryAt - now);
}
