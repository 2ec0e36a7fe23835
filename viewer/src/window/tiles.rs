//! All tiles of a window: where they lie, which one fills it, and which have to be drawn. The window's thread owns them.

use std::sync::Arc;

use super::grid;
use super::tile::Tile;
use crate::canvas::{Area, BLACK, Canvas};
use crate::cover::Cover;
use crate::scene::{SceneSlot, Shown};
use crate::view::View;

pub(super) struct Tiles {
    tiles: Vec<Tile>,
    /// How pictures are shown at first.
    view: View,
    /// Columns and rows.
    shape: (usize, usize),
    /// Pixels of the window.
    size: (usize, usize),
    /// The tile that fills the window; none: all are seen.
    full: Option<usize>,
    /// Drawings so far.
    drawings: u64,
    /// The drawing since which the tiles lie as they do: what lies beside them is black.
    laid_out: u64,
}

impl Tiles {
    /// One for each slot.
    pub(super) fn new(slots: &[Arc<SceneSlot>], shape: (usize, usize), view: View) -> Self {
        Self {
            tiles: slots
                .iter()
                .map(|scenes| Tile::new(Arc::clone(scenes), view))
                .collect(),
            view,
            shape,
            size: (0, 0),
            full: None,
            drawings: 0,
            laid_out: 0,
        }
    }

    /// Has one for each of these slots, in their order; a tile whose slot stays is kept.
    pub(super) fn replace(&mut self, slots: &[Arc<SceneSlot>], shape: (usize, usize)) {
        let mut former = std::mem::take(&mut self.tiles);
        let mut kept = |slot: &Arc<SceneSlot>| {
            let is_its = |tile: &Tile| Arc::ptr_eq(tile.scenes(), slot);
            let at = former.iter().position(is_its)?;
            Some(former.swap_remove(at))
        };
        let view = self.view;
        let tile = |slot| kept(slot).unwrap_or_else(|| Tile::new(Arc::clone(slot), view));
        self.tiles = slots.iter().map(tile).collect();
        self.shape = shape;
        self.full = None;
        self.lay_out(self.size);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Tile)> {
        self.tiles.iter_mut().enumerate()
    }

    /// # Panics
    /// When there is no such tile.
    pub(super) fn get(&mut self, at: usize) -> &mut Tile {
        &mut self.tiles[at]
    }

    /// The tile that a person means who points there: the one that fills the window, or else the one under the pointer.
    pub(super) fn at(&self, point: (f64, f64)) -> usize {
        let under = self.tiles.iter().position(|tile| tile.contains(point));
        self.full.or(under).unwrap_or(0)
    }

    /// The frame in the only tile that is seen.
    pub(super) fn only_shown(&self) -> Option<&Shown> {
        let only = self.full.or((self.tiles.len() == 1).then_some(0))?;
        self.tiles.get(only)?.shown()
    }

    /// Gives each tile its place in a window of this size.
    pub(super) fn lay_out(&mut self, size: (usize, usize)) {
        self.size = size;
        for (at, tile) in self.tiles.iter_mut().enumerate() {
            tile.set_area(match self.full {
                None => grid::area(at, self.shape, size),
                Some(full) if full == at => grid::area(0, (1, 1), size),
                Some(_) => Area::default(),
            });
        }
        self.touch();
        self.laid_out = self.drawings + 1;
    }

    /// Has a tile fill the window, or all seen again: when it does already, and for none.
    pub(super) fn toggle_full(&mut self, at: Option<usize>) {
        let at = at.filter(|at| *at < self.tiles.len() && self.tiles.len() > 1);
        self.full = at.filter(|_| self.full != at);
        self.lay_out(self.size);
    }

    /// Has all drawn anew.
    pub(super) fn touch(&mut self) {
        let drawing = self.drawings + 1;
        self.tiles.iter_mut().for_each(|tile| tile.touch(drawing));
    }

    /// Whether any has something new to show.
    pub(super) fn is_stale(&self, has_panels: bool) -> bool {
        self.tiles.iter().any(|tile| tile.is_stale(has_panels))
    }

    /// Takes what is new for the next drawing, and stops the pictures that `cover` stops.
    pub(super) fn refresh(&mut self, cover: &Cover, has_panels: bool) {
        let drawing = self.drawings + 1;
        for (at, tile) in self.tiles.iter_mut().enumerate() {
            if tile.refresh(drawing, has_panels) {
                tile.stop_if_told(at, cover);
            }
        }
    }

    /// Takes what panels say of the first tile; returns whether that is new.
    pub(super) fn refresh_readings(&mut self) -> bool {
        let first = self.tiles.first_mut();
        first.is_some_and(Tile::refresh_readings)
    }

    /// The next drawing is on the screen.
    pub(super) const fn on_drawn(&mut self) {
        self.drawings += 1;
    }

