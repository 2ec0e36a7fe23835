//! How a picture lies on the screen: whole, filling it or pixel by pixel, turned, mirrored, and how far enlarged. The
//! window's thread calls it.

use clap::ValueEnum;
use fanlight_pixels::Part;

use crate::canvas::{Area, fit};
use crate::marker::Marker;
use crate::picture::Picture;

/// Most that a person can enlarge.
const MAX_ZOOM: f64 = 32.0;

/// What is enlarged by less is whole: steps that were taken back leave so much by rounding.
const MIN_ZOOM: f64 = 1.000_001;

/// How a picture's size becomes the screen's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scaling {
    /// All of it is seen, with black beside it where the proportions differ.
    #[default]
    Fit,
    /// The screen is full, and what does not fit is cut off at two edges.
    Fill,
    /// One pixel of the picture is one of the screen.
    Original,
}

fanlight_daemon::display_choice!(Scaling);

/// A clockwise rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Turn {
    /// None.
    #[default]
    #[value(name = "0")]
    None,
    /// To the right.
    #[value(name = "90")]
    Right,
    /// Upside down.
    #[value(name = "180")]
    Half,
    /// To the left.
    #[value(name = "270")]
    Left,
}

fanlight_daemon::display_choice!(Turn);

/// How pictures are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// How their size becomes the screen's.
    pub scaling: Scaling,
    /// How they are turned.
    pub turn: Turn,
    /// Whether left and right are exchanged, before they are turned.
    pub is_mirrored: bool,
    zoom: f64,
    /// The point of the turned picture that should be in the middle, in parts of its size.
    centre: (f64, f64),
}

/// One direction of a crop and its place: where it begins and how long it is, in the picture and on the screen.
struct Axis {
    from: f64,
    seen: f64,
    at: usize,
    length: usize,
}

impl Default for View {
    fn default() -> Self {
        Self::new(Scaling::Fit, Turn::None, false)
    }
}

impl View {
    /// All of the picture, as it lies by these.
    #[must_use]
    pub const fn new(scaling: Scaling, turn: Turn, is_mirrored: bool) -> Self {
        Self {
            scaling,
            turn,
            is_mirrored,
            zoom: 1.0,
            centre: (0.5, 0.5),
        }
    }

    /// Whether pictures are neither turned nor mirrored.
    pub(crate) fn is_upright(&self) -> bool {
        self.turn == Turn::None && !self.is_mirrored
    }

    /// The size in which pictures need to be decoded for a screen of `frame`; none: their own.
    pub(crate) fn target(&self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let is_whole = self.scaling == Scaling::Fit && self.zoom <= 1.0;
        is_whole.then_some(match self.turn {
            Turn::Right | Turn::Left => (height, width),
            _ => (width, height),
        })
    }

    /// Which part of a turned picture of `size` is seen on a screen of `frame`, and where; both are empty if either has no
    /// pixels.
    pub(crate) fn place(&self, size: (usize, usize), frame: (usize, usize)) -> (Area, Part) {
        let whole = fit(size, frame);
        if whole == Area::default() || (self.scaling == Scaling::Fit && self.zoom <= 1.0) {
            let crop = Part {
                left: 0.0,
                top: 0.0,
                width: size.0 as f64,
                height: size.1 as f64,
            };
            return (whole, crop);
        }

        let across = self.axis(self.centre.0, size.0, frame.0, self.scale(size, frame));
        let down = self.axis(self.centre.1, size.1, frame.1, self.scale(size, frame));
        let area = Area {
            x: across.at,
            y: down.at,
            width: across.length,
            height: down.length,
        };
        let crop = Part {
            left: across.from,
            top: down.from,
            width: across.seen,
            height: down.seen,
        };
        (area, crop)
    }

    fn scale(&self, size: (usize, usize), frame: (usize, usize)) -> f64 {
        let across = frame.0 as f64 / size.0.max(1) as f64;
        let down = frame.1 as f64 / size.1.max(1) as f64;
        self.zoom
            * match self.scaling {
                Scaling::Fit => across.min(down),
                Scaling::Fill => across.max(down),
                Scaling::Original => 1.0,
            }
    }

    fn axis(&self, centre: f64, size: usize, frame: usize, scale: f64) -> Axis {
        let seen = (frame as f64 / scale).min(size as f64);
        let from = (centre * size as f64 - seen / 2.0).clamp(0.0, size as f64 - seen);
        // Pixel by pixel, no pixel is a mixture of two.
        let from = if scale == 1.0 { from.floor() } else { from };
        // Never beyond the picture by what is rounded.
        let seen = seen.min(size as f64 - from);
        let length = ((seen * scale).round() as usize).clamp(1, frame);
        Axis {
            from,
            seen,
            at: (frame - length) / 2,
            length,
        }
    }

    /// Enlarges by `factor`, so that what is at `point` of the screen stays there.
    pub(crate) fn zoom(
        &mut self,
        factor: f64,
        point: (f64, f64),
        size: (usize, usize),
        frame: (usize, usize),
    ) {
        let (before, seen) = self.place(size, frame);
        let zoom = (self.zoom * factor).min(MAX_ZOOM);
        self.zoom = if zoom < MIN_ZOOM { 1.0 } else { zoom };
        let (after, now) = self.place(size, frame);
        if before.width == 0 || before.height == 0 {
            return;
        }

        let part = |point: f64, at: usize, length: usize| {
            ((point - at as f64) / length as f64).clamp(0.0, 1.0)
        };
        let x = seen.left + part(point.0, before.x, before.width) * seen.width;
        let y = seen.top + part(point.1, before.y, before.height) * seen.height;
        let left = x - part(point.0, after.x, after.width) * now.width;
        let top = y - part(point.1, after.y, after.height) * now.height;
        self.centre = (
            (left + now.width / 2.0) / size.0 as f64,
            (top + now.height / 2.0) / size.1 as f64,
        );
    }

