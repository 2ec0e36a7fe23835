//! The detector against pictures whose ball is known.

use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::line_height;
use turbojpeg::{Image, PixelFormat, Subsamp};

use super::*;
use crate::decode::Decoder;

/// What the source paints a ball with, and a camera might see.
const BALL: [f32; 3] = [176.0, 255.0, 140.0];

/// The colour of a pixel.
type Behind = fn(usize, usize) -> [f32; 3];

/// A picture to find a ball in.
#[derive(Clone, Copy)]
struct Scene {
    width: usize,
    height: usize,
    ball: Option<[f32; 3]>,
    colour: [f32; 3],
    behind: Behind,
    overlay: bool,
    quality: i32,
}

const VGA: Scene = Scene {
    width: 640,
    height: 480,
    ball: None,
    colour: BALL,
    behind: plain,
    overlay: false,
    quality: 80,
};

const HD: Scene = Scene {
    width: 1280,
    height: 720,
    ..VGA
};

fn plain(_: usize, _: usize) -> [f32; 3] {
    [12.0, 14.0, 26.0]
}

/// Tiles, a slope of light and fine grain.
fn patterned(x: usize, y: usize) -> [f32; 3] {
    let tile = if (x / 37 + y / 29).is_multiple_of(2) {
        55.0
    } else {
        20.0
    };

    let light = 30.0 * ((x as f32 / 170.0).sin() + (y as f32 / 90.0).cos());
    let level = (tile + light + grain(x, y, 16)).max(0.0);
    [level, level * 0.9, level * 0.7]
}

fn noise(x: usize, y: usize) -> [f32; 3] {
    [1, 2, 3].map(|salt| grain(x + 4096 * salt, y, 256))
}

/// What looks random and is the same each time.
fn grain(x: usize, y: usize, range: u32) -> f32 {
    let mut mixed = (x as u32).wrapping_mul(0x9e37_79b9) ^ (y as u32).wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d);
    mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39);
    ((mixed ^ (mixed >> 15)) % range) as f32
}

impl Scene {
    fn with_ball(self, x: f32, y: f32, radius: f32) -> Self {
        Self {
            ball: Some([x, y, radius]),
            ..self
        }
    }

    /// The pixels without ball and overlay.
    fn empty(&self) -> Vec<u8> {
        let places = (0..self.width * self.height).map(|i| (i % self.width, i / self.width));
        places
            .flat_map(|(x, y)| {
                (self.behind)(x, y).map(|level| level.round().clamp(0.0, 255.0) as u8)
            })
            .collect()
    }

    fn draw_ball(&self, pixels: &mut [u8]) {
        let Some([ball_x, ball_y, radius]) = self.ball else {
            return;
        };

        let span = |centre: f32, end: usize| {
            (centre - radius - 1.0).max(0.0) as usize
                ..((centre + radius + 2.0).max(0.0) as usize).min(end)
        };

        for (x, y) in
            span(ball_y, self.height).flat_map(|y| span(ball_x, self.width).map(move |x| (x, y)))
        {
            let distance = (x as f32 + 0.5 - ball_x).hypot(y as f32 + 0.5 - ball_y);
            let cover = (radius - distance + 0.5).clamp(0.0, 1.0);
            for (level, colour) in pixels[3 * (y * self.width + x)..][..3]
                .iter_mut()
                .zip(self.colour)
            {
                *level = (f32::from(*level) * (1.0 - cover) + colour * cover).round() as u8;
            }
        }
    }

    fn jpeg(&self, empty: &[u8]) -> Vec<u8> {
        let width = self.width;
        let height = self.height;
        let mut pixels = empty.to_vec();
        self.draw_ball(&mut pixels);

        if self.overlay {
            let size = (height / 30).max(12);
            let lines = ["the-lobby-camera", "2026-11-20 18:00:00.123 UTC"];
            for (top, text) in (size..).step_by(line_height(size)).zip(lines) {
                write(&mut pixels, width, text, (size, top), size);
            }
        }

        let image = Image {
            pixels: &pixels[..],
            width,
            pitch: 3 * width,
            height,
            format: PixelFormat::RGB,
        };

        turbojpeg::compress(image, self.quality, Subsamp::Sub2x2)
            .unwrap()
            .to_vec()
    }

