//! Servers of WHEP, each with a ball of 640x480 pixels at 30 fps, or what moves as much. Used by the bench `webrtc`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::python::{python, script};
use fanlight_tests::usage::{Usage, threads_cpu};
use fanlight_tests::wait::{SOON, until};
use serde_json::json;

/// Starts one, or says what is missing.
type Start = fn(&TestEnv) -> Result<Server, String>;

/// All of them, by name.
pub(crate) const ALL: [(&str, Start); 4] = [
    ("fanlight", fanlight),
    ("aiortc", aiortc),
    ("mediamtx", mediamtx),
    ("go2rtc", go2rtc),
];

/// A server with its stream.
pub(crate) struct Server {
    pub(crate) site: Site,
    /// Where offers are posted.
    pub(crate) path: String,
    program: Program,
    encoder: Encoder,
}

/// Where a server's pictures are encoded.
enum Encoder {
    /// In threads of this name; the pictures come from this source.
    Threads(
        &'static str,
        #[expect(dead_code, reason = "it ends with this value")] Program,
    ),
    /// In another program.
    Program(Program),
    /// Nobody can tell it from the rest.
    Within,
}

impl Server {
    /// What encoding took so far, and what sending took; without an encoder of its own all is sending.
    pub(crate) fn spent(&self) -> (Duration, Duration) {
        let of = |program: &Program| program.pid().and_then(Usage::of).map(|usage| usage.cpu);
        match (&self.encoder, self.program.pid()) {
            (Encoder::Threads(name, _), Some(pid)) => (
                threads_cpu(pid, |thread| thread == *name),
                threads_cpu(pid, |thread| thread == "webrtc"),
            ),
            (Encoder::Program(encoder), _) => (
                of(encoder).unwrap_or_default(),
                of(&self.program).unwrap_or_default(),
            ),
            _ => (Duration::ZERO, of(&self.program).unwrap_or_default()),
        }
    }
}

fn fanlight(env: &TestEnv) -> Result<Server, String> {
    let source = env
        .source("cam")
        .flags("--input ball --size 640x480 --rate 30")
        .ready();
    let program = env.webrtc_relay("");
    Ok(Server {
        site: Site::of(&program),
        path: "/whep/cam".to_owned(),
        program,
        encoder: Encoder::Threads("vp8", source),
    })
}

fn aiortc(env: &TestEnv) -> Result<Server, String> {
    let python = python().ok_or("it is not installed")?;
    let program = env
        .launch("aiortc", python)
        .flags(&script("webrtc_server.py").display().to_string())
        .start();
    let line = program.wait_for_line("listening ").text;
    let port = line.rsplit(' ').next().unwrap_or_default().trim();
    let port: u16 = port.parse().map_err(|error| format!("{line}: {error}"))?;
    Ok(Server {
        site: site(port),
        path: "/whep/ball".to_owned(),
        program,
        encoder: Encoder::Within,
    })
}

fn mediamtx(env: &TestEnv) -> Result<Server, String> {
    let binary = given("FANLIGHT_MEDIAMTX")?;
    let [rtsp, http, media] = free_ports();
    let local = |port: u16| format!("127.0.0.1:{port}");
    let program = env
        .launch("mediamtx", binary)
        .env("MTX_RTSPADDRESS", local(rtsp))
        .env("MTX_RTSPTRANSPORTS", "tcp")
        .env("MTX_WEBRTCADDRESS", local(http))
        .env("MTX_WEBRTCLOCALUDPADDRESS", local(media))
        .env("MTX_WEBRTCADDITIONALHOSTS", "127.0.0.1")
        .env("MTX_PATHS_CAM_SOURCE", "publisher")
        .env("MTX_RTMP", "no")
        .env("MTX_HLS", "no")
        .env("MTX_SRT", "no")
        .start();
    Ok(Server {
        encoder: Encoder::Program(publisher(env, rtsp)),
        site: site(http),
        path: "/cam/whep".to_owned(),
        program,
    })
}

fn go2rtc(env: &TestEnv) -> Result<Server, String> {
    let binary = given("FANLIGHT_GO2RTC")?;
    let [rtsp, http, media] = free_ports();
    let local = |port: u16| format!("127.0.0.1:{port}");
    let config = json!({
        "api": { "listen": local(http) },
        "rtsp": { "listen": local(rtsp) },
        "webrtc": { "listen": local(media), "candidates": [local(media)] },
        "streams": { "cam": "" },
    });
    let program = env
        .launch("go2rtc", binary)
        .flag("config", config.to_string())
        .start();
    Ok(Server {
        encoder: Encoder::Program(publisher(env, rtsp)),
        site: site(http),
        path: "/api/webrtc?src=cam".to_owned(),
        program,
    })
}

/// The program of somebody else that the tester has named.
fn given(variable: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.ok_or(format!("set {variable} to the path of the program"))?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{variable} = {} is no file", path.display()))
    }
}

/// ffmpeg, which encodes VP8 as the relay does and gives it to a server by RTSP, once that takes it.
fn publisher(env: &TestEnv, rtsp: u16) -> Program {
    until("the server listens for RTSP", SOON, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, rtsp)).ok()
    });
    let words = format!(
        "-nostdin -loglevel error -re -f lavfi -i testsrc2=size=640x480:rate=30 -pix_fmt yuv420p \
         -c:v libvpx -deadline realtime -cpu-used 8 -b:v 2500k -g 300 \
         -f rtsp -rtsp_transport tcp rtsp://127.0.0.1:{rtsp}/cam"
    );
    let publisher = env.launch("ffmpeg", "ffmpeg".into()).flags(&words).start();
    until("the server has the stream", SOON, || {
        is_published(rtsp).then_some(())
    });
    publisher
}

/// Whether a server describes the stream.
fn is_published(rtsp: u16) -> bool {
    let request = format!(
        "DESCRIBE rtsp://127.0.0.1:{rtsp}/cam RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    );
    let mut answer = [0; 12];
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, rtsp)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(request.as_bytes())?;
        stream.read_exact(&mut answer)
    });
    asked.is_ok() && answer == *b"RTSP/1.0 200"
}

fn site(port: u16) -> Site {
    Site(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Ports that nobody has. These servers say nowhere which one the system gave them.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok());
    listeners.map(|listener| {
        let address = listener.and_then(|listener| listener.local_addr().ok());
        address.map_or(0, |address| address.port())
    })
}
