//! The settings of a source, and what they make together.

mod feed;
mod input;
mod together;
mod verification;

pub use input::InputKind;
pub(crate) use together::{SECTIONS, check_together};

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use fanlight_daemon::config::{self, Entry, entry};
use fanlight_daemon::keys::KeyPath;
use fanlight_daemon::trust::Fingerprint;
use fanlight_proto::limits::{
    DEFAULT_FRAME_BYTES, DEFAULT_SIDE, MAX_FRAME_BYTES, MAX_HEIGHT, MAX_WIDTH,
};
use fanlight_proto::message::StreamName;

use crate::camera::ball::SPEEDS;
use crate::camera::pacer::{MAX_RATE_MILLIHERTZ, MIN_RATE_MILLIHERTZ};
use crate::camera::pattern;
use crate::picture::{PictureOptions, PictureProcessor};
use crate::supervisor::{IdlePolicy, Supervisor};
use fanlight_daemon::endpoint::Endpoint;

/// Size of a synthetic picture when none is configured.
const DEFAULT_SIZE: Size = Size {
    width: 1280,
    height: 720,
};

/// Frames a second of a synthetic picture when no rate is configured.
const DEFAULT_RATE: f64 = 30.0;

/// The ball's radius when none is configured: the picture's shorter side by this.
const BALL_PART: f64 = 12.0;

/// Least that a frame may be limited to, in bytes: a header, and a small picture.
const MIN_FRAME_BYTES: usize = 1024;

/// Bounds of `stall_seconds`: below, a camera that adapts to the dark is stalled; above, nobody waits.
const STALL_SECONDS: std::ops::RangeInclusive<f64> = 0.5..=600.0;

/// How a camera shall code its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PixelFormat {
    /// Whichever gives the rate asked for, MJPEG before YUYV before NV12.
    Auto,
    /// JPEGs of the camera's own making, passed on untouched.
    Mjpeg,
    /// 4:2:2 raw, encoded here.
    Yuyv,
    /// 4:2:0 raw, encoded here.
    Nv12,
}

fanlight_daemon::display_choice!(PixelFormat);

