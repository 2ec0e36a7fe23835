// The relay's clock as this page knows it: from questions that the relay answers with its time.

/** Answers kept: enough that one of them went both ways without waiting behind a picture. */
const MAX_ANSWERS = 32;

/** How far two clocks may drift apart, as a part of the time since an answer: 100 ppm, as everywhere in Fanlight. */
const DRIFT = 100e-6;

/**
 * An estimate of the relay's clock. Half the round trip and the drift since bound the error of an answer, whatever the
 * network did meanwhile; the answer with the least bound is believed. Answers that contradict each other mean that the
 * relay's clock is another one now. Times of this page are in milliseconds, times of the relay in microseconds.
 */
export class RelayClock {
  #answers = [];

  /** Takes the relay's time `relay`, asked for at `sent` and answered at `received`. */
  add(sent, received, relay) {
    const answer = { at: received, offset: relay - 500 * (sent + received), half: (received - sent) / 2 };
    if (answer.half < 0) return;
    if (this.#answers.some((other) => contradict(answer, other, received))) this.#answers = [];
    this.#answers.push(answer);
    if (this.#answers.length > MAX_ANSWERS) {
      const worst = this.#answers.reduce((a, b) => (bound(a, received) >= bound(b, received) ? a : b));
      this.#answers.splice(this.#answers.indexOf(worst), 1);
    }
  }

  /** Forgets everything: another relay may answer next. */
  forget() {
    this.#answers = [];
  }

  /** The relay's time at this page's `now`; null before the first answer. */
  at(now) {
    const best = this.#best(now);
    return best ? 1000 * now + best.offset : null;
  }

  /** Milliseconds by which `at` may be wrong at most; null before the first answer. */
  error(now) {
    const best = this.#best(now);
    return best ? bound(best, now) : null;
  }

  #best(now) {
    return this.#answers.reduce((best, answer) => (!best || bound(answer, now) < bound(best, now) ? answer : best), null);
  }
}

function bound(answer, now) {
  return answer.half + DRIFT * Math.max(0, now - answer.at);
}

function contradict(a, b, now) {
  return Math.abs(a.offset - b.offset) > 1000 * (bound(a, now) + bound(b, now));
}
