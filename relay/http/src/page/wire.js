// What comes over the WebSocket: binary frames with a header of 56 bytes, big endian, and then the JPEG as the camera
// made it. relay/HTTP.md has the layout.

/** The version of the messages that this page speaks. */
export const VERSION = 1;

const KIND_PICTURE = 1;
const LEAST_HEADER_BYTES = 56;
const UNKNOWN_TIME = -(2n ** 63n);
const UNKNOWN_AGE = 0xffffffff;

/**
 * The header of a binary frame. `captured` is on the relay's clock and `utc` since 1970, both in microseconds; what is
 * not known is null. `skipped` counts the frames of the stream that were skipped since the last one. The JPEG begins at
 * `start`.
 *
 * @param {ArrayBuffer} buffer
 * @returns null when it is nothing that this page understands.
 */
export function pictureIn(buffer) {
  if (buffer.byteLength < LEAST_HEADER_BYTES) return null;
  const view = new DataView(buffer);
  const start = view.getUint16(2);
  if (view.getUint8(0) !== VERSION || view.getUint8(1) !== KIND_PICTURE) return null;
  if (start < LEAST_HEADER_BYTES || start >= buffer.byteLength) return null;
  const age = view.getUint32(40);
  return {
    id: view.getUint32(4),
    epoch: view.getBigUint64(8).toString(),
    number: Number(view.getBigUint64(16)),
    captured: time(view.getBigInt64(24)),
    utc: time(view.getBigInt64(32)),
    age: age === UNKNOWN_AGE ? null : age,
    skipped: view.getUint32(44),
    width: view.getUint16(48),
    height: view.getUint16(50),
    start,
  };
}

function time(microseconds) {
  return microseconds === UNKNOWN_TIME ? null : Number(microseconds);
}
