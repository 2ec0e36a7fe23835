//! The kinds of inputs, and the settings that make one.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use fanlight_daemon::paths::state_dir;

use super::{Config, DEFAULT_RATE, DEFAULT_SIZE, PixelFormat, Size};
use crate::camera::Input;
use crate::camera::address::AddressText;
use crate::camera::ball::BallInput;
use crate::camera::file::FileInput;
use crate::camera::http::{HttpInput, Trust};
use crate::camera::pattern::PatternInput;
use crate::camera::pipe::PipeInput;
use crate::camera::pipe::ffmpeg::{KnownCodec, RtspInput, ScreenInput};
use crate::camera::v4l::{self, PixelChoice, V4lInput, V4lOptions};
use crate::remote_controls::Target;

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// The camera if the host has one when the program starts, the ball otherwise.
    Auto,
    /// A bouncing ball whose true centre is published with each frame.
    Ball,
    /// A test pattern with the frame's number and time painted in.
    Pattern,
    /// JPEG files of a directory, or an MJPEG or AVI file.
    Files,
    /// MJPEG from standard input or from a command.
    Pipe,
    /// A V4L2 camera.
    Camera,
    /// The V4L2 camera of this name, whatever `device` says.
    Device(String),
    /// The desktop of X11, by ffmpeg.
    Screen,
    /// A network camera that speaks RTSP, by ffmpeg.
    Rtsp(AddressText),
    /// A network camera that sends MJPEG over HTTP.
    Http(AddressText),
}

/// A text that is no [`InputKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an input is auto, ball, pattern, files, pipe, camera, v4l2:/dev/videoN, screen, or the address of a network camera: \
     http://HOST/PATH, https://… or rtsp://…"
)]
pub struct InputKindError;

impl FromStr for InputKind {
    type Err = InputKindError;

    fn from_str(text: &str) -> Result<Self, InputKindError> {
        Ok(match text {
            "auto" => Self::Auto,
            "ball" => Self::Ball,
            "pattern" => Self::Pattern,
            "files" => Self::Files,
            "pipe" => Self::Pipe,
            "camera" => Self::Camera,
            "screen" => Self::Screen,
            _ => return Self::of_place(text).ok_or(InputKindError),
        })
    }
}

impl InputKind {
    fn of_place(text: &str) -> Option<Self> {
        if let Some(device) = text.strip_prefix("v4l2:") {
            return (!device.is_empty()).then(|| Self::Device(device.to_owned()));
        }

        let address = AddressText::of(text)?;
        Some(match address.is_rtsp() {
            true => Self::Rtsp(address),
            false => Self::Http(address),
        })
    }

    /// Whether it is a device with a driver.
    pub(super) const fn is_camera(&self) -> bool {
        matches!(self, Self::Camera | Self::Device(_))
    }

    /// Whether pictures come from elsewhere, of which nothing is known.
    pub(super) const fn is_foreign(&self) -> bool {
        self.is_camera()
            || matches!(
                self,
                Self::Pipe | Self::Screen | Self::Rtsp(_) | Self::Http(_)
            )
    }
}

impl Config {
    /// The input, not opened yet.
    ///
    /// # Errors
    /// When a setting that it needs is missing or out of its range.
    pub fn make_input(&self) -> anyhow::Result<Box<dyn Input>> {
        let Size { width, height } = self.size.unwrap_or(DEFAULT_SIZE);
        let rate_millihertz = self.rate_millihertz()?;
        Ok(match self.input_kind() {
            InputKind::Auto | InputKind::Ball => {
                let radius = self.radius()? as f32;
                Box::new(BallInput {
                    width,
                    height,
                    radius,
                    rate_millihertz,
                    speed: self.speed,
                })
            }
            InputKind::Pattern => Box::new(PatternInput {
                width,
                height,
                rate_millihertz,
            }),
            InputKind::Files => Box::new(FileInput {
                path: self.files_path()?.to_owned(),
                rate_millihertz: self.rate.is_some().then_some(rate_millihertz),
                repeat: self.repeat,
            }),
            InputKind::Pipe => Box::new(PipeInput {
                command: self.command.clone(),
            }),
            InputKind::Screen => Box::new(ScreenInput {
                size: self.size.map(|size| (size.width, size.height)),
                rate: self.rate.unwrap_or(DEFAULT_RATE),
            }),
            InputKind::Rtsp(address) => Box::new(RtspInput {
                address: address.read()?,
                password: self.input_password.clone(),
                stall_limit: self.stall_limit()?,
                known: KnownCodec::default(),
            }),
            InputKind::Camera | InputKind::Device(_) => {
                Box::new(V4lInput::new(self.camera_options()).with_stall_limit(self.stall_limit()?))
            }
            InputKind::Http(address) => Box::new(HttpInput {
                address: address.read()?,
                password: self.input_password.clone(),
                trust: Trust {
                    authorities: self.input_ca_file.clone(),
                    pinned: self.input_certificate.clone(),
                },
                stall_limit: self.stall_limit()?,
            }),
        })
    }

    /// The kind of input with `auto` decided.
    pub(crate) fn input_kind(&self) -> InputKind {
        match &self.input {
            InputKind::Auto if !v4l::list_devices().is_empty() => InputKind::Camera,
            InputKind::Auto => InputKind::Ball,
            kind => kind.clone(),
        }
    }

    pub(super) fn check_input(&self) -> anyhow::Result<()> {
        match &self.input {
            InputKind::Files => self.files_path().map(|_| ()),
            InputKind::Http(address) | InputKind::Rtsp(address) => {
                address.read().context("input")?;
                Ok(())
            }
            _ => {
                ensure!(
                    self.input_password.is_none(),
                    "input_password is for a network camera: give its address as input, or leave the password out"
                );
                Ok(())
            }
        }
    }

    fn files_path(&self) -> anyhow::Result<&Path> {
        self.path.as_deref().context(
            "input files needs path (--path): a directory of JPEG files, or an MJPEG or AVI file",
        )
    }

    /// The camera's name.
    pub(crate) fn camera_device(&self) -> &str {
        match &self.input {
            InputKind::Device(device) => device,
            _ => &self.device,
        }
    }

    /// Where controls are saved; none where there is no place for it.
    pub(crate) fn controls_file(&self) -> Option<PathBuf> {
        let file = self.controls_file.clone();
        file.or_else(|| Some(state_dir()?.join(format!("{}.controls", self.stream))))
    }

    /// Which controls relays may set.
    pub(crate) fn control_target(&self) -> Target {
        if !self.remote_controls {
            return Target::None(
                "the source lets no relay set controls: remote_controls is off there",
            );
        }
        if !self.input_kind().is_camera() {
            return Target::None("the input of this source is no camera with controls");
        }
        Target::Camera(self.camera_device().to_owned(), self.controls_file())
    }

    fn camera_options(&self) -> V4lOptions {
        V4lOptions {
            device: self.camera_device().to_owned(),
            size: self.size.map(|size| (size.width, size.height)),
            rate: self.rate,
            format: match self.pixel_format {
                PixelFormat::Auto => PixelChoice::Auto,
                PixelFormat::Mjpeg => PixelChoice::Mjpeg,
                PixelFormat::Yuyv => PixelChoice::Yuyv,
                PixelFormat::Nv12 => PixelChoice::Nv12,
            },
            controls: self.controls.iter().cloned().collect(),
            saved: self.controls_file(),
        }
    }
}
