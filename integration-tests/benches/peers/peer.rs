//! The senders: Fanlight's own programs, and those they are measured against.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::program::Program;
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{SOON, until};
use serde_json::json;

use crate::audience::{Audience, Ears};
use crate::http::{self, Server};
use crate::pictures::Pictures;
use crate::place::Place;

/// Longest that a sender is measured for, in seconds; files that are played once are longer.
const LONGEST: u32 = 30;

/// Datagrams that a peer's socket takes before it waits, in bytes: several frames for all clients.
const SEND_BUFFER: usize = 4 << 20;

/// What names go2rtc's program.
const GO2RTC: &str = "FANLIGHT_GO2RTC";

/// The relay's UDP port in a namespace of its own.
const PORT: u16 = 5004;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// fanlight-source and fanlight-relay.
    Fanlight,
    /// The same, MJPEG over HTTP.
    FanlightHttp,
    /// GStreamer, JPEG over RTP.
    GStreamer,
    /// ffmpeg, JPEG over RTP, one output for each client.
    Ffmpeg,
    /// uStreamer, MJPEG over HTTP.
    Ustreamer,
    /// go2rtc at the path in [`GO2RTC`], MJPEG over HTTP, which it takes from the server of this bench.
    Go2rtc,
    /// The server of this bench, MJPEG over HTTP.
    PlainHttp,
}

impl Kind {
    /// All but the relay's HTTP side; the first is what the others are compared with.
    pub(crate) const ALL: [Self; 5] = [
        Self::Fanlight,
        Self::GStreamer,
        Self::Ffmpeg,
        Self::Ustreamer,
        Self::PlainHttp,
    ];

    /// Those that speak HTTP.
    pub(crate) const HTTP: [Self; 4] = [
        Self::FanlightHttp,
        Self::Ustreamer,
        Self::Go2rtc,
        Self::PlainHttp,
    ];

    /// Whether it can be measured here: no Debian has go2rtc.
    pub(crate) fn is_here(self) -> bool {
        self != Self::Go2rtc || std::env::var_os(GO2RTC).is_some()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fanlight => "fanlight",
            Self::FanlightHttp => "fanlight-http",
            Self::GStreamer => "gstreamer",
            Self::Ffmpeg => "ffmpeg",
            Self::Ustreamer => "ustreamer",
            Self::Go2rtc => "go2rtc",
            Self::PlainHttp => "plain-http",
        }
    }
}

/// What a sender is to do.
pub(crate) struct Task<'a> {
    pub(crate) place: &'a Place,
    pub(crate) pictures: &'a Pictures,
    /// The camera that uStreamer needs.
    pub(crate) camera: &'a Path,
    pub(crate) clients: usize,
    /// Frames a second.
    pub(crate) rate: u32,
}

/// A running sender. Its processes end with this value.
pub(crate) enum Sender {
    Programs {
        programs: Vec<Program>,
        _stage: TestEnv,
    },
    Foreign(Foreign),
    /// One that takes the pictures from a server of ours, which is not counted.
    Fed {
        process: Foreign,
        _feed: Server,
    },
    Plain {
        _server: Server,
    },
}

impl Sender {
    /// Starts it, and those who receive from it.
    pub(crate) fn start(kind: Kind, task: &Task<'_>) -> io::Result<(Self, Audience)> {
        match kind {
            Kind::Fanlight => fanlight(task),
            Kind::FanlightHttp => fanlight_http(task),
            Kind::GStreamer => gstreamer(task),
            Kind::Ffmpeg => ffmpeg(task),
            Kind::Ustreamer => ustreamer(task),
            Kind::Go2rtc => go2rtc(task),
            Kind::PlainHttp => plain(task),
        }
    }

    /// Processor time that all its threads have spent.
    pub(crate) fn cpu(&self) -> Duration {
        match self {
            Self::Programs { programs, .. } => programs
                .iter()
                .filter_map(Program::pid)
                .map(|pid| threads_cpu(pid, |_| true))
                .sum(),
            Self::Foreign(process) | Self::Fed { process, .. } => {
                threads_cpu(process.0.id(), |_| true)
            }
            Self::Plain { .. } => threads_cpu(std::process::id(), |name| name == http::THREAD),
        }
    }
}

