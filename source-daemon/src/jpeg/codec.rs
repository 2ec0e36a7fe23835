//! Encoder, decoder and lossless transformer over turbojpeg. Each reuses its buffers from picture to picture. Used by the
//! picture processor, on whichever thread it runs.
//!
//! A turbojpeg handle that has met a bad picture may fail on every good one after it, and one that has met a good one decodes
//! a picture without tables by those of the former. So each picture is decoded by a handle of its own, which takes less than
//! a microsecond, and those that read headers or encode are replaced after an error.

use fanlight_proto::message::FrameBuffer;
use turbojpeg::{
    Colorspace, Compressor, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor,
    Subsamp, Transform, TransformOp, Transformer, YuvPlanesImage, compressed_buf_len,
};

use super::{Header, JpegError, check_scans, inspect};
use crate::orientation::Orientation;
use crate::pixel_buffer::{Layout, PixelBuffer};

/// Encodes pixels as JPEG.
#[derive(Debug)]
pub struct Encoder {
    compressor: Compressor,
    quality: u8,
    /// The largest possible picture has thirty times the usual size. It is written here and copied out in its own size, so
    /// that pictures in flight do not hold megabytes each.
    scratch: Vec<u8>,
}

impl Encoder {
    /// Encodes at `quality`, 1 to 100 as libjpeg counts it.
    ///
    /// # Errors
    /// When turbojpeg cannot be set up: out of memory, or a quality out of range.
    pub fn new(quality: u8) -> Result<Self, JpegError> {
        Ok(Self {
            compressor: compressor(quality)?,
            quality,
            scratch: Vec::new(),
        })
    }

    /// Encodes the whole buffer: RGB as 4:2:0, planes with the chroma they have.
    ///
    /// # Errors
    /// When turbojpeg refuses it.
    pub fn encode(&mut self, buffer: &PixelBuffer) -> Result<FrameBuffer, JpegError> {
        let result = self.compress(buffer);
        if result.is_err() {
            self.compressor = compressor(self.quality)?;
        }
        Ok(FrameBuffer::copy_of(&self.scratch[..result?]))
    }

    fn compress(&mut self, buffer: &PixelBuffer) -> Result<usize, JpegError> {
        let (width, height) = (buffer.width() as usize, buffer.height() as usize);
        let subsamp = match buffer.layout() {
            Layout::Rgb => Subsamp::Sub2x2,
            Layout::Planes { across: 2, down: 1 } => Subsamp::Sub2x1,
            Layout::Planes { across: 1, down: 2 } => Subsamp::Sub1x2,
            Layout::Planes { across: 2, down: 2 } => Subsamp::Sub2x2,
            Layout::Planes { .. } => Subsamp::None,
        };

        grow(
            &mut self.scratch,
            compressed_buf_len(width, height, subsamp)?,
        );

        if buffer.layout() == Layout::Rgb {
            self.compressor.set_subsamp(subsamp)?;
            let format = PixelFormat::RGB;
            let image = Image {
                pixels: buffer.plane(0),
                width,
                pitch: width * 3,
                height,
                format,
            };

            return Ok(self
                .compressor
                .compress_to_slice(image, &mut self.scratch)?);
        }

        let stride = |plane| buffer.plane_size(plane).0 as usize;
        let image = YuvPlanesImage {
            y_plane: buffer.plane(0),
            u_plane: buffer.plane(1),
            v_plane: buffer.plane(2),
            width,
            height,
            y_stride: stride(0),
            u_stride: stride(1),
            v_stride: stride(2),
            subsamp,
        };

        Ok(self
            .compressor
            .compress_yuv_planes_to_slice(&image, &mut self.scratch)?)
    }
}

fn compressor(quality: u8) -> Result<Compressor, JpegError> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(i32::from(quality))?;
    Ok(compressor)
}

/// Decodes JPEGs to RGB.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The four inks of CMYK pictures.
    inks: Vec<u8>,
}

impl Decoder {
    /// A decoder that holds no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes to RGB, in the smallest of full, half, quarter and eighth size that is at least `least` wide and high: the
    /// smaller, the cheaper. Size and scans are checked before anything is allocated.
    ///
    /// # Errors
    /// When the picture is damaged or cannot be shown; `buffer` then holds a part of it or nothing.
    pub fn decode(
        &mut self,
        jpeg: &[u8],
        least: (u32, u32),
        buffer: &mut PixelBuffer,
    ) -> Result<(), JpegError> {
        let Header { width, height, .. } = inspect(jpeg)?;
        check_scans(jpeg)?;
        self.decompress(jpeg, (width, height), least, buffer)
    }

