//! How the tiles of a window lie: columns and rows. Options name it, and the window's thread asks for the areas.

use std::fmt;
use std::str::FromStr;

use crate::canvas::Area;

/// Most tiles of a window: each has a socket, a decoder and some threads.
pub const MAX_TILES: usize = 16;

/// Black pixels between two tiles.
const GAP: usize = 2;

/// Columns and rows of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// As near to a square as the number of streams allows.
    Auto,
    /// So many columns and rows.
    Of {
        /// Tiles beside each other.
        columns: usize,
        /// Tiles above each other.
        rows: usize,
    },
}

/// A text that is no [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto or COLUMNSxROWS of at most {MAX_TILES} tiles, such as 2x2")]
pub struct GridError;

impl FromStr for Grid {
    type Err = GridError;

    fn from_str(text: &str) -> Result<Self, GridError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }

        let (columns, rows) = text.split_once('x').ok_or(GridError)?;
        let count = |text: &str| {
            let count = text.parse().map_err(|_| GridError)?;
            Some(count)
                .filter(|count| (1..=MAX_TILES).contains(count))
                .ok_or(GridError)
        };
        let columns: usize = count(columns)?;
        let rows: usize = count(rows)?;
        let fits = columns * rows <= MAX_TILES;
        fits.then_some(Self::Of { columns, rows }).ok_or(GridError)
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Of { columns, rows } => write!(f, "{columns}x{rows}"),
        }
    }
}

impl Grid {
    /// Columns and rows for so many streams.
    #[must_use]
    pub fn shape(self, streams: usize) -> (usize, usize) {
        match self {
            Self::Of { columns, rows } => (columns, rows),
            Self::Auto => {
                let streams = streams.clamp(1, MAX_TILES);
                let columns = (1..).find(|columns| columns * columns >= streams);
                let columns = columns.unwrap_or(1);
                (columns, streams.div_ceil(columns))
            }
        }
    }
}

/// The area of tile `at`, counted from the upper left along the rows, in a window of this size.
pub(super) fn area(
    at: usize,
    (columns, rows): (usize, usize),
    (width, height): (usize, usize),
) -> Area {
    let span = |at: usize, count: usize, length: usize| {
        let from = at * length / count;
        let to = (at + 1) * length / count;
        let gap = if at + 1 < count { GAP } else { 0 };
        (from, (to - from).saturating_sub(gap))
    };
    let (x, width) = span(at % columns, columns, width);
    let (y, height) = span(at / columns, rows, height);
    Area {
        x,
        y,
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_columns_and_rows_and_not_too_many_tiles() {
        for (text, shape) in [("2x2", (2, 2)), ("1x16", (1, 16)), ("4x3", (4, 3))] {
            let grid: Grid = text.parse().unwrap();
            assert_eq!(grid.shape(1), shape);
            assert_eq!(grid.to_string(), text);
        }

        for bad in [
            "",
            "2",
            "0x2",
            "2x0",
            "5x4",
            "x",
            "2x2x2",
            "-1x2",
            "Auto",
            "99999999999x99999999999",
        ] {
            assert_eq!(bad.parse::<Grid>(), Err(GridError), "{bad}");
        }
    }

    #[test]
    fn auto_is_as_near_to_a_square_as_can_be() {
        let auto: Grid = "auto".parse().unwrap();
        assert_eq!(auto.to_string(), "auto");
        let shapes = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 16].map(|streams| auto.shape(streams));
        let wanted = [
            (1, 1),
            (1, 1),
            (2, 1),
            (2, 2),
            (2, 2),
            (3, 2),
            (3, 2),
            (3, 3),
            (3, 3),
            (4, 3),
            (4, 4),
        ];
        assert_eq!(shapes, wanted);
    }

    #[test]
    fn tiles_cover_the_window_but_for_gaps_and_never_each_other() {
        for shape in [(1, 1), (2, 2), (3, 2), (4, 4), (16, 1)] {
            for size in [(1280, 720), (7, 5), (1, 1), (0, 0)] {
                let areas: Vec<Area> = (0..shape.0 * shape.1)
                    .map(|at| area(at, shape, size))
                    .collect();
                for (at, one) in areas.iter().enumerate() {
                    assert!(one.x + one.width <= size.0 && one.y + one.height <= size.1);
                    assert!(areas[..at].iter().all(|other| !one.overlaps(other)));
                }
            }
        }

        assert_eq!(
            area(0, (1, 1), (64, 36)),
            Area {
                x: 0,
                y: 0,
                width: 64,
                height: 36
            }
        );
        assert_eq!(
            area(3, (2, 2), (64, 36)),
            Area {
                x: 32,
                y: 18,
                width: 32,
                height: 18
            }
        );
        assert_eq!(
            area(1, (2, 2), (64, 36)),
            Area {
                x: 32,
                y: 0,
                width: 32,
                height: 16
            }
        );
    }
}
