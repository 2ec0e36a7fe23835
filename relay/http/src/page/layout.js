// How panes fill a rectangle.

/** The shape that panes are laid out for: what nearly all cameras have. */
const ASPECT = 16 / 9;

/** Columns and rows of the grids that can be chosen, in a window that is wider than high. */
export const GRIDS = { 1: [1, 1], 4: [2, 2], 9: [3, 3], 12: [4, 3], 16: [4, 4], 24: [6, 4] };

/** Below so many pixels of width, panes stand below each other and the page scrolls. */
export const NARROW = 600;

/** A pane of the automatic grid is not made smaller than this: the page scrolls instead. */
const LEAST_WIDTH = 150;

/** Pixels between panes, as in panes.css, and around them. */
export const GAP = 6;

/**
 * Where `count` panes stand in `width` x `height` pixels: columns, the size of a pane, and whether the page scrolls.
 * Panes have the shape of a picture, but one alone takes all there is. `grid` is "auto" or one of `GRIDS`.
 */
export function place(grid, count, width, height) {
  const { columns, rows } = arrange(grid, count, width, height);
  const wide = Math.floor((width - GAP * (columns + 1)) / columns);
  if (columns === 1 && rows === 1) return { columns, width: wide, height: Math.floor(height - GAP), scrolls: false };
  const high = rows === 0 ? Infinity : Math.floor((height - GAP * rows) / rows);
  const size = Math.max(1, Math.min(wide, Math.floor(high * ASPECT)));
  return { columns, width: size, height: Math.floor(size / ASPECT), scrolls: rows === 0 };
}

/** Columns and rows for `count` panes; rows is 0 where they do not all fit and the page scrolls. */
export function arrange(grid, count, width, height) {
  if (grid !== "auto") {
    const [long, short] = GRIDS[grid];
    return width >= height ? { columns: long, rows: short } : { columns: short, rows: long };
  }
  if (count <= 1) return { columns: 1, rows: 1 };
  if (width < NARROW && height > width) return { columns: 1, rows: 0 };
  let best = { columns: 1, rows: count, size: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const size = Math.min(width / columns, (height / rows) * ASPECT);
    if (size > best.size) best = { columns, rows, size };
  }
  if (best.size >= LEAST_WIDTH) return { columns: best.columns, rows: best.rows };
  return { columns: Math.max(1, Math.floor(width / LEAST_WIDTH)), rows: 0 };
}
