// `window.fanlight`: what this page measures, for tests and for the curious. Nothing can be changed by it.

import { WINDOW } from "./figures.js";

/**
 * Publishes `window.fanlight.figures(seconds = 10)`, which gives back plain data:
 *
 * - `link`: `state`, `server`, `role`, `losses` (connections lost), `clock_error_ms`;
 * - `worker`: whether pictures are drawn in a worker;
 * - `panes`, in order: `stream`, `state`, `reason`, `visible`, `wanted` (pictures a second asked for, null: all,
 *   0: none), `fps`, `age_ms` (`p50`, `p95`; from capture until drawn, over the last `seconds`; null: unknown),
 *   `picture_age_ms` (of the picture shown, now), `first_ms` (from asking until the first picture), `frames`, `drawn`, `broken`, `skipped`, and of the picture shown
 *   `epoch`, `number`, `width`, `height`, `bytes` and `by` (`pictures` or `video`; null before one was. Video tells
 *   neither its number nor its bytes).
 */
export function publish(grid, link, painter) {
  const figures = (seconds = WINDOW / 1000) => {
    const now = performance.now();
    return {
      link: { state: link.state, server: link.server, role: link.role, losses: link.losses, clock_error_ms: link.clock.error(now) },
      worker: painter.apart,
      panes: grid.panes.map((pane) => describe(pane, now, 1000 * seconds)),
    };
  };
  Object.defineProperty(window, "fanlight", { value: Object.freeze({ figures }) });
}

function describe(pane, now, window) {
  const { stream, state, reason, wanted, figures, picture } = pane;
  const { frames, drawn, broken, skipped } = figures;
  return {
    stream,
    state,
    reason,
    visible: !pane.element.hidden && pane.visible,
    wanted,
    fps: figures.rate(now, window),
    age_ms: { p50: figures.age(0.5, now, window), p95: figures.age(0.95, now, window) },
    picture_age_ms: pane.pictureAge(now),
    first_ms: pane.first,
    frames,
    drawn,
    broken,
    skipped,
    epoch: picture?.epoch ?? null,
    number: picture?.number ?? null,
    width: picture?.width ?? null,
    height: picture?.height ?? null,
    bytes: picture?.bytes ?? null,
    by: picture?.by ?? null,
  };
}