    fn decompress(
        &mut self,
        jpeg: &[u8],
        full: (u32, u32),
        least: (u32, u32),
        buffer: &mut PixelBuffer,
    ) -> Result<(), JpegError> {
        // A new one each time: libjpeg decodes a picture without tables by those of the picture before.
        let mut decompressor = Decompressor::new()?;
        let header = decompressor.read_header(jpeg)?;
        if (header.width, header.height) != (full.0 as usize, full.1 as usize) {
            return Err(JpegError::NoPicture { length: jpeg.len() });
        }

        let factor = scaling_factor(&header, least);
        decompressor.set_scaling_factor(factor)?;
        let width = factor.scale(header.width);
        let height = factor.scale(header.height);
        let rgb = buffer.reset_rgb(width as u32, height as u32);

        if !matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
            let image = packed(rgb, width, height, PixelFormat::RGB);
            return Ok(decompressor.decompress(jpeg, image)?);
        }

        self.inks.resize(width * height * 4, 0);
        let image = packed(&mut self.inks, width, height, PixelFormat::CMYK);
        decompressor.decompress(jpeg, image)?;
        cmyk_to_rgb(&self.inks, rgb);
        Ok(())
    }
}

fn scaling_factor(header: &DecompressHeader, least: (u32, u32)) -> ScalingFactor {
    // libjpeg scales in the DCT, which lossless pictures do not have.
    if header.is_lossless {
        return ScalingFactor::ONE;
    }

    let (least_width, least_height) = (least.0 as usize, least.1 as usize);
    [
        ScalingFactor::ONE_EIGHTH,
        ScalingFactor::ONE_QUARTER,
        ScalingFactor::ONE_HALF,
    ]
    .into_iter()
    .find(|factor| {
        factor.scale(header.width) >= least_width && factor.scale(header.height) >= least_height
    })
    .unwrap_or(ScalingFactor::ONE)
}

fn packed(pixels: &mut [u8], width: usize, height: usize, format: PixelFormat) -> Image<&mut [u8]> {
    Image {
        pixels,
        width,
        pitch: width * format.size(),
        height,
        format,
    }
}

/// Converts inks to light. Encoders store CMYK inverted, 255 for no ink, and browsers take it so whatever the file says.
fn cmyk_to_rgb(cmyk: &[u8], rgb: &mut [u8]) {
    let pixels = rgb.as_chunks_mut::<3>().0.iter_mut();
    for (pixel, &[cyan, magenta, yellow, black]) in pixels.zip(cmyk.as_chunks::<4>().0) {
        *pixel = [cyan, magenta, yellow].map(|ink| {
            let product = u32::from(ink) * u32::from(black);
            ((product + 127) / 255) as u8
        });
    }
}

/// Turns, flips and transcodes JPEGs without decoding their pixels: nothing is lost, and it takes half the time.
#[derive(Debug)]
pub struct LosslessTransformer {
    header: Decompressor,
    scratch: Vec<u8>,
}

impl LosslessTransformer {
    /// # Errors
    /// When turbojpeg cannot be set up: out of memory.
    pub fn new() -> Result<Self, JpegError> {
        Ok(Self {
            header: Decompressor::new()?,
            scratch: Vec::new(),
        })
    }

    /// Turns the picture and makes it baseline, without loss. Drops its application segments, whose orientation tag and
    /// thumbnail would be wrong now. Returns none when an edge that would move to the left or the top cuts through a
    /// block of 8 or 16 pixels: 1920x1080 in 4:2:0 flips left to right but not upside down.
    ///
    /// # Errors
    /// When the picture is damaged or cannot be shown.
    pub fn transform(
        &mut self,
        jpeg: &[u8],
        orientation: Orientation,
    ) -> Result<Option<FrameBuffer>, JpegError> {
        let Header { width, height, .. } = inspect(jpeg)?;
        check_scans(jpeg)?;
        let result = self.run(jpeg, orientation, (width, height));
        if result.is_err() {
            self.header = Decompressor::new()?;
        }
        Ok(result?.map(|length| FrameBuffer::copy_of(&self.scratch[..length])))
    }

    fn run(
        &mut self,
        jpeg: &[u8],
        orientation: Orientation,
        (width, height): (u32, u32),
    ) -> Result<Option<usize>, JpegError> {
        let subsamp = self.header.read_header(jpeg)?.subsamp;
        if subsamp == Subsamp::Unknown {
            return Ok(None);
        }

        let across = subsamp.mcu_width() as u32;
        let down = subsamp.mcu_height() as u32;
        let (mirrors_x, mirrors_y) = orientation.mirrored_axes();
        if (mirrors_x && !width.is_multiple_of(across))
            || (mirrors_y && !height.is_multiple_of(down))
        {
            return Ok(None);
        }

        // The bound for 4:4:4 also covers what a rotation makes of any subsampling.
        let (turned_width, turned_height) = orientation.size(width, height);
        let bound =
            compressed_buf_len(turned_width as usize, turned_height as usize, Subsamp::None)?;
        grow(&mut self.scratch, bound);

        let mut transform = Transform::op(operation(orientation));
        transform.perfect = true;
        transform.copy_none = true;
        // A new one each time, which is cheap: turbojpeg's cannot move between threads.
        let length = Transformer::new()?.transform_to_slice(&transform, jpeg, &mut self.scratch)?;
        Ok(Some(length))
    }
}

