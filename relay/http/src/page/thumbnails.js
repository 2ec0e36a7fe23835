// Small pictures of streams, a new one now and then, for views that show many at once.

import { picture } from "./api.js";
import { element } from "./element.js";

/** Pictures that are asked for at one time: the relay sends them whole. */
const AT_ONCE = 12;

/** One picture of each stream, which all images of that stream show. */
export class Thumbnails {
  #streams = new Map();
  /** Where the next round begins, so that all have their turn. */
  #turn = 0;

  /** A new image that shows the stream `name` as long as it is in the page. */
  image(name) {
    const image = element("img", { alt: "", draggable: "false" });
    const stream = this.#streams.get(name) ?? { images: new Set(), url: null, busy: false };
    this.#streams.set(name, stream);
    stream.images.add(image);
    if (stream.url) image.src = stream.url;
    else this.#load(name, stream);
    return image;
  }

  /** Asks for new pictures of what is in the page, and forgets the rest. */
  refresh() {
    for (const [name, stream] of this.#streams) {
      stream.images.forEach((image) => !image.isConnected && stream.images.delete(image));
      if (stream.images.size === 0) this.#forget(name, stream);
    }
    const all = [...this.#streams];
    const round = Array.from({ length: Math.min(AT_ONCE, all.length) }, (_, at) => all[(this.#turn + at) % all.length]);
    this.#turn = all.length > 0 ? (this.#turn + round.length) % all.length : 0;
    round.forEach(([name, stream]) => this.#load(name, stream));
  }

  /** Forgets all pictures; images keep their place. */
  clear() {
    for (const stream of this.#streams.values()) show(stream, null);
  }

  async #load(name, stream) {
    if (stream.busy) return;
    stream.busy = true;
    const jpeg = await picture(name).catch(() => null);
    stream.busy = false;
    if (this.#streams.get(name) === stream) show(stream, jpeg && URL.createObjectURL(jpeg));
  }

  #forget(name, stream) {
    show(stream, null);
    this.#streams.delete(name);
  }
}

// What could not be had is not shown: an old picture would pass for a new one.
function show(stream, url) {
  if (stream.url) URL.revokeObjectURL(stream.url);
  stream.url = url;
  for (const image of stream.images) {
    if (url) image.src = url;
    else image.removeAttribute("src");
  }
}
