//! A barcode of black and white blocks, painted into a test picture: the frame's number and when it was captured. It survives JPEG at quality 50, chroma subsampling and scaling down to half the size.
//!
//! The code fills the picture's width at its bottom edge: [`COLUMNS`] x [`ROWS`] square blocks, so that a reader needs
//! to know nothing but the picture's size. The first row is a fixed pattern from which the reader learns where black
//! ends and white begins; the other rows carry frame number, capture time and a CRC-32 of both, most significant bit
//! first. What does not fit the pattern and the CRC is not read at all: a wrong value comes once in 2^32 at worst.

/// Blocks in a row, whatever the picture's width: 8 pixels each at the least width.
pub const COLUMNS: u32 = 40;

/// Rows of blocks: one fixed, four of payload.
pub const ROWS: u32 = 5;

/// Least width of a picture into which the code is painted; a reader makes do with half of it.
pub const MIN_WIDTH: u32 = 320;

/// The fixed row: black and white in equal parts, not its own mirror image.
const SYNC: u64 = 0xa3_5c9a_6d46;

/// Black and white closer than this in luma are noise, not a code.
const MIN_CONTRAST: u32 = 48;

const BITS: u32 = COLUMNS * ROWS;
const PAYLOAD_BYTES: usize = 20;
const _: () = assert!(COLUMNS + 8 * PAYLOAD_BYTES as u32 == BITS);
const _: () = assert!(SYNC.count_ones() == COLUMNS / 2 && SYNC >> COLUMNS == 0);

/// What the code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBarcode {
    /// The frame's number within its source's epoch.
    pub number: u64,
    /// CLOCK_MONOTONIC of the source's host at capture, in nanoseconds.
    pub captured_ns: u64,
}

/// A rectangle of pixels of one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Left edge, in pixels from the left of the picture.
    pub x: u32,
    /// Upper edge, in pixels from the top of the picture.
    pub y: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Height in pixels of the strip at the bottom that the code takes in a picture of this width.
#[must_use]
pub const fn strip_height(width: u32) -> u32 {
    (width * ROWS).div_ceil(COLUMNS)
}

impl FrameBarcode {
    /// Calls `fill` with every block and whether it is white. A picture without room for the code gets none: it is at
    /// least [`MIN_WIDTH`] wide and [`strip_height`] high.
    pub fn paint(&self, width: u32, height: u32, mut fill: impl FnMut(Block, bool)) {
        if width < MIN_WIDTH || height < strip_height(width) {
            return;
        }
        let bits = self.bits();
        for index in 0..BITS {
            fill(block(index, width, height), bits[index as usize]);
        }
    }

    /// Reads the code from a plane of luma whose rows are `stride` bytes apart. None where there is no whole code, or
    /// the plane is shorter than it should be.
    #[must_use]
    pub fn read(luma: &[u8], stride: usize, width: u32, height: u32) -> Option<Self> {
        let last = (height.checked_sub(1)? as usize)
            .checked_mul(stride)?
            .checked_add(width as usize)?;
        if stride < width as usize || luma.len() < last {
            return None;
        }
        Self::read_with(width, height, |x, y| luma[y as usize * stride + x as usize])
    }

    /// Reads the code from a picture whose luma at a pixel is what `luma` says; it is asked for pixels within
    /// `width` x `height` only.
    #[must_use]
    pub fn read_with(width: u32, height: u32, luma: impl Fn(u32, u32) -> u8) -> Option<Self> {
        if width < MIN_WIDTH / 2 || width > u32::from(u16::MAX) || height < strip_height(width) {
            return None;
        }

        let level = |index| mean(block(index, width, height), &luma);
        let (mut white, mut black) = (0, 0);

        for index in 0..COLUMNS {
            *if sync_bit(index) {
                &mut white
            } else {
                &mut black
            } += level(index);
        }

        let half = COLUMNS / 2;
        if white < black + half * MIN_CONTRAST {
            return None;
        }

        let threshold = (white + black) / COLUMNS;
        if (0..COLUMNS).any(|index| (level(index) > threshold) != sync_bit(index)) {
            return None;
        }

        let mut payload = [0u8; PAYLOAD_BYTES];
        for index in COLUMNS..BITS {
            let bit = index - COLUMNS;
            payload[bit as usize / 8] |= u8::from(level(index) > threshold) << (7 - bit % 8);
        }

        Self::from_payload(payload)
    }

    fn bits(&self) -> [bool; BITS as usize] {
        let payload = self.payload();
        std::array::from_fn(|index| match index.checked_sub(COLUMNS as usize) {
            None => sync_bit(index as u32),
            Some(bit) => payload[bit / 8] >> (7 - bit % 8) & 1 == 1,
        })
    }

    fn payload(&self) -> [u8; PAYLOAD_BYTES] {
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&self.number.to_be_bytes());
        payload[8..16].copy_from_slice(&self.captured_ns.to_be_bytes());
        let check = crc32fast::hash(&payload[..16]);
        payload[16..].copy_from_slice(&check.to_be_bytes());
        payload
    }

    fn from_payload(payload: [u8; PAYLOAD_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            payload[at..at + 8]
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte))
        };

        let code = Self {
            number: word(0),
            captured_ns: word(8),
        };

        (code.payload() == payload).then_some(code)
    }
}

