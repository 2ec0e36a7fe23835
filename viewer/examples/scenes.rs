//! A window that shows what it is told on standard input, line by line, and tells on standard output what came to the
//! screen:
//!
//! | line | |
//! |---|---|
//! | `picture NUMBER WIDTHxHEIGHT` | seven colour bars, answered by `presented NUMBER` |
//! | `flat NUMBER WIDTHxHEIGHT RRGGBB` | one colour, answered likewise |
//! | `card NUMBER` | the card of that reason in place of a picture |
//! | `message TITLE\|REASON\|ADVICE` | words in place of a picture |
//! | `identify now` | the name of the screen over the picture |
//! | `statistics TEXT` | what the `i` key shows, line by line between `;`, beside values for the other panels |
//! | end of input | ends |
//!
//! `cargo run -p fanlight-viewer --example scenes -- [--full-screen] [--monitor NAME] [--snapshots FOLDER]
//! [--overlay PANEL]... [--window WIDTHxHEIGHT+X+Y]`

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, NotShown, State, StreamName};
use fanlight_viewer::cover::{Announcement, Cover, CoverSlot};
use fanlight_viewer::decode::Decoder;
use fanlight_viewer::engine::LinkState;
use fanlight_viewer::overlay::Panel;
use fanlight_viewer::readings::Readings;
use fanlight_viewer::scene::{Card, Scene, SceneSlot, Shown};
use fanlight_viewer::view::View;
use fanlight_viewer::viewer::link_card::card;
use fanlight_viewer::window::{self, Handler, Options, Step, Tiling};
use turbojpeg::{Compressor, Image, PixelFormat};

const BARS: [[u8; 3]; 7] = [
    [235, 235, 235],
    [235, 235, 16],
    [16, 235, 235],
    [16, 235, 16],
    [235, 16, 235],
    [235, 16, 16],
    [16, 16, 235],
];

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let scenes = Arc::new(SceneSlot::new());
    let teller = Arc::clone(&scenes);
    let cover = Arc::clone(&options.cover);
    std::thread::spawn(move || {
        if let Err(error) = publish_lines(&teller, &cover) {
            eprintln!("{error:#}");
        }
        teller.close();
    });

    window::run(&options, &[scenes], &mut Printer)?;
    Ok(())
}

/// Tells on standard output what a window tells it.
struct Printer;

impl Printer {
    fn print(line: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever started this may have stopped listening.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl Handler for Printer {
    fn presented(&mut self, _tile: usize, id: FrameId, _at: Time) {
        Self::print(&format!("presented {}", id.number));
    }

    fn shows(&mut self, _tile: usize, _shown: Option<&Shown>, _by_hand: bool) {}

    fn follow(&mut self) -> Option<Tiling> {
        None
    }

    fn step(&mut self, _tile: usize, step: Step, _shown: Option<StreamName>) {
        Self::print(&format!("step {step:?}"));
    }
}

fn options() -> anyhow::Result<Options> {
    let (title, snapshots) = ("Fanlight".into(), ".".into());
    let mut options = Options {
        title,
        full_screen: false,
        monitor: None,
        snapshots,
        place: None,
        grid: (1, 1),
        view: View::default(),
        panels: Vec::new(),
        cover: Arc::default(),
    };

    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full-screen" => options.full_screen = true,
            "--window" => {
                let place = arguments.next().context("--window needs a place")?;
                options.place = Some(place.parse()?);
            }
            "--overlay" => {
                let panel = arguments.next().context("--overlay needs a panel")?;
                options
                    .panels
                    .push(Panel::from_str(&panel, true).map_err(anyhow::Error::msg)?);
            }
            "--monitor" => {
                options.monitor = Some(arguments.next().context("--monitor needs a name")?);
            }
            "--snapshots" => {
                options.snapshots = arguments
                    .next()
                    .context("--snapshots needs a folder")?
                    .into();
            }
            other => bail!("unknown argument {other}"),
        }
    }

    Ok(options)
}

