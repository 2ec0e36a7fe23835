// Small plots of figures over time, drawn as SVG.

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [120, 28];

/** Points of a plot: two minutes at one a second. */
export const MAX_POINTS = 120;

/** The last figures of something; null where there was none. */
export class Series {
  values = [];

  add(value) {
    this.values.push(value ?? null);
    if (this.values.length > MAX_POINTS) this.values.shift();
  }

  get last() {
    return this.values.at(-1) ?? null;
  }

  get most() {
    return Math.max(0, ...this.values.filter((value) => value !== null));
  }
}

/** A line with the area below it, from zero to the most there was. */
export class Plot {
  #line = make("path", { class: "line" });
  #area = make("path", { class: "area" });

  constructor(label) {
    this.element = make("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.element.setAttribute("aria-label", label);
    this.element.append(this.#area, this.#line);
  }

  /** Draws `series` so that `top` (or its own most) reaches the upper edge. */
  draw(series, top = series.most) {
    const runs = pieces(series.values, top || 1);
    const path = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
    const area = (points) => `M${points[0][0].toFixed(1)},${HEIGHT}L${path(points)}L${points.at(-1)[0].toFixed(1)},${HEIGHT}Z`;
    this.#line.setAttribute("d", runs.map((points) => `M${path(points)}`).join(""));
    this.#area.setAttribute("d", runs.map(area).join(""));
  }
}

// Runs of points without a gap, the newest at the right edge.
function pieces(values, top) {
  const runs = [[]];
  values.forEach((value, at) => {
    if (value === null) return runs.push([]);
    const x = WIDTH - ((values.length - 1 - at) * WIDTH) / (MAX_POINTS - 1);
    const y = HEIGHT - 1 - (Math.min(value, top) / top) * (HEIGHT - 3);
    return runs.at(-1).push([x, y]);
  });
  return runs.filter((points) => points.length > 0);
}

function make(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}
