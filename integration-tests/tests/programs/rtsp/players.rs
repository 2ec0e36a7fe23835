//! Players that show what they decoded: the pictures are those of the source by their colours.

use std::fs;
use std::process::Command;

use fanlight_tests::python::{python, script};
use serde::Deserialize;
use turbojpeg::{PixelFormat, Subsamp};

use super::{Fixture, HEIGHT, WIDTH, assert_decodes_to, compressed, kinds, run};

/// Pictures that each player shows: each of the files comes a few times.
const SHOWN: usize = 24;

/// By how much a mean of a colour may differ: players convert colours each in its own way.
const COLOUR_ERROR: f64 = 3.0;

/// A picture as a player shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    size: [usize; 2],
    /// Of red, green and blue.
    mean: [f64; 3],
}

impl Shown {
    fn of(jpeg: &[u8]) -> Self {
        let image = turbojpeg::decompress(jpeg, PixelFormat::RGB).unwrap();
        let pixels = image.pixels.as_chunks::<3>().0;
        let mean = [0, 1, 2].map(|colour| {
            let sum: f64 = pixels.iter().map(|pixel| f64::from(pixel[colour])).sum();
            sum / pixels.len() as f64
        });
        Self {
            size: [image.width, image.height],
            mean,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let colours = self.mean.iter().zip(other.mean);
        self.size == other.size
            && colours
                .into_iter()
                .all(|(a, b)| (a - b).abs() < COLOUR_ERROR)
    }
}

/// Asserts that each of `shown` is one of `files`, and that each of these was shown.
#[track_caller]
fn assert_shows(files: &[Vec<u8>], shown: &[Shown], what: &str) {
    let files: Vec<_> = files.iter().map(|jpeg| Shown::of(jpeg)).collect();
    for seen in shown {
        let known = files.iter().any(|file| file.is_like(seen));
        assert!(known, "{what}: {seen:?} is none of {files:?}");
    }
    for file in &files {
        let came = shown.iter().any(|seen| seen.is_like(file));
        assert!(came, "{what}: {file:?} was not shown");
    }
}

/// Every kind of JPEG, and pictures of one colour, which players do not take for others.
fn colours() -> Vec<Vec<u8>> {
    let mut files = kinds();
    files.push(plain([200, 40, 40], (WIDTH, HEIGHT)));
    files.push(plain([40, 40, 200], (WIDTH, HEIGHT)));
    files
}

/// A picture of one colour.
fn plain(colour: [u8; 3], size: (usize, usize)) -> Vec<u8> {
    let pixels = colour.repeat(size.0 * size.1);
    compressed(&pixels, size, Subsamp::Sub2x2, false)
}

#[test]
fn opencv_shows_the_pictures_over_tcp_and_udp() {
    let Some(python) = python() else { return };
    let files = colours();
    let fixture = Fixture::of(&files, "");
    for transport in ["tcp", "udp"] {
        let output = Command::new(&python)
            .arg(script("rtsp_opencv.py"))
            .args([&fixture.url(), transport, &SHOWN.to_string()])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{transport}: {words}");

        let lines = String::from_utf8(output.stdout).unwrap();
        let shown: Vec<Shown> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(shown.len(), SHOWN);
        assert_shows(&files, &shown, transport);
    }
}

#[test]
fn mpv_shows_the_pictures_over_tcp_and_udp() {
    let files = colours();
    let fixture = Fixture::of(&files, "");
    for transport in ["tcp", "udp"] {
        let folder = fixture.env.path(transport);
        let ran = run(
            Command::new("mpv")
                .args([
                    "--no-config",
                    "--no-audio",
                    "--profile=low-latency",
                    "--untimed",
                ])
                .args([
                    "--vo=image",
                    "--vo-image-format=jpg",
                    "--vo-image-jpeg-quality=95",
                ])
                .arg(format!("--vo-image-outdir={}", folder.display()))
                .arg(format!("--rtsp-transport={transport}"))
                .arg(format!("--frames={SHOWN}"))
                .arg(fixture.url()),
            &fixture.env.path("mpv.log"),
        );
        if !ran {
            return;
        }

        let shown: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| Shown::of(&fs::read(entry.unwrap().path()).unwrap()))
            .collect();
        assert_shows(&files, &shown, transport);
    }
}

#[test]
fn ffmpeg_follows_a_stream_that_changes_its_size() {
    let sizes = [(WIDTH, HEIGHT), (WIDTH / 2, HEIGHT), (16, 16)];
    let files = sizes.map(|size| plain([200, 40, 40], size));
    let fixture = Fixture::of(&files, "");
    let folder = fixture.env.path("sizes");
    fs::create_dir(&folder).unwrap();
    let ran = run(
        Command::new("ffmpeg")
            .args(["-loglevel", "error", "-rtsp_transport", "tcp", "-i"])
            .arg(fixture.url())
            .args(["-frames:v", "10", "-c", "copy", "-f", "image2"])
            .arg(folder.join("%d.jpg")),
        &fixture.env.path("ffmpeg.log"),
    );
    if ran {
        assert_decodes_to(&files, &folder, "two sizes");
    }
}