    /// Moves the picture by so many pixels of the screen.
    pub(crate) fn drag(&mut self, by: (f64, f64), size: (usize, usize), frame: (usize, usize)) {
        let (_, seen) = self.place(size, frame);
        let scale = self.scale(size, frame);
        let moved = |at: f64, length: f64, by: f64, size: usize| {
            let from = (at - by / scale).clamp(0.0, (size as f64 - length).max(0.0));
            (from + length / 2.0) / size.max(1) as f64
        };
        self.centre = (
            moved(seen.left, seen.width, by.0, size.0),
            moved(seen.top, seen.height, by.1, size.1),
        );
    }

    /// Shows the next scaling, all of the picture or its middle.
    pub(crate) fn next_scaling(&mut self) {
        let next = match self.scaling {
            Scaling::Fit => Scaling::Fill,
            Scaling::Fill => Scaling::Original,
            Scaling::Original => Scaling::Fit,
        };
        *self = Self::new(next, self.turn, self.is_mirrored);
    }

    /// Turns by a quarter to the right.
    pub(crate) fn turn_right(&mut self) {
        let next = match self.turn {
            Turn::None => Turn::Right,
            Turn::Right => Turn::Half,
            Turn::Half => Turn::Left,
            Turn::Left => Turn::None,
        };
        *self = Self::new(self.scaling, next, self.is_mirrored);
    }

    /// Exchanges left and right.
    pub(crate) fn mirror(&mut self) {
        self.is_mirrored = !self.is_mirrored;
    }

    /// Writes `picture` into `turned` as it is to be seen.
    pub(crate) fn turn_picture(&self, picture: &Picture, turned: &mut Picture) {
        let size = picture.size();
        let (wide, high) = self.turned_size(size);
        turned.reshape(wide as u32, high as u32);
        if wide == 0 || high == 0 {
            return;
        }

        // From one pixel to the next in a row and in a column it is always the same way.
        let pixels = picture.pixels();
        let index = |point| {
            let (x, y) = self.source(point, size);
            (y * size.0 + x).cast_signed()
        };
        let origin = index((0, 0));
        let across = index((1.min(wide - 1), 0)) - origin;
        let down = index((0, 1.min(high - 1))) - origin;

        let rows = turned.pixels_mut().chunks_exact_mut(wide);
        for (y, row) in rows.enumerate() {
            let mut from = origin + y.cast_signed() * down;
            for pixel in row {
                *pixel = pixels[from.cast_unsigned()];
                from += across;
            }
        }
    }

    /// The pixel of a picture of `size` that is seen at `x`, `y` when it is turned.
    const fn source(
        &self,
        (x, y): (usize, usize),
        (width, height): (usize, usize),
    ) -> (usize, usize) {
        let (column, row) = match self.turn {
            Turn::None => (x, y),
            Turn::Right => (y, height - 1 - x),
            Turn::Half => (width - 1 - x, height - 1 - y),
            Turn::Left => (width - 1 - y, x),
        };
        if self.is_mirrored {
            (width - 1 - column, row)
        } else {
            (column, row)
        }
    }

    /// Whether a person has enlarged the picture.
    pub(crate) fn is_enlarged(&self) -> bool {
        self.zoom > 1.0
    }

    /// The pixel of a picture of `size` that is seen at a point of a screen of `frame`; none where there is no picture.
    pub(crate) fn pixel_at(
        &self,
        point: (f64, f64),
        size: (usize, usize),
        frame: (usize, usize),
    ) -> Option<(usize, usize)> {
        let (area, part) = self.place(self.turned_size(size), frame);
        let inside = |point: f64, at: usize, length: usize, from: f64, seen: f64| {
            let along = (point - at as f64) / length.max(1) as f64;
            let is_inside = (0.0..1.0).contains(&along) && length > 0;
            is_inside.then_some((from + along * seen) as usize)
        };
        let x = inside(point.0, area.x, area.width, part.left, part.width)?;
        let y = inside(point.1, area.y, area.height, part.top, part.height)?;
        Some(self.source((x, y), size))
    }

    /// Where a marker is in the turned picture.
    pub(crate) fn turn_marker(&self, marker: &Marker) -> Marker {
        let (width, height) = (marker.size.0 as f32, marker.size.1 as f32);
        let across = if self.is_mirrored {
            width - marker.x
        } else {
            marker.x
        };
        let (x, y) = match self.turn {
            Turn::None => (across, marker.y),
            Turn::Right => (height - marker.y, across),
            Turn::Half => (width - across, height - marker.y),
            Turn::Left => (marker.y, width - across),
        };
        let (wide, high) = self.turned_size((marker.size.0 as usize, marker.size.1 as usize));
        Marker {
            x,
            y,
            size: (wide as u32, high as u32),
            ..*marker
        }
    }

    /// The size of a picture of this size as it is seen.
    pub(crate) const fn turned_size(&self, (width, height): (usize, usize)) -> (usize, usize) {
        match self.turn {
            Turn::None | Turn::Half => (width, height),
            Turn::Right | Turn::Left => (height, width),
        }
    }
}

#[cfg(test)]
mod tests;
