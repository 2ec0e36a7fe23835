// How many pictures a second each pane asks for.

/**
 * Pictures of 720p that a core decodes and draws in a second with something left for the rest of the machine: nine panes
 * at ten a second were fine on two cores without a graphics card, nine at thirty were not.
 */
const PICTURES_A_CORE = 45;

/** Cores counted: beyond, the network is the limit, and credit finds it. */
const MAX_CORES = 8;

/** A pane has at least so many a second: fewer look stale. */
const LEAST_RATE = 2;

const PIXELS_720P = 1280 * 720;

/** A stream whose rate is not known yet is taken for this. */
const USUAL_RATE = 30;

/**
 * The rate of each pane: null for all that come, 0 for none. The pane in focus gets all, what then is left of the
 * machine is shared by the others in view. `limit` is what the reader of the page chose as most: a number, "full" or
 * "auto".
 *
 * @param {{visible: boolean, focused: boolean, fps: number, width: number, height: number}[]} panes
 */
export function share(panes, limit, cores) {
  const cost = (pane) => (pane.width * pane.height || PIXELS_720P) / PIXELS_720P;
  const usual = (pane) => pane.fps || USUAL_RATE;
  const visible = panes.filter((pane) => pane.visible);
  const first = visible.filter((pane) => pane.focused);
  const others = visible.filter((pane) => !pane.focused);
  let budget = PICTURES_A_CORE * Math.min(MAX_CORES, Math.max(1, cores || 1));
  for (const pane of first) budget -= usual(pane) * cost(pane);
  const weight = others.reduce((sum, pane) => sum + cost(pane), 0);
  const each = Math.max(LEAST_RATE, Math.floor(budget / weight));
  return panes.map((pane) => {
    if (!pane.visible) return 0;
    if (limit === "full" || pane.focused) return null;
    const most = limit === "auto" ? each : Math.min(limit, Math.max(each, LEAST_RATE));
    return most >= Math.round(usual(pane)) && limit === "auto" ? null : most;
  });
}
