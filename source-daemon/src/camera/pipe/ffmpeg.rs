//! What ffmpeg opens: cameras that speak RTSP, and the desktop of X11. Each opening runs one ffmpeg, which ends with it.
//!
//! An address may hold a password, and everyone on the host sees the words of a command. So ffmpeg reads the address from its
//! standard input, as a list of one entry (its `concat` format).

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _};
use std::process::{ChildStdout, Command};
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::keys::KeyPath;
use parking_lot::Mutex;

use super::PipeCamera;
use super::child::{Child, Task};
use crate::camera::address::CameraAddress;
use crate::camera::{Camera, CameraError, CapturedFrame, Input, Raw};

/// How well pictures are encoded, 2 (best) to 31.
const QUALITY: &str = "4";

/// What an address may make ffmpeg open.
const PROTOCOLS: &str = "pipe,rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto";

/// Longest name of a codec that is read, in bytes.
const MAX_CODEC: u64 = 64;

/// How much ffmpeg looks at before the first picture, in bytes and in microseconds: the description of a stream has what is needed.
/// The list is an input of its own, and looks too.
const LOOKS_AT: &str = "500000";

/// A network camera that speaks RTSP.
#[derive(Clone, Debug)]
pub struct RtspInput {
    /// Where it is.
    pub address: CameraAddress,
    /// The file of its password; none: it stands in the address, or there is none.
    pub password: Option<KeyPath>,
    /// How long it may be silent.
    pub stall_limit: Duration,
    /// What it sent when it was last seen.
    pub known: KnownCodec,
}

/// Whether a camera sends JPEGs, once it is known. A camera that was away for a moment need not be asked again, which takes
/// as long as its first picture does.
#[derive(Clone, Debug, Default)]
pub struct KnownCodec(Arc<Mutex<Option<bool>>>);

/// The desktop of X11.
#[derive(Clone, Debug, PartialEq)]
pub struct ScreenInput {
    /// Width and height from its upper left corner; none: all of it.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub rate: f64,
}

impl RtspInput {
    /// The list of one entry that ffmpeg reads, and what of it nobody may read.
    fn list(&self) -> Result<(String, Vec<String>), CameraError> {
        let password = self.address.password(self.password.as_ref());
        let password = password.map_err(|error| CameraError::Failed(error.to_string()))?;
        let full = self.address.full(password.as_deref());
        let list = format!(
            "ffconcat version 1.0\nfile '{}'\noption rtsp_transport tcp\noption timeout {}\noption probesize {LOOKS_AT}\n\
             option analyzeduration {LOOKS_AT}\noption fflags nobuffer\n",
            full,
            self.stall_limit.as_micros(),
        );

        Ok((list, self.address.secrets(password.as_deref())))
    }

    /// Whether the camera sends JPEGs, which pass untouched.
    fn sends_jpegs(&self, list: &str, secrets: &[String]) -> Result<bool, CameraError> {
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error"]).args(LIST_INPUT);
        command.args(["-select_streams", "v:0", "-of", "csv=p=0"]);
        command.args(["-show_entries", "stream=codec_name"]);
        let (mut child, stdout) = spawn(Task {
            command,
            stdin: Some(list.to_owned()),
            secrets: secrets.to_vec(),
            quiet: true,
        })?;

        let mut codec = String::new();
        // What is no text is no name of a codec.
        let _ = stdout.take(MAX_CODEC).read_to_string(&mut codec);
        let (_, said) = child.wait();
        match codec.trim() {
            "" if said.is_empty() => Err(CameraError::Failed(format!(
                "{}: the camera has no video there",
                self.address
            ))),
            "" => Err(self.failure(&said)),
            codec => Ok(codec == "mjpeg"),
        }
    }

