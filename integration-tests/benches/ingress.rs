//! What it costs the relay to take frames from ZeroMQ: its upstream threads against a loop that only reads the same bytes
//! from the same kind of socket into one buffer.
//!
//! `./dev bench ingress`. Ratios of thread CPU time a frame within one run, medians of interleaved rounds; an absolute
//! time means nothing. `./dev bench ingress tcp 400000` measures only rows with these words. Frames and megabits a second are information: feeds and consumer share the machine. The last
//! rows are about a consumer that is slower than the feed: what it gets has to be the newest.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Arrival, EngineFeed, StreamTable};
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_relay::upstream::{FeedKeys, FeedbackQueue, Upstream};
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{Deadline, SOON, pause, until};
use fanlight_tests::zmtp::{greeting, ready, subscribe};

mod feed;
mod sample;
use feed::{Address, Feed, Frames, Rig, message};

/// Interleaved measurements of either side, of which the medians count.
const ROUNDS: usize = 5;

/// How long frames are counted as fast as they come.
const FULL_SPEED: Duration = Duration::from_millis(250);

/// How long frames are counted at a rate: some ten frames of each stream.
const AT_A_RATE: Duration = Duration::from_millis(600);

/// Between frames at a rate.
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 30);

/// Frames of each stream before counting begins.
const WARM_UP: u64 = 5;

/// What the raw loop reads into, and at most at a time.
const RAW_BUFFER: usize = 256 << 10;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();

    let folder = tempfile::tempdir()?;
    let mut lines = Vec::new();
    println!(
        "{:<4} {:>7} {:>11} {:>6} {:>13} {:>12} {:>6} {:>9} {:>9} {:>10}",
        "",
        "streams",
        "frame bytes",
        "rate",
        "relay, us",
        "raw, us",
        "ratio",
        "frames/s",
        "Mbit/s",
        "superseded"
    );

    for rig in [Rig::Ipc, Rig::Tcp] {
        for interval in [None, Some(INTERVAL)] {
            for bytes in [100_000, 400_000] {
                for streams in [1, 4, 16] {
                    let cell = Cell {
                        rig,
                        streams,
                        frames: Frames { bytes, interval },
                    };

                    if cell.is_wanted(&wanted) {
                        lines.push(cell.measure(folder.path())?);
                    }
                }
            }
        }
    }

    println!(
        "\na consumer that takes one frame each {INTERVAL:?}, and a feed as fast as it is taken"
    );
    for rig in [Rig::Ipc, Rig::Tcp] {
        if wanted.iter().all(|word| word == rig.name()) {
            lines.push(overload(rig, folder.path())?);
        }
    }

    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// A row.
#[derive(Clone, Copy)]
struct Cell {
    rig: Rig,
    streams: usize,
    frames: Frames,
}

/// What one side took within one measurement.
#[derive(Clone, Copy, Debug)]
struct Taken {
    cpu: Duration,
    frames: f64,
    length: Duration,
    /// Of the frames, those that gave way to newer ones before anybody took them.
    superseded: u64,
}

impl Taken {
    fn micros_per_frame(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.frames
    }

    fn frames_per_second(&self) -> f64 {
        self.frames / self.length.as_secs_f64()
    }
}

impl Cell {
    fn is_wanted(&self, words: &[String]) -> bool {
        let own = [
            self.rig.name(),
            self.rate(),
            &self.streams.to_string(),
            &self.frames.bytes.to_string(),
        ];
        words.iter().all(|word| own.contains(&word.as_str()))
    }

