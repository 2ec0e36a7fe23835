//! How long a frame takes through the relay: from the moment it is there to its last datagram being with the kernel.
//!
//! `./dev bench latency [--viewers 1,10,128] [--frames 300] [--quick]`. Wall-clock time, here, because it is what a
//! viewer feels: 30 frames a second over loopback, as a camera sends them, each viewer's socket read when the frame is
//! out. In turn with each frame of the relay the bare loop of `raw/mod.rs` sends the same number of bytes; the ratio is
//! of medians. `relay-sealed` makes and sends parity and seals everything. Beside it the CPU time of the same work: what
//! is longer than that was waiting for a processor that others had.

mod engine_harness;
mod measure;
mod raw;
mod sample;
mod serving;

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use engine_harness::{EngineHarness, Service, as_fan};
use fanlight_daemon::clock;
use fanlight_proto::limits::MAX_DATAGRAM;
use fanlight_relay::udp::{Socket, bind};
use fanlight_tests::flags::Flags;
use measure::{cpu_nanos, median};
use raw::Table;
use sample::PICTURE;
use serving::Serving;
use tokio::runtime::Runtime;

const VIEWERS: [usize; 3] = [1, 10, 128];

const FRAMES: usize = 300;

/// Frames where it only matters that it runs.
const QUICK_FRAMES: usize = 10;

/// Between two frames.
const FRAME_TIME: Duration = Duration::from_millis(33);

/// What a socket keeps until it is read: a frame several times over.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Datagrams of the bare loop's trains.
const TRAIN: usize = 54;

/// What the relay does, and what it and the bare loop are called then.
const SERVICES: [(Service, &str, &str); 2] = [
    (Service::OPEN, "relay", "raw"),
    (
        Service {
            parity: true,
            sealed: true,
        },
        "relay-sealed",
        "raw-sealed",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read(&["--viewers", "--frames"], &[])?;
    let viewers = flags.numbers("--viewers", &VIEWERS)?;
    let usual = if flags.is_quick() {
        QUICK_FRAMES
    } else {
        FRAMES
    };
    let frames = flags.number("--frames", usual)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut results = Vec::new();
    for count in viewers {
        results.extend(measure(&runtime, count, frames)?);
    }

    print(&results);
    Ok(())
}

/// What came out for one way of sending.
struct Outcome {
    viewers: usize,
    method: &'static str,
    /// Ascending.
    times: Vec<Duration>,
    /// Thread CPU time at the median, in nanoseconds.
    cpu: f64,
    /// What the bare loop took at the median.
    raw: Duration,
}

/// One way to send a frame.
struct Way<'a> {
    name: &'static str,
    against: &'static str,
    send: Box<dyn FnMut() + 'a>,
    times: Vec<Duration>,
    /// The thread CPU time of each frame, in nanoseconds.
    cpu: Vec<f64>,
}

fn measure(
    runtime: &Runtime,
    viewers: usize,
    frames: usize,
) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let receivers = (0..viewers)
        .map(|_| receiver())
        .collect::<io::Result<Vec<_>>>()?;
    let addresses = receivers
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<io::Result<Vec<_>>>()?;

    let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let relay = runtime.block_on(async { Socket::new(bound) })?;
    let plain = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let mut ways = Vec::new();

    for (service, name, raw_name) in SERVICES {
        ways.extend(of_service(
            runtime,
            &relay,
            &plain,
            service,
            &addresses,
            [name, raw_name],
        ));
    }

    let pause = FRAME_TIME / u32::try_from(ways.len())?;
    // The first frame warms up.
    for frame in 0..=frames {
        for way in &mut ways {
            runtime.block_on(async { tokio::time::sleep(pause).await });
            way.send_one(frame > 0);
            receivers.iter().for_each(empty);
        }
    }

    Ok(outcomes(viewers, ways))
}

