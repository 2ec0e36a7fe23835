use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::*;

const WIDTH: usize = 88;
const HEIGHT: usize = 56;

/// A picture with edges and colours, as `edit` wants it compressed.
fn compressed(edit: impl FnOnce(&mut Compressor)) -> Bytes {
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT * 3)
        .map(|place| (place * place / 7 + place / 31) as u8)
        .collect();
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(70).unwrap();
    edit(&mut compressor);
    let image = Image {
        pixels: pixels.as_slice(),
        width: WIDTH,
        pitch: WIDTH * 3,
        height: HEIGHT,
        format: PixelFormat::RGB,
    };
    compressor.compress_to_vec(image).unwrap().into()
}

fn with(subsampling: Subsamp, optimize: bool) -> Bytes {
    compressed(|compressor| {
        compressor.set_subsamp(subsampling).unwrap();
        compressor.set_optimize(optimize).unwrap();
    })
}

#[test]
fn optimised_huffman_tables_are_rewritten_to_the_scan_that_annex_k_would_have_given() {
    for (subsampling, kind) in [(Subsamp::Sub2x1, 0), (Subsamp::Sub2x2, 1)] {
        let (usual, optimised) = (with(subsampling, false), with(subsampling, true));
        assert!(optimised.len() < usual.len(), "the tables differ");

        let usual = Picture::parse(&usual).unwrap();
        assert_eq!((usual.kind, usual.width, usual.height), (kind, 11, 7));
        assert_eq!(Picture::parse(&optimised).unwrap(), usual);
    }
}

#[test]
fn sampling_that_rtp_jpeg_cannot_say_is_refused() {
    for subsampling in [Subsamp::None, Subsamp::Gray, Subsamp::Sub1x2] {
        let refused = Picture::parse(&with(subsampling, false));
        assert_eq!(refused, Err(Unsuitable::Sampling));
    }
}

#[test]
fn a_cut_or_damaged_jpeg_is_refused_and_never_panics() {
    let jpeg = with(Subsamp::Sub2x2, true);
    for length in 0..jpeg.len() {
        assert!(Picture::parse(&jpeg.slice(..length)).is_err(), "{length}");
    }

    for place in 2..jpeg.len() {
        let mut damaged = jpeg.to_vec();
        damaged[place] ^= 0x55;
        let _ = Picture::parse(&damaged.into());
    }
}