fn operation(orientation: Orientation) -> TransformOp {
    let Orientation {
        transpose,
        flip_x,
        flip_y,
    } = orientation;

    match (transpose, flip_x, flip_y) {
        (false, false, false) => TransformOp::None,
        (false, true, false) => TransformOp::Hflip,
        (false, false, true) => TransformOp::Vflip,
        (false, true, true) => TransformOp::Rot180,
        (true, false, false) => TransformOp::Transpose,
        (true, true, false) => TransformOp::Rot90,
        (true, false, true) => TransformOp::Rot270,
        (true, true, true) => TransformOp::Transverse,
    }
}

fn grow(scratch: &mut Vec<u8>, length: usize) {
    if scratch.len() < length {
        scratch.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> PixelBuffer {
        let mut buffer = PixelBuffer::default();
        let pixels = buffer.reset_rgb(width, height);
        for (index, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index as u32 % width, index as u32 / width);
            *pixel = [(x * 255 / width) as u8, (y * 255 / height) as u8, 128];
        }
        buffer
    }

    fn size(jpeg: &[u8]) -> (u32, u32) {
        let header = inspect(jpeg).unwrap();
        (header.width, header.height)
    }

    fn decoded(jpeg: &[u8], least: (u32, u32)) -> PixelBuffer {
        let mut buffer = PixelBuffer::default();
        Decoder::new().decode(jpeg, least, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn a_picture_survives_encoding_and_decoding() {
        let buffer = gradient(317, 203);
        let jpeg = Encoder::new(90).unwrap().encode(&buffer).unwrap();
        assert_eq!(size(jpeg.jpeg()), (317, 203));
        let back = decoded(jpeg.jpeg(), (317, 203));
        let worst = buffer
            .plane(0)
            .iter()
            .zip(back.plane(0))
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();

        assert!(worst < 24, "{worst}");
    }

    #[test]
    fn the_decoder_scales_by_powers_of_two_but_never_below_what_is_asked() {
        let jpeg = Encoder::new(80)
            .unwrap()
            .encode(&gradient(640, 480))
            .unwrap();

        for (least, size) in [
            ((640, 480), (640, 480)),
            ((321, 10), (640, 480)),
            ((320, 240), (320, 240)),
            ((9, 9), (80, 60)),
        ] {
            let buffer = decoded(jpeg.jpeg(), least);
            assert_eq!((buffer.width(), buffer.height()), size);
        }
    }

    #[test]
    fn a_damaged_picture_spoils_no_good_one_after_it() {
        let good = Encoder::new(80).unwrap().encode(&gradient(64, 64)).unwrap();
        let good = good.jpeg();
        let (mut decoder, mut transformer, mut buffer) = (
            Decoder::new(),
            LosslessTransformer::new().unwrap(),
            PixelBuffer::default(),
        );

        let flip = Orientation {
            flip_x: true,
            ..Orientation::default()
        };

        for cut in (0..good.len() - 2).step_by(7) {
            decoder
                .decode(&good[..cut], (64, 64), &mut buffer)
                .unwrap_err();
            decoder.decode(good, (64, 64), &mut buffer).unwrap();
            transformer.transform(&good[..cut], flip).unwrap_err();
            assert!(transformer.transform(good, flip).unwrap().is_some());
        }
    }

    #[test]
    fn turning_there_and_back_without_loss_gives_the_very_same_pixels() {
        let jpeg = Encoder::new(70).unwrap().encode(&gradient(96, 64)).unwrap();
        let mut transformer = LosslessTransformer::new().unwrap();

        for (there, back) in [(90, 270), (180, 180), (270, 90)] {
            let turn = |degrees| Orientation::new(false, false, degrees).unwrap();
            let turned = transformer
                .transform(jpeg.jpeg(), turn(there))
                .unwrap()
                .unwrap();

            let again = transformer
                .transform(turned.jpeg(), turn(back))
                .unwrap()
                .unwrap();

            assert_eq!(
                decoded(again.jpeg(), (96, 64)).plane(0),
                decoded(jpeg.jpeg(), (96, 64)).plane(0),
                "{there}"
            );
        }
    }

    #[test]
    fn a_turn_that_would_tear_blocks_is_left_to_the_decoder() {
        let jpeg = Encoder::new(70).unwrap().encode(&gradient(64, 40)).unwrap();
        let mut transformer = LosslessTransformer::new().unwrap();
        let mut lossless = |h, v, r| {
            transformer
                .transform(jpeg.jpeg(), Orientation::new(h, v, r).unwrap())
                .unwrap()
                .is_some()
        };

        assert!(lossless(true, false, 0));
        assert!(!lossless(false, true, 0), "40 is no multiple of 16");
        assert!(
            !lossless(false, false, 90),
            "the lower edge would move to the left"
        );

        assert!(lossless(false, false, 270));
        assert!(!lossless(false, false, 180));
    }
}
