//! Cameras that speak V4L2: found with nokhwa, streamed with `v4l`, the crate that nokhwa itself stands on.
//!
//! nokhwa 0.10 hands out the driver's whole buffer, an older picture's tail included, has no timeout, and opens no
//! device whose rate is not a whole number, be it for its controls alone. So it finds the devices; format, rate and
//! controls go to the driver directly, and pictures come with length, sequence number and time.

mod control;
mod formats;
mod frame;
mod saved;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use fanlight_proto::message::Control;
use nokhwa::utils::{ApiBackend, CameraIndex};
use v4l::capability::Flags;
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC};

use self::formats::{FormatRequest, Rate, Selection};
use self::frame::Geometry;
use self::stream::Capture;
use super::{Camera, CameraError, Input};

pub(crate) use control::range;

/// The device name that stands for the first camera that offers a picture Fanlight reads.
pub const AUTO: &str = "auto";

/// Where udev keeps a stable name for each camera.
const STABLE_NAMES: &str = "/dev/v4l/by-id";

/// An open device without a picture for so long has stalled (promise P16).
const STALL_LIMIT: Duration = Duration::from_secs(2);

/// What is asked of a camera.
#[derive(Clone, Debug)]
pub struct V4lOptions {
    /// `/dev/video0`, a stable name below `/dev/v4l/by-id/`, or [`AUTO`].
    pub device: String,
    /// Exactly this width and height; None takes 1280x720 or the size nearest to it.
    pub size: Option<(u32, u32)>,
    /// Frames a second, more than zero; the nearest that the camera has is taken. None asks for 30.
    pub rate: Option<f64>,
    /// How the camera shall code its pictures.
    pub format: PixelChoice,
    /// The camera's own controls, by name or V4L2 number; set at each open.
    pub controls: BTreeMap<String, i64>,
    /// The file of controls that are set after these.
    pub saved: Option<PathBuf>,
}

/// How the camera shall code its pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelChoice {
    /// Whichever gives the rate asked for, MJPEG before YUYV before NV12.
    #[default]
    Auto,
    /// JPEGs of the camera's own making, passed on untouched.
    Mjpeg,
    /// 4:2:2 raw, encoded here.
    Yuyv,
    /// 4:2:0 raw, encoded here.
    Nv12,
}

/// A camera that V4L2 knows.
pub struct V4lInput {
    options: V4lOptions,
    stall_limit: Duration,
}

impl V4lInput {
    /// An input that opens nothing yet.
    #[must_use]
    pub fn new(options: V4lOptions) -> Self {
        Self {
            options,
            stall_limit: STALL_LIMIT,
        }
    }

    /// Waits `limit` (else 2 s) for a picture before the device is given up and opened again; at least three frame
    /// intervals, and three seconds longer for the first picture.
    #[must_use]
    pub fn with_stall_limit(self, limit: Duration) -> Self {
        Self {
            stall_limit: limit,
            ..self
        }
    }
}

impl Input for V4lInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let name = self.describe();
        guarded(&name, || {
            Ok(Box::new(open(&self.options, self.stall_limit)?) as Box<dyn Camera>)
        })
    }

    fn describe(&self) -> String {
        if self.options.device == AUTO {
            "camera".into()
        } else {
            self.options.device.clone()
        }
    }
}

/// A camera as an operator may choose one.
#[derive(Clone, Debug)]
pub struct DeviceListing {
    /// What the device calls itself.
    pub card: String,
    /// `/dev/videoN`; the number changes from boot to boot.
    pub path: PathBuf,
    /// A name that stays, where udev has made one.
    pub stable: Option<PathBuf>,
    /// Layouts, sizes and their fastest rates.
    pub formats: String,
}

impl fmt::Display for DeviceListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.stable.as_ref().unwrap_or(&self.path);
        write!(f, "{} ({}): {}", name.display(), self.card, self.formats)
    }
}

