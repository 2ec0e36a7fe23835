use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_promise::Alone;
use fanlight_proto::clock::Time;

use super::*;
use crate::camera::PixelFormat;
use crate::camera::ball::{BallInput, Scene};
use crate::pixel_buffer::Rect;

const BALL: BallInput = BallInput {
    width: 640,
    height: 480,
    radius: 20.0,
    rate_millihertz: 30_000,
    speed: 1.0,
};

fn shot(content: Content, truth: Option<Truth>) -> CapturedFrame {
    CapturedFrame {
        captured: Time::default(),
        skipped: 0,
        truth,
        content,
    }
}

fn ball(number: u64) -> (Raw, Truth) {
    let mut raw = Raw::default();
    let ball = Scene::new(&BALL).draw(number, &mut raw);
    (
        raw,
        Truth {
            kind: Some(truth::Kind::Ball(ball)),
        },
    )
}

fn pipeline(change: impl FnOnce(&mut PictureOptions)) -> PictureProcessor {
    let mut options = PictureOptions {
        name: "cam-1".into(),
        ..PictureOptions::default()
    };
    change(&mut options);
    PictureProcessor::new(&options).unwrap()
}

fn decoded(prepared: &Prepared) -> PixelBuffer {
    let mut buffer = PixelBuffer::default();
    Decoder::new()
        .decode(
            prepared.jpeg.jpeg(),
            (prepared.width, prepared.height),
            &mut buffer,
        )
        .unwrap();

    assert_eq!(
        (buffer.width(), buffer.height()),
        (prepared.width, prepared.height)
    );

    buffer
}

/// The centroid of what is bright, with the origin at the picture's corner.
fn centre(buffer: &PixelBuffer) -> (f32, f32) {
    let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
    for (index, pixel) in buffer.plane(0).as_chunks::<3>().0.iter().enumerate() {
        let weight = f32::from(pixel[1].saturating_sub(60));
        let place = index as u32;
        mass += weight;
        x += weight * ((place % buffer.width()) as f32 + 0.5);
        y += weight * ((place / buffer.width()) as f32 + 0.5);
    }

    (x / mass, y / mass)
}

fn assert_ball_where_truth_says(prepared: &Prepared, case: &str) {
    let Some(Truth {
        kind: Some(truth::Kind::Ball(truth)),
    }) = prepared.truth
    else {
        panic!("no truth: {case}")
    };

    let (x, y) = centre(&decoded(prepared));
    assert!(
        (x - truth.x).hypot(y - truth.y) < 0.25,
        "{case}: found {x} {y}, truth {truth:?}"
    );
}

#[test]
fn the_ball_is_where_the_truth_says_whatever_is_done_to_the_picture() {
    for scale in [1.0, 0.8, 0.5, 0.33] {
        for rotate in [0, 90, 180, 270] {
            for (h, v) in [(false, false), (true, false), (false, true), (true, true)] {
                let case = format!("scale {scale}, rotate {rotate}, flip {h} {v}");
                let mut pipeline = pipeline(|o| {
                    (o.scale, o.rotate, o.flip_horizontal, o.flip_vertical) = (scale, rotate, h, v);
                });
                let (mut raw, truth) = ball(77);
                let from_raw = pipeline
                    .process(shot(Content::Raw, Some(truth)), &mut raw, 0)
                    .unwrap();
                assert_ball_where_truth_says(&from_raw, &case);

                let (mut raw, truth) = ball(77);
                let plain = self::pipeline(|_| {})
                    .process(shot(Content::Raw, Some(truth)), &mut raw, 0)
                    .unwrap();
                let again = shot(Content::Jpeg(plain.jpeg), plain.truth);
                assert_ball_where_truth_says(&pipeline.process(again, &mut raw, 0).unwrap(), &case);
            }
        }
    }
}

