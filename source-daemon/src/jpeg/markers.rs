//! The parser of JPEG markers, which stands in `fanlight_pixels` for viewer and relay to use too, and its tests.

pub use fanlight_pixels::markers::{
    Fault, MAX_SCANNED_PIXELS, MAX_SCANS, MarkerParser, StartOfFrame, Step,
};

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SOI: u8 = 0xd8;
    const EOI: u8 = 0xd9;
    const SOS: u8 = 0xda;
    const APP1: u8 = 0xe1;
    const EXIF: &[u8] = b"Exif\0\0";

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
