// What this browser remembers: never more than how the page looks.

const KEY = "fanlight";

/** Themes in the order of the switch: as the system has it, light, dark. */
export const THEMES = ["system", "light", "dark"];

/** What was remembered; empty where storage is forbidden. */
export function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

/** Remembers `changes` beside what is remembered already. */
export function remember(changes) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...remembered(), ...changes }));
  } catch {
    // Without storage the page begins as usual next time.
  }
}

/** Shows the page in a theme. */
export function wear(theme) {
  const { dataset } = document.documentElement;
  if (theme === "light" || theme === "dark") dataset.theme = theme;
  else delete dataset.theme;
}