#[test]
fn a_jpeg_of_which_nothing_is_asked_is_passed_through_untouched() {
    let (mut raw, _) = ball(1);
    let mut pipeline = pipeline(|_| {});
    let first = pipeline
        .process(shot(Content::Raw, None), &mut raw, 0)
        .unwrap();
    let bytes = first.jpeg.jpeg().to_vec();
    let place = first.jpeg.jpeg().as_ptr();
    let second = pipeline
        .process(shot(Content::Jpeg(first.jpeg), None), &mut raw, 0)
        .unwrap();
    assert_eq!(second.jpeg.jpeg(), bytes);
    assert_eq!(second.jpeg.jpeg().as_ptr(), place, "not even copied");
    assert_eq!((second.width, second.height), (640, 480));
}

#[test]
fn a_jpeg_whose_edges_cut_blocks_is_turned_all_the_same() {
    let mut raw = Raw::default();
    let input = BallInput {
        width: 333,
        height: 251,
        ..BALL
    };

    let kind = Some(truth::Kind::Ball(Scene::new(&input).draw(5, &mut raw)));
    let plain = pipeline(|_| {})
        .process(shot(Content::Raw, Some(Truth { kind })), &mut raw, 0)
        .unwrap();
    for rotate in [90, 180, 270] {
        let jpeg = FrameBuffer::copy_of(plain.jpeg.jpeg());
        let turned = pipeline(|o| o.rotate = rotate).process(
            shot(Content::Jpeg(jpeg), plain.truth),
            &mut raw,
            0,
        );
        assert_ball_where_truth_says(&turned.unwrap(), &format!("{rotate}"));
    }
}

#[test]
fn every_raw_format_comes_out_in_its_colours() {
    // Red in each: 255,0,0 is Y 81, Cb 90, Cr 240 in limited range.
    let formats = [
        (PixelFormat::Rgb, [255, 0, 0].repeat(64 * 48)),
        (PixelFormat::Yuyv, [81, 90, 81, 240].repeat(32 * 48)),
        (
            PixelFormat::Nv12,
            [vec![81; 64 * 48], [90, 240].repeat(32 * 24)].concat(),
        ),
    ];

    for (format, data) in formats {
        for (rotate, scale) in [(0, 1.0), (90, 1.0), (0, 0.5), (270, 0.8)] {
            let mut raw = Raw {
                format,
                width: 64,
                height: 48,
                data: data.clone(),
            };

            let mut pipeline = pipeline(|o| (o.rotate, o.scale) = (rotate, scale));
            let buffer = decoded(
                &pipeline
                    .process(shot(Content::Raw, None), &mut raw, 0)
                    .unwrap(),
            );

            for pixel in buffer.plane(0).as_chunks::<3>().0 {
                assert!(
                    pixel[0] > 245 && pixel[1] < 12 && pixel[2] < 12,
                    "{format:?} {rotate} {scale}: {pixel:?}"
                );
            }
        }
    }
}

#[test]
fn the_overlay_is_written_upright_into_raw_pictures_and_jpegs_alike() {
    for rotate in [0, 90] {
        let mut pipeline = pipeline(|o| (o.overlay, o.rotate) = (true, rotate));
        let mut raw = Raw {
            format: PixelFormat::Yuyv,
            width: 640,
            height: 480,
            data: [30, 128].repeat(640 * 480),
        };

        let first = pipeline
            .process(shot(Content::Raw, None), &mut raw, 0)
            .unwrap();
        let corner = Rect {
            x: 16,
            y: 20,
            width: 44,
            height: 12,
        };

        assert!(decoded(&first).mean_luma(corner) > 30);
        let elsewhere = Rect {
            x: 0,
            y: 240,
            width: 400,
            height: 200,
        };

        assert!(decoded(&first).mean_luma(elsewhere) < 20);
        let plain = self::pipeline(|_| {});
        let mut raw = Raw {
            format: PixelFormat::Yuyv,
            width: 640,
            height: 480,
            data: [30, 128].repeat(640 * 480),
        };

        let jpeg = { plain }
            .process(shot(Content::Raw, None), &mut raw, 0)
            .unwrap()
            .jpeg;

        let second = pipeline
            .process(shot(Content::Jpeg(jpeg), None), &mut raw, 0)
            .unwrap();
        assert!(decoded(&second).mean_luma(corner) > 30);
    }
}

