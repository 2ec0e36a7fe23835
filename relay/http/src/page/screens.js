// The screens of the relay: what each shows now, what it was told to show, by whom, and whether that is proved. An admin
// gives directions here: a camera dragged on a screen, a camera chosen and then a screen (by keyboard and touch), or the
// list in a screen's tile.

import { get, post, put } from "./api.js";
import { element, say } from "./element.js";
import { Thumbnails } from "./thumbnails.js";
import { duration } from "./words.js";

/** Milliseconds between two looks. */
const INTERVAL = 1000;

/** Milliseconds that the relay waits for the proof before it answers: less than a request may take. */
const PROOF_WAIT = 4000;

/** Seconds that a screen shows its name. */
const IDENTIFY_SECONDS = 5;

/** Screens that are shown; the rest is counted. */
const MAX_SCREENS = 256;

/** What is dragged: the name of a stream. */
const DRAGGED = "application/x-fanlight-stream";

/** In the list of a tile: back to what the screen's own settings say. */
const OWN = "";

const STATES = {
  own: "own settings",
  asked: "asked",
  acknowledged: "told, not proved",
  showing: "showing",
  wrong: "wrong",
  away: "away",
  undirected: "not directed",
};

/** What of a screen's state is good or bad news. */
const LOOKS = { showing: "good", asked: "fair", acknowledged: "fair", wrong: "bad", away: "bad" };

/** Watches the screens while it is open. Emits `notice` (`detail`: words) and `change` when it opens or closes. */
export class Screens extends EventTarget {
  #host;
  #grid;
  #parts;
  #tiles = new Map();
  #chips = new Map();
  #scenes = "";
  #thumbnails = new Thumbnails();
  #timer = 0;
  #busy = false;
  #mayDirect = false;
  /** The camera that was chosen to be put on a screen. */
  #chosen = null;

  /** @param {HTMLElement} host that the view is built in */
  constructor(host, grid) {
    super();
    this.#host = host;
    this.#grid = grid;
    const names = ["cameras", "scenes", "screens", "word"];
    this.#parts = Object.fromEntries(names.map((name) => [name, host.querySelector(`[data-part="${name}"]`)]));
    document.addEventListener("visibilitychange", () => this.isOpen && !document.hidden && this.#look());
  }

  /** Whether it watches. */
  get isOpen() {
    return this.#timer !== 0;
  }

  open() {
    if (this.isOpen) return;
    this.#host.hidden = false;
    this.#timer = setInterval(() => this.#look(), INTERVAL);
    this.#look();
  }

  close() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#host.hidden = true;
    this.#thumbnails.clear();
  }

  /** Takes back the choice of a camera; whether there was one. */
  unchoose() {
    const was = this.#chosen !== null;
    this.#choose(null);
    return was;
  }

