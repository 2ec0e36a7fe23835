//! The eight orientations of a picture: flips and quarter turns.

/// Swaps the axes if it transposes, then mirrors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Rows become columns.
    pub transpose: bool,
    /// Left and right of the result change places.
    pub flip_x: bool,
    /// Top and bottom of the result change places.
    pub flip_y: bool,
}

impl Orientation {
    /// Flips first, then rotates clockwise by 0, 90, 180 or 270 degrees; None for other angles.
    #[must_use]
    pub fn new(flip_horizontal: bool, flip_vertical: bool, degrees: u16) -> Option<Self> {
        let (x, y) = (flip_horizontal, flip_vertical);
        match degrees {
            0 => Some(Self {
                transpose: false,
                flip_x: x,
                flip_y: y,
            }),
            90 => Some(Self {
                transpose: true,
                flip_x: !y,
                flip_y: x,
            }),
            180 => Some(Self {
                transpose: false,
                flip_x: !x,
                flip_y: !y,
            }),
            270 => Some(Self {
                transpose: true,
                flip_x: y,
                flip_y: !x,
            }),
            _ => None,
        }
    }

    /// The orientation that makes a picture with this value of the EXIF tag stand upright; None if there is no such value.
    #[must_use]
    pub fn of_exif(value: u16) -> Option<Self> {
        let (flip, degrees) = match value {
            1 => (false, 0),
            2 => (true, 0),
            3 => (false, 180),
            4 => (true, 180),
            5 => (true, 270),
            6 => (false, 90),
            7 => (true, 90),
            8 => (false, 270),
            _ => return None,
        };

        Self::new(flip, false, degrees)
    }

    /// First this orientation, then `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        // Transposing exchanges the axes, and with them the flips that came before.
        let (flip_x, flip_y) = if next.transpose {
            (self.flip_y, self.flip_x)
        } else {
            (self.flip_x, self.flip_y)
        };

        Self {
            transpose: self.transpose != next.transpose,
            flip_x: flip_x != next.flip_x,
            flip_y: flip_y != next.flip_y,
        }
    }

    /// Whether it leaves every picture as it is.
    #[must_use]
    pub fn is_identity(self) -> bool {
        self == Self::default()
    }

    /// The size of the result.
    #[must_use]
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Where a point of a `width` x `height` picture comes to lie; the origin is the picture's upper left corner, not
    /// the centre of a pixel.
    #[must_use]
    pub fn point(self, (x, y): (f32, f32), width: u32, height: u32) -> (f32, f32) {
        let (turned_width, turned_height) = self.size(width, height);
        let (x, y) = if self.transpose { (y, x) } else { (x, y) };
        (
            if self.flip_x {
                turned_width as f32 - x
            } else {
                x
            },
            if self.flip_y {
                turned_height as f32 - y
            } else {
                y
            },
        )
    }

    /// Whether the source's x axis and y axis run backwards in the result.
    #[must_use]
    pub fn mirrored_axes(self) -> (bool, bool) {
        if self.transpose {
            (self.flip_y, self.flip_x)
        } else {
            (self.flip_x, self.flip_y)
        }
    }

    /// Turns a plane of `width` x `height` pixels of `N` bytes.
    pub fn turn<const N: usize>(
        self,
        source: &[u8],
        (width, height): (u32, u32),
        target: &mut [u8],
    ) {
        let source = source.as_chunks::<N>().0;
        let target = target.as_chunks_mut::<N>().0;
        let (turned_width, turned_height) = self.size(width, height);
        let width = width as usize;

        for (index, row) in target.chunks_exact_mut(turned_width as usize).enumerate() {
            let line = if self.flip_y {
                turned_height as usize - 1 - index
            } else {
                index
            };

            if self.transpose {
                copy(row, source[line..].iter().step_by(width), self.flip_x);
            } else {
                copy(row, source[line * width..].iter(), self.flip_x);
            }
        }
    }
}