#[test]
fn a_damaged_jpeg_is_an_error_and_the_next_one_is_not() {
    let (mut raw, _) = ball(1);
    let mut pipeline = pipeline(|o| o.scale = 0.5);
    let good = self::pipeline(|_| {})
        .process(shot(Content::Raw, None), &mut raw, 0)
        .unwrap();
    let good = good.jpeg.jpeg();
    for cut in [0, 2, 100, good.len() / 2] {
        let bad = shot(Content::Jpeg(FrameBuffer::copy_of(&good[..cut])), None);
        assert!(
            matches!(
                pipeline.process(bad, &mut raw, 0),
                Err(PictureError::Jpeg(_))
            ),
            "{cut}"
        );

        let fine = shot(Content::Jpeg(FrameBuffer::copy_of(good)), None);
        assert!(pipeline.process(fine, &mut raw, 0).is_ok());
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let refused =
        |options: PictureOptions| PictureProcessor::new(&options).unwrap_err().to_string();
    let fine = PictureOptions::default;
    assert!(
        refused(PictureOptions {
            quality: 0,
            ..fine()
        })
        .starts_with("quality")
    );

    assert!(
        refused(PictureOptions {
            rotate: 45,
            ..fine()
        })
        .starts_with("rotate")
    );

    assert!(
        refused(PictureOptions {
            scale: f32::NAN,
            ..fine()
        })
        .starts_with("scale")
    );

    assert!(
        refused(PictureOptions {
            scale: 1.5,
            ..fine()
        })
        .starts_with("scale")
    );
}

/// What is done to a JPEG on its way, and the pixels that come out.
fn shown(jpeg: &[u8]) -> (Prepared, PixelBuffer) {
    let content = Content::Jpeg(FrameBuffer::copy_of(jpeg));
    let prepared = pipeline(|_| {})
        .process(shot(content, None), &mut Raw::default(), 0)
        .unwrap();
    assert_eq!(
        jpeg::inspect(prepared.jpeg.jpeg()).unwrap().conversion,
        Conversion::None,
        "every screen can show it"
    );

    let pixels = decoded(&prepared);
    (prepared, pixels)
}

/// Red left and blue right above, green left and white right below.
const CORNERS: [[u8; 3]; 4] = [[200, 30, 30], [30, 30, 200], [30, 160, 30], [230, 230, 230]];

fn corners(width: u32, height: u32) -> Vec<u8> {
    let pixel = |index: u32| {
        let right = usize::from(index % width >= width / 2);
        let below = usize::from(index / width >= height / 2);
        CORNERS[2 * below + right]
    };
    (0..width * height).flat_map(pixel).collect()
}

/// Encodes pixels as turbojpeg does after `set_up`.
fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    format: turbojpeg::PixelFormat,
    set_up: impl FnOnce(&mut turbojpeg::Compressor) -> turbojpeg::Result<()>,
) -> Vec<u8> {
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_quality(95).unwrap();
    set_up(&mut compressor).unwrap();
    let image = turbojpeg::Image {
        pixels,
        width: width as usize,
        pitch: width as usize * format.size(),
        height: height as usize,
        format,
    };

    compressor.compress_to_vec(image).unwrap()
}

fn encode_corners(
    set_up: impl FnOnce(&mut turbojpeg::Compressor) -> turbojpeg::Result<()>,
) -> Vec<u8> {
    let pixels = corners(64, 48);
    encode(&pixels, (64, 48), turbojpeg::PixelFormat::RGB, set_up)
}

/// The same JPEG with an EXIF segment that gives this orientation.
fn with_exif(mut jpeg: Vec<u8>, orientation: u16) -> Vec<u8> {
    let tiff = jpeg::exif::tests::tiff(orientation.is_multiple_of(2), orientation);
    let body = [b"Exif\0\0", &tiff[..]].concat();
    let segment = [&[0xff, 0xe1, 0, 2 + body.len() as u8][..], &body].concat();
    jpeg.splice(2..2, segment);
    jpeg
}

