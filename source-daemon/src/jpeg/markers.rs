//! A walk over the markers of a JPEG (ITU-T T.81, annex B), as its bytes come in: where it ends, and how large it is.
//!
//! Segments are skipped by their length, so that a thumbnail in an application segment neither begins nor ends a
//! picture; within entropy-coded data only a real marker counts.

/// What the frame header (SOF) of a picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOfFrame {
    /// The low byte of the SOF marker: which coding process.
    pub marker: u8,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels; zero where it is said only after the first scan.
    pub height: u16,
}

/// Where a [`MarkerParser`] stands after the bytes that it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The picture goes on past these bytes.
    More,
    /// The picture ends before this offset, with EOI.
    Done(usize),
    /// At this offset stands something that no JPEG has there.
    Broken(usize),
}

/// A walk that starts at an SOI. It is shown the picture's bytes from the first on, each time with more of them, and
/// looks at each byte once.
#[derive(Debug, Default)]
pub struct MarkerParser {
    at: usize,
    state: State,
    head: Option<StartOfFrame>,
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
const TEM: u8 = 0x01;

impl MarkerParser {
    /// The frame header, once it was passed.
    #[must_use]
    pub fn head(&self) -> Option<StartOfFrame> {
        self.head
    }

    fn in_scan(&self) -> bool {
        self.scans > 0
    }

    /// Goes on to the first scan at most; tells the frame header if that scan was reached.
    pub fn head_before_scan(&mut self, bytes: &[u8]) -> Option<StartOfFrame> {
        while !self.in_scan() {
            let step = match self.state {
                State::Start => self.start(bytes),
                State::Marker | State::EntropyCoded => self.marker(bytes),
            };
            if step.is_some() {
                return None;
            }
        }
        self.head
    }

    /// Goes on as far as `bytes` reach. After [`Step::Done`] or [`Step::Broken`] the walk is over.
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
                (self.at, self.state) = (2, State::Marker);
                None
            }
            [] | [0xff] => Some(Step::More),
            _ => Some(Step::Broken(0)),
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
            [0xff, EOI, ..] if self.in_scan() && self.head.is_some() => {
                Some(Step::Done(self.at + 2))
            }
            [0xff, TEM | 0xd0..=0xd7, ..] => {
                self.at += 2;
                None
            }
            [0xff, 0x00 | SOI | EOI, ..] => Some(Step::Broken(self.at)),
            [0xff, marker, ..] => self.segment(marker, bytes),
            _ => Some(Step::Broken(self.at)),
        }
    }

    fn segment(&mut self, marker: u8, bytes: &[u8]) -> Option<Step> {
        let body = &bytes[self.at + 2..];
        let &[high, low, ..] = body else {
            return Some(Step::More);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Some(Step::Broken(self.at));
        }
        // DHT, JPG and DAC share the range of the frame headers (table B.1).
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let &[_, _, _, h1, h0, w1, w0, components, ..] = body else {
                return Some(Step::More);
            };
            // Two pictures run into one show here: a second header, or one that the next picture overwrote.
            if self.head.is_some() || length != 8 + 3 * usize::from(components) {
                return Some(Step::Broken(self.at));
            }
            let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
            self.head = Some(StartOfFrame {
                marker,
                width,
                height,
            });
        }
        if marker == SOS {
            self.scans += 1;
            self.state = State::EntropyCoded;
        }
        self.at += 2 + length;
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
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest thing that walks like a JPEG, with a whole thumbnail in its application segment.
    pub(crate) fn tiny(width: u16, height: u16, scan: &[u8]) -> Vec<u8> {
        let thumbnail = [0xff, SOI, 0xff, SOS, 0, 2, 1, 0xff, EOI];
        let mut jpeg = vec![0xff, SOI, 0xff, 0xe1, 0, 2 + thumbnail.len() as u8];
        jpeg.extend_from_slice(&thumbnail);
        let ([h1, h0], [w1, w0]) = (height.to_be_bytes(), width.to_be_bytes());
        jpeg.extend_from_slice(&[0xff, 0xff, 0xc0, 0, 8, 8, h1, h0, w1, w0, 0]);
        jpeg.extend_from_slice(&[0xff, SOS, 0, 2]);
        jpeg.extend_from_slice(scan);
        jpeg.extend_from_slice(&[0xff, EOI]);
        jpeg
    }

    #[test]
    fn the_end_is_found_past_thumbnails_stuffing_and_restarts() {
        let jpeg = tiny(640, 480, &[1, 0xff, 0, 2, 0xff, 0xd3, 0xff, 0xff, 0, 9]);
        let mut walk = MarkerParser::default();
        let mut longer = jpeg.clone();
        longer.extend_from_slice(&[0xff, SOI, 7]);
        assert_eq!(walk.step(&longer), Step::Done(jpeg.len()));
        assert_eq!(
            walk.head(),
            Some(StartOfFrame {
                marker: 0xc0,
                width: 640,
                height: 480
            })
        );
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let jpeg = tiny(8, 16, &[1, 0xff, 0, 2]);
        let mut walk = MarkerParser::default();
        for end in 0..jpeg.len() {
            assert_eq!(walk.step(&jpeg[..end]), Step::More, "{end}");
        }
        assert_eq!(walk.step(&jpeg), Step::Done(jpeg.len()));
    }

    #[test]
    fn what_no_jpeg_has_breaks_the_walk_where_it_stands() {
        let step = |bytes: &[u8]| MarkerParser::default().step(bytes);
        assert_eq!(step(b"GIF89a"), Step::Broken(0));
        assert_eq!(
            step(&[0xff, SOI, 0xff, EOI]),
            Step::Broken(2),
            "no picture in it"
        );
        assert_eq!(
            step(&[0xff, SOI, 0xff, 0xe0, 0, 1]),
            Step::Broken(2),
            "a length that excludes itself"
        );
        assert_eq!(step(&[0xff, SOI, 0xff, 0xe0, 0, 3, 7, 8]), Step::Broken(7));
        let mut torn = tiny(8, 8, &[5, 6, 7]);
        torn.truncate(torn.len() - 2);
        let end = torn.len();
        torn.extend_from_slice(&tiny(8, 8, &[]));
        assert_eq!(
            step(&torn),
            Step::Broken(end),
            "the next picture begins within this one"
        );
    }
}