    /// What ffmpeg's last words mean.
    fn failure(&self, said: &str) -> CameraError {
        let camera = &self.address;
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let unreachable =
            |why: &str| CameraError::Unplugged(format!("{camera} cannot be reached: {why}"));
        if has(&["401 Unauthorized"]) && camera.user.is_empty() {
            return CameraError::Failed(format!(
                "{camera} asks for a user and a password: write USER@ before its host, and name a file with the password \
                 by input_password"
            ));
        }

        match () {
            () if has(&["401 Unauthorized"]) => {
                CameraError::Failed(format!("{camera} refuses the password"))
            }
            () if has(&["403 Forbidden"]) => {
                CameraError::Failed(format!("{camera} allows this user no stream (403)"))
            }
            () if has(&["404 Not Found", "404 Stream"]) => {
                CameraError::Failed(format!("{camera}: the camera has nothing there (404)"))
            }
            () if has(&["453 ", "503 "]) => {
                CameraError::Busy(format!("{camera} has no room for one more who watches"))
            }
            () if has(&["Connection refused"]) => unreachable("nobody listens there"),
            () if has(&["No route to host", "Network is unreachable"]) => {
                unreachable("there is no way to it in the network")
            }
            () if has(&["Failed to resolve", "Name or service not known"]) => {
                unreachable("its name is not known")
            }
            () if has(&["exit status: 0"]) => {
                CameraError::Unplugged(format!("{camera} has ended the stream"))
            }
            () if has(&["timed out"]) => CameraError::Stalled(format!("{camera} sends no picture")),
            () => {
                let last = said.lines().last().unwrap_or_default().trim();
                CameraError::Failed(format!("{camera}: {last}"))
            }
        }
    }
}

/// How ffmpeg is told to read a list on standard input.
const LIST_INPUT: [&str; 12] = [
    "-probesize",
    LOOKS_AT,
    "-analyzeduration",
    LOOKS_AT,
    "-f",
    "concat",
    "-safe",
    "0",
    "-protocol_whitelist",
    PROTOCOLS,
    "-i",
    "pipe:0",
];

/// How pictures leave ffmpeg: at once, one thread, as the standard says that a file of MJPEG is.
fn output(codec: &str) -> Vec<OsString> {
    let words = [
        "-map", "0:v:0", "-c:v", codec, "-q:v", QUALITY, "-threads", "1",
    ];
    let pipe = [
        "-fps_mode",
        "passthrough",
        "-flush_packets",
        "1",
        "-f",
        "mjpeg",
        "pipe:1",
    ];
    words.iter().chain(&pipe).map(OsString::from).collect()
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(["-fflags", "nobuffer", "-flags", "low_delay"]);
    command
}

fn spawn(task: Task) -> Result<(Child, ChildStdout), CameraError> {
    Child::spawn(task).map_err(|error| {
        CameraError::Failed(match error.kind() {
            ErrorKind::NotFound => {
                "this input needs ffmpeg, which is not installed: apt install ffmpeg".to_owned()
            }
            _ => format!("ffmpeg cannot be started: {error}"),
        })
    })
}

fn start(task: Task) -> Result<PipeCamera, CameraError> {
    let (child, stdout) = spawn(task)?;
    PipeCamera::new(stdout, Some(child))
}

impl Input for RtspInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let (list, secrets) = self.list()?;
        let known = *self.known.0.lock();
        let sends_jpegs = known.map_or_else(|| self.sends_jpegs(&list, &secrets), Ok)?;

        let mut command = ffmpeg();
        command.args(LIST_INPUT);
        command.args(output(if sends_jpegs { "copy" } else { "mjpeg" }));
        let camera = start(Task {
            command,
            stdin: Some(list),
            secrets,
            quiet: true,
        })?;

        let input = self.clone();
        Ok(Box::new(FfmpegCamera {
            camera,
            is_seen: false,
            seen: Box::new(move |is_seen| {
                *input.known.0.lock() = is_seen.then_some(sends_jpegs);
                if is_seen {
                    tracing::info!(camera = %input.address, sends_jpegs, "camera open");
                }
            }),
            failure: {
                let input = self.clone();
                Box::new(move |said| input.failure(said))
            },
        }))
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

