//! Scaling of pictures, for the pixel types that the programs have.

mod bilinear;

use std::fmt;

use fast_image_resize::images::{TypedCroppedImageMut, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, ImageViewMut, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use bilinear::Bilinear;

/// Width and height in pixels.
pub type Size = (u32, u32);

/// A rectangle of whole pixels, origin top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns before it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its size.
    pub size: Size,
}

/// A rectangle in a picture that need not begin or end between two pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Columns before it.
    pub left: f64,
    /// Rows above it.
    pub top: f64,
    /// Columns.
    pub width: f64,
    /// Rows.
    pub height: f64,
}

/// Becoming smaller by more than this, a picture is smoothed: below, the four pixels around a point are enough (decision 132).
const UNSMOOTHED: f64 = 2.0;

/// Scales by linear interpolation, smoothed where the picture becomes smaller. Keeps memory for the next picture.
#[derive(Default)]
pub struct Scaler {
    smoothing: Resizer,
    bilinear: Bilinear,
}

impl Scaler {
    /// Scales a plane of one byte a pixel to another.
    ///
    /// # Panics
    /// When a plane has not as many bytes as its size says.
    #[inline(never)]
    pub fn grey(&mut self, from: &[u8], from_size: Size, to: &mut [u8], to_size: Size) {
        self.scale(
            &source::<U8>(from, from_size),
            &mut target::<U8>(to, to_size),
        );
    }

    /// Scales a picture of three bytes a pixel to another.
    ///
    /// # Panics
    /// When a picture has not as many bytes as its size says.
    #[inline(never)]
    pub fn rgb(&mut self, from: &[u8], from_size: Size, to: &mut [u8], to_size: Size) {
        self.scale(
            &source::<U8x3>(from, from_size),
            &mut target::<U8x3>(to, to_size),
        );
    }

    /// Scales a part of a picture of four bytes a pixel, of which each is scaled by itself, to a place in another.
    ///
    /// # Panics
    /// When a picture has not as many bytes as its size says, or part or place lie not within theirs.
    #[inline(never)]
    pub fn rgbx(
        &mut self,
        from: &[u8],
        from_size: Size,
        part: Part,
        to: &mut [u8],
        to_size: Size,
        place: Place,
    ) {
        let (columns, rows) = place.size;
        let is_enough = part.width <= UNSMOOTHED * f64::from(columns)
            && part.height <= UNSMOOTHED * f64::from(rows);
        if is_enough {
            let from = (from.as_chunks().0, from_size.0 as usize);
            let to = (to.as_chunks_mut().0, to_size.0 as usize);
            self.bilinear.scale(from, part, to, place);
            return;
        }

        let whole = target::<U8x4>(to, to_size);
        let mut to = TypedCroppedImageMut::new(whole, place.left, place.top, columns, rows)
            .expect("a place lies in its picture");
        let options = options().crop(part.left, part.top, part.width, part.height);
        self.smoothing
            .resize_typed(&source::<U8x4>(from, from_size), &mut to, &options)
            .expect("a part lies in its picture, and both have one pixel type");
    }

    fn scale<P: PixelTrait>(
        &mut self,
        from: &TypedImageRef<'_, P>,
        to: &mut impl ImageViewMut<Pixel = P>,
    ) {
        self.smoothing
            .resize_typed(from, to, &options())
            .expect("nothing is cut off, and both have one pixel type");
    }
}

impl fmt::Debug for Scaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scaler").finish_non_exhaustive()
    }
}

fn options() -> ResizeOptions {
    ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
}

const FITS: &str = "a picture has as many bytes as its size says";

fn source<P: PixelTrait>(bytes: &[u8], (width, height): Size) -> TypedImageRef<'_, P> {
    TypedImageRef::from_buffer(width, height, bytes).expect(FITS)
}

fn target<P: PixelTrait>(bytes: &mut [u8], (width, height): Size) -> TypedImage<'_, P> {
    TypedImage::from_buffer(width, height, bytes).expect(FITS)
}
