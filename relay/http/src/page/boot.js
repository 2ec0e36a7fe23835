// Loads the page again when a part of it did not come, as happens when the network changes or the relay restarts meanwhile.
// A classic script, so that it listens before the parts are asked for.

const RELOAD_AFTER_MS = 2000;

window.addEventListener(
  "error",
  ({ target }) => {
    if (target instanceof HTMLScriptElement || target instanceof HTMLLinkElement) setTimeout(() => location.reload(), RELOAD_AFTER_MS);
  },
  true,
);
