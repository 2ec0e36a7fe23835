//! A parser for the markers of a JPEG (ITU-T T.81, annex B) as its bytes come in: where it ends, how large it is and how it
//! is coded. No I/O. All who read, decode or transform JPEGs walk them by this: the source's inputs and its codec, the viewer's
//! decoder, and the relay's for WebRTC.
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

/// Refuses a picture whose scans would keep a decoder busy for long. Walks its markers, allocates nothing, and leaves other
/// damage to the decoder to find.
///
/// # Errors
/// [`Fault::TooManyScans`].
pub fn check_scans(jpeg: &[u8]) -> Result<(), Fault> {
    match MarkerParser::default().step(jpeg) {
        Step::Broken(_, Fault::TooManyScans) => Err(Fault::TooManyScans),
        Step::Broken(_, Fault::Malformed) | Step::Done(_) | Step::More => Ok(()),
    }
}

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