fn sync_bit(index: u32) -> bool {
    SYNC >> (COLUMNS - 1 - index) & 1 == 1
}

/// Block `index`, counted row by row from the upper left.
fn block(index: u32, width: u32, height: u32) -> Block {
    let edge = |n: u32| (n * width + COLUMNS / 2) / COLUMNS;
    let (column, row) = (index % COLUMNS, index / COLUMNS);
    let top = height - strip_height(width);
    Block {
        x: edge(column),
        y: top + edge(row),
        width: edge(column + 1) - edge(column),
        height: edge(row + 1) - edge(row),
    }
}

/// Mean luma of the block's inner half: its borders are blurred by scaling and by neighbours that share a DCT block.
fn mean(block: Block, luma: &impl Fn(u32, u32) -> u8) -> u32 {
    let inner = |start: u32, length: u32| start + length / 4..start + length - length / 4;
    let (columns, rows) = (inner(block.x, block.width), inner(block.y, block.height));
    let count = columns.len() * rows.len();
    let sum: u64 = rows
        .flat_map(|y| columns.clone().map(move |x| (x, y)))
        .map(|(x, y)| u64::from(luma(x, y)))
        .sum();

    (sum / count as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: FrameBarcode = FrameBarcode {
        number: 0x0123_4567_89ab_cdef,
        captured_ns: u64::MAX - 5,
    };

    fn painted(code: FrameBarcode, width: u32, height: u32) -> Vec<u8> {
        let mut plane = vec![90; (width * height) as usize];
        code.paint(width, height, |block, white| {
            for y in block.y..block.y + block.height {
                let row = (y * width + block.x) as usize;
                plane[row..row + block.width as usize].fill(if white { 235 } else { 16 });
            }
        });

        plane
    }

    fn read(plane: &[u8], width: u32, height: u32) -> Option<FrameBarcode> {
        FrameBarcode::read(plane, width as usize, width, height)
    }

    #[test]
    fn what_is_painted_is_read_at_any_size() {
        for (width, height) in [
            (320, 240),
            (322, 181),
            (640, 480),
            (854, 480),
            (1280, 720),
            (1920, 1080),
            (3840, 2160),
        ] {
            for code in [
                CODE,
                FrameBarcode {
                    number: 0,
                    captured_ns: 0,
                },
            ] {
                assert_eq!(
                    read(&painted(code, width, height), width, height),
                    Some(code),
                    "{width}x{height}"
                );
            }
        }
    }

    #[test]
    fn a_picture_scaled_down_to_half_is_still_read() {
        let (width, height) = (640, 360);
        let plane = painted(CODE, width, height);

        for (w, h) in [(320, 180), (352, 198), (426, 240), (500, 282), (638, 358)] {
            let nearest = |x: u32, y: u32| plane[(y * height / h * width + x * width / w) as usize];
            assert_eq!(
                FrameBarcode::read_with(w, h, nearest),
                Some(CODE),
                "{w}x{h}"
            );
        }
    }

    #[test]
    fn a_code_is_read_under_any_light_but_not_from_noise() {
        let plane = painted(CODE, 320, 240);
        let dim: Vec<u8> = plane.iter().map(|&v| 100 + v / 3).collect();
        assert_eq!(read(&dim, 320, 240), Some(CODE));
        let faint: Vec<u8> = plane.iter().map(|&v| 100 + v / 16).collect();
        assert_eq!(read(&faint, 320, 240), None);
        assert_eq!(read(&vec![0; 320 * 240], 320, 240), None);
    }

    #[test]
    fn no_single_damaged_block_gives_a_wrong_value() {
        let plane = painted(CODE, 320, 240);
        for index in 0..BITS {
            let mut damaged = plane.clone();
            let Block {
                x,
                y,
                width,
                height,
            } = block(index, 320, 240);

            for row in y..y + height {
                for value in &mut damaged[(row * 320 + x) as usize..][..width as usize] {
                    *value = 251 - *value;
                }
            }

            assert_eq!(read(&damaged, 320, 240), None, "{index}");
        }
    }

    #[test]
    fn a_torn_or_mirrored_picture_is_not_read() {
        let (above, mut torn) = (
            painted(CODE, 640, 480),
            painted(FrameBarcode { number: 1, ..CODE }, 640, 480),
        );

        torn[..640 * 440].copy_from_slice(&above[..640 * 440]);
        assert_eq!(read(&torn, 640, 480), None);
        let mirrored = |x: u32, y: u32| above[(y * 640 + 639 - x) as usize];
        assert_eq!(FrameBarcode::read_with(640, 480, mirrored), None);
    }

    #[test]
    fn a_plane_too_short_for_its_size_is_not_read() {
        let plane = painted(CODE, 320, 240);
        assert_eq!(FrameBarcode::read(&plane[1..], 320, 320, 240), None);
        assert_eq!(FrameBarcode::read(&plane, 319, 320, 240), None);
        assert_eq!(FrameBarcode::read(&plane, usize::MAX, 320, 240), None);
        for (width, height) in [(0, 0), (159, 240), (320, 39), (u32::MAX, u32::MAX)] {
            assert_eq!(FrameBarcode::read_with(width, height, |_, _| 0), None);
        }
    }

    #[test]
    fn the_check_sum_is_the_one_of_ieee_802_3() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }
}