/// The cameras of this host, in the order of their numbers. Devices that capture no video, or cannot be asked, are
/// left out.
#[must_use]
pub fn list_devices() -> Vec<DeviceListing> {
    device_paths()
        .into_iter()
        .filter_map(|path| guarded("camera", || listing(path)).ok())
        .collect()
}

/// Writes a line for each camera of this host on standard output.
#[must_use]
pub fn print_devices() -> ExitCode {
    let devices = list_devices();
    for device in &devices {
        println!("{device}");
    }

    if devices.is_empty() {
        println!(
            "no camera that this user may open: plug one in, or add the user to the group video"
        );
    }

    ExitCode::SUCCESS
}

/// Sets `wanted` on the camera, also while another program streams from it, keeps it in the file `save`, and lists all of its
/// controls.
///
/// # Errors
/// When there is no such camera, or it does not have such a control or value, or the file cannot be written.
pub fn controls(
    device: &str,
    wanted: &BTreeMap<String, i64>,
    save: Option<&Path>,
) -> Result<(String, Vec<Control>), CameraError> {
    guarded(device, || {
        let (device, name) = find(device)?;
        let set = control::apply(&device, &name, wanted)?;
        if let Some(file) = save {
            saved::add(file, set).map_err(|error| {
                let file = file.display();
                CameraError::Failed(format!("it is set, and cannot be saved in {file}: {error}"))
            })?;
        }

        let listed = control::list(&device, &name)?;
        Ok((name, listed))
    })
}

fn listing(path: PathBuf) -> Result<DeviceListing, CameraError> {
    let name = path.display().to_string();
    let device = open_node(&path, &name)?;
    let card = device
        .query_caps()
        .map_err(|error| failure(&name, "query", &error))?
        .card;

    let menu = formats::read(&device, &FormatRequest::default())
        .map_err(|error| failure(&name, "query", &error))?;
    Ok(DeviceListing {
        card,
        stable: stable_name(&path),
        formats: menu.to_string(),
        path,
    })
}

fn stable_name(path: &Path) -> Option<PathBuf> {
    let mut links = std::fs::read_dir(STABLE_NAMES)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    links.find(|link| link.canonicalize().is_ok_and(|node| node == path))
}

/// Every `/dev/videoN`, capture device or not.
fn device_paths() -> Vec<PathBuf> {
    let found = guarded("camera", || {
        nokhwa::query(ApiBackend::Video4Linux)
            .map_err(|error| CameraError::Failed(error.to_string()))
    });
    let mut numbers: Vec<u32> = found
        .unwrap_or_default()
        .iter()
        .filter_map(|info| match info.index() {
            CameraIndex::Index(number) => Some(*number),
            CameraIndex::String(_) => None,
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|number| PathBuf::from(format!("/dev/video{number}")))
        .collect()
}

fn open(options: &V4lOptions, stall_limit: Duration) -> Result<Capture, CameraError> {
    let request = FormatRequest {
        size: options.size,
        rate: options.rate,
        pixels: options.format,
    };

    let (device, name) = find(&options.device)?;
    let menu = formats::read(&device, &request).map_err(|error| failure(&name, "query", &error))?;
    let choice = formats::choose(&menu.formats, &request)
        .ok_or_else(|| CameraError::WrongFormat(menu.mismatch_message(&name, &request)))?;
    let stride = set_format(&device, &name, choice)?;
    let rate = set_rate(&device, &name, choice.rate)?;
    control::apply(&device, &name, &options.controls)?;
    if let Some(file) = &options.saved {
        control::restore(&device, &name, saved::read(file));
    }
    let Selection {
        layout,
        width,
        height,
        ..
    } = choice;

    let fps = rate.map_or("unknown".into(), |rate| rate.to_string());
    tracing::info!(device = name, %layout, width, height, fps, "camera open");
    Capture::new(
        &device,
        &name,
        Geometry {
            layout,
            width,
            height,
            stride,
        },
        rate,
        stall_limit,
    )
}

/// The device, and what to call it. A stable name is followed anew at each open: its node's number changes when the
/// camera is plugged in again.
fn find(device: &str) -> Result<(Device, String), CameraError> {
    if device != AUTO {
        let node = Path::new(device)
            .canonicalize()
            .map_err(|error| failure(device, "open", &error))?;
        return Ok((open_node(&node, device)?, device.to_owned()));
    }

    let mut last = CameraError::Unplugged("no camera is plugged in".into());
    for path in device_paths() {
        let name = path.display().to_string();
        match open_node(&path, &name).and_then(|device| readable(device, &name)) {
            Ok(device) => return Ok((device, name)),
            Err(error) => last = error,
        }
    }

    Err(last)
}

/// The device, if it offers any picture that Fanlight reads; a camera's metadata node does not.
fn readable(device: Device, name: &str) -> Result<Device, CameraError> {
    let request = FormatRequest::default();
    let menu = formats::read(&device, &request).map_err(|error| failure(name, "query", &error))?;

    if menu.formats.is_empty() {
        Err(CameraError::WrongFormat(
            menu.mismatch_message(name, &request),
        ))
    } else {
        Ok(device)
    }
}

fn open_node(node: &Path, name: &str) -> Result<Device, CameraError> {
    let device = Device::with_path(node).map_err(|error| failure(name, "open", &error))?;
    let can = device
        .query_caps()
        .map_err(|error| failure(name, "query", &error))?
        .capabilities;

    if can.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING) {
        Ok(device)
    } else {
        Err(CameraError::WrongFormat(format!(
            "{name} is no device that streams video in a single plane"
        )))
    }
}

