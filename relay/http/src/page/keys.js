// The keyboard: one list, which is also what the help shows.

import { element } from "./element.js";

/** Calls what belongs to a key; keys typed into fields, with modifiers or over a dialog are left alone. */
export function listen(keys) {
  const acts = new Map(keys.flatMap(({ keys, act }) => keys.map((key) => [key, act])));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || event.target.closest?.("input, select, textarea")) return;
    const pressed = event.target.closest?.("button, a, summary") && (event.key === "Enter" || event.key === " ");
    const act = acts.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!act || pressed) return;
    if (act(event.key) !== false) event.preventDefault();
  });
}

/** Writes the list into a table. */
export function explain(keys, table) {
  const key = (name) => element("kbd", {}, name);
  const cell = (shown) => element("th", { scope: "row" }, ...shown.flatMap((name, at) => (at === 0 ? [key(name)] : [" ", key(name)])));
  table.replaceChildren(...keys.map(({ shown, words }) => element("tr", {}, cell(shown), element("td", {}, words))));
}
