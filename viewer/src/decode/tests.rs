use super::*;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// Left half red, right half blue.
fn jpeg(width: usize, height: usize, set: impl Fn(&mut turbojpeg::Compressor)) -> Vec<u8> {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            if i % width < width / 2 {
                [200, 10, 10]
            } else {
                [10, 10, 200]
            }
        })
        .collect();

    let mut compressor = turbojpeg::Compressor::new().unwrap();
    set(&mut compressor);
    let image = Image {
        pixels: &pixels[..],
        width,
        pitch: 3 * width,
        height,
        format: PixelFormat::RGB,
    };

    compressor.compress_to_vec(image).unwrap()
}

fn good() -> Vec<u8> {
    jpeg(WIDTH, HEIGHT, |_| {})
}

/// Where the segment with `marker` begins.
fn segment(jpeg: &[u8], marker: u8) -> usize {
    let mut at = 2;
    while jpeg[at + 1] != marker {
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    at
}

fn with_size(mut jpeg: Vec<u8>, width: u16, height: u16) -> Vec<u8> {
    let sof = segment(&jpeg, 0xc0);
    jpeg[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

/// A sequential picture of three components, each coded `repeats` times in a scan of its own.
fn many_scans(repeats: usize) -> Vec<u8> {
    let gray = jpeg(64, 64, |c| c.set_subsamp(turbojpeg::Subsamp::Gray).unwrap());
    let sof = segment(&gray, 0xc0);
    let sos = segment(&gray, 0xda);
    let mut out = gray[..sof].to_vec();
    out.extend([0xff, 0xc0, 0, 17, 8, 0, 64, 0, 64, 3]);
    out.extend([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    out.extend(
        &gray[sof + 2 + usize::from(u16::from_be_bytes([gray[sof + 2], gray[sof + 3]]))..sos],
    );
    for _ in 0..repeats {
        for component in 1..=3 {
            out.extend([0xff, 0xda, 0, 8, 1, component, 0, 0, 63, 0]);
            out.extend(&gray[sos + 10..gray.len() - 2]);
        }
    }

    out.extend([0xff, 0xd9]);
    out
}

fn assert_red_and_blue(picture: &Picture) {
    let width = picture.width() as usize;
    let height = picture.height() as usize;
    let row = &picture.pixels()[height / 2 * width..][..width];
    let [_, r, g, b] = row[width / 4].to_be_bytes();
    assert!(r > 180 && g < 40 && b < 40, "{r} {g} {b}");
    let [_, r, g, b] = row[width * 3 / 4].to_be_bytes();
    assert!(r < 40 && g < 40 && b > 180, "{r} {g} {b}");
}

fn refusal(jpeg: &[u8]) -> DecodeError {
    let mut picture = Picture::new(8, 8);
    let error = Decoder::new().decode(jpeg, &mut picture).unwrap_err();
    assert_eq!(
        (picture.width(), picture.height(), picture.pixels().len()),
        (0, 0, 0),
        "nothing is left to be shown"
    );

    error
}

#[test]
fn a_picture_comes_out_in_its_colours() {
    let mut picture = Picture::default();
    Decoder::new().decode(&good(), &mut picture).unwrap();
    assert_eq!((picture.width(), picture.height()), (320, 240));
    assert_red_and_blue(&picture);
}

#[test]
fn a_good_picture_after_any_bad_one_decodes_and_memory_does_not_grow() {
    let good = good();
    let mut decoder = Decoder::new();
    let mut picture = Picture::default();
    decoder.decode(&good, &mut picture).unwrap();
    let held = picture.capacity_bytes();
    assert_eq!(held, WIDTH * HEIGHT * 4);
    let bad = [
        Vec::new(),
        vec![0xff, 0xd8],
        vec![0x5a; 1000],
        good[..good.len() / 2].to_vec(),
        good[..segment(&good, 0xc0) + 4].to_vec(),
        with_size(good.clone(), 65_500, 65_500),
        with_size(good.clone(), 0, 240),
        jpeg(WIDTH, HEIGHT, |c| c.set_progressive(true).unwrap()),
    ];

    for bad in bad {
        decoder.decode(&bad, &mut picture).unwrap_err();
        decoder.decode(&good, &mut picture).unwrap();
        assert_red_and_blue(&picture);
        assert_eq!(picture.capacity_bytes(), held);
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut picture = Picture::default();
    for (width, height) in [(65_500, 65_500), (8193, 2160), (3840, 8193), (1, 65_500)] {
        let bomb = with_size(good(), width, height);
        let error = Decoder::with_max_side(8192)
            .decode(&bomb, &mut picture)
            .unwrap_err();
        assert!(matches!(error, DecodeError::Size { .. }), "{error}");
    }
    assert_eq!(picture.capacity_bytes(), 0);
}

#[test]
fn progressive_arithmetic_and_lossless_pictures_are_refused() {
    let kinds = [
        jpeg(64, 64, |c| c.set_progressive(true).unwrap()),
        with_sof(good(), 0xc9),
        jpeg(64, 64, |c| c.set_lossless(true).unwrap()),
    ];

    for jpeg in kinds {
        let error = refusal(&jpeg);
        assert!(matches!(error, DecodeError::Unsupported(_)), "{error}");
    }
}

/// Left half red, right half blue, in four colours as Adobe's programs write them.
fn four_colours() -> Vec<u8> {
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT)
        .flat_map(|i| {
            if i % WIDTH < WIDTH / 2 {
                [200, 10, 10, 255]
            } else {
                [10, 10, 200, 255]
            }
        })
        .collect();

    let image = Image {
        pixels: &pixels[..],
        width: WIDTH,
        pitch: 4 * WIDTH,
        height: HEIGHT,
        format: PixelFormat::CMYK,
    };

    turbojpeg::Compressor::new()
        .unwrap()
        .compress_to_vec(image)
        .unwrap()
}

#[test]
fn a_four_colour_picture_is_decoded_to_every_pixel_format() {
    let mut decoder = Decoder::new();
    let mut picture = Picture::default();

    for target in [None, Some((100, 75))] {
        decoder
            .decode_for(&four_colours(), target, &mut picture)
            .unwrap();
        assert_red_and_blue(&picture);
    }

    let at = HEIGHT / 2 * WIDTH + WIDTH / 4;
    let mut rgb = Vec::new();
    decoder.decode_rgb(&four_colours(), &mut rgb).unwrap();
    assert!(rgb[3 * at] > 180 && rgb[3 * at + 1] < 40 && rgb[3 * at + 2] < 40);
    let mut grey = Grey::default();
    decoder.decode_grey(&four_colours(), &mut grey).unwrap();
    assert!((60..76).contains(&grey.pixels()[at]));
}

#[test]
fn every_chroma_sampling_of_encoders_is_decoded() {
    use turbojpeg::Subsamp;
    for subsamp in [
        Subsamp::None,
        Subsamp::Sub2x1,
        Subsamp::Sub2x2,
        Subsamp::Sub1x2,
        Subsamp::Sub4x1,
        Subsamp::Sub1x4,
    ] {
        let jpeg = jpeg(WIDTH, HEIGHT, |c| c.set_subsamp(subsamp).unwrap());
        let mut picture = Picture::default();
        Decoder::new().decode(&jpeg, &mut picture).unwrap();
        assert_red_and_blue(&picture);
    }
}

#[test]
fn each_picture_that_is_not_decoded_has_its_reason() {
    let reason = |jpeg: &[u8]| refusal(jpeg).not_shown();
    let progressive = jpeg(64, 64, |c| c.set_progressive(true).unwrap());
    assert_eq!(reason(&progressive), NotShown::Progressive);
    assert_eq!(reason(&with_sof(good(), 0xc9)), NotShown::Arithmetic);
    assert_eq!(reason(&good()[..900]), NotShown::Damaged);
    assert_eq!(reason(&with_size(good(), 16_385, 10)), NotShown::TooLarge);

    let mut twelve_bits = with_sof(good(), 0xc1);
    let sof = segment(&twelve_bits, 0xc1);
    twelve_bits[sof + 4] = 12;
    assert_eq!(reason(&twelve_bits), NotShown::Precision);

    // Three chroma columns to two of brightness.
    let mut odd = good();
    let sof = segment(&odd, 0xc0);
    odd[sof + 11] = 0x21;
    odd[sof + 14] = 0x31;
    assert_eq!(reason(&odd), NotShown::Sampling);
}

fn with_sof(mut jpeg: Vec<u8>, marker: u8) -> Vec<u8> {
    let sof = segment(&jpeg, 0xc0);
    jpeg[sof + 1] = marker;
    jpeg
}

#[test]
fn a_few_scans_are_decoded_and_many_are_refused() {
    let mut picture = Picture::default();
    Decoder::new().decode(&many_scans(1), &mut picture).unwrap();
    let error = refusal(&many_scans(40));
    assert!(error.to_string().contains("too many scans"), "{error}");
    assert_eq!(error.not_shown(), NotShown::Scans);
}

#[test]
fn a_picture_cut_short_or_zeroed_is_refused() {
    let good = good();
    for cut in [3, good.len() / 4, good.len() - 20] {
        assert!(
            matches!(refusal(&good[..cut]), DecodeError::Damaged { .. }),
            "{cut}"
        );
    }

    let mut zeroed = good.clone();
    let half = good.len() / 2;
    zeroed[half..].fill(0);
    assert!(matches!(refusal(&zeroed), DecodeError::Damaged { .. }));
}

#[test]
fn no_damage_panics_and_what_follows_decodes() {
    let good = good();
    let mut decoder = Decoder::new();
    let mut picture = Picture::default();
    let mut seed = 0x9e37_79b9_u32;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize
    };

    for _ in 0..2000 {
        let mut bad = good.clone();
        for _ in 0..1 + random() % 4 {
            let at = random() % bad.len();
            bad[at] = (random() & 0xff) as u8;
        }

        if decoder.decode(&bad, &mut picture).is_ok() {
            assert!(picture.width() <= 3840 && picture.height() <= 3840);
        }
    }

    decoder.decode(&good, &mut picture).unwrap();
    assert_red_and_blue(&picture);
}

#[test]
fn a_camera_that_pads_before_the_end_of_image_is_shown() {
    let mut padded = good();
    let end = padded.len() - 2;
    padded.splice(end..end, [0, 0, 0, 0]);
    let mut picture = Picture::default();
    Decoder::new().decode(&padded, &mut picture).unwrap();
    assert_red_and_blue(&picture);
}

#[test]
fn a_webcam_picture_without_huffman_tables_is_shown() {
    let mut bare = good();
    while bare.windows(2).any(|pair| pair == [0xff, 0xc4]) {
        let dht = segment(&bare, 0xc4);
        let length = 2 + usize::from(u16::from_be_bytes([bare[dht + 2], bare[dht + 3]]));
        bare.drain(dht..dht + length);
    }

    let mut picture = Picture::default();
    Decoder::new().decode(&bare, &mut picture).unwrap();
    assert_red_and_blue(&picture);
}

#[test]
fn a_small_target_is_served_by_a_small_decode_that_still_covers_it() {
    let mut decoder = Decoder::new();
    let mut picture = Picture::default();

    for (target, size) in [
        ((320, 240), (320, 240)),
        ((200, 150), (320, 240)),
        ((160, 120), (160, 120)),
        ((100, 75), (160, 120)),
        ((80, 200), (80, 60)),
        ((1, 1), (40, 30)),
        ((4000, 4000), (320, 240)),
    ] {
        decoder
            .decode_for(&good(), Some(target), &mut picture)
            .unwrap();
        assert_eq!((picture.width(), picture.height()), size, "{target:?}");
        assert_red_and_blue(&picture);
    }
}

#[test]
fn brightness_and_bytes_of_colour_are_decoded_by_the_same_rules() {
    let mut decoder = Decoder::new();
    let mut grey = Grey::default();
    let mut rgb = vec![7];
    assert_eq!(decoder.size(&good()).unwrap(), (WIDTH, HEIGHT));
    decoder.decode_grey(&good(), &mut grey).unwrap();
    decoder.decode_rgb(&good(), &mut rgb).unwrap();
    assert_eq!(
        (grey.width(), grey.height(), rgb.len(), rgb[0]),
        (WIDTH, HEIGHT, 1 + 3 * WIDTH * HEIGHT, 7)
    );

    let at = HEIGHT / 2 * WIDTH + WIDTH / 4;
    assert!(
        (60..76).contains(&grey.pixels()[at]),
        "{}",
        grey.pixels()[at]
    );

    let [red, green, blue] = [0, 1, 2].map(|part| rgb[1 + 3 * at + part]);
    assert!(red > 180 && green < 40 && blue < 40, "{red} {green} {blue}");

    for bad in [
        good()[..900].to_vec(),
        with_size(good(), 9999, 9999),
        Vec::new(),
    ] {
        assert!(decoder.decode_grey(&bad, &mut grey).is_err() && grey.pixels().is_empty());
        let before = rgb.len();
        assert!(decoder.decode_rgb(&bad, &mut rgb).is_err() && rgb.len() == before);
        assert!(
            decoder.decode_grey(&good(), &mut grey).is_ok(),
            "a good one after it"
        );
    }
}

#[test]
fn a_picture_without_tables_is_not_decoded_by_those_of_the_picture_before() {
    let mut decoder = Decoder::new();
    let mut picture = Picture::default();
    decoder.decode(&good(), &mut picture).unwrap();
    let mut bare = good();
    let tables = segment(&bare, 0xdb);
    let end = tables + 2 + usize::from(u16::from_be_bytes([bare[tables + 2], bare[tables + 3]]));
    bare.drain(tables..end);
    // Its other table, for the chroma.
    let tables = segment(&bare, 0xdb);
    let end = tables + 2 + usize::from(u16::from_be_bytes([bare[tables + 2], bare[tables + 3]]));
    bare.drain(tables..end);

    let error = decoder.decode(&bare, &mut picture).unwrap_err();
    assert_eq!(error.not_shown(), NotShown::Damaged);
    decoder.decode(&good(), &mut picture).unwrap();

    // Own Huffman tables, and then none: those that every decoder knows (ITU-T T.81, K.3) hold.
    let optimised = jpeg(WIDTH, HEIGHT, |c| c.set_optimize(true).unwrap());
    let mut plain = good();
    while let Some(at) = plain.windows(2).position(|pair| pair == [0xff, 0xc4]) {
        let end = at + 2 + usize::from(u16::from_be_bytes([plain[at + 2], plain[at + 3]]));
        plain.drain(at..end);
    }

    let mut expected = Picture::default();
    Decoder::new().decode(&good(), &mut expected).unwrap();
    decoder.decode(&optimised, &mut picture).unwrap();
    decoder.decode(&plain, &mut picture).unwrap();
    assert_eq!(picture.pixels(), expected.pixels());
}