fn assert_corners(buffer: &PixelBuffer, case: &str) {
    let (width, height) = (buffer.width() as usize, buffer.height() as usize);
    let pixels = buffer.plane(0).as_chunks::<3>().0;

    for (index, expected) in CORNERS.iter().enumerate() {
        let x = if index % 2 == 0 { 3 } else { width - 4 };
        let y = if index < 2 { 3 } else { height - 4 };
        let found = pixels[y * width + x];
        let apart = found
            .iter()
            .zip(expected)
            .map(|(a, b)| a.abs_diff(*b))
            .max();

        assert!(apart < Some(24), "{case}, corner {index}: {found:?}");
    }
}

#[test]
fn progressive_and_arithmetic_jpeg_is_shown_and_loses_nothing() {
    let baseline = shown(&encode_corners(|_| Ok(()))).1;
    let progressive = encode_corners(|compressor| compressor.set_progressive(true));
    let arithmetic = encode_corners(|compressor| compressor.set_arithmetic(true));
    for (jpeg, marker) in [(progressive, 0xc2), (arithmetic, 0xc9)] {
        assert!(jpeg.windows(2).any(|w| w == [0xff, marker]), "{marker:x}");
        assert_eq!(shown(&jpeg).1.plane(0), baseline.plane(0), "{marker:x}");
    }
}

#[test]
fn lossless_jpeg_is_shown() {
    let jpeg = encode_corners(|compressor| compressor.set_lossless(true));
    assert!(jpeg.windows(2).any(|w| w == [0xff, 0xc3]));
    assert_corners(&shown(&jpeg).1, "lossless");
}

#[test]
fn cmyk_jpeg_is_shown_in_its_colours() {
    // Inverted, as every encoder stores it: light instead of ink, and no black.
    let pixels: Vec<u8> = corners(64, 48)
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|&[red, green, blue]| [red, green, blue, 255])
        .collect();

    for subsamp in [turbojpeg::Subsamp::None, turbojpeg::Subsamp::Sub2x2] {
        let format = turbojpeg::PixelFormat::CMYK;
        let jpeg = encode(&pixels, (64, 48), format, |compressor| {
            compressor.set_subsamp(subsamp)
        });
        let conversion = jpeg::inspect(&jpeg).unwrap().conversion;
        assert_eq!(conversion, Conversion::Reencode);
        assert_corners(&shown(&jpeg).1, "CMYK");
    }
}

/// A colour picture of 24x8 whose luma is sampled three times as often as its chroma, a scan for each component.
fn sampled_3x1() -> Vec<u8> {
    let plane = |width: u32, value: fn(u32) -> u8| {
        let pixels: Vec<u8> = (0..width * 8).map(|index| value(index % width)).collect();
        encode(
            &pixels,
            (width, 8),
            turbojpeg::PixelFormat::GRAY,
            |compressor| compressor.set_subsamp(turbojpeg::Subsamp::Gray),
        )
    };

    let at = |jpeg: &[u8], marker: u8| jpeg.windows(2).position(|w| w == [0xff, marker]).unwrap();
    let luma = plane(24, |x| if x < 12 { 200 } else { 40 });
    let grey = plane(8, |_| 128);

    let frame = at(&luma, 0xc0);
    let mut jpeg = luma[..frame].to_vec();
    jpeg.extend_from_slice(&[0xff, 0xc0, 0, 17, 8, 0, 8, 0, 24, 3]);
    jpeg.extend_from_slice(&[1, 0x31, 0, 2, 0x11, 0, 3, 0x11, 0]);
    jpeg.extend_from_slice(&luma[frame + 13..at(&luma, 0xda)]);

    for (component, plane) in [(1, &luma), (2, &grey), (3, &grey)] {
        jpeg.extend_from_slice(&[0xff, 0xda, 0, 8, 1, component, 0, 0, 63, 0]);
        jpeg.extend_from_slice(&plane[at(plane, 0xda) + 10..plane.len() - 2]);
    }

    jpeg.extend_from_slice(&[0xff, 0xd9]);
    jpeg
}

