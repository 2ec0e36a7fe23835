//! Pictures of one size, for outputs that know one size only.

use crate::canvas::{Canvas, Painter};
use crate::picture::Picture;
use crate::view::View;
use crate::window;

/// Scales pictures to a size.
pub(super) struct Fitted {
    own: Picture,
    painter: Painter,
}

impl Fitted {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self {
            own: Picture::new(width, height),
            painter: Painter::default(),
        }
    }

    /// `picture` in that size, with black beside it where the proportions differ.
    pub(super) fn fit<'a>(&'a mut self, picture: &'a Picture) -> &'a Picture {
        if self.own.size() == picture.size() {
            return picture;
        }

        let (width, height) = self.own.size();
        let mut canvas = Canvas::new(self.own.pixels_mut(), width, height);
        let view = View::default();
        window::paint_picture(&mut canvas, picture, &view, None, &mut self.painter);
        &self.own
    }
}