/// A process of somebody else's program, killed with this value.
pub(crate) struct Foreign(Child);

impl Foreign {
    fn start(place: &Place, words: &[&str], variables: &[(&str, &Path)]) -> io::Result<Self> {
        let words = [&place.enter(), words].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).envs(variables.iter().copied());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();

        child
            .map(Self)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", words[0])))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fanlight(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let env = TestEnv::new();
    let source = env
        .source("camera")
        .flags("--input files")
        .flag("path", &task.pictures.folder);

    let source = source.flag("rate", task.rate.to_string()).ready();
    let relay = env.relay(0, &[env.ipc("camera")]);
    let (relay, address) = match task.place {
        Place::Loopback => (relay, env.relay_address(0)),
        place => {
            let address = SocketAddr::new(place.sender(), PORT);
            let relay = env
                .program("relay")
                .flag("sources", env.ipc("camera"))
                .flag("listen", address.to_string());
            (relay.flags("--access open").under(&place.enter()), address)
        }
    };

    let relay = relay.ready();
    let audience = Audience::fanlight(task.place, task.clients, address)?;
    Ok((
        Sender::Programs {
            programs: vec![source, relay],
            _stage: env,
        },
        audience,
    ))
}

fn fanlight_http(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let env = TestEnv::new();
    let source = env
        .source("camera")
        .flags("--input files")
        .flag("path", &task.pictures.folder);

    let source = source.flag("rate", task.rate.to_string()).ready();
    let relay = env
        .program("relay")
        .flag("sources", env.ipc("camera"))
        .under(&task.place.enter());

    let relay = relay.flag("http", SocketAddr::new(task.place.sender(), 0).to_string());
    let relay = match task.place {
        Place::Loopback => relay.flag("listen", env.relay_address(0).to_string()),
        place => {
            let address = SocketAddr::new(place.sender(), PORT);
            relay
                .flag("listen", address.to_string())
                .flags("--access open --http-access open")
        }
    };

    let relay = relay.ready();
    let site = fanlight_tests::http::Site::of(&relay);
    let has_picture = || {
        let answer = task.place.at_receivers(|| site.get("/snapshot/camera.jpg"));
        (answer.status == 200).then_some(())
    };

    until("the first picture has come", SOON, has_picture);

    let audience = Audience::http(
        task.place,
        task.clients,
        site.0,
        "/stream/camera.mjpeg?framing=plain",
    )?;

    Ok((
        Sender::Programs {
            programs: vec![source, relay],
            _stage: env,
        },
        audience,
    ))
}

fn gstreamer(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let ears = Ears::open(task.place, task.clients);
    let clients: Vec<String> = ears
        .ports()?
        .iter()
        .map(|port| address(task.place.receivers(), *port))
        .collect();

    let file = format!(
        "location={}",
        task.pictures.avi(task.rate, LONGEST)?.display()
    );

    let clients = format!("clients={}", clients.join(","));
    let buffer = format!("buffer-size={SEND_BUFFER}");
    let source = ["gst-launch-1.0", "-q", "filesrc", &file, "!", "avidemux"];
    let sink = ["!", "rtpjpegpay", "!", "multiudpsink", &buffer, &clients];
    let process = Foreign::start(task.place, &[&source[..], &sink[..]].concat(), &[])?;
    Ok((Sender::Foreign(process), Audience::rtp(ears)?))
}

fn ffmpeg(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let ears = Ears::open(task.place, task.clients);
    let to = task.place.receivers();
    let rate = task.rate.to_string();
    let pictures = task.pictures.pattern();
    let outputs: Vec<String> = ears
        .ports()?
        .iter()
        .map(|port| format!("[f=rtp]rtp://{}", address(to, *port)))
        .collect();

    let input = [
        "ffmpeg",
        "-loglevel",
        "quiet",
        "-re",
        "-framerate",
        &rate,
        "-loop",
        "1",
        "-i",
        &pictures,
    ];

    let outputs = outputs.join("|");
    let output = ["-c", "copy", "-map", "0:v", "-f", "tee", &outputs];
    let process = Foreign::start(task.place, &[&input[..], &output[..]].concat(), &[])?;
    Ok((Sender::Foreign(process), Audience::rtp(ears)?))
}

