//! Pictures for the tests: real JPEGs whose number can be read back, and ones made to do harm.

use fanlight_proto::frame_barcode::FrameBarcode;
use turbojpeg::{Image, PixelFormat, Subsamp};

use crate::seeded::Random;

/// A JPEG of a noisy gradient with frame number `number` painted as a block code, about as large as a camera's.
///
/// # Panics
/// When the encoder refuses.
#[must_use]
pub fn numbered(number: u64, width: u32, height: u32) -> Vec<u8> {
    with_noise(number, width, height, 24)
}

/// As [`numbered`], with so many levels of noise, which make its size.
///
/// # Panics
/// When the encoder refuses.
#[must_use]
pub fn with_noise(number: u64, width: u32, height: u32, levels: usize) -> Vec<u8> {
    let columns = width as usize;
    let rows = height as usize;
    let mut pixels = vec![0; columns * rows * 3];
    let mut random = Random::new(number);

    for (at, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let x = at % columns;
        let y = at / columns;
        let noise = random.below(levels);
        pixel.copy_from_slice(&[
            (x * 200 / columns + noise) as u8,
            (y * 200 / rows + noise) as u8,
            noise as u8,
        ]);
    }

    FrameBarcode {
        number,
        captured_ns: 0,
    }
    .paint(width, height, |block, white| {
        for y in block.y..block.y + block.height {
            let start = 3 * (y as usize * columns + block.x as usize);
            pixels[start..start + 3 * block.width as usize].fill(if white { 235 } else { 16 });
        }
    });

    let image = Image {
        pixels: pixels.as_slice(),
        width: columns,
        pitch: 3 * columns,
        height: rows,
        format: PixelFormat::RGB,
    };

    turbojpeg::compress(image, 80, Subsamp::Sub2x2)
        .expect("a valid picture can be encoded")
        .to_vec()
}

/// Decodes a JPEG and reads the block code painted into it.
///
/// # Panics
/// When it is no JPEG that can be decoded without a warning.
#[must_use]
pub fn read_number(jpeg: &[u8]) -> Option<FrameBarcode> {
    let picture = turbojpeg::decompress(jpeg, PixelFormat::GRAY).expect("the picture is whole");
    let width = u32::try_from(picture.width).ok()?;
    let height = u32::try_from(picture.height).ok()?;
    FrameBarcode::read(&picture.pixels, picture.pitch, width, height)
}

/// `jpeg` filled up to `length` bytes with segments that nobody reads.
///
/// # Panics
/// When it is longer, or too few bytes are missing for a segment.
#[must_use]
pub fn padded(jpeg: &[u8], length: usize) -> Vec<u8> {
    let mut missing = length.checked_sub(jpeg.len()).expect("it is not longer");
    let mut padded = jpeg[..2].to_vec();
    while missing > 0 {
        // What is left has room for a segment, too.
        let segment = if missing > 1 << 16 {
            missing.min(1 << 16) - 4
        } else {
            missing
        };
        padded.extend([0xff, 0xef]);
        padded.extend(((segment - 2) as u16).to_be_bytes());
        padded.resize(padded.len() + segment - 4, 0x55);
        missing -= segment;
    }
    padded.extend(&jpeg[2..]);
    padded
}

/// `jpeg` with a header that claims another size: the first SOF's height and width are overwritten.
///
/// # Panics
/// When `jpeg` has no SOF0.
#[must_use]
pub fn claiming(jpeg: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut bomb = jpeg.to_vec();
    let frame_header = bomb
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .expect("a baseline JPEG has an SOF0");

    bomb[frame_header + 5..frame_header + 7].copy_from_slice(&height.to_be_bytes());
    bomb[frame_header + 7..frame_header + 9].copy_from_slice(&width.to_be_bytes());
    bomb
}

/// `jpeg` with its frame header marked progressive (SOF2).
///
/// # Panics
/// When `jpeg` has no SOF0.
#[must_use]
pub fn progressive(jpeg: &[u8]) -> Vec<u8> {
    let mut bomb = jpeg.to_vec();
    let frame_header = bomb
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .expect("a baseline JPEG has an SOF0");
    bomb[frame_header + 1] = 0xc2;
    bomb
}

/// `jpeg` with its quantization tables made comments (DQT, COM), so that nothing can decode it.
///
/// # Panics
/// When `jpeg` has none.
#[must_use]
pub fn without_quantization(jpeg: &[u8]) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let tables: Vec<_> = (0..bytes.len() - 1)
        .filter(|at| bytes[*at..*at + 2] == [0xff, 0xdb])
        .collect();
    assert!(!tables.is_empty(), "a JPEG has quantization tables");
    tables.into_iter().for_each(|at| bytes[at + 1] = 0xfe);
    bytes
}

/// `jpeg` with its middle filled with noise that keeps SOI, headers and EOI: damage that only decoding finds.
#[must_use]
pub fn scrambled(jpeg: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let start = bytes.len() / 2;
    let end = bytes.len() - 2;

    for byte in &mut bytes[start..end] {
        *byte = random.number() as u8;
    }

    bytes
}

/// A grey progressive JPEG of that size, with so many scans, all empty: libjpeg-turbo works on 390 000, which take 4 MB, for
/// minutes.
///
/// # Panics
/// When the encoder refuses.
#[must_use]
pub fn of_scans(width: usize, height: usize, scans: usize) -> Vec<u8> {
    let pixels = vec![128; width * height];
    let image = Image {
        pixels: pixels.as_slice(),
        width,
        pitch: width,
        height,
        format: PixelFormat::GRAY,
    };

    let whole = turbojpeg::compress(image, 80, Subsamp::Gray).expect("a valid picture");
    let mut bytes = progressive(&whole);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]);
    bytes.truncate(scan.expect("a JPEG has a scan"));
    // One component, table 0, its DC coefficient alone (ITU-T T.81, B.2.3).
    let empty = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0];
    bytes.extend(empty.repeat(scans));
    bytes.extend([0xff, 0xd9]);
    bytes
}
