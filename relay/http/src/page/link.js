// The one WebSocket to the relay: kept, lost, opened again; with the relay's clock and any number of subscriptions.

import { RelayClock } from "./clock.js";
import { ABLE } from "./video.js";
import { VERSION, pictureIn } from "./wire.js";

/** Milliseconds until the first new try after a loss; each further one waits longer by half, and a bit at random. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 5000;

/** Questions for the time right after opening, before pictures can delay an answer. */
const FIRST_QUESTIONS = 4;

/** Milliseconds between later questions. */
const QUESTION_INTERVAL = 1000;

/** Without a word for so long the connection counts as dead: the relay answers every question. */
const SILENCE = 4000;

/** Longest that opening may take. */
const OPENING = 5000;

/** A number that no other subscription of this page had. */
let lastId = 0;

/**
 * Emits `state` (see {@link Link.state}), `streams` when the relay's list changed (`detail`: the list), and `notice`
 * (`detail`: what the relay complains of).
 */
export class Link extends EventTarget {
  /** "opening", "open", "waiting" (for the next try), "refused" (a token is needed) or "other" (not our version). */
  state = "opening";
  /** What the relay calls itself, and what this page may do there ("view" or "admin"); null before it said so. */
  server = null;
  role = null;
  /** Whether the relay sends video by WebRTC, and this browser plays it. */
  video = false;
  /** The relay's words about why it lets nobody in; empty when it said nothing. */
  problem = "";
  /** What the relay misses of what its settings name, one sentence each. */
  problems = [];
  /** When the next try begins, on `performance.now()`. */
  retryAt = 0;
  /** Times that an open connection was lost. */
  losses = 0;
  clock = new RelayClock();

  #address;
  #admission;
  #socket = null;
  #subscriptions = new Map();
  #pause = FIRST_PAUSE;
  #heard = 0;
  #timers = [];
  #retry = 0;

  /**
   * @param {URL} address of the WebSocket
   * @param {() => Promise<string>} admission as in api.js
   */
  constructor(address, admission) {
    super();
    this.#address = address;
    this.#admission = admission;
  }

  /** Opens it now, whatever it was waiting for. */
  open() {
    this.#drop();
    this.#become("opening");
    const socket = new WebSocket(this.#address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const mine = (act) => (event) => this.#socket === socket && act(event);
    socket.addEventListener("message", mine((event) => this.#hear(event.data)));
    socket.addEventListener("open", mine(() => this.#greet()));
    socket.addEventListener("close", mine(() => this.#lost()));
    this.#timers.push(setTimeout(() => this.state === "opening" && this.#lost(), OPENING));
  }

  /** Asks for the time, so that a connection that died while the page slept is found dead. */
  probe() {
    if (this.state === "waiting") this.open();
    if (this.state !== "open") return;
    this.#heard = performance.now();
    this.#ask();
  }

  /**
   * Asks for pictures of `stream`, at most `fps` a second (null: all that come). `take(picture, buffer)` gets each, and
   * none comes after it until it calls `credit()` of what is given back here; `complain(code, message)` gets errors.
   */
  subscribe(stream, fps, take, complain) {
    lastId += 1;
    const id = lastId;
    const subscription = { stream, fps, take, complain };
    this.#subscriptions.set(id, subscription);
    this.#sendSubscription(id, subscription);
    return {
      credit: () => this.#subscriptions.has(id) && this.#send({ type: "credit", id }),
      rate: (value) => {
        if (subscription.fps === value) return;
        subscription.fps = value;
        this.#send({ type: "rate", id, fps: value });
      },
      // How the pane fares: `{ frames, last_shown_ms, not_shown }`, as relay/HTTP.md has it.
      shown: (report) => this.#send({ type: "shown", id, ...report }),
      end: () => this.#subscriptions.delete(id) && this.#send({ type: "unsubscribe", id }),
    };
  }

  #sendSubscription(id, { stream, fps }) {
    this.#send({ type: "subscribe", id, stream, ...(fps === null ? {} : { fps }) });
  }

  #send(message) {
    if (this.state === "open" && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #ask() {
    this.#send({ type: "ping", t: performance.now() });
  }

  #greet() {
    this.clock.forget();
    this.#heard = performance.now();
    this.problem = "";
    this.#become("open");
    for (let question = 0; question < FIRST_QUESTIONS; question += 1) this.#ask();
    for (const [id, subscription] of this.#subscriptions) this.#sendSubscription(id, subscription);
    this.#timers.push(setInterval(() => this.#watch(), QUESTION_INTERVAL));
  }

  #watch() {
    // A hidden page's timers are slowed down: its silence proves nothing.
    if (!document.hidden && performance.now() - this.#heard > SILENCE) this.#lost();
    else this.#ask();
  }

  #hear(data) {
    this.#heard = performance.now();
    if (data instanceof ArrayBuffer) this.#picture(data);
    else this.#word(data);
  }

  #picture(buffer) {
    const picture = pictureIn(buffer);
    if (picture) this.#subscriptions.get(picture.id)?.take(picture, buffer);
  }

  #word(text) {
    const word = parsed(text);
    switch (word?.type) {
      case "hello":
        this.#hello(word);
        break;
      case "pong":
        this.clock.add(word.t, performance.now(), word.now_us);
        break;
      case "streams":
        this.problems = word.problems ?? [];
        this.dispatchEvent(new CustomEvent("streams", { detail: word.streams }));
        break;
      case "error":
        this.#complain(word);
        break;
    }
  }

  #hello(word) {
    this.server = word.server;
    this.role = word.role;
    this.video = ABLE && word.webrtc === true;
    this.#pause = FIRST_PAUSE;
    if (word.version === VERSION) return this.#become("open");
    this.#drop();
    this.#become("other");
  }

  #complain({ id, code, message }) {
    const subscription = this.#subscriptions.get(id);
    if (subscription) subscription.complain(code, message);
    else this.dispatchEvent(new CustomEvent("notice", { detail: message }));
  }

  async #lost() {
    if (this.state === "open") this.losses += 1;
    this.#drop();
    const pause = this.#pause * (1 + Math.random() / 4);
    this.#pause = Math.min(LONGEST_PAUSE, this.#pause * 1.5);
    this.retryAt = performance.now() + pause;
    this.#become("waiting");
    this.#retry = setTimeout(() => this.#again(), pause);
  }

  // A browser does not tell a page why a WebSocket was refused: an ordinary request does.
  async #again() {
    const retry = this.#retry;
    const answer = await this.#admission().catch(() => "in");
    if (retry !== this.#retry || this.state !== "waiting") return;
    if (answer === "token") return this.#become("refused");
    this.problem = answer === "in" ? "" : answer;
    this.open();
  }

  #drop() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [];
    clearTimeout(this.#retry);
    this.#retry = 0;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