#[test]
fn a_picture_in_an_odd_sampling_is_shown() {
    let (prepared, pixels) = shown(&sampled_3x1());
    assert_eq!((prepared.width, prepared.height), (24, 8));
    let luma = |x| {
        pixels.mean_luma(Rect {
            x,
            y: 0,
            width: 4,
            height: 8,
        })
    };

    let (left, right) = (luma(2), luma(18));
    assert!(
        left.abs_diff(200) < 20 && right.abs_diff(40) < 20,
        "{left} {right}"
    );
}

#[test]
fn each_exif_orientation_is_shown_upright_and_without_its_tag() {
    for size in [(64, 48), (50, 38)] {
        for value in 1..=8 {
            let upright = Orientation::of_exif(value).unwrap();
            // Laid down so that this orientation makes it stand upright.
            let down = (1..=8)
                .filter_map(Orientation::of_exif)
                .find(|down| down.then(upright).is_identity())
                .unwrap();

            let picture = corners(size.0, size.1);
            let mut stored = vec![0; picture.len()];
            down.turn::<3>(&picture, size, &mut stored);
            let stored_size = down.size(size.0, size.1);
            let format = turbojpeg::PixelFormat::RGB;
            let jpeg = encode(&stored, stored_size, format, |_| Ok(()));

            let case = format!("orientation {value} of {size:?}");
            let (prepared, pixels) = shown(&with_exif(jpeg, value));
            assert_eq!((prepared.width, prepared.height), size, "{case}");
            assert_corners(&pixels, &case);
            let left = jpeg::inspect(prepared.jpeg.jpeg()).unwrap().orientation;
            assert!(left.is_identity(), "{case}");
        }
    }
}

#[test]
fn a_configured_turn_comes_after_that_of_the_exif_orientation() {
    let jpeg = with_exif(encode_corners(|_| Ok(())), 6);
    let content = Content::Jpeg(FrameBuffer::copy_of(&jpeg));
    let prepared = pipeline(|options| options.rotate = 270)
        .process(shot(content, None), &mut Raw::default(), 0)
        .unwrap();
    assert_corners(&decoded(&prepared), "rotated back");
}

#[test]
fn a_12_bit_picture_is_refused_with_what_to_do() {
    let mut jpeg = encode_corners(|_| Ok(()));
    let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[at + 4] = 12;
    let content = Content::Jpeg(FrameBuffer::copy_of(&jpeg));
    let error = pipeline(|_| {})
        .process(shot(content, None), &mut Raw::default(), 0)
        .unwrap_err();
    assert!(error.is_format());
    assert!(error.to_string().contains("12-bit JPEG"), "{error}");
}

#[test]
#[ignore = "./dev promises"]
fn looking_at_two_pictures_a_second_takes_two_percent_of_a_core_at_most() {
    Alone::wait().judge("samples of what passes untouched", |measurement| {
        for (width, height) in [(1280, 720), (1920, 1080), (3840, 2160)] {
            let jpeg = noise(width, height);
            let mut pipeline = pipeline(|_| {});
            let mut look = || {
                let began = clock::now();
                pipeline.check(&jpeg).unwrap();
                clock::now().saturating_since(began)
            };

            let mut took: Vec<Duration> = (0..20).map(|_| look()).collect();
            took.sort_unstable();
            let bytes = jpeg.len();
            let bound = Duration::from_millis(20) * (width * height) / (1920 * 1080);
            measurement.at_most(
                format!("two looks at {width}x{height}, {bytes} bytes, median"),
                bound,
                2 * took[took.len() / 2],
            );
        }
    });
}

/// A JPEG of noise, which takes the longest to decode for its size.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut buffer = PixelBuffer::default();
    let mut state = 1_u32;
    for byte in buffer.reset_rgb(width, height) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = 100 + (state >> 26) as u8;
    }
    let encoded = Encoder::new(80).unwrap().encode(&buffer).unwrap();
    encoded.jpeg().to_vec()
}
