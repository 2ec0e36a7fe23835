//! The settings of the main stream, of its canary, of verification and of idling.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::ensure;

use super::{Canary, Config, InputKind};
use crate::camera::ball::BallInput;
use crate::picture::PictureOptions;
use crate::stream_parts::StreamParts;
use crate::supervisor::{IdlePolicy, Supervisor};
use crate::verification::health::Limits;

/// Bounds of `max_error` in pixels: no detector is better than the least, and no picture is wider than the most.
const MAX_ERROR: RangeInclusive<f64> = 0.01..=10_000.0;

/// Bounds of `max_age`.
const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Bounds of `history_size`: a thousand viewers with a thousand answers each take 50 MB.
const HISTORY: RangeInclusive<usize> = 1..=1000;

/// Bounds of `canary_rate`: less would not be judged within two seconds, more proves no more.
const CANARY_RATE: RangeInclusive<f64> = 1.0..=30.0;

/// Bounds of `idle_rate`.
const IDLE_RATE: RangeInclusive<f64> = 0.1..=30.0;

/// Bounds of `idle_after`: a relay that starts again must not open and close the camera.
const IDLE_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Width and height of the canary's pictures: a ball of [`CANARY_RADIUS`] is found to a tenth of a pixel, and a picture
/// is one or two datagrams.
const CANARY_SIZE: (u32, u32) = (160, 120);

/// Radius of the ball of the canary, in pixels.
const CANARY_RADIUS: f32 = 10.0;

/// Quality of the canary's JPEGs: its picture is plain, and nobody looks at it.
const CANARY_QUALITY: u8 = 50;

impl Config {
    /// The stream, to be started.
    ///
    /// # Errors
    /// When a setting is missing or out of its range.
    pub fn main_parts(&self) -> anyhow::Result<StreamParts> {
        Ok(StreamParts {
            stream: self.stream.clone(),
            input: self.make_input()?,
            picture: self.picture_options(),
            supervisor: self.supervisor()?,
            slow_interval: self.slow_interval()?,
        })
    }

    /// The canary, to be started, if there is to be one. It draws nothing while nobody watches it.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn canary_parts(&self) -> anyhow::Result<Option<StreamParts>> {
        if !self.has_canary() {
            return Ok(None);
        }

        let (width, height) = CANARY_SIZE;
        let rate_millihertz = self.canary_rate()?;
        let options = PictureOptions {
            quality: CANARY_QUALITY,
            ..PictureOptions::default()
        };

        Ok(Some(StreamParts {
            stream: self.stream.canary(),
            input: Box::new(BallInput {
                width,
                height,
                radius: CANARY_RADIUS,
                rate_millihertz,
                speed: 1.0,
            }),
            picture: options,
            supervisor: Supervisor::new(self.stall_limit()?)
                .with_idle_policy(IdlePolicy::Close, self.idle_after()?),
            slow_interval: self.slow_interval()?,
        }))
    }

    /// What screens are held to.
    ///
    /// # Errors
    /// When `max_error` or `max_age` is out of its range.
    pub fn limits(&self) -> anyhow::Result<Limits> {
        let (max_error, max_age) = (self.max_error, Duration::from(self.max_age));
        ensure!(
            MAX_ERROR.contains(&max_error),
            "max_error must be 0.01 to 10000 pixels, not {max_error}"
        );

        ensure!(
            MAX_AGE.contains(&max_age),
            "max_age must be 1ms to 60s, not {}",
            self.max_age
        );

        Ok(Limits { max_error, max_age })
    }

    /// How many detections of a viewer are remembered.
    ///
    /// # Errors
    /// When `history_size` is out of its range.
    pub fn history(&self) -> anyhow::Result<usize> {
        let size = self.history_size;
        ensure!(
            HISTORY.contains(&size),
            "history_size must be 1 to 1000, not {size}"
        );
        Ok(size)
    }

    pub(super) fn canary_rate(&self) -> anyhow::Result<u32> {
        let rate = self.canary_rate;
        ensure!(
            CANARY_RATE.contains(&rate),
            "canary_rate must be 1 to 30 frames a second, not {rate}"
        );
        Ok((rate * 1e3).round() as u32)
    }

    pub(super) fn slow_interval(&self) -> anyhow::Result<Duration> {
        let rate = self.idle_rate;
        ensure!(
            IDLE_RATE.contains(&rate),
            "idle_rate must be 0.1 to 30 frames a second, not {rate}"
        );
        Ok(Duration::from_secs_f64(1.0 / rate))
    }

    pub(super) fn idle_after(&self) -> anyhow::Result<Duration> {
        let after = Duration::from(self.idle_after);
        ensure!(
            IDLE_AFTER.contains(&after),
            "idle_after must be 1s to 1h, not {}",
            self.idle_after
        );
        Ok(after)
    }

    pub(super) fn check_idle(&self) -> anyhow::Result<()> {
        self.slow_interval()?;
        let stdin = self.input == InputKind::Pipe && self.command.is_none();
        ensure!(
            !(stdin && self.idle == IdlePolicy::Close),
            "idle close cannot be used with standard input, which cannot be opened again: set command, or idle = \"slow\""
        );
        Ok(())
    }

    fn has_canary(&self) -> bool {
        match self.canary {
            Canary::On => true,
            Canary::Off => false,
            // Nothing is known of what their pictures show.
            Canary::Auto => self.input_kind().is_foreign(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_beside_a_camera_or_where_it_is_asked_for() {
        let canary = |input, canary| {
            Config {
                input,
                canary,
                ..Config::default()
            }
            .has_canary()
        };

        assert!(canary(InputKind::Camera, Canary::Auto));
        assert!(canary(InputKind::Pipe, Canary::Auto));
        assert!(!canary(InputKind::Ball, Canary::Auto));
        assert!(canary(InputKind::Ball, Canary::On));
        assert!(!canary(InputKind::Camera, Canary::Off));
    }
}
