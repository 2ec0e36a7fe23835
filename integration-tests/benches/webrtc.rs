//! What WebRTC clients cost a relay: a ball of 640x480 pixels at 30 fps to some number of them, beside servers of others.
//!
//! `./dev bench webrtc [--peers 1,10,20] [--seconds 8] [--quick]`. Clients take the video and decode nothing; only what the server's
//! threads spend counts, as a share of a core. `each` is what one more client costs, from the fewest to the most.
//!
//! | server | |
//! |---|---|
//! | `fanlight` | one encoder for all; it is in the column `encoding`, and the sending to clients in `sending` |
//! | `aiortc` | an encoder for each client, in the same process: all of it is in `sending` |
//! | `mediamtx` | MediaMTX at the path in `FANLIGHT_MEDIAMTX`; ffmpeg encodes for it, once for all |
//! | `go2rtc` | go2rtc at the path in `FANLIGHT_GO2RTC`; as `mediamtx` |

mod whep_servers;

use std::error::Error;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::TestEnv;
use fanlight_tests::flags::Flags;
use fanlight_tests::light_peers::LightPeers;
use fanlight_tests::wait::pause;
use serde_json::json;

use whep_servers::Server;

const PEERS: [usize; 3] = [1, 10, 20];
const SECONDS: usize = 8;

/// Frames of each client before anything is measured.
const WARM_UP: u64 = 30;

/// Parts of a core, and frames a second of the client that had fewest.
struct Row {
    peers: usize,
    encoding: f64,
    sending: f64,
    fps: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read(&["--peers", "--seconds"], &[])?;
    let peers = flags.numbers("--peers", &PEERS)?;
    let usual = if flags.is_quick() { 1 } else { SECONDS };
    let seconds = flags.number("--seconds", usual)? as u64;

    println!("server     peers  encoding   sending      each       fps");
    let env = TestEnv::new();
    for (name, start) in whep_servers::ALL {
        // One at a time: each ends here.
        match start(&env) {
            Ok(server) => measure_all(name, &server, &peers, Duration::from_secs(seconds)),
            Err(missing) => println!("{name:<9} not measured: {missing}"),
        }
    }
    Ok(())
}

fn measure_all(name: &str, server: &Server, peers: &[usize], length: Duration) {
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
            name,
            percent(*encoding),
            percent(*sending),
            last.map(percent).unwrap_or_default(),
        );
        println!(
            "{}",
            json!({ "bench": "webrtc", "server": name, "peers": peers, "encoding": encoding, "sending": sending, "each": last, "fps": fps })
        );
    }
}

fn measure(server: &Server, count: usize, length: Duration) -> Row {
    let peers = LightPeers::join_at(server.site, &server.path, count);
    peers.wait_frames(WARM_UP);
    let (before, begun) = (peers.frames(), clock::now());
    let spent = server.spent();
    pause(length);
    let now = server.spent();
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
