//! A parser for the markers of a JPEG (ITU-T T.81, annex B) as its bytes come in: where it ends, how large it is and how it
//! is coded. No I/O. Used by every input and by [`inspect`](super::inspect).
//!
//! Segments are skipped by their length, so that a thumbnail in an application segment neither begins nor ends a
//! picture. Within entropy-coded data only a real marker counts.

use std::ops::Range;

/// Most scans of a picture. Usual encoders write 1 to 4, or about 10 for a progressive picture. libjpeg-turbo takes time for
/// each scan even if it is empty: 4 MB can hold 390 000 of them and take minutes.
pub const MAX_SCANS: u32 = 100;

/// Most pixels that all scans of a picture visit together: 12 scans of 3840x2160. Decoding takes about as long as this many
/// pixels do, and has to end within the 500 ms that an exit may take.
pub const MAX_SCANNED_PIXELS: u64 = 100_000_000;

/// Most components of a picture (ITU-T T.81, table B.2 allows more only in sequential coding that nobody writes).
const MAX_COMPONENTS: usize = 4;

/// The frame header (SOF segment) of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOfFrame {
    /// The low byte of the SOF marker: 0xc0 baseline, 0xc2 progressive and so on (table B.1).
    pub marker: u8,
    /// Bits per sample.
    pub precision: u8,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels; zero if it stands in a DNL segment after the first scan.
    pub height: u16,
    /// Number of components: 1 grey, 3 colour, 4 CMYK.
    pub components: u8,
    /// Horizontal and vertical sampling factors of the first four components.
    pub sampling: [(u8, u8); MAX_COMPONENTS],
}

/// How far a [`MarkerParser`] came with the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The picture goes on past these bytes.
    More,
    /// The picture ends before this offset, with EOI.
    Done(usize),
    /// At this offset the bytes are no JPEG, or a JPEG that is not accepted.
    Broken(usize, Fault),
}

/// What is wrong with a picture whose parsing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No JPEG has this here.
    #[error("the JPEG is damaged")]
    Malformed,
    /// More than [`MAX_SCANS`], or scans over more than [`MAX_SCANNED_PIXELS`].
    #[error(
        "the JPEG has too many scans (more than {MAX_SCANS}, or over {MAX_SCANNED_PIXELS} pixels together), which takes too long to decode"
    )]
    TooManyScans,
}

/// A parser that starts at an SOI. It is given the picture from its first byte on, each time with more bytes, and looks at
/// each byte once.
#[derive(Debug, Default)]
pub struct MarkerParser {
    at: usize,
    state: State,
    frame: Option<StartOfFrame>,
    exif: Option<Range<usize>>,
    scans: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Marker,
    EntropyCoded,
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;
const TEM: u8 = 0x01;

/// How the body of an APP1 segment with EXIF begins.
const EXIF: &[u8] = b"Exif\0\0";

impl MarkerParser {
    /// The frame header, after the parser has passed it.
    #[must_use]
    pub fn frame(&self) -> Option<StartOfFrame> {
        self.frame
    }

    /// Where the TIFF structure of the EXIF segment lies in the picture, if one has been passed.
    #[must_use]
    pub fn exif(&self) -> Option<Range<usize>> {
        self.exif.clone()
    }

    /// Parses up to the first scan. Returns the frame header if that scan was reached.
    pub fn frame_before_scan(&mut self, bytes: &[u8]) -> Option<StartOfFrame> {
        while self.scans == 0 {
            let step = match self.state {
                State::Start => self.start(bytes),
                State::Marker | State::EntropyCoded => self.marker(bytes),
            };
            if step.is_some() {
                return None;
            }
        }

        self.frame
    }

    /// Parses as far as `bytes` reach. After [`Step::Done`] or [`Step::Broken`] the parser is used up.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        loop {
            let step = match self.state {
                State::Start => self.start(bytes),
                State::Marker => self.marker(bytes),
                State::EntropyCoded => self.entropy_coded(bytes),
            };