    const fn rate(&self) -> &'static str {
        if self.frames.interval.is_some() {
            "30"
        } else {
            "full"
        }
    }

    /// Prints the row; gives its JSON line.
    fn measure(&self, folder: &Path) -> Result<String, Failure> {
        let mut relay = Vec::new();
        let mut raw = Vec::new();

        for _ in 0..ROUNDS {
            // Feeds of their own for each measurement: what one left in a socket is not the next one's.
            let length = if self.frames.interval.is_some() {
                AT_A_RATE
            } else {
                FULL_SPEED
            };

            let folder = tempfile::tempdir_in(folder)?;
            let feeds = self.feeds(folder.path())?;
            raw.push(Raw::start(&feeds)?.measure(length, self.frames.bytes));
            relay.push(Relay::start(&feeds)?.measure(length));
        }

        let median = |taken: &[Taken], figure: fn(&Taken) -> f64| {
            let mut figures: Vec<f64> = taken.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };

        let [ours, theirs] = [&relay, &raw].map(|side| median(side, Taken::micros_per_frame));
        let frames = median(&relay, Taken::frames_per_second);
        let superseded = median(&relay, |taken| taken.superseded as f64 / taken.frames);
        let rig = self.rig.name();
        let streams = self.streams;
        let bytes = self.frames.bytes;
        let megabits = frames * bytes as f64 * 8e-6;
        let rate = self.rate();
        let ratio = ours / theirs;
        println!(
            "{rig:<4} {streams:>7} {bytes:>11} {rate:>6} {ours:>13.1} {theirs:>12.1} {ratio:>6.2} {frames:>9.0} {megabits:>9.0} {:>9.0}%",
            100.0 * superseded
        );

        Ok(format!(
            r#"{{"bench":"ingress","rig":"{rig}","streams":{streams},"frame_bytes":{bytes},"rate":"{rate}","ratio_to_raw":{ratio:.3},"frames_per_second":{frames:.0},"megabits":{megabits:.0},"superseded":{superseded:.3}}}"#
        ))
    }

    fn feeds(&self, folder: &Path) -> Result<Vec<Feed>, Failure> {
        let feeds =
            (0..self.streams).map(|number| Feed::start(self.rig, folder, number, self.frames));
        Ok(feeds.collect::<Result<_, _>>()?)
    }
}

/// The upstream threads of a relay, with the caller of [`measure`](Self::measure) as the event loop behind them.
struct Relay {
    feed: EngineFeed,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
    /// Of each stream, the newest frame taken.
    newest: Vec<Option<u64>>,
    taken: u64,
    superseded: u64,
}

impl Relay {
    fn start(feeds: &[Feed]) -> Result<Self, Failure> {
        let table = StreamTable::new(Duration::from_secs(1));
        let shutdown = Shutdown::new();
        let threads = feeds.iter().enumerate().map(|(origin, feed)| {
            let upstream = Upstream {
                origin,
                endpoint: feed
                    .address
                    .endpoint()
                    .parse()
                    .expect("a feed's address is an endpoint"),
                relay: "bench".to_owned(),
                streams: Vec::new(),
                max_frame_bytes: MAX_FRAME_BYTES,
                stale: Duration::from_secs(1),
                keys: tokio::sync::watch::channel(FeedKeys::default()).1,
                feedback: Arc::new(FeedbackQueue::new().expect("there are descriptors left")),
            };

            upstream.start(Arc::clone(&table), shutdown.clone())
        });

        Ok(Self {
            threads: threads.collect::<Result<_, _>>()?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            newest: vec![None; feeds.len()],
            feed: EngineFeed::new(table),
            shutdown,
            taken: 0,
            superseded: 0,
        })
    }

    fn measure(mut self, length: Duration) -> Taken {
        let warm = Deadline::after(SOON);
        while self
            .newest
            .iter()
            .any(|newest| newest.is_none_or(|number| number < WARM_UP))
        {
            assert!(!warm.is_over(), "a feed is not heard: {:?}", self.newest);
            self.take_for(Duration::from_millis(10));
        }

        self.taken = 0;
        self.superseded = 0;
        let before = self.frames();
        let began = clock::now();
        let cpu = Self::cpu();
        self.take_for(length);
        let frames = self.frames() - before;
        let length = clock::now().saturating_since(began);
        let cpu = Self::cpu() - cpu;
        assert_eq!(
            self.taken + self.superseded,
            frames,
            "each frame is taken or counted as superseded"
        );

        Taken {
            cpu,
            frames: frames as f64,
            length,
            superseded: self.superseded,
        }
    }

    fn take_for(&mut self, length: Duration) {
        let deadline = Deadline::after(length);
        while !deadline.is_over() {
            match self.feed.next_arrival(|_| false) {
                Some(arrival) => self.note(&arrival),
                None => {
                    self.feed.set_watched(|_| true);
                    let changed =
                        async { tokio::time::timeout(deadline.left(), self.feed.changed()).await };
                    // At the end there may be nothing more.
                    let _ = self.runtime.block_on(changed);
                }
            }
        }
    }

    fn note(&mut self, arrival: &Arrival) {
        self.newest[arrival.frame.origin] = Some(arrival.frame.id.number);
        self.taken += 1;
        self.superseded += arrival.superseded + arrival.unwatched;
    }

