// Decoding and drawing, in a worker or on the page itself.

/** The answer about a picture that cannot be decoded. */
export const UNDECODABLE = "undecodable";

/**
 * Draws JPEGs on canvases and keeps the last one of each as it was received.
 */
export class Canvases {
  #canvases = new Map();

  /** Takes `canvas` (OffscreenCanvas or not) under the number `id`. */
  add(id, canvas) {
    this.#canvases.set(id, { canvas, context: canvas.getContext("2d", { alpha: false }), shown: null, turn: 0, drawn: 0 });
  }

  /** Forgets canvas `id`. */
  remove(id) {
    this.#canvases.delete(id);
  }

  /**
   * Decodes the JPEG that begins at `start` of `buffer` and draws it on canvas `id`. Says when it was done, in
   * milliseconds since 1970 on the clock of `performance`; null when a newer one was faster, or `UNDECODABLE`.
   */
  async draw(id, buffer, start) {
    const place = this.#canvases.get(id);
    if (!place) return null;
    place.turn += 1;
    const turn = place.turn;
    const jpeg = new Blob([new Uint8Array(buffer, start)], { type: "image/jpeg" });
    let picture;
    try {
      picture = await createImageBitmap(jpeg);
    } catch {
      return UNDECODABLE;
    }
    if (turn > place.drawn) {
      place.drawn = turn;
      place.shown = jpeg;
      paint(place, picture);
    }
    picture.close();
    return turn === place.drawn ? performance.timeOrigin + performance.now() : null;
  }

  /** The JPEG that canvas `id` shows; null when there is none. */
  shown(id) {
    return this.#canvases.get(id)?.shown ?? null;
  }
}

function paint({ canvas, context }, picture) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  context.drawImage(picture, 0, 0);
}