fn copy<'a, const N: usize>(
    row: &mut [[u8; N]],
    pixels: impl Iterator<Item = &'a [u8; N]>,
    backwards: bool,
) {
    if backwards {
        row.iter_mut()
            .rev()
            .zip(pixels)
            .for_each(|(to, from)| *to = *from);
    } else {
        row.iter_mut()
            .zip(pixels)
            .for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(flip_horizontal: bool, flip_vertical: bool, degrees: u16) -> Vec<u8> {
        let orientation = Orientation::new(flip_horizontal, flip_vertical, degrees).unwrap();
        let mut target = vec![0; 6];
        orientation.turn::<1>(b"abcdef", (3, 2), &mut target);
        target
    }

    #[test]
    fn pixels_turn_clockwise_after_they_are_flipped() {
        // abc
        // def
        assert_eq!(turned(false, false, 0), b"abcdef");
        assert_eq!(turned(true, false, 0), b"cbafed");
        assert_eq!(turned(false, true, 0), b"defabc");
        assert_eq!(turned(false, false, 90), b"daebfc");
        assert_eq!(turned(false, false, 180), b"fedcba");
        assert_eq!(turned(false, false, 270), b"cfbead");
        assert_eq!(turned(true, false, 90), b"fcebda");
        assert_eq!(turned(true, true, 180), b"abcdef");
        assert_eq!(Orientation::new(false, false, 45), None);
    }

    #[test]
    fn one_orientation_after_another_is_one_orientation() {
        let all = || {
            [(false, 0), (false, 90), (false, 180), (false, 270)]
                .into_iter()
                .flat_map(|(_, degrees)| [(false, degrees), (true, degrees)])
                .filter_map(|(flip, degrees)| Orientation::new(flip, false, degrees))
        };

        for (first, second) in all().flat_map(|first| all().map(move |second| (first, second))) {
            let mut between = [0; 6];
            let mut one_by_one = [0; 6];
            let mut at_once = [0; 6];
            first.turn::<1>(b"abcdef", (3, 2), &mut between);
            second.turn::<1>(&between, first.size(3, 2), &mut one_by_one);
            first
                .then(second)
                .turn::<1>(b"abcdef", (3, 2), &mut at_once);
            assert_eq!(one_by_one, at_once, "{first:?} {second:?}");
        }
    }

    #[test]
    fn the_eight_values_of_exif_put_the_first_row_where_they_say() {
        // TIFF 6.0: 1 = row 0 is the top, column 0 the left side, and so on. The picture of 2x2 is laid down as ab / cd.
        for (value, stored) in [
            (1, b"abcd"),
            (2, b"badc"),
            (3, b"dcba"),
            (4, b"cdab"),
            (5, b"acbd"),
            (6, b"bdac"),
            (7, b"dbca"),
            (8, b"cadb"),
        ] {
            let mut shown = [0; 4];
            let orientation = Orientation::of_exif(value).unwrap();
            orientation.turn::<1>(stored, (2, 2), &mut shown);
            assert_eq!(&shown, b"abcd", "{value}");
        }

        assert_eq!(Orientation::of_exif(0), None);
        assert_eq!(Orientation::of_exif(9), None);
    }

    #[test]
    fn a_point_goes_where_its_pixel_goes() {
        for (h, v) in [(false, false), (true, false), (false, true), (true, true)] {
            for degrees in [0, 90, 180, 270] {
                let orientation = Orientation::new(h, v, degrees).unwrap();
                let mut source = [0u8; 6 * 3];
                source[(3 + 2) * 3..][..3].copy_from_slice(&[7, 8, 9]);
                let mut target = [0; 6 * 3];
                orientation.turn::<3>(&source, (3, 2), &mut target);
                let place = target
                    .as_chunks::<3>()
                    .0
                    .iter()
                    .position(|p| *p == [7, 8, 9])
                    .unwrap() as u32;

                let width = orientation.size(3, 2).0;
                let centre = ((place % width) as f32 + 0.5, (place / width) as f32 + 0.5);
                assert_eq!(
                    orientation.point((2.5, 1.5), 3, 2),
                    centre,
                    "{orientation:?}"
                );
            }
        }
    }
}