/// Sets layout and size; gives the bytes from row to row.
fn set_format(device: &Device, name: &str, choice: Selection) -> Result<u32, CameraError> {
    let wanted = Format::new(choice.width, choice.height, choice.layout.fourcc());
    let got = device
        .set_format(&wanted)
        .map_err(|error| failure(name, "set the format of", &error))?;
    if (got.width, got.height, got.fourcc) == (wanted.width, wanted.height, wanted.fourcc) {
        Ok(got.stride)
    } else {
        Err(CameraError::WrongFormat(format!(
            "{name} was asked for {} {}x{} as it offers, and set itself to {} {}x{}",
            choice.layout, choice.width, choice.height, got.fourcc, got.width, got.height
        )))
    }
}

/// Sets the rate and gives the one in force; None when the driver knows none.
fn set_rate(device: &Device, name: &str, rate: Option<Rate>) -> Result<Option<Rate>, CameraError> {
    let Some(rate) = rate else {
        return Ok(device
            .params()
            .ok()
            .and_then(|now| Rate::of_interval(now.interval)));
    };

    match device.set_params(&Parameters::new(rate.interval())) {
        Ok(now) => Ok(Rate::of_interval(now.interval)),
        Err(error) if error.raw_os_error() == Some(ENOTTY) => Ok(None),
        Err(error) => Err(failure(name, "set the rate of", &error)),
    }
}

/// Codings that Fanlight reads, the most welcome first: JPEGs need no encoding here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Mjpeg,
    Yuyv,
    Nv12,
}

impl Layout {
    fn of_fourcc(code: [u8; 4]) -> Option<Self> {
        [Self::Mjpeg, Self::Yuyv, Self::Nv12]
            .into_iter()
            .find(|layout| layout.fourcc().repr == code)
    }

    fn fourcc(self) -> FourCC {
        FourCC::new(match self {
            Self::Mjpeg => b"MJPG",
            Self::Yuyv => b"YUYV",
            Self::Nv12 => b"NV12",
        })
    }

