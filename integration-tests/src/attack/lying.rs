//! Attacks by what a program asked for itself: a camera's pictures, and a relay's words.

use std::net::UdpSocket;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{Accept, Group, Pulse, State, Status, StreamInfo};

use super::{Outcome, PATIENCE, Scale, beside, shows, source};
use crate::wait::{SOON, pause, until};
use crate::{TestEnv, jpeg};

/// Good pictures before and after each one that is made to take minutes.
const GOOD: u64 = 10;

/// Datagrams of the lying relay in a burst, and the pause after it: 20 000 a second.
const BURST: usize = 100;
const BURST_PAUSE: Duration = Duration::from_millis(5);

/// Lines that a viewer may say about its start, its relay and its end.
const FEW_LINES: usize = 20;

/// A picture of 390 000 scans between good ones, in a pipe whose pictures are scaled: the good ones must be shown, and the
/// source must end when told.
pub(super) fn scans(scale: Scale) -> Outcome {
    let env = TestEnv::new();
    let film = env.path("film.mjpeg");
    let good = |from| (from..from + GOOD).map(|number| jpeg::numbered(number, 640, 480));
    let pictures = good(0)
        .chain([jpeg::of_scans(640, 480, 390_000)])
        .chain(good(GOOD));
    let written = std::fs::write(&film, pictures.collect::<Vec<_>>().concat());
    written.expect("a test may write to its directory");

    let command = format!("while cat {}; do sleep 0.2; done", film.display());
    let attacked = env
        .source("bad")
        .flags("--input pipe --scale 0.5")
        .flag("command", command)
        .ready();

    let _source = source(&env, "cam");
    let _relay = env.relay(0, &[env.ipc("bad"), env.ipc("cam")]).ready();
    let [direct, victim] =
        ["cam", "bad"].map(|stream| env.viewer(env.relay_address(0), stream).start());
    let shown = shows(&victim, scale.pick(10, 50)).is_some() && shows(&direct, 10).is_some();

    let asked = clock::now();
    attacked.signal(rustix::process::Signal::TERM);
    let exit = attacked.wait_exit(PATIENCE);
    let took = exit.time.saturating_since(asked);
    let (report, _) = victim.finish();
    Outcome {
        now: format!(
            "{} of the good pictures shown, ended {took:.1?} after SIGTERM",
            report.frames.shown
        ),
        honest: beside(direct),
        held: shown && exit.code() == Some(0),
    }
}

/// Lets each viewer in and then names one of two groups in each PULSE, as fast as it can, as long as the process lasts.
fn alternate_groups(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut out = Vec::new();
        let mut session = 0;
        let status = Status {
            state: State::Live as i32,
            epoch: 1,
            ..Status::default()
        };

        while let Ok((length, viewer)) = socket.recv_from(&mut buffer) {
            let Ok(ToRelay::Join(join)) = ToRelay::parse(&buffer[..length]) else {
                continue;
            };

            session += 1;
            let stream = StreamInfo {
                name: "cam".into(),
                alias: 1,
                epoch: 1,
                status: Some(status.clone()),
                ..StreamInfo::default()
            };

            ToViewer::Accept(Accept {
                nonce: join.nonce,
                session,
                stream: Some(stream),
                ..Accept::default()
            })
            .encode(&mut out);
            let _ = socket.send_to(&out, viewer);

            for number in 0..1_000_000_u32 {
                let group = Group {
                    address: 0xef00_0001 + number % 2,
                    port: 5004,
                };
                let pulse = Pulse {
                    status: Some(status.clone()),
                    group: Some(group),
                    ..Pulse::default()
                };
                ToViewer::Pulse(session, pulse).encode(&mut out);
                // The viewer may be gone.
                let _ = socket.send_to(&out, viewer);
                if (number as usize).is_multiple_of(BURST) {
                    pause(BURST_PAUSE);
                }
            }
        }
    });
}

/// How many lines a viewer of such a relay writes.
pub(super) fn log_flood(scale: Scale) -> Outcome {
    let env = TestEnv::new();
    let _source = source(&env, "cam");
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let direct = env.viewer(env.relay_address(0), "cam").start();
    let watched = shows(&direct, 10).is_some();

    let liar = env.relay_address(1);
    alternate_groups(UdpSocket::bind(liar).expect("the environment's address is free"));
    let victim = env.viewer(liar, "cam").start();
    until("the viewer runs", SOON, || {
        victim.program().log().matching(0, "fanlight-viewer").pop()
    });

    let seconds = scale.pick(4, 20);
    pause(Duration::from_secs(seconds));
    let said = victim.program().log().matching(0, "");
    let lines = said.iter().filter(|line| line.from == "err").count();
    let (report, _) = victim.finish();
    Outcome {
        now: format!(
            "{lines} lines in {seconds} s, {} datagrams of the liar taken",
            report.datagrams
        ),
        honest: beside(direct),
        held: watched && lines <= FEW_LINES + 2 * seconds as usize,
    }
}
