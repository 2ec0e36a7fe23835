//! A bouncing ball whose true centre is known in every picture: the yardstick for trackers and for latency.

use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};
use fanlight_proto::message::{Ball, Truth, truth};

use super::pacer::FramePacer;
use super::{Camera, CameraError, CapturedFrame, Content, Input, PixelFormat, Raw};

/// Red, green and blue of the ball: bright in luma, so that a detector needs no colour.
const BALL: [u8; 3] = [176, 255, 140];
/// Red, green and blue of what is behind it.
const BACKGROUND: [u8; 3] = [12, 14, 26];

/// Seconds in which the ball crosses the picture from left to right at speed 1, whatever its size and rate.
const CROSSING: f64 = 2.5;

/// Speeds that a ball may have: at the least it crosses the picture in four minutes, at the most in an eighth of a second.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=20.0;

/// Vertical crossings to a horizontal one: no simple ratio, so that the ball gets everywhere.
const GOLDEN_RATIO: f64 = 1.618_033_988_75;

/// The input. Where the ball is depends on nothing but these values and the frame's number.
#[derive(Clone, Debug, PartialEq)]
pub struct BallInput {
    /// Width of the picture in pixels, at most [`MAX_WIDTH`].
    pub width: u32,
    /// Height of the picture in pixels, at most [`MAX_HEIGHT`].
    pub height: u32,
    /// Radius of the ball in pixels, at least 1; it must fit into the picture.
    pub radius: f32,
    /// Thousandths of a frame a second.
    pub rate_millihertz: u32,
    /// How fast it goes, within [`SPEEDS`]: at 1 it crosses the picture in two and a half seconds.
    pub speed: f64,
}

impl Default for BallInput {
    fn default() -> Self {
        Self {
            width: 640,
            height: 480,
            radius: 20.0,
            rate_millihertz: 30_000,
            speed: 1.0,
        }
    }
}

impl Input for BallInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let &mut Self {
            width,
            height,
            radius,
            rate_millihertz,
            speed,
        } = self;

        if !(1..=MAX_WIDTH).contains(&width) || !(1..=MAX_HEIGHT).contains(&height) {
            let limit = format!("{MAX_WIDTH}x{MAX_HEIGHT}");
            return Err(CameraError::WrongFormat(format!(
                "ball: size {width}x{height} is not within 1x1 and {limit}"
            )));
        }

        if radius.is_nan() || radius < 1.0 || 2.0 * radius > width.min(height) as f32 {
            let text = format!(
                "ball: radius {radius} is less than 1 or does not fit into {width}x{height}"
            );
            return Err(CameraError::WrongFormat(text));
        }

        if !SPEEDS.contains(&speed) {
            let text = format!(
                "ball: speed {speed} is not within {} and {}",
                SPEEDS.start(),
                SPEEDS.end()
            );
            return Err(CameraError::WrongFormat(text));
        }

        Ok(Box::new(BallCamera {
            scene: Scene::new(self),
            pace: FramePacer::new(rate_millihertz),
            rate_millihertz,
        }))
    }

    fn describe(&self) -> String {
        let rate = f64::from(self.rate_millihertz) / 1000.0;
        format!("ball {}x{} at {rate} fps", self.width, self.height)
    }
}

struct BallCamera {
    scene: Scene,
    pace: FramePacer,
    rate_millihertz: u32,
}

impl Camera for BallCamera {
    fn next(&mut self, number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let (captured, skipped) = self.pace.wait();
        let ball = self.scene.draw(number + skipped, raw);
        let truth = Some(Truth {
            kind: Some(truth::Kind::Ball(ball)),
        });
        Ok(CapturedFrame {
            captured,
            skipped,
            truth,
            content: Content::Raw,
        })
    }

    fn rate_millihertz(&self) -> u32 {
        self.rate_millihertz
    }
}

/// The world that the ball bounces in.
#[derive(Debug)]
pub struct Scene {
    width: u32,
    height: u32,
    radius: f32,
    rate: f64,
    speed: f64,
    /// One row without the ball.
    empty: Vec<u8>,
}

impl Scene {
    /// The scene of an input whose values are within their limits.
    #[must_use]
    pub fn new(input: &BallInput) -> Self {
        let &BallInput {
            width,
            height,
            radius,
            rate_millihertz,
            speed,
        } = input;

        let rate = f64::from(rate_millihertz.max(1)) / 1000.0;
        Self {
            width,
            height,
            radius,
            rate,
            speed,
            empty: BACKGROUND.repeat(width as usize),
        }
    }

    /// The ball in picture `number`. The origin is the picture's upper left corner: the centre of the first pixel is
    /// at 0.5, 0.5.
    #[must_use]
    pub fn ball(&self, number: u64) -> Ball {
        let radius = f64::from(self.radius);
        let crossings = number as f64 / self.rate / CROSSING * self.speed;
        let place = |length: u32, crossings: f64| {
            let room = f64::from(length) - 2.0 * radius;
            (radius + room * bounce(crossings)) as f32
        };

        let (x, y) = (
            place(self.width, crossings + 0.3),
            place(self.height, crossings * GOLDEN_RATIO + 0.6),
        );

        Ball {
            x,
            y,
            radius: self.radius,
        }
    }

