// The controls of a camera, for admins: what its driver offers, set while the picture shows what comes of it.

import { get, put } from "./api.js";
import { element, say } from "./element.js";

/** Shows the controls of one camera at a time, beside its picture. */
export class Controls {
  #dialog;
  #parts;
  #stream = "";
  #rows = new Map();
  /** What is to be set next: the newest value of each control. */
  #wanted = {};
  #busy = false;

  /** @param {HTMLDialogElement} dialog */
  constructor(dialog) {
    this.#dialog = dialog;
    const names = ["title", "rows", "keep", "word"];
    this.#parts = Object.fromEntries(names.map((name) => [name, dialog.querySelector(`[data-part="${name}"]`)]));
    this.#parts.keep.addEventListener("change", ({ target }) => target.checked && this.#keepAll());
  }

  /** Shows those of the stream's camera; closes when they are shown already. */
  toggle(stream) {
    if (this.#dialog.open && this.#stream === stream) return this.#dialog.close();
    this.#stream = stream;
    this.#wanted = {};
    this.#show([]);
    this.#parts.keep.checked = false;
    say(this.#parts.title, stream);
    if (!this.#dialog.open) this.#dialog.show();
    this.#ask(stream, (path) => get(path));
  }

  // One request at a time: a slider that is dragged has the camera follow as fast as it can.
  async #set(name, value) {
    this.#wanted[name] = value;
    if (this.#busy) return;
    this.#busy = true;
    while (Object.keys(this.#wanted).length > 0) {
      const stream = this.#stream;
      const body = { set: this.#wanted, save: this.#parts.keep.checked };
      this.#wanted = {};
      await this.#ask(stream, (path) => put(path, body));
    }
    this.#busy = false;
  }

  // What stands there is kept too, not only what is set from now on.
  #keepAll() {
    for (const [name, { changed, value }] of this.#rows) if (changed) this.#set(name, value);
  }

  async #ask(stream, request) {
    say(this.#parts.word, "Asking the camera");
    const answer = await request(`api/streams/${encodeURIComponent(stream)}/controls`).catch((error) => error);
    if (stream !== this.#stream) return;
    const { controls } = answer;
    say(this.#parts.word, controls ? (controls.length === 0 ? "This camera has no controls" : "") : answer.message);
    if (controls) this.#show(controls);
  }

  #show(controls) {
    const names = controls.map(({ name }) => name);
    if (JSON.stringify(names) !== JSON.stringify([...this.#rows.keys()])) {
      this.#rows = new Map(controls.map((control) => [control.name, this.#row(control)]));
      this.#parts.rows.replaceChildren(...[...this.#rows.values()].map(({ label }) => label));
    }
    for (const control of controls) show(this.#rows.get(control.name), control, control.name in this.#wanted);
  }

  #row(control) {
    const row = { changed: false, value: control.value };
    const set = (value) => {
      Object.assign(row, { changed: true, value });
      say(row.said, words(control, value));
      this.#set(control.name, value);
    };
    row.field = field(control, set);
    row.said = element("output");
    row.label = element("label", { "data-control": control.name }, element("span", {}, control.name.replaceAll("_", " ")), row.field, row.said);
    return row;
  }
}

/** How a control is set: "menu", "switch" or "slider". */
export function kind({ choices, minimum, maximum }) {
  if (choices.length > 0) return "menu";
  return minimum === 0 && maximum === 1 ? "switch" : "slider";
}

function field(control, set) {
  const { choices, minimum, maximum, step } = control;
  if (kind(control) === "menu") {
    const options = choices.map(({ value, name }) => element("option", { value }, name));
    return element("select", { on: { change: ({ target }) => set(Number(target.value)) } }, ...options);
  }
  if (kind(control) === "switch") return element("input", { type: "checkbox", on: { change: ({ target }) => set(Number(target.checked)) } });
  return element("input", { type: "range", min: minimum, max: maximum, step: Math.max(step, 1), on: { input: ({ target }) => set(Number(target.value)) } });
}

// What is being dragged stays where the hand is.
function show({ field: input, said, label }, control, isWanted) {
  label.classList.toggle("inactive", control.inactive);
  label.title = control.inactive ? "Not in effect now: an automatic is on" : `Usually ${words(control, control.usual)}`;
  if (isWanted || control.value === null) return;
  if (kind(control) === "switch") input.checked = control.value === 1;
  else input.value = control.value;
  say(said, words(control, control.value));
}

function words(control, value) {
  return kind(control) === "slider" ? String(value) : "";
}
