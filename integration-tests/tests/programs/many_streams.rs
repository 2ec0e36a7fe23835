//! Many streams at one relay: what each costs does not grow with their number.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::light_viewers::{self, LightViewers};
use fanlight_tests::promise::Alone;
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{SOON, pause};
use fanlight_tests::{TestEnv, jpeg};

/// What a light viewer's socket holds, in bytes.
const BUFFER: usize = 256 << 10;

/// At a hundred streams one may cost so much more of the processor than at ten.
const DEARER: f64 = 1.3;

/// The relay's memory for each stream of 25 kB frames with a viewer, in bytes: some frames for repairs, and a thread.
const MEMORY: u64 = 1 << 20;

/// What a relay uses.
struct Cost {
    /// Processor time for a frame of a stream.
    frame: Duration,
    threads: usize,
    memory: u64,
}

/// A relay with so many sources, and a viewer of each.
fn relay_with(streams: usize, fps: u32) -> Cost {
    let interval = Duration::from_secs(1) / fps;
    let picture = jpeg::numbered(1, 480, 320);
    let name = |at: usize| format!("cam{at}");
    let sources: Vec<_> = (0..streams)
        .map(|at| FakeSource::every(interval, &name(at), None, picture.clone()))
        .collect();
    let endpoints: Vec<_> = sources.iter().map(FakeSource::endpoint).collect();

    let env = TestEnv::new();
    let relay = env.relay(0, &endpoints).ready();
    let each = (0..streams).map(|at| (light_viewers::socket(Some(BUFFER)), name(at)));
    let viewers = LightViewers::join_each(each.collect(), env.relay_address(0), interval);
    viewers.wait_served(SOON);
    pause(Duration::from_secs(1));

    let pid = relay.pid().unwrap();
    let before = threads_cpu(pid, |_| true);
    let began = clock::now();
    pause(Duration::from_secs(3));
    let cpu = threads_cpu(pid, |_| true) - before;
    let frames = clock::now().saturating_since(began).as_secs_f64() * f64::from(fps);
    let usage = relay.usage();
    let cost = Cost {
        frame: cpu.div_f64(frames * streams as f64),
        threads: usage.threads,
        memory: usage.private,
    };
    eprintln!(
        "measured: {streams} streams of {} bytes at {fps} fps with a viewer each: {:.2} % of a processor, {:.1?} a frame, \
         {} threads, {} KiB",
        picture.len(),
        100.0 * cpu.as_secs_f64() * f64::from(fps) / frames,
        cost.frame,
        cost.threads,
        cost.memory / 1024
    );
    cost
}

#[test]
#[ignore = "./dev promises"]
fn a_stream_costs_no_more_at_a_hundred_than_at_ten() {
    Alone::wait().judge("a hundred streams at one relay", |measurement| {
        relay_with(1, 30);
        relay_with(32, 30);
        let few = relay_with(10, 5);
        let many = relay_with(100, 5);

        let dearer = many.frame.as_secs_f64() / few.frame.as_secs_f64();
        measurement.compare(
            "processor time a frame, at 100 streams beside 10",
            format!("<= {DEARER}"),
            format!("{dearer:.2}"),
            format!("{:.1?}", few.frame),
            dearer <= DEARER,
        );

        let threads = many.threads - few.threads;
        measurement.compare(
            "threads for 90 streams more",
            "<= 90",
            threads.to_string(),
            format!("{} at 10", few.threads),
            threads <= 90,
        );

        let memory = many.memory.saturating_sub(few.memory) / 90;
        measurement.compare(
            "memory for each",
            format!("<= {MEMORY} bytes"),
            format!("{memory} bytes"),
            format!("{} at 10", few.memory),
            memory <= MEMORY,
        );
    });
}