    /// Has `paint` draw each tile that is seen and has changed, on a canvas with the pixels of `age` drawings ago; 0: it has
    /// none that were shown, and all are drawn. Returns where the screen changes by that; none when anywhere.
    pub(super) fn paint(
        &self,
        canvas: &mut Canvas<'_>,
        age: u8,
        mut paint: impl FnMut(&mut Canvas<'_>, usize, &Tile),
    ) -> Option<Vec<Area>> {
        let known = (self.drawings + 1).saturating_sub(age.into());
        if age == 0 || self.laid_out > known {
            canvas.fill(BLACK);
        }

        for (at, tile) in self.tiles.iter().enumerate() {
            if tile.is_visible() && (age == 0 || tile.changed_since(known)) {
                paint(&mut canvas.part(tile.area()), at, tile);
            }
        }

        // What is on the screen is the last drawing, whichever this canvas holds.
        let is_known = age > 0 && self.laid_out <= self.drawings;
        is_known.then(|| {
            let seen = self.tiles.iter().filter(|tile| tile.is_visible());
            let changed = seen.filter(|tile| tile.changed_since(self.drawings));
            changed.map(Tile::area).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which tiles are drawn.
    fn drawn(tiles: &Tiles, age: u8) -> Vec<usize> {
        drawn_on(tiles, age, &mut vec![7; 64 * 36])
    }

    fn drawn_on(tiles: &Tiles, age: u8, pixels: &mut [u32]) -> Vec<usize> {
        let mut drawn = Vec::new();
        let mut canvas = Canvas::new(pixels, 64, 36);
        tiles.paint(&mut canvas, age, |_, at, _| drawn.push(at));
        drawn
    }

    /// Left edges of what changes on the screen.
    fn changed(tiles: &Tiles, age: u8) -> Option<Vec<usize>> {
        let mut pixels = [7; 64 * 36];
        let changed = tiles.paint(&mut Canvas::new(&mut pixels, 64, 36), age, |_, _, _| {});
        Some(changed?.iter().map(|area| area.x).collect())
    }

    fn tiles(slots: &[Arc<SceneSlot>]) -> Tiles {
        let mut tiles = Tiles::new(slots, (2, 2), View::default());
        tiles.lay_out((64, 36));
        tiles
    }

    #[test]
    fn a_tile_is_drawn_when_it_has_changed_since_what_the_canvas_holds() {
        let slots = [(); 3].map(|()| Arc::new(SceneSlot::new()));
        let mut tiles = tiles(&slots);
        assert_eq!(drawn(&tiles, 0), [0, 1, 2]);
        assert_eq!((changed(&tiles, 0), changed(&tiles, 1)), (None, None));
        tiles.on_drawn();
        assert_eq!(drawn(&tiles, 1), [0; 0]);
        assert_eq!(drawn(&tiles, 2), [0, 1, 2]);
        assert_eq!(changed(&tiles, 1), Some(vec![]));

        slots[1].set_readings(crate::readings::Readings {
            caption: "hall".into(),
            ..Default::default()
        });
        assert!(tiles.is_stale(true));
        tiles.refresh(&Cover::default(), true);
        assert!(!tiles.is_stale(true));
        assert_eq!(drawn(&tiles, 1), [1]);
        assert_eq!(changed(&tiles, 1), Some(vec![32]));
        tiles.on_drawn();
        assert_eq!(drawn(&tiles, 1), [0; 0]);
        assert_eq!(drawn(&tiles, 2), [1]);
        assert_eq!(changed(&tiles, 2), Some(vec![]), "it is on the screen");
        tiles.touch();
        assert_eq!(drawn(&tiles, 1), [0, 1, 2]);
    }

    #[test]
    fn other_slots_have_other_tiles_and_one_that_stays_is_kept() {
        let slots = [(); 3].map(|()| Arc::new(SceneSlot::new()));
        let mut tiles = tiles(&slots[..2]);
        slots[1].publish(crate::scene::Scene::Picture(Shown {
            stream: "hall".parse().unwrap(),
            id: fanlight_proto::message::FrameId::default(),
            picture: crate::picture::Picture::new(4, 4),
            rate_millihertz: 0,
            jpeg: bytes::Bytes::new(),
        }));
        tiles.refresh(&Cover::default(), true);
        tiles.replace(&[Arc::clone(&slots[1]), Arc::clone(&slots[2])], (1, 2));
        assert_eq!(tiles.iter_mut().count(), 2);
        assert!(tiles.get(0).shown().is_some() && tiles.get(1).shown().is_none());
        assert_eq!(tiles.get(0).area().width, 64);
        assert_eq!(drawn(&tiles, 0), [0, 1]);
        tiles.replace(&slots[2..], (1, 1));
        assert_eq!((drawn(&tiles, 0), tiles.get(0).area().width), (vec![0], 64));
    }

    #[test]
    fn one_tile_fills_the_window_until_all_are_seen_again() {
        let slots = [(); 3].map(|()| Arc::new(SceneSlot::new()));
        let mut tiles = tiles(&slots);
        assert_eq!(tiles.at((40.0, 5.0)), 1);
        assert_eq!(tiles.at((40.0, 30.0)), 0, "no tile is there");

        tiles.toggle_full(Some(2));
        assert_eq!(drawn(&tiles, 0), [2]);
        assert_eq!(tiles.at((40.0, 5.0)), 2);
        assert_eq!(tiles.get(2).area().width, 64);
        assert_eq!(slots[0].target(), Some((1, 1)));

        tiles.toggle_full(Some(1));
        assert_eq!(drawn(&tiles, 0), [1]);
        tiles.toggle_full(Some(1));
        assert_eq!(drawn(&tiles, 0), [0, 1, 2]);
        tiles.on_drawn();
        tiles.toggle_full(Some(0));
        tiles.on_drawn();
        tiles.toggle_full(None);
        let mut pixels = vec![7; 64 * 36];
        assert_eq!(drawn_on(&tiles, 1, &mut pixels), [0, 1, 2]);
        assert_eq!(pixels[35 * 64 + 63], 0, "nothing of the one is left");
        tiles.toggle_full(Some(3));
        assert_eq!(drawn(&tiles, 0), [0, 1, 2]);
    }
}
