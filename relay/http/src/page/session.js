// Logging in: a token once, which the relay turns into a cookie that scripts cannot read.

import { Refused, post } from "./api.js";
import { say } from "./element.js";

/**
 * Asks for a token until the relay takes one, then calls `done`.
 *
 * @param {HTMLDialogElement} dialog
 */
export function login(dialog, done) {
  if (dialog.open) return;
  const form = dialog.querySelector("form");
  const [field, word] = [form.querySelector("[type=password]"), form.querySelector("[role=alert]")];
  const button = form.querySelector("button");
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const problem = await offer(field.value.trim());
    button.disabled = false;
    say(word, problem);
    if (problem !== "") return field.select();
    field.value = "";
    dialog.close();
    done();
  };
  // There is nothing behind this dialog to go back to.
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  field.focus();
}

async function offer(token) {
  if (token === "") return "A token is needed.";
  try {
    await post("api/session", { token });
    return "";
  } catch (error) {
    return error instanceof Refused ? "The relay does not know this token." : `That did not work: ${error.message}`;
  }
}
