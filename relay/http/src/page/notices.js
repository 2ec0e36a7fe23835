// Words to the reader: short ones that go by themselves, and one line about the connection that stays.

import { say } from "./element.js";

/** Milliseconds that a short word stays. */
const STAY = 4000;

/** State changes that are read aloud come at most this often, in milliseconds: many cameras may fail at once. */
const SPEECH_INTERVAL = 2000;

export class Notices {
  #toast;
  #speech;
  #banner;
  #hide = 0;
  #spoken = 0;

  /** @param {{toast: HTMLElement, speech: HTMLElement, banner: HTMLElement}} places */
  constructor({ toast, speech, banner }) {
    this.#toast = toast;
    this.#speech = speech;
    this.#banner = banner;
  }

  /** Shows a word for some seconds. */
  tell(text) {
    say(this.#toast, text);
    this.#toast.classList.add("shown");
    clearTimeout(this.#hide);
    this.#hide = setTimeout(() => this.#toast.classList.remove("shown"), STAY);
  }

  /** Lets a screen reader say something, without showing it. */
  speak(text) {
    const now = performance.now();
    if (now - this.#spoken < SPEECH_INTERVAL) return;
    this.#spoken = now;
    say(this.#speech, text);
  }

  /** Shows a line about the connection; an empty one hides it. `action` is what its button says, `""` for none. */
  stay(text, action) {
    this.#banner.hidden = text === "";
    const [line, button] = this.#banner.children;
    say(line, text);
    say(button, action);
    button.hidden = action === "";
  }
}