    fn found(&self, empty: &[u8], finder: &mut Finder) -> Option<Ball> {
        let mut grey = Grey::default();
        Decoder::new()
            .decode_grey(&self.jpeg(empty), &mut grey)
            .unwrap();
        finder.find(&grey)
    }
}

/// As the source writes its overlay.
fn write(pixels: &mut [u8], width: usize, text: &str, at: (usize, usize), size: usize) {
    let ink = Layer::Ink;
    Font::default().draw(text, size, at, width, ink, |x, y, coverage| {
        for level in &mut pixels[3 * (y * width + x)..][..3] {
            *level = ((u32::from(*level) * (256 - coverage) + 255 * coverage) >> 8) as u8;
        }
    });
}

/// How far off the found centres are.
#[derive(Default)]
struct Errors {
    sum: f64,
    max: f64,
    count: u32,
    missed: Vec<[f32; 3]>,
}

impl Errors {
    fn look(&mut self, scene: &Scene, empty: &[u8], finder: &mut Finder) {
        let truth = scene.ball.unwrap();
        let Some(ball) = scene.found(empty, finder) else {
            return self.missed.push(truth);
        };

        let error = f64::from((ball.x - truth[0]).hypot(ball.y - truth[1]));
        self.sum += error;
        self.max = self.max.max(error);
        self.count += 1;
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }

    #[track_caller]
    fn assert_within(&self, what: &str, mean: f64, max: f64) {
        println!(
            "{what}: mean {:.3} px, max {:.3} px of {}",
            self.mean(),
            self.max,
            self.count
        );

        assert!(
            self.missed.is_empty(),
            "{what}: {} missed, such as {:?}",
            self.missed.len(),
            self.missed[0]
        );

        assert!(
            self.mean() < mean && self.max < max,
            "{what}: mean {} max {}",
            self.mean(),
            self.max
        );
    }
}

/// Places all over the picture, at every fraction of a pixel.
fn places(scene: &Scene, radius: f32, count: usize) -> impl Iterator<Item = [f32; 2]> {
    let width = scene.width as f32 - 2.0 * radius;
    let height = scene.height as f32 - 2.0 * radius;
    (0..count).map(move |n| {
        let across = (n as f32 * 0.754_877_7).fract();
        let down = (n as f32 * 0.569_840_3).fract();
        [radius + across * width, radius + down * height]
    })
}

fn over_places(scene: Scene, radius: f32, count: usize) -> Errors {
    let mut errors = Errors::default();
    let mut finder = Finder::default();
    let empty = scene.empty();
    for [x, y] in places(&scene, radius, count) {
        errors.look(&scene.with_ball(x, y, radius), &empty, &mut finder);
    }
    errors
}

#[test]
fn the_centre_is_found_to_a_fraction_of_a_pixel_whatever_the_size_and_the_quality() {
    for (name, scene, count) in [("640x480", VGA, 200), ("1280x720", HD, 70)] {
        for quality in [50, 70, 90] {
            let errors = over_places(Scene { quality, ..scene }, 20.0, count);
            errors.assert_within(&format!("{name} q{quality}"), 0.1, 0.5);
            let scene = Scene {
                quality,
                overlay: true,
                ..scene
            };

            over_places(scene, 20.0, count).assert_within(
                &format!("{name} q{quality} overlay"),
                0.1,
                1.0,
            );

            let scene = Scene {
                quality,
                overlay: true,
                behind: patterned,
                ..scene
            };

            over_places(scene, 20.0, count).assert_within(
                &format!("{name} q{quality} overlay, pattern"),
                0.2,
                1.0,
            );
        }
    }
}

#[test]
fn balls_of_many_sizes_are_found() {
    for radius in [8.0, 12.5, 33.3, 70.0, 130.0] {
        for scene in [
            Scene {
                behind: patterned,
                ..VGA
            },
            Scene {
                behind: patterned,
                ..HD
            },
        ] {
            let errors = over_places(scene, radius, 40);
            errors.assert_within(&format!("{} radius {radius}", scene.width), 0.2, 1.0);
        }
    }

    over_places(
        Scene {
            width: 160,
            height: 120,
            ..VGA
        },
        6.0,
        40,
    )
    .assert_within("160x120", 0.2, 1.0);

    over_places(
        Scene {
            width: 1920,
            height: 1080,
            behind: patterned,
            ..VGA
        },
        30.0,
        20,
    )
    .assert_within("1920", 0.2, 1.0);
}

