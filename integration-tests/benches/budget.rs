//! Where the time of a frame goes: the stages of its way from the camera to the screen as a viewer reports them, and beside
//! each the least that it could take on this machine, measured in the same run.
//!
//! `./dev bench budget [--frames 300] [--sizes 100000,…] [--quick]`. Wall-clock time, medians, one source, one relay and one viewer without a
//! window, 30 frames a second of about 100 kB. Between two frames all wait, so that each stage begins with waking up, for the
//! programs and for what they are compared with. Then the same for the way from publisher to last shard alone, by the size
//! of the frame: a comment in the JPEG makes it large, so that decoding takes no longer. There the limit is measured twice: with
//! a receiver that only reads, and with one that checks what it reads and puts it together, as any viewer must. And what the
//! relay's threads cost for each frame, beside the thread in the middle of the bare loop.

mod bare_loop;
mod measure;
mod raw;

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bare_loop::{Reading, transit};
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_tests::TestEnv;
use fanlight_tests::flags::Flags;
use fanlight_tests::jpeg::numbered;
use fanlight_tests::program::Launch;
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{SOON, pause};
use measure::median;
use serde_json::Value;
use turbojpeg::{Decompressor, Image, PixelFormat};

const FRAMES: usize = 300;

/// Frames where it only matters that it runs.
const QUICK_FRAMES: usize = 15;

/// Width and height: with the noise in them, such pictures have about 100 kB.
const SIZE: (u32, u32) = (1104, 624);

/// Frames a second.
const RATE: usize = 30;

/// Sizes of frames, in bytes: around the 256 datagrams where a pause once began, and up to what is taken by default.
const SIZES: [usize; 6] = [100_000, 290_000, 330_000, 909_000, 3_100_000, 16_000_000];

/// Frames of each size: more than twice those of the two seconds in which a relay still sends a new viewer little.
const SIZED_FRAMES: usize = 150;

/// Bytes a second at most, for large frames come less often.
const BYTES_PER_SECOND: usize = 100_000_000;

/// What a segment of comment holds, its own length included (ITU-T T.81, B.2.4.5).
const MAX_SEGMENT: usize = 65_535;

/// How often the programs are started together.
const STARTS: usize = 10;

/// How much longer than its frames a viewer runs.
const MARGIN: Duration = Duration::from_secs(1);

/// What was seen of a source, a relay and a viewer.
struct Watched {
    /// The viewer's.
    report: Value,
    /// Microseconds of processor time that the relay spent for each frame that was shown, all its threads together.
    relay_cpu: f64,
}

/// One stage of a frame's way.
struct BudgetRow {
    /// As the report calls it.
    name: &'static str,
    what: &'static str,
    limit_is: &'static str,
    /// Microseconds, none where the stage does nothing that must be done.
    limit: Option<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read(&["--frames", "--sizes"], &[])?;
    let usual = if flags.is_quick() {
        QUICK_FRAMES
    } else {
        FRAMES
    };
    let frames = flags.number("--frames", usual)?;
    let sizes = flags.numbers("--sizes", &SIZES)?;

    let jpeg = &numbered(0, SIZE.0, SIZE.1);
    let ours = watch(jpeg, frames, RATE)?;
    let bare = transit(frames, jpeg, frame_time(RATE), Reading::Bare)?;
    let starts = (0..STARTS)
        .map(|_| first_picture(jpeg))
        .collect::<io::Result<_>>()?;

    let stages = [
        BudgetRow {
            name: "prepare",
            what: "capture to publisher",
            limit_is: "memcpy",
            limit: spaced(frames, || drop(black_box(jpeg.clone()))),
        },
        BudgetRow {
            name: "transit",
            what: "publisher, relay, to the last shard",
            limit_is: "unix socket, sendmmsg of prepared trains, recv; 2 threads woken",
            limit: bare.time,
        },
        BudgetRow {
            name: "wait",
            what: "to the decoder's thread",
            limit_is: "channel; 1 thread woken",
            limit: hand_over(frames),
        },
        BudgetRow {
            name: "decode",
            what: "JPEG to pixels",
            limit_is: "libjpeg-turbo into memory that is there",
            limit: decode(frames, jpeg)?,
        },
        BudgetRow {
            name: "present",
            what: "to who shows it",
            limit_is: "nothing: there is no window",
            limit: None,
        },
    ];