    fn frames(&self) -> u64 {
        self.newest.iter().flatten().sum()
    }

    fn cpu() -> Duration {
        threads_cpu(std::process::id(), |name| name.starts_with("source-"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.threads
            .drain(..)
            .for_each(|thread| thread.join().expect("an upstream thread does not panic"));
    }
}

/// Threads that read and do nothing else.
struct Raw {
    bytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Raw {
    fn start(feeds: &[Feed]) -> Result<Self, Failure> {
        let bytes = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let threads = feeds.iter().enumerate().map(|(number, feed)| {
            let address = feed.address.clone();
            let bytes = Arc::clone(&bytes);
            let over = Arc::clone(&over);
            let name = format!("raw-{number}");
            thread::Builder::new()
                .name(name)
                .spawn(move || read(&address, &bytes, &over))
        });

        let threads = threads.collect::<Result<_, _>>()?;
        Ok(Self {
            bytes,
            over,
            threads,
        })
    }

    fn measure(self, length: Duration, frame_bytes: usize) -> Taken {
        let parts = message("camera-00", 1 << 10, frame_bytes);
        let frame: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let count = || self.bytes.load(Ordering::Relaxed);
        let warm = self.threads.len() as u64 * WARM_UP * frame;
        until("the feeds are heard", SOON, || {
            (count() > warm).then_some(())
        });

        let cpu = || threads_cpu(std::process::id(), |name| name.starts_with("raw-"));
        let before = count();
        let began = clock::now();
        let spent = cpu();
        pause(length);
        let bytes = count() - before;
        let length = clock::now().saturating_since(began);
        let cpu = cpu() - spent;
        Taken {
            cpu,
            frames: bytes as f64 / frame as f64,
            length,
            superseded: 0,
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads
            .drain(..)
            .for_each(|thread| thread.join().expect("the raw loop does not panic"));
    }
}

fn read(address: &Address, bytes: &AtomicU64, over: &AtomicBool) {
    let mut stream = address.connect().expect("the feed listens");
    stream
        .write_all(&[greeting(), ready("SUB"), subscribe("")].concat())
        .expect("the feed is there");
    let mut buffer = vec![0; RAW_BUFFER];
    while !over.load(Ordering::Relaxed) {
        let count = stream.read(&mut buffer).expect("the feed is there");
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Prints how old the frames are that a slow consumer gets; gives the JSON line.
fn overload(rig: Rig, folder: &Path) -> Result<String, Failure> {
    let folder = tempfile::tempdir_in(folder)?;
    let cell = Cell {
        rig,
        streams: 1,
        frames: Frames {
            bytes: sample::PICTURE,
            interval: None,
        },
    };

    let feeds = cell.feeds(folder.path())?;
    let mut relay = Relay::start(&feeds)?;
    let mut ages = Vec::new();
    let mut first = None;

    while ages.len() < 90 {
        pause(INTERVAL);
        let now = clock::now();
        let Some(arrival) = relay.feed.next_arrival(|_| false) else {
            continue;
        };

        relay.note(&arrival);
        if first
            .replace(first.unwrap_or(arrival.frame.id.number))
            .is_none()
        {
            relay.taken = 0;
            relay.superseded = 0;
            continue;
        }

        assert!(
            relay
                .feed
                .next_arrival(|_| false)
                .is_none_or(|next| next.frame.id > arrival.frame.id),
            "one slot a stream"
        );

        ages.push(now.saturating_since(Time::from_nanos(arrival.frame.header.captured_ns)));
    }

    ages.sort_unstable();
    let [p50, p99] =
        [50, 99].map(|hundredths| ages[ages.len() * hundredths / 100].as_secs_f64() * 1e3);
    let given_way = relay.superseded as f64 / relay.taken as f64;
    println!(
        "{:<4} taken {}, superseded {} ({given_way:.0} for each), age when taken p50 {p50:.2} ms, p99 {p99:.2} ms",
        rig.name(),
        relay.taken,
        relay.superseded
    );

    Ok(format!(
        r#"{{"bench":"ingress","rig":"{}","case":"overload","superseded_per_frame":{given_way:.1},"age_p50_ms":{p50:.3},"age_p99_ms":{p99:.3}}}"#,
        rig.name()
    ))
}
