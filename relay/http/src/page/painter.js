// The way to whoever draws: a worker where the browser can hand canvases over, else this page itself.

import { Canvases } from "./canvas.js";

/** Draws pictures on canvases of this page. */
export class Painter {
  #worker = null;
  #own = null;
  #calls = new Map();
  #lastCall = 0;
  #lastId = 0;

  /** @param {Worker | null} worker null: everything is drawn here. */
  constructor(worker) {
    this.#worker = worker;
    if (!worker) this.#own = new Canvases();
    worker?.addEventListener("message", ({ data }) => {
      this.#calls.get(data.call)?.(data.answer);
      this.#calls.delete(data.call);
    });
  }

  /** The best that this browser can do. */
  static start() {
    const able = typeof Worker === "function" && "transferControlToOffscreen" in HTMLCanvasElement.prototype;
    if (!able) return new Painter(null);
    return new Painter(new Worker(new URL("./paint-worker.js", import.meta.url), { type: "module", name: "painter" }));
  }

  /** Whether drawing is done in a worker. */
  get apart() {
    return this.#worker !== null;
  }

  /** Takes a canvas; the number given back stands for it. */
  add(canvas) {
    this.#lastId += 1;
    if (this.#own) {
      this.#own.add(this.#lastId, canvas);
    } else {
      const handed = canvas.transferControlToOffscreen();
      this.#worker.postMessage({ type: "add", id: this.#lastId, canvas: handed }, [handed]);
    }
    return this.#lastId;
  }

  /** Forgets a canvas. */
  remove(id) {
    this.#own?.remove(id);
    this.#worker?.postMessage({ type: "remove", id });
  }

  /** As `Canvases.draw`; the buffer is gone afterwards. The time is on the clock of this page's `performance.now()`. */
  async draw(id, buffer, start) {
    const done = this.#own ? await this.#own.draw(id, buffer, start) : await this.#ask({ type: "draw", id, buffer, start }, [buffer]);
    return typeof done === "number" ? done - performance.timeOrigin : done;
  }

  /** The JPEG that a canvas shows; null when there is none. */
  async shown(id) {
    return this.#own ? this.#own.shown(id) : this.#ask({ type: "shown", id }, []);
  }

  #ask(message, handed) {
    this.#lastCall += 1;
    const call = this.#lastCall;
    return new Promise((resolve) => {
      this.#calls.set(call, resolve);
      this.#worker.postMessage({ ...message, call }, handed);
    });
  }
}