    print(&stages, &ours.report, jpeg.len())?;
    print_relay(ours.relay_cpu, bare.relay_cpu);
    print_start(starts);
    print_sizes(jpeg, &sizes, frames.min(SIZED_FRAMES))
}

/// The same picture in so many bytes, by comments behind SOI.
fn padded(jpeg: &[u8], bytes: usize) -> Vec<u8> {
    let mut padded = jpeg[..2].to_vec();
    let mut missing = bytes.saturating_sub(jpeg.len());

    while missing > 4 {
        let length = (missing - 2).min(MAX_SEGMENT);
        padded.extend([0xff, 0xfe]);
        padded.extend((length as u16).to_be_bytes());
        padded.resize(padded.len() + length - 2, b' ');
        missing -= length + 2;
    }

    padded.extend(&jpeg[2..]);
    padded
}

/// From publisher to last shard beside the bare loop, by the size of the frame.
fn print_sizes(jpeg: &[u8], sizes: &[usize], frames: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "\n{:>9} {:>5} {:>8} {:>8} {:>6} {:>11} {:>6}  frames lost: ours, with the same reader",
        "bytes", "rate", "transit", "limit", "ratio", "same reader", "ratio"
    );
    let mut lines = Vec::new();
    for &bytes in sizes {
        let large = padded(jpeg, bytes);
        let rate = (BYTES_PER_SECOND / bytes).clamp(2, RATE);
        let report = watch(&large, frames, rate)?.report;
        let ours = stage_us(&report, "transit")?;
        let lost = &report["frames"]["lost"]["total"];
        let bare = transit(frames, &large, frame_time(rate), Reading::Bare)?;
        let same_reader = transit(frames, &large, frame_time(rate), Reading::Viewer)?;
        let ratio = |limit: Option<f64>| limit.map_or(0.0, |limit| ours / limit);
        let to_limit = ratio(bare.time);
        let to_same = ratio(same_reader.time);
        let limit = bare.time.unwrap_or_default();
        let same = same_reader.time.unwrap_or_default();
        let lost_same = same_reader.lost;
        println!(
            "{bytes:>9} {rate:>5} {ours:>8.0} {limit:>8.0} {to_limit:>6.2} {same:>11.0} {to_same:>6.2}  {lost}, {lost_same}"
        );
        lines.push(format!(
            r#"{{"bench":"budget","stage":"transit","bytes":{bytes},"us":{ours:.0},"limit_us":{limit:.0},"ratio":{to_limit:.2},"same_reader_us":{same:.0},"ratio_same_reader":{to_same:.2},"lost":{lost}}}"#
        ));
    }

    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// What a viewer says of a stage, in microseconds.
fn stage_us(report: &Value, stage: &str) -> Result<f64, Box<dyn Error>> {
    let median = report["stages_ms"][stage].as_f64();
    Ok(median.ok_or("the viewer reports no time of a stage")? * 1e3)
}

/// Between two frames.
fn frame_time(rate: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(rate).expect("a rate is a small number")
}

/// A source of this picture.
fn source(env: &TestEnv, jpeg: &[u8], rate: usize) -> io::Result<Launch> {
    let folder = env.path("pictures");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("0.jpg"), jpeg)?;
    let source = env.source("camera").flags("--input files");
    let source = source.flag("rate", rate.to_string());
    Ok(source.flag("path", &folder))
}

/// Microseconds from the start of all three programs to the first picture.
fn first_picture(jpeg: &[u8]) -> io::Result<f64> {
    let env = TestEnv::new();
    let source = source(&env, jpeg, RATE)?;
    let relay = env.relay(0, &[env.ipc("camera")]);
    let viewer = env.viewer(env.relay_address(0), "camera");

    let began = clock::now();
    let _programs = [source.start(), relay.start()];
    let viewer = viewer.start();
    let shown = viewer.wait_shown_after(began, SOON);
    Ok(micros(shown.at.saturating_since(began)))
}

