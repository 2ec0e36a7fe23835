//! Splits a stream of bytes into the JPEGs that it holds one after the other, as files and pipes of MJPEG do. No I/O.

use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::FrameBuffer;

use super::markers::{Fault, MarkerParser, Step};

/// Largest picture that is taken from a stream: a relay takes none larger.
pub const MAX_PICTURE: usize = MAX_FRAME_BYTES;

/// Most bytes to [`Splitter::push`] at once, so that the memory held is bounded by this and [`MAX_PICTURE`].
pub const MAX_PUSH: usize = 1 << 16;

/// Finds the pictures. Bytes that belong to none are dropped and counted, and the search goes on at the next SOI.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    parser: MarkerParser,
    /// Whether `held` begins with an SOI.
    within: bool,
    taken: u64,
    broken: u64,
    fault: Option<Fault>,
    garbage: u64,
}

impl Splitter {
    /// Takes the next bytes of the stream, at most [`MAX_PUSH`]; all pictures in those before have been popped.
    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= MAX_PUSH);
        self.held.extend_from_slice(bytes);
    }

    /// The next whole picture, from SOI to EOI, if it has come.
    pub fn pop(&mut self) -> Option<FrameBuffer> {
        loop {
            if !self.within && !self.find_start() {
                return None;
            }

            match self.parser.step(&self.held) {
                Step::Done(end) => {
                    let picture =
                        (end <= MAX_PICTURE).then(|| FrameBuffer::copy_of(&self.held[..end]));
                    self.leave(end, picture.is_none());
                    if picture.is_some() {
                        return picture;
                    }
                }
                // From where it broke, not from the next SOI: that may be the thumbnail of the broken picture.
                Step::Broken(at, fault) => {
                    self.leave(at.max(2), true);
                    self.fault = Some(fault);
                }
                Step::More if self.held.len() > MAX_PICTURE => self.leave(self.held.len(), true),
                Step::More => return None,
            }
        }
    }

    /// Tells that no more bytes come: what is left of a picture is broken.
    pub fn finish(&mut self) {
        if self.within {
            self.leave(self.held.len(), true);
        } else {
            self.drop_front(self.held.len());
        }
    }

    /// Pictures that were cut short, torn or too large.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// What was wrong with the last of them, in words.
    #[must_use]
    pub fn fault(&self) -> String {
        self.fault.map_or_else(
            || "the JPEG is cut short or too large".to_owned(),
            |fault| fault.to_string(),
        )
    }

    /// Bytes that belonged to no whole picture.
    #[must_use]
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Whether a picture has begun in the bytes that were looked at.
    #[must_use]
    pub fn is_within_picture(&self) -> bool {
        self.within
    }

    /// How far into the stream the bytes not yet used begin.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.taken
    }

    fn find_start(&mut self) -> bool {
        // SOI alone is common in noise; the marker that must follow begins with FF.
        let start = self.held.windows(3).position(|w| w == [0xff, 0xd8, 0xff]);
        let tail = self
            .held
            .iter()
            .rev()
            .take(2)
            .position(|&byte| byte == 0xff)
            .map_or(0, |n| n + 1);

        let useless = start.unwrap_or(self.held.len() - tail);
        self.drop_front(useless);
        self.parser = MarkerParser::default();
        self.within = start.is_some();
        self.within
    }

    fn leave(&mut self, end: usize, broken: bool) {
        self.within = false;
        if broken {
            self.broken += 1;
            self.fault = None;
            self.drop_front(end);
        } else {
            self.taken += end as u64;
            self.held.drain(..end);
        }
    }

    fn drop_front(&mut self, count: usize) {
        self.garbage += count as u64;
        self.taken += count as u64;
        self.held.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::markers::tests::tiny;
    use super::*;

    fn split(stream: &[u8], chunk: usize) -> (Vec<Vec<u8>>, Splitter) {
        let mut splitter = Splitter::default();
        let mut pictures = Vec::new();

        for bytes in stream.chunks(chunk) {
            splitter.push(bytes);
            pictures.extend(std::iter::from_fn(|| splitter.pop()).map(|p| p.jpeg().to_vec()));
        }

        splitter.finish();
        (pictures, splitter)
    }

    #[test]
    fn pictures_come_out_whole_however_the_stream_is_cut() {
        let pictures: Vec<_> = (1..20)
            .map(|n| tiny(n, n, &vec![n as u8; usize::from(n) * 7]))
            .collect();
        let stream = pictures.concat();
        for chunk in [1, 2, 3, 7, 64, 1000, stream.len()] {
            let (out, splitter) = split(&stream, chunk);
            assert_eq!(out, pictures, "{chunk}");
            assert_eq!((splitter.broken(), splitter.garbage()), (0, 0));
            assert_eq!(splitter.offset(), stream.len() as u64);
        }
    }

    #[test]
    fn garbage_between_pictures_is_dropped_and_counted() {
        let good = tiny(8, 8, &[1, 2, 3]);
        let junk: Vec<u8> = (0..5000u32)
            .map(|n| (n * n % 251) as u8)
            .chain([0xff, 0xd8, 0xff])
            .collect();

        let stream = [&junk[..5000], &good, b"--boundary\r\n\r\n", &good, &[0xff]].concat();
        for chunk in [1, 5, 4096] {
            let (out, splitter) = split(&stream, chunk);
            assert_eq!(out, [good.clone(), good.clone()], "{chunk}");
            assert_eq!(splitter.garbage(), (stream.len() - 2 * good.len()) as u64);
            assert_eq!(splitter.broken(), 0);
        }
    }

    #[test]
    fn a_picture_cut_short_costs_only_itself_and_its_thumbnail_is_not_taken_for_a_picture() {
        let good = tiny(8, 8, &[1, 2, 3]);
        // From behind the header of the scan on: a length that is cut takes more than its own picture.
        for cut in 33..good.len() {
            let stream = [&good[..cut], &good, &good].concat();
            let (out, splitter) = split(&stream, 16);
            assert_eq!(out, [good.clone(), good.clone()], "{cut}");
            assert_eq!(splitter.broken(), 1, "{cut}");
        }
    }

    #[test]
    fn a_picture_over_the_limit_is_dropped_and_the_next_one_comes() {
        let huge = tiny(8, 8, &vec![7; MAX_PICTURE]);
        let good = tiny(8, 8, &[1]);
        let (out, splitter) = split(&[&huge[..], &good].concat(), MAX_PUSH);
        assert_eq!(out, [good]);
        assert_eq!(splitter.broken(), 1);
    }

    #[test]
    fn a_stream_that_ends_within_a_picture_is_counted() {
        let good = tiny(8, 8, &[1, 2, 3]);
        let (out, splitter) = split(&good[..good.len() - 1], 100);
        assert!(out.is_empty());
        assert_eq!(splitter.broken(), 1);
    }
}
