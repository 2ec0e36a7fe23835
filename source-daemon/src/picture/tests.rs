use fanlight_proto::clock::Time;

use super::*;
use crate::camera::PixelFormat;
use crate::camera::ball::{BallInput, Scene};

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

fn pipeline(change: impl FnOnce(&mut PictureOptions)) -> Pipeline {
    let mut options = PictureOptions {
        name: "cam-1".into(),
        ..PictureOptions::default()
    };
    change(&mut options);
    Pipeline::new(&options).unwrap()
}

fn decoded(prepared: &Prepared) -> PixelBuffer {
    let mut buffer = PixelBuffer::default();
    Decoder::new()
        .unwrap()
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
        let corner = pixel_buffer::Rect {
            x: 16,
            y: 16,
            width: 80,
            height: 16,
        };
        assert!(decoded(&first).mean_luma(corner) > 60);
        let elsewhere = pixel_buffer::Rect {
            x: 0,
            y: 240,
            width: 400,
            height: 200,
        };
        assert!(decoded(&first).mean_luma(elsewhere) < 30);
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
        assert!(decoded(&second).mean_luma(corner) > 60);
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
    let refused = |options: PictureOptions| Pipeline::new(&options).unwrap_err().to_string();
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
