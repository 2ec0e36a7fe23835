//! The orientation tag of EXIF data (JEITA CP-3451, section 4.6.4; TIFF 6.0, section 2).

use crate::orientation::Orientation;

/// The tag of the orientation in the first image file directory (IFD).
const ORIENTATION: u16 = 0x0112;

/// The type of a 16-bit number in an IFD.
const SHORT: u16 = 3;

/// Bytes of an entry of an IFD: tag, type, count, value.
const ENTRY_BYTES: usize = 12;

/// How a picture with this TIFF structure must be turned to stand upright; upright if the structure does not say.
pub(super) fn orientation(tiff: &[u8]) -> Orientation {
    read(tiff)
        .and_then(Orientation::of_exif)
        .unwrap_or_default()
}

fn read(tiff: &[u8]) -> Option<u16> {
    let big_endian = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };

    let u16_at = |at: usize| {
        let bytes: [u8; 2] = tiff.get(at..)?.first_chunk().copied()?;
        Some(if big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };

    let offset: [u8; 4] = tiff.get(4..)?.first_chunk().copied()?;
    let directory = if big_endian {
        u32::from_be_bytes(offset)
    } else {
        u32::from_le_bytes(offset)
    } as usize;

    let entries = usize::from(u16_at(directory)?);
    (0..entries)
        .map_while(|index| {
            let at = directory.checked_add(2 + index * ENTRY_BYTES)?;
            Some((
                u16_at(at)?,
                u16_at(at.checked_add(2)?)?,
                u16_at(at.checked_add(8)?)?,
            ))
        })
        .find_map(|(tag, kind, value)| (tag == ORIENTATION && kind == SHORT).then_some(value))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A TIFF structure with one other tag and this orientation.
    pub(crate) fn tiff(big_endian: bool, orientation: u16) -> Vec<u8> {
        let short = |value: u16| {
            if big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };

        let long = |value: u16| {
            let [a, b] = short(value);
            if big_endian {
                [0, 0, a, b]
            } else {
                [a, b, 0, 0]
            }
        };

        let entry = |tag, value| {
            [
                &short(tag)[..],
                &short(SHORT),
                &long(1),
                &short(value),
                &[0, 0],
            ]
            .concat()
        };

        let magic = if big_endian { b"MM\0*" } else { b"II*\0" };
        [
            &magic[..],
            &long(8),
            &short(2),
            &entry(0x0100, 640),
            &entry(ORIENTATION, orientation),
            &long(0),
        ]
        .concat()
    }

    #[test]
    fn the_orientation_is_read_in_both_byte_orders() {
        for big_endian in [true, false] {
            for value in 1..=8 {
                assert_eq!(read(&tiff(big_endian, value)), Some(value));
            }
            assert_eq!(orientation(&tiff(big_endian, 9)), Orientation::default());
        }
    }

    #[test]
    fn a_structure_that_is_cut_or_lies_says_nothing() {
        let whole = tiff(false, 6);
        for end in 0..whole.len() - 8 {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        let mut lies = whole;
        lies[4..8].fill(0xff);
        assert_eq!(read(&lies), None);
    }
}
