//! From the driver's buffer to a picture: the JPEG without its padding, the rows without theirs, the capture time.

use std::time::Duration;

use fanlight_proto::clock::Time;
use v4l::buffer::{Flags, Metadata};

use super::Layout;
use crate::camera::{PixelFormat, Raw};
use crate::jpeg::markers::{MarkerParser, Step};

/// A driver's stamp older than this is on some other clock (uvcvideo has one as a module parameter and flags it as
/// monotonic all the same).
const MAX_AGE: Duration = Duration::from_secs(10);

/// Size and padding of the raw pictures of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) layout: Layout,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row of luma to the next.
    pub(super) stride: u32,
}

/// The length of the JPEG at the beginning of `bytes`, to the end of its EOI marker; None when it is cut short, has too
/// many scans or is no JPEG at all. What follows the EOI may be the rest of an older, longer picture.
pub(super) fn jpeg_length(bytes: &[u8]) -> Option<usize> {
    match MarkerParser::default().step(bytes) {
        Step::Done(end) => Some(end),
        Step::More | Step::Broken(..) => None,
    }
}

impl Geometry {
    /// Copies the picture in `bytes` into `raw`, rows without padding. False when `bytes` is too short to hold it.
    pub(super) fn copy(&self, bytes: &[u8], raw: &mut Raw) -> bool {
        let (width, height, stride) = (
            self.width as usize,
            self.height as usize,
            self.stride as usize,
        );

        let (format, row, rows) = match self.layout {
            Layout::Yuyv => (PixelFormat::Yuyv, width * 2, height),
            // The interleaved U and V rows are as long as the luma rows, and half as many.
            Layout::Nv12 => (PixelFormat::Nv12, width, height + height / 2),
            Layout::Mjpeg => return false,
        };

        let stride = stride.max(row);
        // The last row need not be padded.
        if rows == 0 || bytes.len() < stride * (rows - 1) + row {
            return false;
        }

        (raw.format, raw.width, raw.height) = (format, self.width, self.height);
        raw.data.clear();
        raw.data.reserve(row * rows);
        bytes
            .chunks(stride)
            .take(rows)
            .for_each(|padded| raw.data.extend_from_slice(&padded[..row]));

        true
    }
}

/// When a buffer was captured: the driver's stamp if it is on the monotonic clock and plausible, else `now`.
pub(super) fn capture_time(meta: &Metadata, now: Time) -> Time {
    let parts = (
        u64::try_from(meta.timestamp.sec),
        u64::try_from(meta.timestamp.usec),
    );

    let (Ok(seconds), Ok(micros)) = parts else {
        return now;
    };

    let stamp = Time::from_nanos(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(micros.saturating_mul(1_000)),
    );

    let monotonic = meta.flags & Flags::TIMESTAMP_MASK == Flags::TIMESTAMP_MONOTONIC;
    if monotonic && stamp <= now && now.saturating_since(stamp) <= MAX_AGE {
        stamp
    } else {
        now
    }
}