/// Lets a viewer show so many frames.
fn watch(jpeg: &[u8], frames: usize, rate: usize) -> Result<Watched, Box<dyn Error>> {
    let env = TestEnv::new();
    let _source = source(&env, jpeg, rate)?.ready();
    let relay = env.relay(0, &[env.ipc("camera")]).ready();
    let pid = relay.pid().ok_or("the relay has ended")?;

    let file = env.path("report.json");
    let length = frame_time(rate) * u32::try_from(frames)? + MARGIN;
    let viewer = env
        .program("viewer")
        .flags("--headless --stream camera")
        .flag("relay", env.relay_address(0).to_string())
        .flag("duration", format!("{}ms", length.as_millis()))
        .flag("report", &file);
    let began = threads_cpu(pid, |_| true);
    let (exit, _viewer) = viewer.run();
    let spent = threads_cpu(pid, |_| true).saturating_sub(began);
    if exit.code() != Some(0) {
        return Err(format!("the viewer ended with {exit:?}").into());
    }

    let report: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let shown = report["frames"]["shown"].as_f64();
    let shown = shown.ok_or("the viewer reports no frames")?;
    Ok(Watched {
        report,
        relay_cpu: micros(spent) / shown.max(1.0),
    })
}

/// The median of what `work` takes, once a frame time, in microseconds.
fn spaced(frames: usize, mut work: impl FnMut()) -> Option<f64> {
    let mut times = Vec::with_capacity(frames);
    for _ in 0..frames {
        pause(frame_time(RATE));
        let began = clock::now();
        work();
        times.push(since(began));
    }

    median(times)
}

/// To a thread that sleeps until then.
fn hand_over(frames: usize) -> Option<f64> {
    let (to, from) = mpsc::channel::<Time>();
    let taking = thread::spawn(move || from.iter().map(since).collect());
    for _ in 0..frames {
        pause(frame_time(RATE));
        to.send(clock::now()).expect("the thread takes all of them");
    }

    drop(to);
    median(taking.join().expect("the thread does not panic"))
}

/// libjpeg-turbo alone.
fn decode(frames: usize, jpeg: &[u8]) -> Result<Option<f64>, Box<dyn Error>> {
    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(jpeg)?;
    let format = PixelFormat::BGRX;
    let pitch = header.width * format.size();
    let mut pixels = vec![0; pitch * header.height];
    let mut decoded = Ok(());

    let time = spaced(frames, || {
        let image = Image {
            pixels: &mut pixels[..],
            width: header.width,
            pitch,
            height: header.height,
            format,
        };
        if let Err(error) = decompressor.decompress(jpeg, image) {
            decoded = Err(error);
        }
    });

    decoded?;
    Ok(time)
}

fn print(stages: &[BudgetRow], report: &Value, bytes: usize) -> Result<(), Box<dyn Error>> {
    println!("frames of {bytes} bytes, microseconds, medians");
    println!("{:<9} {:>8} {:>8}", "stage", "ours", "limit");
    let mut limits = 0.0;
    let mut lines = Vec::new();

    for stage in stages {
        let ours = stage_us(report, stage.name)?;
        limits += stage.limit.unwrap_or_default();
        let limit = stage.limit.map_or("-".to_owned(), |us| format!("{us:.0}"));
        println!(
            "{:<9} {ours:>8.0} {limit:>8}  {}; limit: {}",
            stage.name, stage.what, stage.limit_is
        );
        lines.push(format!(
            r#"{{"bench":"budget","stage":"{}","us":{ours:.0},"limit_us":{:.0}}}"#,
            stage.name,
            stage.limit.unwrap_or_default()
        ));
    }

    let age = report["age_ms"]["p50"].as_f64();
    let age = age.ok_or("the viewer showed nothing")? * 1e3;
    println!(
        "{:<9} {age:>8.0} {limits:>8.0}  capture to shown, and all limits",
        "age"
    );
    lines.push(format!(
        r#"{{"bench":"budget","stage":"age","us":{age:.0},"limit_us":{limits:.0}}}"#
    ));
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn print_relay(ours: f64, bare: f64) {
    println!("the relay's processor time a frame: {ours:.0} us; of the bare loop: {bare:.0} us");
    println!(r#"{{"bench":"budget","stage":"relay_cpu","us":{ours:.0},"limit_us":{bare:.0}}}"#);
}

fn print_start(starts: Vec<f64>) {
    let worst = starts.iter().copied().fold(0.0, f64::max);
    let start = median(starts).unwrap_or_default();
    println!(
        "first picture after three programs are started together: {start:.0} us, at most {worst:.0}"
    );
    println!(r#"{{"bench":"budget","stage":"start","us":{start:.0},"worst_us":{worst:.0}}}"#);
}

fn since(time: Time) -> f64 {
    micros(clock::now().saturating_since(time))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