#[test]
fn a_ball_that_is_partly_outside_is_found_as_long_as_its_centre_is_inside() {
    for scene in [
        Scene {
            behind: patterned,
            quality: 50,
            ..VGA
        },
        Scene {
            behind: patterned,
            quality: 50,
            ..HD
        },
    ] {
        let mut errors = Errors::default();
        let mut finder = Finder::default();
        let empty = scene.empty();
        for step in 0..40 {
            let beyond = 0.5 * step as f32;
            let along = 60.0 + 7.3 * step as f32;
            let right = scene.width as f32 - 20.0 + beyond;
            let bottom = scene.height as f32 - 20.0 + beyond;

            for [x, y] in [
                [20.0 - beyond, along],
                [right, along],
                [along, 20.0 - beyond],
                [along, bottom],
            ] {
                errors.look(&scene.with_ball(x, y, 20.0), &empty, &mut finder);
            }
        }
        errors.assert_within("partly outside", 0.3, 2.0);
    }
}

#[test]
fn other_colours_do_as_long_as_the_ball_is_brighter() {
    for colour in [
        [255.0; 3],
        [230.0, 120.0, 40.0],
        [120.0, 120.0, 120.0],
        [90.0, 140.0, 255.0],
    ] {
        let scene = Scene {
            colour,
            behind: patterned,
            quality: 70,
            ..VGA
        };
        over_places(scene, 20.0, 30).assert_within(&format!("{colour:?}"), 0.3, 1.5);
    }
}

#[test]
fn where_there_is_no_ball_none_is_found() {
    let bars = |x: usize, _: usize| {
        [[191.0; 3], [191.0, 191.0, 0.0], [0.0, 191.0, 0.0], [0.0; 3]][x / 40 % 4]
    };
    let squares = |x: usize, y: usize| {
        if x % 60 < 24 && y % 60 < 24 {
            [230.0; 3]
        } else {
            [20.0; 3]
        }
    };

    let dots = |x: usize, y: usize| {
        if x % 16 < 3 && y % 16 < 3 {
            [255.0; 3]
        } else {
            [0.0; 3]
        }
    };

    let rings = |x: usize, y: usize| {
        let distance = (x as f32 - 200.0).hypot(y as f32 - 200.0);
        if (18.0..24.0).contains(&distance) {
            [230.0; 3]
        } else {
            [20.0; 3]
        }
    };

    let dark = |x: usize, y: usize| {
        if (x as f32 - 200.0).hypot(y as f32 - 200.0) < 20.0 {
            [5.0; 3]
        } else {
            [200.0; 3]
        }
    };

    let oval = |x: usize, y: usize| {
        if (x as f32 - 200.0).hypot((y as f32 - 200.0) * 1.5) < 24.0 {
            [230.0; 3]
        } else {
            [20.0; 3]
        }
    };

    let bar: Behind = |x, y| {
        if (100..300).contains(&x) && (50..90).contains(&y) {
            [230.0; 3]
        } else {
            [20.0; 3]
        }
    };

    let slope: Behind = |x, y| [(x / 5) as f32, (y / 4) as f32, 90.0];
    let backgrounds: [(&str, Behind); 14] = [
        ("plain", plain),
        ("black", |_, _| [0.0; 3]),
        ("white", |_, _| [255.0; 3]),
        ("patterned", patterned),
        ("noise", noise),
        ("bars", bars),
        ("squares", squares),
        ("dots", dots),
        ("rings", rings),
        ("dark", dark),
        ("oval", oval),
        ("bar", bar),
        ("slope", slope),
        ("bar and slope", |x, y| {
            if y < 100 {
                [0.0; 3]
            } else {
                [x as f32 / 5.0; 3]
            }
        }),
    ];

    let mut finder = Finder::default();
    for scene in [VGA, HD] {
        for (name, behind) in backgrounds {
            for overlay in [false, true] {
                for quality in [50, 90] {
                    let scene = Scene {
                        behind,
                        overlay,
                        quality,
                        ..scene
                    };

                    let found = scene.found(&scene.empty(), &mut finder);
                    assert_eq!(found, None, "{name} overlay {overlay} quality {quality}");
                }
            }
        }
    }

    for (width, height) in [(0, 0), (1, 1), (3, 500), (10, 10), (16, 16)] {
        assert_eq!(finder.find(&Grey::new(width, height)), None);
    }
}