impl Input for ScreenInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let display = std::env::var_os("DISPLAY").filter(|display| !display.is_empty());
        let display = display.ok_or_else(|| {
            CameraError::Failed("there is no desktop of X11 here: DISPLAY is not set".to_owned())
        })?;

        let mut command = ffmpeg();
        command.args(["-f", "x11grab", "-framerate", &self.rate.to_string()]);
        if let Some((width, height)) = self.size {
            command.args(["-video_size", &format!("{width}x{height}")]);
        }
        command.arg("-i").arg(&display).args(output("mjpeg"));

        let camera = start(Task {
            command,
            stdin: None,
            secrets: Vec::new(),
            quiet: true,
        })?;
        Ok(Box::new(FfmpegCamera {
            camera,
            is_seen: false,
            seen: Box::new(|_| {}),
            failure: Box::new(move |said| {
                let display = display.to_string_lossy();
                CameraError::Failed(format!("the desktop {display} cannot be taken: {said}"))
            }),
        }))
    }

    fn describe(&self) -> String {
        "screen".to_owned()
    }
}

/// A pipe whose end is told in words of its own.
struct FfmpegCamera {
    camera: PipeCamera,
    is_seen: bool,
    /// Told once that there is a picture, and that ffmpeg failed for another reason than that the camera is away.
    seen: Box<dyn Fn(bool) + Send>,
    failure: Box<dyn Fn(&str) -> CameraError + Send>,
}

impl Camera for FfmpegCamera {
    fn next(&mut self, number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let next = self.camera.next(number, raw).map_err(|error| match error {
            CameraError::Failed(said) => (self.failure)(&said),
            other => other,
        });

        match &next {
            Ok(_) if !self.is_seen => {
                self.is_seen = true;
                (self.seen)(true);
            }
            Err(CameraError::Failed(_)) => (self.seen)(false),
            _ => {}
        }

        next
    }

    fn rate_millihertz(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(address: &str) -> RtspInput {
        RtspInput {
            address: address.parse().unwrap(),
            password: None,
            stall_limit: Duration::from_secs(2),
            known: KnownCodec::default(),
        }
    }

    #[test]
    fn the_list_holds_the_whole_address_and_nothing_in_it_ends_its_quotes() {
        let (list, secrets) = input("rtsp://me:a'b@cam/x'y?z").list().unwrap();
        let line = list.lines().nth(1).unwrap();
        assert_eq!(line, "file 'rtsp://me:a%27b@cam/x%27y?z'");
        assert_eq!(secrets, ["a%27b", "a'b", "?z"]);
    }

    #[test]
    fn what_ffmpeg_says_is_told_in_plain_words() {
        let somebody = input("rtsp://me@cam/live");
        for (said, told) in [
            (
                "pipe:0: Server returned 401 Unauthorized (authorization failed)",
                "refuses the password",
            ),
            (
                "pipe:0: Server returned 403 Forbidden (access denied)",
                "allows this user no stream",
            ),
            (
                "pipe:0: Server returned 404 Not Found",
                "has nothing there (404)",
            ),
            ("pipe:0: Connection refused", "nobody listens there"),
            ("pipe:0: No route to host", "there is no way to it"),
            ("pipe:0: Connection timed out", "sends no picture"),
            (
                "[tcp @ 0x1] Failed to resolve hostname cam: Name or service not known",
                "its name is not known",
            ),
            ("the command ended (exit status: 0)", "has ended the stream"),
            ("one\ntwo", "rtsp://cam/live: two"),
        ] {
            let error = somebody.failure(said).to_string();
            assert!(error.contains(told), "{error}");
        }

        let nobody = input("rtsp://cam/").failure("401 Unauthorized").to_string();
        assert!(nobody.contains("asks for a user"), "{nobody}");
    }
}