fn ustreamer(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let device = task.pictures.folder.join("device");
    std::fs::write(&device, "")?;
    let host = task.place.sender();
    let port = free_port(task.place)?;
    let device_name = device.display().to_string();
    let rate = task.rate.to_string();
    let port_name = port.to_string();
    let host_name = host.to_string();
    let words = [
        "ustreamer",
        "-d",
        &device_name,
        "-r",
        "1104x624",
        "-m",
        "MJPEG",
        "-c",
        "HW",
        "-f",
        &rate,
    ];

    let server = ["-s", &host_name, "-p", &port_name, "--tcp-nodelay"];
    let variables = [
        ("LD_PRELOAD", task.camera),
        ("FANLIGHT_CAMERA", &device),
        ("FANLIGHT_PICTURES", &task.pictures.folder),
        ("FANLIGHT_RATE", Path::new(&rate)),
    ];

    let process = Foreign::start(task.place, &[&words[..], &server[..]].concat(), &variables)?;
    let address = SocketAddr::new(host, port);
    wait_listening(task.place, address);
    Ok((
        Sender::Foreign(process),
        Audience::http(task.place, task.clients, address, "/stream")?,
    ))
}

fn go2rtc(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let (feed, feed_address) = plain_server(task)?;
    let address = SocketAddr::new(task.place.sender(), free_port(task.place)?);
    let config = json!({
        "api": { "listen": address.to_string() },
        "rtsp": { "listen": "" },
        "webrtc": { "listen": "" },
        "streams": { "camera": format!("http://{feed_address}/") },
    });
    let config = config.to_string();

    let program = std::env::var(GO2RTC).map_err(io::Error::other)?;
    let process = Foreign::start(task.place, &[&program, "-config", &config], &[])?;
    wait_listening(task.place, address);
    let path = "/api/stream.mjpeg?src=camera";
    let audience = Audience::http(task.place, task.clients, address, path)?;
    let sender = Sender::Fed {
        process,
        _feed: feed,
    };
    Ok((sender, audience))
}

fn plain(task: &Task<'_>) -> io::Result<(Sender, Audience)> {
    let (server, address) = plain_server(task)?;
    Ok((
        Sender::Plain { _server: server },
        Audience::http(task.place, task.clients, address, "/")?,
    ))
}

fn plain_server(task: &Task<'_>) -> io::Result<(Server, SocketAddr)> {
    let host = task.place.sender();
    let listener = task.place.at_sender(|| TcpListener::bind((host, 0)))?;
    let address = listener.local_addr()?;
    Ok((Server::start(listener, task.pictures, task.rate)?, address))
}

/// A port that has just been free, for who takes no socket of ours.
fn free_port(place: &Place) -> io::Result<u16> {
    let host = place.sender();
    let address = place.at_sender(|| TcpListener::bind((host, 0))?.local_addr())?;
    Ok(address.port())
}

fn wait_listening(place: &Place, address: SocketAddr) {
    let what = format!("somebody listens at {address}");
    let connect = || place.at_receivers(|| TcpStream::connect(address)).ok();
    drop(until(&what, SOON, connect));
}

fn address(host: IpAddr, port: u16) -> String {
    SocketAddr::new(host, port).to_string()
}

/// Builds the camera in `folder`.
pub(crate) fn build_camera(folder: &Path) -> io::Result<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/camera.c");
    let camera = folder.join("camera.so");
    let mut command = Command::new("gcc");
    command
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&camera)
        .arg(source)
        .arg("-ldl");

    if command.status()?.success() {
        Ok(camera)
    } else {
        Err(io::Error::other("gcc built no camera"))
    }
}