    /// Draws picture `number` and tells where the ball is in it.
    pub fn draw(&self, number: u64, raw: &mut Raw) -> Ball {
        (raw.format, raw.width, raw.height) = (PixelFormat::Rgb, self.width, self.height);
        raw.data.resize(self.empty.len() * self.height as usize, 0);
        raw.data
            .chunks_exact_mut(self.empty.len())
            .for_each(|row| row.copy_from_slice(&self.empty));
        let ball = self.ball(number);
        let span = |centre: f32, end: u32| {
            let from = (centre - ball.radius - 1.0).floor().max(0.0) as usize;
            from..((centre + ball.radius + 1.0).ceil() as usize).min(end as usize)
        };

        let columns = span(ball.x, self.width);
        for y in span(ball.y, self.height) {
            let row = &mut raw.data[y * self.empty.len()..][..self.empty.len()]
                .as_chunks_mut::<3>()
                .0[columns.clone()];
            for (x, pixel) in columns.clone().zip(row) {
                let distance = (x as f32 + 0.5 - ball.x).hypot(y as f32 + 0.5 - ball.y);
                *pixel = blend((ball.radius - distance + 0.5).clamp(0.0, 1.0));
            }
        }

        ball
    }
}

/// A path of length `crossings` between walls at 0 and 1.
fn bounce(crossings: f64) -> f64 {
    1.0 - (crossings.rem_euclid(2.0) - 1.0).abs()
}

fn blend(cover: f32) -> [u8; 3] {
    std::array::from_fn(|i| {
        let (back, front) = (f32::from(BACKGROUND[i]), f32::from(BALL[i]));
        (back + (front - back) * cover).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The centroid of what differs from the background.
    fn found(raw: &Raw) -> (f64, f64) {
        let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
        for (index, pixel) in raw.data.as_chunks::<3>().0.iter().enumerate() {
            let weight = f64::from(pixel[1]) - f64::from(BACKGROUND[1]);
            mass += weight;
            x += weight * (f64::from(index as u32 % raw.width) + 0.5);
            y += weight * (f64::from(index as u32 / raw.width) + 0.5);
        }

        (x / mass, y / mass)
    }

    #[test]
    fn the_truth_is_the_centre_of_what_is_painted_to_a_twentieth_of_a_pixel() {
        for input in [
            BallInput::default(),
            BallInput {
                width: 321,
                height: 97,
                radius: 7.5,
                rate_millihertz: 24_000,
                speed: 3.0,
            },
        ] {
            let scene = Scene::new(&input);
            let mut raw = Raw::default();
            for number in (0..3000).step_by(37) {
                let ball = scene.draw(number, &mut raw);
                let (x, y) = found(&raw);
                assert!(
                    (x - f64::from(ball.x)).hypot(y - f64::from(ball.y)) < 0.05,
                    "{number}: {x} {y} {ball:?}"
                );
            }
        }
    }

    #[test]
    fn the_ball_never_leaves_the_picture_and_reaches_every_wall() {
        let scene = Scene::new(&BallInput::default());
        let balls: Vec<Ball> = (0..30 * 600).map(|n| scene.ball(n)).collect();
        assert!(
            balls
                .iter()
                .all(|b| (20.0..=620.0).contains(&b.x) && (20.0..=460.0).contains(&b.y))
        );

        for wall in [
            balls.iter().any(|b| b.x < 25.0),
            balls.iter().any(|b| b.x > 615.0),
        ] {
            assert!(wall);
        }

        for wall in [
            balls.iter().any(|b| b.y < 25.0),
            balls.iter().any(|b| b.y > 455.0),
        ] {
            assert!(wall);
        }
    }

    #[test]
    fn the_ball_moves_a_little_from_frame_to_frame() {
        let scene = Scene::new(&BallInput::default());
        for number in 0..1000 {
            let (a, b) = (scene.ball(number), scene.ball(number + 1));
            let step = (a.x - b.x).hypot(a.y - b.y);
            assert!((1.0..16.0).contains(&step), "{number}: {step}");
        }
    }

    #[test]
    fn the_camera_tells_the_truth_of_the_number_it_was_given() {
        let mut input = BallInput {
            rate_millihertz: 500_000,
            ..BallInput::default()
        };

        let mut camera = input.open().unwrap();
        let (mut raw, mut number) = (Raw::default(), 1000);

        for _ in 0..5 {
            let shot = camera.next(number, &mut raw).unwrap();
            let expected = Scene::new(&input).ball(number + shot.skipped);
            assert_eq!(
                shot.truth,
                Some(Truth {
                    kind: Some(truth::Kind::Ball(expected))
                })
            );

            number += shot.skipped + 1;
        }
    }

    #[test]
    fn a_ball_that_does_not_fit_is_refused() {
        for (width, height, radius) in [
            (30, 480, 20.0),
            (640, 480, 0.0),
            (640, 480, f32::NAN),
            (0, 0, 1.0),
            (16_385, 9, 1.0),
        ] {
            let mut input = BallInput {
                width,
                height,
                radius,
                ..BallInput::default()
            };
            assert!(matches!(input.open(), Err(CameraError::WrongFormat(_))));
        }

        let mut standing = BallInput {
            speed: 0.0,
            ..BallInput::default()
        };

        assert!(matches!(standing.open(), Err(CameraError::WrongFormat(_))));
    }

    #[test]
    fn three_times_the_speed_is_as_far_in_a_third_of_the_frames() {
        let [slow, fast] = [1.0, 3.0].map(|speed| {
            Scene::new(&BallInput {
                speed,
                ..BallInput::default()
            })
        });

        for number in 0..200 {
            let (slow, fast) = (slow.ball(3 * number), fast.ball(number));
            assert!(
                (slow.x - fast.x).hypot(slow.y - fast.y) < 1e-2,
                "{slow:?} {fast:?}"
            );
        }
    }
}
