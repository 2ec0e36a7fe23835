// What a pane measures of its own pictures.

/** Milliseconds that percentiles and rates look back when nobody says otherwise. */
export const WINDOW = 10_000;

/** Pictures remembered: a minute of 60 a second. */
const MAX_DRAWN = 3600;

/** Counts, and the last pictures drawn with their ages. */
export class Figures {
  /** Pictures that came. */
  frames = 0;
  /** Pictures that were drawn. */
  drawn = 0;
  /** Pictures that could not be decoded. */
  broken = 0;
  /** Pictures of the stream that the relay skipped: this page or its network was not ready, or asked for fewer. */
  skipped = 0;
  #last = [];

  /** Notes a picture drawn at `at` (this page's milliseconds), `age` milliseconds after its capture (null: unknown). */
  draw(at, age) {
    this.drawn += 1;
    this.#last.push({ at, age });
    if (this.#last.length > MAX_DRAWN) this.#last.splice(0, MAX_DRAWN / 2);
  }

  /** Forgets the pictures, not the counts: another stream, or a pause. */
  restart() {
    this.#last = [];
  }

  /** Pictures a second over the last `length` milliseconds before `now`, or since there are any. */
  rate(now, length = WINDOW) {
    const recent = this.#since(now - length);
    if (recent.length < 2) return 0;
    const silent = now - recent.at(-1).at;
    const span = recent.at(-1).at - recent[0].at;
    const interval = span / (recent.length - 1);
    // A rate falls at once when pictures stay away, not only when the window has emptied.
    return silent > 2 * interval ? (1000 * recent.length) / (now - recent[0].at) : 1000 / interval;
  }

  /** The age in milliseconds that so much (0 to 1) of the pictures of the last `length` milliseconds do not exceed. */
  age(part, now, length = WINDOW) {
    const ages = this.#since(now - length).map((picture) => picture.age).filter((age) => age !== null);
    if (ages.length === 0) return null;
    ages.sort((a, b) => a - b);
    return ages[Math.min(ages.length - 1, Math.floor(part * ages.length))];
  }

  #since(begin) {
    let first = this.#last.length;
    while (first > 0 && this.#last[first - 1].at >= begin) first -= 1;
    return this.#last.slice(first);
  }
}