/// Buffers that the driver numbered between `last` and `this` and that never came. A number that does not follow
/// (the driver began anew) tells nothing.
pub(super) fn missed(last: Option<u32>, this: u32) -> u64 {
    const MAX_GAP: u32 = 1 << 20;
    let gap = last.map_or(0, |last| this.wrapping_sub(last).wrapping_sub(1));
    if gap < MAX_GAP { u64::from(gap) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SOI, an APP1 whose body holds a whole thumbnail, SOF, SOS, a scan with a stuffed byte and a restart, EOI.
    const JPEG: &[u8] = &[
        0xff, 0xd8, 0xff, 0xe1, 0, 8, 0xff, 0xd8, 9, 9, 0xff, 0xd9, 0xff, 0xc0, 0, 11, 8, 0, 8, 0,
        8, 1, 1, 0x11, 0, 0xff, 0xff, 0xda, 0, 4, 1, 2, 5, 0xff, 0x00, 6, 0xff, 0xd3, 7, 0xff,
        0xd9,
    ];

    #[test]
    fn padding_after_the_true_end_is_cut_off_whatever_it_is() {
        for padding in [
            &[][..],
            &[0; 64],
            &[0xff; 3],
            &[1, 2, 0xff, 0xd9, 0xff, 0xd9],
        ] {
            assert_eq!(
                jpeg_length(&[JPEG, padding].concat()),
                Some(JPEG.len()),
                "{padding:x?}"
            );
        }
    }

    #[test]
    fn a_picture_cut_short_anywhere_is_none() {
        for end in 0..JPEG.len() {
            assert_eq!(jpeg_length(&JPEG[..end]), None, "{end}");
        }
    }

    #[test]
    fn bytes_that_are_no_jpeg_are_none() {
        for bytes in [
            &[0; 100][..],
            &[0xff; 100],
            &[0xff, 0xd8, 0, 0, 0xff, 0xd9],
            &[0xff, 0xd8, 0xff, 0, 0xff, 0xd9],
        ] {
            assert_eq!(jpeg_length(bytes), None);
        }
    }

    #[test]
    fn rows_come_without_padding() {
        let mut raw = Raw::default();
        let yuyv = Geometry {
            layout: Layout::Yuyv,
            width: 2,
            height: 2,
            stride: 6,
        };

        assert!(
            yuyv.copy(&[1, 2, 3, 4, 0, 0, 5, 6, 7, 8], &mut raw),
            "the last row has no padding"
        );

        assert_eq!(
            (raw.format, raw.data.as_slice()),
            (PixelFormat::Yuyv, &[1, 2, 3, 4, 5, 6, 7, 8][..])
        );

        assert!(!yuyv.copy(&[1, 2, 3, 4, 0, 0, 5, 6, 7], &mut raw));

        let nv12 = Geometry {
            layout: Layout::Nv12,
            width: 2,
            height: 2,
            stride: 3,
        };

        assert!(nv12.copy(&[1, 2, 0, 3, 4, 0, 5, 6, 0, 9, 9, 9], &mut raw));
        assert_eq!(
            (raw.format, raw.data.as_slice()),
            (PixelFormat::Nv12, &[1, 2, 3, 4, 5, 6][..])
        );
    }

    fn stamped(sec: i64, usec: i64, flags: Flags) -> Metadata {
        Metadata {
            timestamp: v4l::Timestamp::new(sec, usec),
            flags,
            ..Metadata::default()
        }
    }

    #[test]
    fn a_monotonic_stamp_is_the_capture_time_and_any_other_is_not() {
        let now = Time::from_nanos(5_000_000_000);
        let flags = Flags::TIMESTAMP_MONOTONIC | Flags::TSTAMP_SRC_SOE | Flags::MAPPED;
        assert_eq!(
            capture_time(&stamped(4, 900_001, flags), now),
            Time::from_nanos(4_900_001_000)
        );

        assert_eq!(
            capture_time(&stamped(4, 0, Flags::MAPPED), now),
            now,
            "clock unknown"
        );

        assert_eq!(
            capture_time(&stamped(4, 0, Flags::TIMESTAMP_COPY), now),
            now,
            "copied"
        );

        assert_eq!(
            capture_time(&stamped(1_790_000_000, 0, flags), now),
            now,
            "on the wall clock"
        );

        assert_eq!(capture_time(&stamped(-1, 0, flags), now), now, "negative");
        assert_eq!(
            capture_time(&stamped(0, 0, flags), Time::from_nanos(60_000_000_000)),
            Time::from_nanos(60_000_000_000)
        );
    }

    #[test]
    fn a_gap_in_the_sequence_counts_as_missed_and_a_new_beginning_does_not() {
        assert_eq!(missed(None, 7), 0);
        assert_eq!(missed(Some(7), 8), 0);
        assert_eq!(missed(Some(7), 11), 3);
        assert_eq!(missed(Some(u32::MAX), 1), 1);
        assert_eq!(missed(Some(500), 0), 0);
    }
}