impl Way<'_> {
    /// Sends a frame and notes what it took, if that counts.
    fn send_one(&mut self, counts: bool) {
        let start = clock::now();
        let cpu = cpu_nanos();
        (self.send)();
        let time = clock::now().saturating_since(start);
        let cpu = cpu_nanos() - cpu;

        if counts {
            self.times.push(time);
            self.cpu.push(cpu as f64);
        }
    }
}

/// The relay doing `service`, and the bare loop that sends as much.
fn of_service<'a>(
    runtime: &'a Runtime,
    relay: &'a Socket,
    plain: &'a UdpSocket,
    service: Service,
    addresses: &[SocketAddr],
    [name, raw_name]: [&'static str; 2],
) -> [Way<'a>; 2] {
    let (mut engine_harness, _) = EngineHarness::open(service, addresses, PICTURE);
    let mut fans = Vec::new();
    engine_harness.frame(|output| fans.extend(as_fan(output)));
    let fan = fans.pop().expect("viewers wait for each frame");
    let count = fan.packets.shards() + fan.targets[0].parity;
    let expected = u64::from(count) * addresses.len() as u64;
    let mut table = Table::new(
        fan.packets.datagrams(0..count).to_vec(),
        fan.packets.stride(),
        TRAIN,
        addresses,
    );

    let mut serving = Serving::new(runtime, relay, engine_harness);
    let ours = move || {
        assert_eq!(
            serving.frame(),
            expected,
            "the relay gives no frame up on loopback"
        );
    };

    let bare = move || {
        table
            .send(plain.as_fd())
            .expect("loopback takes what is sent");
    };

    [
        Way {
            name,
            against: raw_name,
            send: Box::new(ours),
            times: Vec::new(),
            cpu: Vec::new(),
        },
        Way {
            name: raw_name,
            against: raw_name,
            send: Box::new(bare),
            times: Vec::new(),
            cpu: Vec::new(),
        },
    ]
}

fn outcomes(viewers: usize, mut ways: Vec<Way<'_>>) -> Vec<Outcome> {
    ways.iter_mut().for_each(|way| way.times.sort());
    let medians: Vec<_> = ways
        .iter()
        .map(|way| (way.name, share(&way.times, 50)))
        .collect();

    let time_of = |name| {
        medians
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Duration::ZERO, |(_, time)| *time)
    };

    let outcome = |way: Way<'_>| {
        let cpu = median(way.cpu).unwrap_or_default();
        Outcome {
            viewers,
            method: way.name,
            raw: time_of(way.against),
            times: way.times,
            cpu,
        }
    };

    ways.into_iter().map(outcome).collect()
}

/// The time that so many in a hundred do not exceed.
fn share(times: &[Duration], percent: usize) -> Duration {
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn print(outcomes: &[Outcome]) {
    println!(
        "{:>7} {:<14} {:>10} {:>10} {:>10} {:>7} {:>10}",
        "viewers", "", "p50, ms", "p95, ms", "p99, ms", "to raw", "CPU, ms"
    );

    let mut lines = Vec::new();
    for Outcome {
        viewers,
        method,
        times,
        cpu,
        raw,
    } in outcomes
    {
        let [p50, p95, p99] = [50, 95, 99].map(|percent| share(times, percent).as_secs_f64() * 1e3);
        let ratio = share(times, 50).as_secs_f64() / raw.as_secs_f64();
        let cpu = cpu / 1e6;
        println!(
            "{viewers:>7} {method:<14} {p50:>10.3} {p95:>10.3} {p99:>10.3} {ratio:>7.2} {cpu:>10.3}"
        );
        lines.push(format!(
            r#"{{"bench":"latency","rig":"loopback","viewers":{viewers},"method":"{method}","p50_ms":{p50:.3},"p95_ms":{p95:.3},"p99_ms":{p99:.3},"ratio_to_raw":{ratio:.3},"cpu_p50_ms":{cpu:.3}}}"#
        ));
    }

    println!();
    lines.iter().for_each(|line| println!("{line}"));
}

fn receiver() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn empty(socket: &UdpSocket) {
    let mut buffer = [0; MAX_DATAGRAM];
    while socket.recv(&mut buffer).is_ok() {}
}
