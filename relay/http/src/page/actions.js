// What can be done with a pane's picture and address.

import { address, post } from "./api.js";

/** Saves the picture that `pane` shows, as it was received; says what came of it. */
export async function save(pane) {
  const { stream, picture } = pane;
  const jpeg = await pane.snapshot();
  if (!jpeg) return `There is no picture of ${stream} yet`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(jpeg);
  link.download = `${stream}-${stamp(picture)}.jpg`;
  link.click();
  // The browser has begun to read it when this runs.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return `Saved ${link.download}`;
}

// When it was captured, in a form that file names take.
function stamp({ utc }) {
  const captured = utc === null ? new Date() : new Date(utc / 1000);
  return captured.toISOString().replaceAll(":", "").replace("T", "-").replace("Z", "");
}

/** The address of a stream for other programs; where tokens are needed, one that is good for a while without. */
export async function streamAddress(name) {
  const path = `/stream/${encodeURIComponent(name)}.mjpeg`;
  const signed = await post("api/sign", { path }).catch(() => ({ url: path }));
  return address(signed.url.slice(1)).href;
}

/** Copies text; says whether it could. Over plain http browsers have only the old way. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  const before = document.activeElement;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  before?.focus();
  return copied;
}

/** Full screen for an element, or back. */
export async function fullScreen(target) {
  if (document.fullscreenElement) await document.exitFullscreen();
  else if (target.requestFullscreen) await target.requestFullscreen();
  else return false;
  return true;
}