    /// Chroma is shared by two pixels in a row (YUYV) or by two by two (NV12).
    fn can_have(self, width: u32, height: u32) -> bool {
        match self {
            Self::Mjpeg => true,
            Self::Yuyv => width.is_multiple_of(2),
            Self::Nv12 => width.is_multiple_of(2) && height.is_multiple_of(2),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fourcc().fmt(f)
    }
}

impl PixelChoice {
    fn only(self) -> Option<Layout> {
        match self {
            Self::Auto => None,
            Self::Mjpeg => Some(Layout::Mjpeg),
            Self::Yuyv => Some(Layout::Yuyv),
            Self::Nv12 => Some(Layout::Nv12),
        }
    }

    fn allows(self, layout: Layout) -> bool {
        self.only().is_none_or(|only| only == layout)
    }
}

// Of errno(3), where std::io::ErrorKind has no name for them.
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const ENOTTY: i32 = 25;
const ENOSPC: i32 = 28;

/// What an error of the driver means to an operator.
fn failure(name: &str, doing: &str, error: &io::Error) -> CameraError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) | (_, Some(ENODEV | ENXIO)) => {
            CameraError::Unplugged(format!("camera unplugged: {name}"))
        }
        (io::ErrorKind::ResourceBusy, _) => {
            CameraError::Busy(format!("another program uses {name}"))
        }
        (io::ErrorKind::TimedOut, None) => {
            CameraError::Stalled(format!("{name} is open but sends no picture"))
        }
        (io::ErrorKind::PermissionDenied, _) => CameraError::Failed(format!(
            "no permission to {doing} {name}: add the user to group video"
        )),
        (_, Some(ENOSPC)) => CameraError::Failed(format!(
            "the USB bus has no room for {name}: ask for a smaller size or rate, or use another port"
        )),
        _ => CameraError::Failed(format!("cannot {doing} {name}: {error}")),
    }
}

/// Runs `task`, and survives that `v4l` panics where a driver answers what it does not know.
fn guarded<T>(name: &str, task: impl FnOnce() -> Result<T, CameraError>) -> Result<T, CameraError> {
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let why = text
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown");
        Err(CameraError::Failed(format!(
            "{name} answers what the V4L2 library does not understand: {why}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> CameraError {
        failure("/dev/video0", "open", &io::Error::from_raw_os_error(code))
    }

    #[test]
    fn each_error_of_a_driver_becomes_the_state_that_an_operator_knows() {
        assert!(matches!(error(2), CameraError::Unplugged(_)), "ENOENT");
        assert!(matches!(error(ENODEV), CameraError::Unplugged(_)));
        assert!(matches!(error(16), CameraError::Busy(_)), "EBUSY");
        assert!(matches!(error(5), CameraError::Failed(_)), "EIO");
        assert_eq!(
            error(13).to_string(),
            "no permission to open /dev/video0: add the user to group video"
        );

        let late = io::Error::new(io::ErrorKind::TimedOut, "VIDIOC_DQBUF");
        assert!(matches!(
            failure("/dev/video0", "read from", &late),
            CameraError::Stalled(_)
        ));
    }

    #[test]
    fn a_camera_that_is_not_there_is_unplugged() {
        let options = V4lOptions {
            device: "/dev/v4l/by-id/usb-No_Such_Camera-video-index0".into(),
            size: None,
            rate: None,
            format: PixelChoice::Auto,
            controls: BTreeMap::new(),
            saved: None,
        };

        let opened = V4lInput::new(options).open().map(|_| ());
        assert!(
            matches!(opened, Err(CameraError::Unplugged(_))),
            "{opened:?}"
        );
    }

    #[test]
    fn a_file_that_is_no_camera_is_refused() {
        let opened = find("/dev/null").map(|_| ());
        assert!(matches!(opened, Err(CameraError::Failed(_))), "{opened:?}");
    }

    #[test]
    fn a_panic_below_becomes_an_error() {
        let survived = guarded("/dev/video0", || -> Result<(), _> {
            panic!("Invalid colorspace")
        });
        assert!(
            matches!(survived, Err(CameraError::Failed(why)) if why.ends_with("Invalid colorspace"))
        );
    }
}
