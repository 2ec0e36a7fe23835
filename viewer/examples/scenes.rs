//! A window that shows what it is told on standard input, line by line, and tells on standard output what came to the
//! screen:
//!
//! | line | |
//! |---|---|
//! | `picture NUMBER WIDTHxHEIGHT` | seven colour bars, answered by `presented NUMBER` |
//! | `message TITLE\|REASON` | words in place of a picture |
//! | `statistics TEXT` | what the `i` key shows |
//! | end of input | ends |
//!
//! `cargo run -p fanlight-viewer --example scenes -- [--full-screen] [--monitor NAME] [--snapshots FOLDER]`

use std::io::{BufRead, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use fanlight_proto::message::FrameId;
use fanlight_viewer::decode::Decoder;
use fanlight_viewer::scene::{Scene, SceneSlot, Shown};
use fanlight_viewer::window::{self, Options};
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
    std::thread::spawn(move || {
        if let Err(error) = publish_lines(&teller) {
            eprintln!("{error:#}");
        }
        teller.close();
    });

    window::run(&options, &scenes, &mut |id, _| {
        let mut out = std::io::stdout().lock();
        // Whoever started this may have stopped listening.
        let _ = writeln!(out, "presented {}", id.number).and_then(|()| out.flush());
    })?;

    Ok(())
}

fn options() -> anyhow::Result<Options> {
    let (title, snapshots) = ("Fanlight".into(), ".".into());
    let mut options = Options {
        title,
        full_screen: false,
        monitor: None,
        snapshots,
        figures: false,
    };

    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full-screen" => options.full_screen = true,
            "--figures" => options.figures = true,
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

fn publish_lines(scenes: &SceneSlot) -> anyhow::Result<()> {
    let mut decoder = Decoder::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("picture", words)) => {
                let _ = scenes.publish(Scene::Picture(shown(words, scenes, &mut decoder)?));
            }
            Some(("message", words)) => {
                let (title, reason) = words.split_once('|').context("a message is TITLE|REASON")?;
                scenes.publish(Scene::Message {
                    title: title.into(),
                    reason: reason.into(),
                });
            }
            Some(("statistics", words)) => scenes.set_statistics(words.replace("; ", "\n")),
            _ => bail!("not understood: {line}"),
        }
    }

    Ok(())
}

fn shown(words: &str, scenes: &SceneSlot, decoder: &mut Decoder) -> anyhow::Result<Shown> {
    let (number, size) = words
        .split_once(' ')
        .context("a picture is NUMBER WIDTHxHEIGHT")?;
    let (width, height) = size.split_once('x').context("a size is WIDTHxHEIGHT")?;
    let jpeg = bars(width.parse()?, height.parse()?)?;
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
        jpeg: jpeg.into(),
    })
}

fn bars(width: usize, height: usize) -> anyhow::Result<Vec<u8>> {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| BARS[i % width * BARS.len() / width])
        .collect();
    let image = Image {
        pixels: &pixels[..],
        width,
        pitch: 3 * width,
        height,
        format: PixelFormat::RGB,
    };

    Ok(Compressor::new()?.compress_to_vec(image)?)
}