/// Settings of the source.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Name of the stream: 1 to 64 characters of A-Z a-z 0-9 . _ -
    #[arg(default_value = "camera")]
    pub stream: StreamName,
    /// Where to publish: ipc:///path/of/socket, tcp://HOST:PORT (* for every address of this host), a port alone for
    /// 127.0.0.1, or several.
    /// None: ipc, as streams/STREAM.ipc in the runtime directory, where the relays of this host look for it.
    pub publish: Vec<Endpoint>,
    /// The file of the key that source and relays share, or credential:NAME; `keygen feed FILE` makes one.
    /// With it everything is published sealed; without it in the clear.
    pub feed_key: Option<KeyPath>,
    /// The file of this source's own key, or credential:NAME; `keygen pair FILE` makes one and prints the public key, which
    /// relays list in their source_keys. It takes relay_keys.
    pub feed_identity: Option<KeyPath>,
    /// The public keys of the relays that may subscribe, one a line with a name behind it. A line that is taken out ends
    /// the connection of its relay within 3 s.
    pub relay_keys: Option<KeyPath>,
    /// Without feed_key and relay_keys, allow tcp endpoints that other hosts can reach. The pictures cross the network unencrypted,
    /// and whoever can connect can see them.
    pub allow_remote: bool,

    /// Whether to announce tcp endpoints that other hosts can reach on the network (mDNS), so that relays find them.
    #[arg(default_value_t = true)]
    pub discovery: bool,

    /// Where pictures come from: auto (the camera if there is one at the start, the ball otherwise), ball, pattern,
    /// files, pipe, camera, v4l2:DEVICE (the camera at DEVICE), a network camera by http://HOST/PATH or https://HOST/PATH
    /// (MJPEG) or rtsp://HOST/PATH (whatever ffmpeg decodes), or screen (the desktop of X11). The last two take ffmpeg.
    #[arg(default_value = "auto")]
    pub input: InputKind,
    /// For a network camera that asks who watches: the file of the password, or credential:NAME. The user stands in the
    /// address, before the host: http://USER@HOST/PATH.
    pub input_password: Option<KeyPath>,
    /// For https: the certificates, in PEM, that sign the camera's. Unset: those of this host.
    pub input_ca_file: Option<PathBuf>,
    /// For https: the SHA-256 fingerprints of the camera's own certificate: then these alone are trusted, whoever signed
    /// them.
    pub input_certificate: Vec<Fingerprint>,
    /// The camera: /dev/v4l/by-id/..., /dev/videoN, or auto for the first one.
    #[arg(default_value = "auto")]
    pub device: String,
    /// The camera's coding: auto, mjpeg, yuyv or nv12.
    #[arg(default_value_t = PixelFormat::Auto)]
    pub pixel_format: PixelFormat,
    /// The camera's controls by name or V4L2 number, set at each opening.
    #[arg(value_parser = entry)]
    pub controls: Vec<Entry>,
    /// The file of controls that were set to last, by `controls --save` or by relays; set at each opening after `controls`.
    /// Unset: STREAM.controls in the state directory of the service.
    pub controls_file: Option<PathBuf>,
    /// Let relays list the camera's controls and set them, for their administrators.
    pub remote_controls: bool,
    /// For input files: a directory of JPEG files, or an MJPEG or AVI file. Every JPEG must be baseline, and within max_side
    /// and max_frame_bytes.
    pub path: Option<PathBuf>,
    /// For input files: begin again at the end.
    #[arg(default_value_t = true)]
    pub repeat: bool,
    /// For input pipe: a shell command that writes MJPEG to its standard output, started again when it ends.
    /// None: MJPEG is read from standard input.
    pub command: Option<String>,
    /// Width and height in pixels. None: what the camera has nearest to 1280x720; 1280x720 for ball and pattern.
    pub size: Option<Size>,
    /// Frames a second. None: what the camera has nearest to 30; what an AVI file says of itself; 30 for ball, pattern and
    /// other files.
    pub rate: Option<f64>,
    /// Radius of the ball in pixels. None: a twelfth of the picture's shorter side.
    pub radius: Option<f64>,
    /// How fast the ball goes, 0.01 to 20: at 1 it crosses the picture in 2.5 seconds.
    #[arg(default_value_t = 1.0)]
    pub speed: f64,
    /// Seconds without a picture until the input counts as stalled; at least three frame intervals.
    /// A camera's driver that hangs 8 seconds longer ends the program, so that the service manager starts a new one.
    #[arg(default_value_t = 2.0)]
    pub stall_seconds: f64,

    /// Exchange left and right.
    pub flip_horizontal: bool,
    /// Exchange top and bottom.
    pub flip_vertical: bool,
    /// Turn clockwise after flipping: 0, 90, 180 or 270 degrees.
    #[arg(default_value_t = 0)]
    pub rotate: u16,
    /// Factor for width and height, 0.1 to 1.
    #[arg(default_value_t = 1.0)]
    pub scale: f64,
    /// Write the stream's name and the time into the picture.
    pub overlay: bool,
    /// Write frame rate, processor, memory and uptime into the picture, below name and time.
    pub overlay_figures: bool,
    /// Largest frame to be published, in bytes; at most 33554432. Relays and viewers have the same limit: set it there too.
    #[arg(default_value_t = DEFAULT_FRAME_BYTES)]
    pub max_frame_bytes: usize,
    /// Largest width and height of a picture in pixels; at most 16384. Viewers have the same limit.
    #[arg(default_value_t = DEFAULT_SIDE)]
    pub max_side: u32,
    /// Quality of the JPEGs that are encoded here, 1 to 100.
    #[arg(default_value_t = 80)]
    pub quality: u8,

    /// Whether a small synthetic stream runs beside this one, by which every screen that tracks can prove that it shows
    /// the right picture in time: auto (when the input is a camera or a pipe), on or off.
    #[arg(default_value_t = Canary::Auto)]
    pub canary: Canary,
    /// Frames a second of the canary, 1 to 30.
    #[arg(default_value_t = 5.0)]
    pub canary_rate: f64,
    /// A screen is wrong when it shows the ball further than so many pixels from where it should be.
    #[arg(default_value_t = 2.0)]
    pub max_error: f64,
    /// A screen is late when it shows pictures older than this: 100ms, 1s.
    #[arg(default_value = "500ms")]
    pub max_age: humantime::Duration,
    /// Of how many of a screen's newest detections errors and latencies are told, 1 to 1000.
    #[arg(default_value_t = 30)]
    pub history_size: usize,

    /// What to do when nobody watches: keep (nothing), slow (publish few frames, and encode none in between) or close
    /// (close the input; its light goes off, and the first picture takes as long as the camera takes to start).
    #[arg(default_value_t = IdlePolicy::Keep)]
    pub idle: IdlePolicy,
    /// For idle slow: frames a second that are published, 0.1 to 30.
    #[arg(default_value_t = 1.0)]
    pub idle_rate: f64,
    /// How long nobody has watched before that, 1s to 1h.
    #[arg(default_value = "5s")]
    pub idle_after: humantime::Duration,
}

impl Default for Config {
    fn default() -> Self {
        config::defaults()
    }
}

/// Whether there is a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Canary {
    /// When the input is a camera or a pipe.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

fanlight_daemon::display_choice!(Canary);

/// Width and height in pixels, written as `1280x720`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width, at most [`MAX_WIDTH`].
    pub width: u32,
    /// Height, at most [`MAX_HEIGHT`].
    pub height: u32,
}