fn publish_lines(scenes: &SceneSlot, cover: &CoverSlot) -> anyhow::Result<()> {
    let mut decoder = Decoder::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("picture", words)) => {
                let picture = shown(words, scenes, &mut decoder, bars)?;
                let _ = scenes.publish(Scene::Picture(picture));
            }
            Some(("flat", words)) => {
                let (words, colour) = words.rsplit_once(' ').context("flat has a colour")?;
                let colour = u32::from_str_radix(colour, 16)?.to_be_bytes();
                let pixel = [colour[1], colour[2], colour[3]];
                let picture = shown(words, scenes, &mut decoder, |width, height| {
                    jpeg(&pixel.repeat(width * height), width, height)
                })?;
                let _ = scenes.publish(Scene::Picture(picture));
            }
            Some(("card", number)) => {
                let reason = reasons().into_iter().nth(number.parse()?);
                let reason = reason.context("there is no such reason")?;
                let since = clock::now() - Duration::from_secs(187);
                scenes.publish(Scene::Message(card(&reason, "192.168.1.10:5004", since)));
            }
            Some(("message", words)) => {
                let mut words = words.split('|').map(str::to_owned);
                scenes.publish(Scene::Message(Card {
                    title: words.next().unwrap_or_default(),
                    reason: words.next().unwrap_or_default(),
                    advice: words.next().unwrap_or_default(),
                    since: clock::now(),
                }));
            }
            Some(("identify", _)) => cover.set(Cover {
                announcement: Some(Announcement::Identity),
                ..Cover::default()
            }),
            Some(("statistics", words)) => scenes.set_readings(readings(words)),
            _ => bail!("not understood: {line}"),
        }
    }

    Ok(())
}

/// All reasons for which a picture may be missing.
fn reasons() -> Vec<LinkState> {
    let camera = |state, reason: &str| LinkState::Camera {
        state,
        reason: reason.into(),
    };
    vec![
        LinkState::Connecting,
        LinkState::Unreachable("no route to host".into()),
        LinkState::OtherVersion,
        LinkState::NoStreams,
        LinkState::NoSuchStream {
            wanted: "lobby".into(),
            others: "gate, hall, yard".into(),
        },
        LinkState::OtherStream,
        LinkState::NoKey("the relay does not know this viewer's key"),
        LinkState::Rejected("what answers at ws://192.168.1.10:8080 is no relay: 404".into()),
        LinkState::Busy(Duration::from_secs(1)),
        camera(State::Idle, ""),
        camera(State::Stalled, "camera stalled: /dev/video0"),
        camera(State::Unplugged, "camera unplugged: /dev/video0"),
        camera(State::Busy, "camera busy: /dev/video0"),
        camera(State::WrongFormat, "/dev/video0 has no 1920x1080 at 60"),
        camera(State::Failed, "/dev/video0: input/output error"),
        camera(State::Ended, "the command ended with exit status 1"),
        LinkState::SourceGone,
        LinkState::NoFrames,
        LinkState::NotShown(NotShown::Display),
        LinkState::NotShown(NotShown::Damaged),
    ]
}

fn readings(statistics: &str) -> Readings {
    let tenths = |tenths: u64| Duration::from_micros(100 * tenths);
    Readings {
        name: "bars  live  14:05:23 UTC".into(),
        caption: "bars  live  5 ms".into(),
        statistics: statistics.replace("; ", "\n"),
        stages: [4, 2, 5, 7, 1, 21, 9].map(tenths),
        minute: (0..60).map(|second| tenths(40 + second * 7 % 23)).collect(),
        figures: "30.0 fps  age 4.7 ms\ncpu 12 %  mem 34 MiB  up 1:02:03".into(),
        stream: "bars".into(),
        screen: "Empfang Süd 3".into(),
        address: "192.168.1.20".into(),
    }
}

/// A picture whose NUMBER and WIDTHxHEIGHT `words` say, painted by `jpeg`.
fn shown(
    words: &str,
    scenes: &SceneSlot,
    decoder: &mut Decoder,
    jpeg: impl FnOnce(usize, usize) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Shown> {
    let (number, size) = words
        .split_once(' ')
        .context("a picture is NUMBER WIDTHxHEIGHT")?;
    let (width, height) = size.split_once('x').context("a size is WIDTHxHEIGHT")?;
    let jpeg = jpeg(width.parse()?, height.parse()?)?;
    let mut picture = scenes.spare();
    decoder.decode_for(&jpeg, scenes.target(), &mut picture)?;
    let id = FrameId {
        epoch: 1,
        number: number.parse()?,
    };

    Ok(Shown {
        stream: "bars".parse()?,
        id,
        picture,
        rate_millihertz: 30_000,
        jpeg: jpeg.into(),
    })
}

fn bars(width: usize, height: usize) -> anyhow::Result<Vec<u8>> {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| BARS[i % width * BARS.len() / width])
        .collect();
    jpeg(&pixels, width, height)
}

fn jpeg(pixels: &[u8], width: usize, height: usize) -> anyhow::Result<Vec<u8>> {
    let image = Image {
        pixels,
        width,
        pitch: 3 * width,
        height,
        format: PixelFormat::RGB,
    };

    Ok(Compressor::new()?.compress_to_vec(image)?)
}