  async #look() {
    if (this.#busy || document.hidden) return;
    this.#busy = true;
    try {
      const [{ role }, site, { scenes }] = await Promise.all([get("api/session"), get("api/site"), get("api/scenes")]);
      if (this.isOpen) this.#show(role === "admin", site, scenes);
    } catch (error) {
      say(this.#parts.word, error.message);
    } finally {
      this.#busy = false;
    }
    if (this.isOpen) this.#thumbnails.refresh();
  }

  #show(mayDirect, { screens, cameras, relays }, scenes) {
    this.#mayDirect = mayDirect;
    this.#host.classList.toggle("admin", mayDirect);
    // Of cameras of other relays there is no picture here.
    const streams = [...new Set([...this.#grid.choices.streams, ...elsewhere(cameras)])];
    this.#showCameras(streams);
    this.#showScenes(scenes);
    const shown = screens.slice(0, MAX_SCREENS);
    for (const screen of shown) this.#tile(screen).show(screen, streams, mayDirect, this.#chosen);
    this.#forget(new Set(shown.map(({ name }) => name)));
    say(this.#parts.word, [this.#word(screens), site(relays)].filter((words) => words !== "").join(" "));
  }

  #word(screens) {
    if (screens.length === 0) return "No screen is connected. A screen is a fanlight-viewer; it takes directions when it runs with --directed.";
    if (screens.length > MAX_SCREENS) return `${screens.length - MAX_SCREENS} more screens are not shown.`;
    if (!this.#mayDirect) return "Only an admin can direct screens.";
    if (!screens.some((screen) => screen.takes_directions)) return "No screen takes directions: run fanlight-viewer with --directed.";
    return "";
  }

  #tile(screen) {
    if (!this.#tiles.has(screen.name)) {
      const tile = new Tile(screen.name, this.#thumbnails);
      tile.addEventListener("direct", ({ detail }) => this.#direct(screen.name, detail));
      tile.addEventListener("identify", () => this.#identify(screen.name));
      this.#tiles.set(screen.name, tile);
      this.#parts.screens.append(tile.element);
    }
    return this.#tiles.get(screen.name);
  }

  #forget(present) {
    for (const [name, tile] of this.#tiles) {
      if (present.has(name)) continue;
      tile.element.remove();
      this.#tiles.delete(name);
    }
  }

  #showCameras(streams) {
    for (const [name, chip] of this.#chips) {
      if (streams.includes(name)) continue;
      chip.remove();
      this.#chips.delete(name);
      if (this.#chosen === name) this.#choose(null);
    }
    for (const name of streams) {
      if (!this.#chips.has(name)) this.#chips.set(name, this.#newChip(name));
      this.#chips.get(name).draggable = this.#mayDirect;
      this.#chips.get(name).disabled = !this.#mayDirect;
    }
    const wanted = streams.map((name) => this.#chips.get(name));
    if (wanted.some((chip, at) => this.#parts.cameras.children[at] !== chip)) this.#parts.cameras.replaceChildren(...wanted);
  }

  #newChip(name) {
    const drag = (event) => {
      event.dataTransfer.setData(DRAGGED, name);
      event.dataTransfer.setData("text/plain", name);
      event.dataTransfer.effectAllowed = "copy";
    };
    const press = () => this.#choose(this.#chosen === name ? null : name);
    const chip = { type: "button", class: "camera", "aria-pressed": "false", "data-stream": name, on: { click: press, dragstart: drag } };
    return element("button", chip, this.#thumbnails.image(name), element("span", {}, name));
  }

  #choose(name) {
    this.#chosen = name;
    for (const [camera, chip] of this.#chips) chip.setAttribute("aria-pressed", camera === name);
    for (const tile of this.#tiles.values()) tile.offer(name);
  }

  #showScenes(scenes) {
    const key = JSON.stringify([this.#mayDirect, scenes.map(({ name }) => name)]);
    if (key === this.#scenes) return;
    this.#scenes = key;
    const button = ({ name }) =>
      element("button", { type: "button", class: "scene", disabled: !this.#mayDirect, on: { click: () => this.#apply(name) } }, name);
    this.#parts.scenes.replaceChildren(...scenes.map(button));
    this.#parts.scenes.parentElement.hidden = scenes.length === 0;
  }

  async #direct(name, direction) {
    this.#choose(null);
    const what = direction.streams?.length > 0 ? direction.streams.join(", ") : "what its own settings say";
    await this.#tell(async () => {
      const { screen } = await put(`api/screens/${encodeURIComponent(name)}?wait_ms=${PROOF_WAIT}`, direction);
      const after = screen.shown_after_ms === null ? "" : `, after ${duration(screen.shown_after_ms)}`;
      return `${name} shows ${what}${after}`;
    });
  }

  #identify(name) {
    return this.#tell(async () => {
      await post(`api/screens/${encodeURIComponent(name)}/identify`, { seconds: IDENTIFY_SECONDS });
      return `${name} shows its name`;
    });
  }

  #apply(scene) {
    return this.#tell(async () => {
      await post(`api/scenes/${encodeURIComponent(scene)}/apply`, {});
      return `The scene ${scene} was given to its screens`;
    });
  }

  async #tell(act) {
    const words = await act().catch((error) => error.message);
    this.dispatchEvent(new CustomEvent("notice", { detail: words }));
    this.#look();
  }
}

/** One screen. Emits `direct` (`detail`: a direction) and `identify`. */
class Tile extends EventTarget {
  #thumbnails;
  #parts;
  #streams = [];
  #takes = false;

  constructor(name, thumbnails) {
    super();
    this.#thumbnails = thumbnails;
    this.#parts = this.#build(name);
    this.element = this.#parts.tile;
  }

  /** Shows the entry of the relay's list. */
  show(screen, streams, mayDirect, chosen) {
    const { tile, state, what, who } = this.#parts;
    this.#takes = screen.takes_directions && mayDirect;
    Object.assign(tile.dataset, { state: screen.state, takes: this.#takes });
    state.className = `state ${LOOKS[screen.state] ?? ""}`;
    say(state, STATES[screen.state] ?? screen.state);
    say(what, description(screen));
    say(who, [origin(screen), place(screen)].filter((words) => words !== "").join(" · "));
    this.#showPictures(screen);
    this.#offerStreams(streams, screen);
    this.offer(chosen);
  }

  /** Offers to show the camera that was chosen; null: none was. */
  offer(camera) {
    const { place } = this.#parts;
    place.hidden = camera === null || !this.#takes;
    place.dataset.stream = camera ?? "";
    say(place, camera === null ? "" : `Show ${camera} here`);
  }

  #showPictures({ state, showing, direction }) {
    const card = direction?.card && state !== "wrong" && state !== "away" ? direction.card : null;
    const names = state === "away" || card !== null ? [] : showing.map(({ stream }) => stream);
    say(this.#parts.card, card ?? (names.length === 0 ? "no picture" : ""));
    if (JSON.stringify(names) === JSON.stringify(this.#streams)) return;
    this.#streams = names;
    this.#parts.pictures.dataset.columns = Math.ceil(Math.sqrt(names.length));
    this.#parts.pictures.replaceChildren(...names.map((name) => this.#thumbnails.image(name)));
  }

  #offerStreams(streams, { direction }) {
    const { choice } = this.#parts;
    choice.disabled = !this.#takes;
    const present = direction && direction.streams.length > 0 ? direction.streams : [OWN];
    // One option stands for what no list of single streams has.
    const several = present.length > 1 ? [present.join(", ")] : [];
    const names = [OWN, ...new Set([...streams, ...(present.length === 1 && present[0] !== OWN ? present : []), ...several])];
    if (JSON.stringify(names) !== choice.dataset.names && document.activeElement !== choice) {
      choice.dataset.names = JSON.stringify(names);
      choice.replaceChildren(...names.map((name) => element("option", { value: name, disabled: several.includes(name) }, name || "Own settings")));
    }
    if (document.activeElement !== choice) choice.value = present.join(", ");
  }

  #build(name) {
    const give = (streams) => this.dispatchEvent(new CustomEvent("direct", { detail: streams.length > 0 ? { streams } : {} }));
    const pictures = element("div", { class: "pictures" });
    const card = element("p", { class: "card" });
    const state = element("span", { class: "state" });
    const [what, who] = [element("p", { class: "what" }), element("p", { class: "small" })];
    const choice = element("select", {
      "aria-label": `What ${name} shows`,
      on: { change: ({ target }) => (give(target.value === OWN ? [] : [target.value]), target.blur()) },
    });
    const place = element("button", { type: "button", class: "primary", hidden: true, on: { click: () => give([place.dataset.stream]) } });
    const identify = element(
      "button",
      { type: "button", class: "identify", title: "The screen shows its name in large letters", on: { click: () => this.dispatchEvent(new Event("identify")) } },
      "Identify",
    );
    const tile = element(
      "li",
      { class: "screen", "data-screen": name },
      element("div", { class: "monitor" }, pictures, card, place),
      element("header", {}, element("h3", {}, name), state),
      what,
      who,
      element("div", { class: "acts" }, choice, identify),
    );
    this.#takeDrops(tile, give);
    return { tile, pictures, card, state, what, who, choice, place };
  }

  // A camera that is dropped replaces what is shown; with Shift it becomes a further tile.
  #takeDrops(tile, give) {
    const fits = ({ dataTransfer }) => this.#takes && dataTransfer.types.includes(DRAGGED);
    tile.addEventListener("dragover", (event) => {
      if (!fits(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      tile.classList.add("target");
    });
    tile.addEventListener("dragleave", () => tile.classList.remove("target"));
    tile.addEventListener("drop", (event) => {
      tile.classList.remove("target");
      if (!fits(event)) return;
      event.preventDefault();
      const stream = event.dataTransfer.getData(DRAGGED);
      give(event.shiftKey ? [...new Set([...this.#streams, stream])] : [stream]);
    });
  }
}

/** What a screen does, in a line: `entry` is one of the relay's list. */
export function description({ state, direction, showing, shown_after_ms: after }) {
  const shown = showing.map(({ stream }) => stream).join(", ");
  const told = direction?.card ? `the text “${direction.card}”` : (direction?.streams ?? []).join(", ");
  if (state === "wrong") return `shows ${shown || "nothing"} instead of ${told || "its own settings"}`;
  if (state === "asked" || state === "acknowledged") return `${shown || "nothing"} → ${told || "its own settings"}`;
  if (state === "away") return told ? `was told to show ${told}` : "";
  const age = Math.max(...showing.map(({ age_us: us }) => us ?? -1));
  const words = [direction?.card ? told : shown || "nothing"];
  if (age > 0) words.push(`${duration(age / 1000)} old`);
  // Of a card or a picture that stands still there is only the screen's own word.
  const seen = direction?.card || direction?.frozen ? "shown" : "proved";
  if (state === "showing" && after !== null) words.push(`${seen} after ${duration(after)}`);
  return words.join(" · ");
}

/** Of several relays of a site, how many there are and which does not answer; else nothing. */
export function site(relays) {
  if (relays.length < 2) return "";
  const away = relays.filter(({ reachable }) => !reachable);
  const all = `${relays.length} relays`;
  return away.length === 0 ? `${all}.` : `${all}, of which ${away.map(({ name, problem }) => `${name} does not answer (${problem})`).join(", ")}.`;
}

// The cameras that only other relays have, but for canaries.
function elsewhere(cameras) {
  const canaries = new Set(cameras.map(({ canary }) => canary));
  return cameras.filter(({ name, source_gone: gone }) => !gone && !canaries.has(name)).map(({ name }) => name);
}

// The relays that reach a screen, when there are several of them.
function place({ relays = [] }) {
  return relays.length > 1 ? `by ${relays.length} relays` : "";
}

/** Who gave a screen its direction, and when. */
export function origin({ direction }) {
  if (!direction) return "";
  return `by ${direction.by || "somebody"}, ${new Date(direction.given_ms).toLocaleString()}`;
}