/// A text that is no [`Size`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no size: write width x height as 1280x720, at least 16x16 and at most {MAX_WIDTH}x{MAX_HEIGHT}"
)]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let parsed = text.split_once('x').and_then(|(width, height)| {
            let size = Self {
                width: width.parse().ok()?,
                height: height.parse().ok()?,
            };
            let fits =
                (16..=MAX_WIDTH).contains(&size.width) && (16..=MAX_HEIGHT).contains(&size.height);
            fits.then_some(size)
        });

        parsed.ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Config {
    /// Says what is wrong with settings that are each valid but cannot be used. Binds and opens nothing.
    ///
    /// # Errors
    /// The first setting that cannot be used, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        self.check_publish()?;
        self.supervisor()?;
        self.check_idle()?;
        self.limits()?;
        self.history()?;
        self.canary_rate()?;
        self.rate_millihertz()?;
        self.radius()?;
        let (least, most) = SPEEDS.into_inner();
        ensure!(
            SPEEDS.contains(&self.speed),
            "speed must be {least} to {most}, not {}",
            self.speed
        );

        self.check_limits()?;
        PictureProcessor::new(&self.picture_options())?;
        self.check_input()?;
        if let (InputKind::Pattern, Some(Size { width, height })) = (&self.input, self.size) {
            let (least_width, least_height) = pattern::MIN_SIZE;
            let fits = width >= least_width && height >= least_height;
            ensure!(
                fits,
                "size must be at least {least_width}x{least_height} for the pattern, not {width}x{height}"
            );
        }

        if let Some(command) = &self.command {
            ensure!(
                !command.trim().is_empty(),
                "command is empty: leave it out to read standard input"
            );
        }

        Ok(())
    }

    /// Checks what a picture may be at most, and that the configured size is within.
    fn check_limits(&self) -> anyhow::Result<()> {
        let (bytes, side) = (self.max_frame_bytes, self.max_side);
        ensure!(
            (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&bytes),
            "max_frame_bytes must be {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES}, not {bytes}"
        );
        ensure!(
            (16..=MAX_WIDTH).contains(&side),
            "max_side must be 16 to {MAX_WIDTH}, not {side}"
        );

        let Size { width, height } = self.size.unwrap_or(DEFAULT_SIZE);
        ensure!(
            self.size.is_none() || width.max(height) <= side,
            "size {width}x{height} is over the limit of {side}x{side}: set max_side, up to {MAX_WIDTH}"
        );
        Ok(())
    }

    /// What is done to each picture.
    #[must_use]
    pub fn picture_options(&self) -> PictureOptions {
        PictureOptions {
            quality: self.quality,
            flip_horizontal: self.flip_horizontal,
            flip_vertical: self.flip_vertical,
            rotate: self.rotate,
            scale: self.scale as f32,
            overlay: self.overlay,
            figures: self.overlay_figures,
            name: self.stream.to_string(),
            max_side: self.max_side,
            max_frame_bytes: self.max_frame_bytes,
        }
    }

    /// What watches the input.
    ///
    /// # Errors
    /// When `stall_seconds` or `idle_after` is out of its range.
    pub fn supervisor(&self) -> anyhow::Result<Supervisor> {
        let supervisor =
            Supervisor::new(self.stall_limit()?).with_idle_policy(self.idle, self.idle_after()?);
        Ok(match self.input {
            InputKind::Pipe | InputKind::Screen | InputKind::Rtsp(_) => {
                supervisor.without_replacement()
            }
            InputKind::Http(_) => supervisor.without_replacement().for_network(),
            _ => supervisor,
        })
    }

    fn stall_limit(&self) -> anyhow::Result<Duration> {
        let seconds = self.stall_seconds;
        ensure!(
            STALL_SECONDS.contains(&seconds),
            "stall_seconds must be 0.5 to 600, not {seconds}"
        );
        Ok(Duration::from_secs_f64(seconds))
    }

    fn rate_millihertz(&self) -> anyhow::Result<u32> {
        let rate = self.rate.unwrap_or(DEFAULT_RATE);
        let (least, most) = (
            f64::from(MIN_RATE_MILLIHERTZ) / 1e3,
            f64::from(MAX_RATE_MILLIHERTZ) / 1e3,
        );

        ensure!(
            (least..=most).contains(&rate),
            "rate must be {least} to {most} frames a second, not {rate}"
        );

        Ok((rate * 1e3).round() as u32)
    }

    fn radius(&self) -> anyhow::Result<f64> {
        let Size { width, height } = self.size.unwrap_or(DEFAULT_SIZE);
        let side = f64::from(width.min(height));
        let radius = self.radius.unwrap_or((side / BALL_PART).max(1.0));
        let most = side / 2.0 - 1.0;
        ensure!(
            (1.0..=most).contains(&radius),
            "radius must be 1 to {most}, to fit {width}x{height}, not {radius}"
        );

        Ok(radius)
    }
}

#[cfg(test)]
mod tests;
