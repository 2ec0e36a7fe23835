//! What WebRTC clients cost a relay: a ball of 640x480 pixels at 30 fps to some number of them, beside a server made of aiortc.
//!
//! `./dev bench webrtc [--peers 1,10,20] [--seconds 8] [--quick]`. Clients take the video and decode nothing; only what the server's
//! threads spend counts, as a share of a core. `each` is what one more client costs, from the fewest to the most.
//!
//! | server | |
//! |---|---|
//! | `fanlight` | one encoder for all; it is in the column `encoding`, and the sending to clients in `sending` |
//! | `aiortc` | an encoder for each client, in the same process: all of it is in `sending` |

mod flags;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::light_peers::LightPeers;
use fanlight_tests::program::Program;
use fanlight_tests::python::{python, script};
use fanlight_tests::usage::{Usage, threads_cpu};
use fanlight_tests::wait::pause;
use serde_json::json;

const PEERS: &str = "1,10,20";
const SECONDS: u64 = 8;

/// Frames of each client before anything is measured.
const WARM_UP: u64 = 30;

/// A server with its stream.
struct Server {
    name: &'static str,
    site: Site,
    stream: &'static str,
    program: Program,
    /// A thread that only encodes, if it has one.
    encoder: Option<&'static str>,
}

/// Parts of a core, and frames a second of the client that had fewest.
struct Row {
    peers: usize,
    encoding: f64,
    sending: f64,
    fps: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = flags::read(&["--peers", "--seconds"], &["--quick"])?;
    let quick = flags.contains_key("--quick");
    let peers = flags.get("--peers").map_or(PEERS, String::as_str);
    let peers: Vec<usize> = peers.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let seconds = flags.get("--seconds").map(|count| count.parse());
    let seconds = seconds
        .transpose()?
        .unwrap_or(if quick { 1 } else { SECONDS });

    println!("server     peers  encoding   sending      each       fps");
    let env = TestEnv::new();
    let (_source, fanlight) = fanlight(&env);
    measure_all(&fanlight, &peers, Duration::from_secs(seconds));
    match aiortc(&env) {
        Some(aiortc) => measure_all(&aiortc, &peers, Duration::from_secs(seconds)),
        None => println!("aiortc     not measured: it is not installed"),
    }
    Ok(())
}

fn fanlight(env: &TestEnv) -> (Program, Server) {
    let source = env
        .source("cam")
        .flags("--input ball --size 640x480 --rate 30")
        .ready();
    let relay = env.webrtc_relay("");
    let server = Server {
        name: "fanlight",
        site: Site::of(&relay),
        stream: "cam",
        program: relay,
        encoder: Some("vp8"),
    };
    (source, server)
}

fn aiortc(env: &TestEnv) -> Option<Server> {
    let server = env.launch("aiortc", python()?);
    let server = server
        .flags(&script("webrtc_server.py").display().to_string())
        .start();
    let line = server.wait_for_line("listening ").text;
    let port = line.rsplit(' ').next()?.trim().parse().ok()?;
    Some(Server {
        name: "aiortc",
        site: Site(SocketAddr::from(([127, 0, 0, 1], port))),
        stream: "ball",
        program: server,
        encoder: None,
    })
}

fn measure_all(server: &Server, peers: &[usize], length: Duration) {
    let rows: Vec<Row> = peers
        .iter()
        .map(|&count| measure(server, count, length))
        .collect();
    let ends = rows.first().zip(rows.last());
    let each = ends
        .filter(|(few, many)| many.peers > few.peers)
        .map(|(few, many)| (many.sending - few.sending) / (many.peers - few.peers) as f64);

    for Row {
        peers,
        encoding,
        sending,
        fps,
    } in &rows
    {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let last = if Some(*peers) == rows.last().map(|row| row.peers) {
            each
        } else {
            None
        };
        println!(
            "{:<9} {peers:>6} {:>9} {:>9} {:>9} {fps:>9.1}",
            server.name,
            percent(*encoding),
            percent(*sending),
            last.map(percent).unwrap_or_default(),
        );
        println!(
            "{}",
            json!({ "bench": "webrtc", "server": server.name, "peers": peers, "encoding": encoding, "sending": sending, "each": last, "fps": fps })
        );
    }
}

fn measure(server: &Server, count: usize, length: Duration) -> Row {
    let peers = LightPeers::join(server.site, server.stream, count);
    peers.wait_frames(WARM_UP);
    let (before, begun) = (peers.frames(), clock::now());
    let spent = spent(server);
    pause(length);
    let now = self::spent(server);
    let seconds = clock::now().saturating_since(begun).as_secs_f64();

    let came = peers
        .frames()
        .into_iter()
        .zip(before)
        .map(|(now, before)| now - before);
    let share =
        |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / seconds;
    Row {
        peers: count,
        encoding: share(now.0, spent.0),
        sending: share(now.1, spent.1),
        fps: came.min().unwrap_or_default() as f64 / seconds,
    }
}

/// What encoding took so far, and what sending took; without an encoder of its own all is sending.
fn spent(server: &Server) -> (Duration, Duration) {
    let Some(pid) = server.program.pid() else {
        return Default::default();
    };
    match server.encoder {
        Some(encoder) => (
            threads_cpu(pid, |name| name == encoder),
            threads_cpu(pid, |name| name == "webrtc"),
        ),
        None => {
            let all = Usage::of(pid).map(|usage| usage.cpu);
            (Duration::ZERO, all.unwrap_or_default())
        }
    }
}
