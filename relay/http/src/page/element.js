// Making parts of the page.

/**
 * An element with attributes and children. `on` has listeners by event; an attribute that is true stands alone, one that
 * is false or null is left out. Children are nodes or text.
 */
export function element(name, { on = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children);
  return made;
}

/** One of the icons that stand in index.html. */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const [svg, use] = ["svg", "use"].map((part) => document.createElementNS(namespace, part));
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A button that is only an icon; `label` is its name for those who do not see it, and its tooltip. */
export function iconButton(name, label, press) {
  return element("button", { type: "button", class: "tool", "aria-label": label, title: label, on: { click: press } }, icon(name));
}

/** Lists `texts`, each as an item of the list `target`; an empty list is hidden. */
export function itemise(target, texts) {
  target.hidden = texts.length === 0;
  const known = [...target.children].map((item) => item.textContent);
  if (JSON.stringify(known) !== JSON.stringify(texts)) target.replaceChildren(...texts.map((text) => element("li", {}, text)));
}

/** Writes text only where it differs: what does not change is not laid out again. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