            if let Some(step) = step {
                return step;
            }
        }
    }

    fn start(&mut self, bytes: &[u8]) -> Option<Step> {
        match bytes {
            [0xff, SOI, ..] => {
                self.at = 2;
                self.state = State::Marker;
                None
            }
            [] | [0xff] => Some(Step::More),
            _ => Some(Step::Broken(0, Fault::Malformed)),
        }
    }

    fn marker(&mut self, bytes: &[u8]) -> Option<Step> {
        match *bytes.get(self.at..).unwrap_or_default() {
            [] | [0xff] => Some(Step::More),
            // Any marker may be preceded by fill bytes (B.1.1.2).
            [0xff, 0xff, ..] => {
                self.at += 1;
                None
            }
            [0xff, EOI, ..] if self.scans > 0 && self.frame.is_some() => {
                Some(Step::Done(self.at + 2))
            }
            [0xff, TEM | 0xd0..=0xd7, ..] => {
                self.at += 2;
                None
            }
            [0xff, 0x00 | SOI | EOI, ..] => Some(self.malformed()),
            [0xff, marker, ..] => self.segment(marker, bytes),
            _ => Some(self.malformed()),
        }
    }

    fn segment(&mut self, marker: u8, bytes: &[u8]) -> Option<Step> {
        let body = &bytes[self.at + 2..];
        let &[high, low, ..] = body else {
            return Some(Step::More);
        };

        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Some(self.malformed());
        }

        let outcome = match marker {
            // DHT, JPG and DAC share the range of the frame headers (table B.1).
            0xc4 | 0xc8 | 0xcc => None,
            0xc0..=0xcf => self.start_of_frame(marker, length, body),
            SOS => self.start_of_scan(),
            APP1 => self.app1(length, body),
            _ => None,
        };

        if outcome.is_none() {
            self.at += 2 + length;
        }

        outcome
    }

    fn start_of_frame(&mut self, marker: u8, length: usize, body: &[u8]) -> Option<Step> {
        let &[_, _, precision, h1, h0, w1, w0, components, ..] = body else {
            return Some(Step::More);
        };

        // Two pictures run into one show here: a second header, or one that the next picture overwrote.
        if self.frame.is_some() || length != 8 + 3 * usize::from(components) {
            return Some(self.malformed());
        }

        let Some(parameters) = body.get(8..length) else {
            return Some(Step::More);
        };

        let mut sampling = [(0, 0); MAX_COMPONENTS];
        for (factors, [_, both, _]) in sampling.iter_mut().zip(parameters.as_chunks::<3>().0) {
            *factors = (both >> 4, both & 15);
        }

        self.frame = Some(StartOfFrame {
            marker,
            precision,
            width: u16::from_be_bytes([w1, w0]),
            height: u16::from_be_bytes([h1, h0]),
            components,
            sampling,
        });

        None
    }

    fn start_of_scan(&mut self) -> Option<Step> {
        self.scans += 1;
        self.state = State::EntropyCoded;
        let pixels = self
            .frame
            .map_or(0, |frame| u64::from(frame.width) * u64::from(frame.height));
        let scanned = pixels * u64::from(self.scans);
        // A sequential picture has a scan a component at most: its size alone is no fault of its scans.
        let too_many = self.scans > MAX_SCANS
            || self.scans > MAX_COMPONENTS as u32 && scanned > MAX_SCANNED_PIXELS;
        too_many.then_some(Step::Broken(self.at, Fault::TooManyScans))
    }

    fn app1(&mut self, length: usize, body: &[u8]) -> Option<Step> {
        let head = &body[2..];
        if length >= 2 + EXIF.len() && head.len() < EXIF.len() {
            return Some(Step::More);
        }

        if self.exif.is_none() && length >= 2 + EXIF.len() && head.starts_with(EXIF) {
            let start = self.at + 4 + EXIF.len();
            self.exif = Some(start..self.at + 2 + length);
        }

        None
    }

    fn entropy_coded(&mut self, bytes: &[u8]) -> Option<Step> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let Some(found) = rest.iter().position(|&byte| byte == 0xff) else {
            self.at = self.at.max(bytes.len());
            return Some(Step::More);
        };

        self.at += found;
        match rest.get(found + 1) {
            None => return Some(Step::More),
            // A stuffed zero or a restart marker belongs to the data.
            Some(0x00 | 0xd0..=0xd7) => self.at += 2,
            Some(0xff) => self.at += 1,
            Some(_) => self.state = State::Marker,
        }

        None
    }

    fn malformed(&self) -> Step {
        Step::Broken(self.at, Fault::Malformed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest bytes that parse as a JPEG, with a whole thumbnail in an application segment.
    pub(crate) fn tiny(width: u16, height: u16, scan: &[u8]) -> Vec<u8> {
        let thumbnail = [0xff, SOI, 0xff, SOS, 0, 2, 1, 0xff, EOI];
        let mut jpeg = vec![0xff, SOI, 0xff, 0xe1, 0, 2 + thumbnail.len() as u8];
        jpeg.extend_from_slice(&thumbnail);
        let ([h1, h0], [w1, w0]) = (height.to_be_bytes(), width.to_be_bytes());
        jpeg.extend_from_slice(&[0xff, 0xff, 0xc0, 0, 11, 8, h1, h0, w1, w0, 1, 1, 0x11, 0]);
        jpeg.extend_from_slice(&[0xff, SOS, 0, 2]);
        jpeg.extend_from_slice(scan);
        jpeg.extend_from_slice(&[0xff, EOI]);
        jpeg
    }

    #[test]
    fn the_end_is_found_past_thumbnails_stuffing_and_restarts() {
        let jpeg = tiny(640, 480, &[1, 0xff, 0, 2, 0xff, 0xd3, 0xff, 0xff, 0, 9]);
        let mut parser = MarkerParser::default();
        let mut longer = jpeg.clone();
        longer.extend_from_slice(&[0xff, SOI, 7]);
        assert_eq!(parser.step(&longer), Step::Done(jpeg.len()));
        assert_eq!(
            parser.frame(),
            Some(StartOfFrame {
                marker: 0xc0,
                precision: 8,
                width: 640,
                height: 480,
                components: 1,
                sampling: [(1, 1), (0, 0), (0, 0), (0, 0)],
            })
        );
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let jpeg = tiny(8, 16, &[1, 0xff, 0, 2]);
        let mut parser = MarkerParser::default();
        for end in 0..jpeg.len() {
            assert_eq!(parser.step(&jpeg[..end]), Step::More, "{end}");
        }
        assert_eq!(parser.step(&jpeg), Step::Done(jpeg.len()));
    }

    #[test]
    fn bytes_that_no_jpeg_has_stop_the_parser_where_they_stand() {
        let step = |bytes: &[u8]| MarkerParser::default().step(bytes);
        assert_eq!(step(b"GIF89a"), Step::Broken(0, Fault::Malformed));
        assert_eq!(
            step(&[0xff, SOI, 0xff, EOI]),
            Step::Broken(2, Fault::Malformed),
            "no picture in it"
        );

        assert_eq!(
            step(&[0xff, SOI, 0xff, 0xe0, 0, 1]),
            Step::Broken(2, Fault::Malformed),
            "a length that excludes itself"
        );

        assert_eq!(
            step(&[0xff, SOI, 0xff, 0xe0, 0, 3, 7, 8]),
            Step::Broken(7, Fault::Malformed)
        );

        let mut torn = tiny(8, 8, &[5, 6, 7]);
        torn.truncate(torn.len() - 2);
        let end = torn.len();
        torn.extend_from_slice(&tiny(8, 8, &[]));
        assert_eq!(
            step(&torn),
            Step::Broken(end, Fault::Malformed),
            "the next picture begins within this one"
        );
    }

    /// A picture with so many empty scans.
    pub(crate) fn with_scans(width: u16, height: u16, scans: usize) -> Vec<u8> {
        let mut jpeg = tiny(width, height, &[1]);
        let end = jpeg.len() - 2;
        jpeg.truncate(end);

        for _ in 1..scans {
            jpeg.extend_from_slice(&[0xff, SOS, 0, 2, 1]);
        }

        jpeg.extend_from_slice(&[0xff, EOI]);
        jpeg
    }

    #[test]
    fn a_picture_with_too_many_scans_is_refused_while_it_is_parsed() {
        let step = |jpeg: &[u8]| MarkerParser::default().step(jpeg);
        let refused = |jpeg: &[u8]| matches!(step(jpeg), Step::Broken(_, Fault::TooManyScans));
        assert!(matches!(step(&with_scans(640, 480, 100)), Step::Done(_)));
        assert!(refused(&with_scans(640, 480, 101)));
        assert!(matches!(step(&with_scans(3840, 2160, 12)), Step::Done(_)));
        assert!(refused(&with_scans(3840, 2160, 13)));
        assert!(refused(&with_scans(8, 8, 390_000)));
    }

    #[test]
    fn the_exif_segment_is_found_behind_other_application_segments() {
        let mut jpeg = tiny(8, 8, &[1]);
        let segment = [&[0xff, APP1, 0, 12][..], EXIF, b"TIFF"].concat();
        let at = 2 + 4 + 9;
        jpeg.splice(at..at, segment);
        let mut parser = MarkerParser::default();
        parser.frame_before_scan(&jpeg).unwrap();
        assert_eq!(&jpeg[parser.exif().unwrap()], b"TIFF");
    }
}
