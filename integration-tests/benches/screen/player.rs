//! The players, and what they play.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::jpeg::numbered;
use fanlight_tests::program::Program;
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{SOON, until};

use crate::{Cell, Failure, RATE, SCREEN, Size};

/// Different pictures, shown again and again.
const PICTURES: u64 = 8;

/// Seconds of the film: longer than a measurement.
const SECONDS: &str = "30";

/// The same JPEGs as files and, untouched, in a film.
pub(crate) struct Film {
    pictures: PathBuf,
    file: PathBuf,
}

impl Film {
    pub(crate) fn write(folder: &Path, (width, height): Size) -> io::Result<Self> {
        let pictures = folder.join("pictures");
        std::fs::create_dir(&pictures)?;
        for number in 0..PICTURES {
            let jpeg = numbered(number, width, height);
            std::fs::write(pictures.join(format!("{number:03}.jpg")), jpeg)?;
        }

        let file = folder.join("film.mkv");
        let rate = RATE.to_string();
        let made = Command::new("ffmpeg")
            .args([
                "-loglevel",
                "error",
                "-framerate",
                &rate,
                "-loop",
                "1",
                "-i",
            ])
            .arg(pictures.join("%03d.jpg"))
            .args(["-c", "copy", "-t", SECONDS])
            .arg(&file)
            .stdin(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other("ffmpeg makes no film of the pictures"));
        }
        Ok(Self { pictures, file })
    }
}

/// Who shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Player {
    /// fanlight-viewer.
    Fanlight,
    /// mpv by X11, without a graphics card.
    Mpv,
    /// ffplay by SDL's own renderer.
    Ffplay,
}

impl Player {
    /// The first is what is compared with the better of the others.
    pub(crate) const ALL: [Self; 3] = [Self::Fanlight, Self::Mpv, Self::Ffplay];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fanlight => "fanlight",
            Self::Mpv => "mpv",
            Self::Ffplay => "ffplay",
        }
    }

    /// Starts it. Who shows one stream only has a window for each tile of a grid.
    pub(crate) fn start(self, cell: &Cell, film: &Film, display: &str) -> Result<Running, Failure> {
        if self == Self::Fanlight {
            return Ok(fanlight(cell, film, display));
        }

        let size = (cell.frame.0 / cell.columns, cell.frame.1 / cell.columns);
        let places = (0..cell.columns.pow(2))
            .map(|tile| (tile % cell.columns * size.0, tile / cell.columns * size.1));
        let mut processes = Vec::new();
        for place in places {
            let mut child = self
                .command(size, place)
                .arg(&film.file)
                .env("DISPLAY", display)
                .env_remove("WAYLAND_DISPLAY")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            // What is not read would hold it up.
            let position = Arc::default();
            follow(child.stdout.take(), &position);
            follow(child.stderr.take(), &position);
            processes.push(Foreign { child, position });
        }
        Ok(Running::Others(processes))
    }

    fn command(self, (width, height): Size, (left, top): Size) -> Command {
        let mut command = Command::new(self.name());
        if self == Self::Mpv {
            let geometry = format!("--geometry={width}x{height}+{left}+{top}");
            command.args([
                "--term-status-msg= at ${=time-pos} ",
                "--framedrop=no",
                "--no-config",
                "--vo=x11",
                "--no-audio",
                "--no-border",
                &geometry,
            ]);
            return command;
        }

        let words = [
            ("-x", width),
            ("-y", height),
            ("-left", left),
            ("-top", top),
        ];
        for (word, number) in words {
            command.arg(word).arg(number.to_string());
        }
        // By the clock of the pictures: else it names the time that has passed, also while it falls behind.
        command.args(["-stats", "-noframedrop", "-an", "-noborder"]);
        command.args(["-sync", "video"]);
        command.env("SDL_RENDER_DRIVER", "software");
        command
    }
}

/// A process of somebody else's program, killed with this value.
pub(crate) struct Foreign {
    child: Child,
    /// In milliseconds of the film, none of whose frames it leaves out.
    position: Arc<AtomicU64>,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a player says, and keeps what it last said of its position: `at 1.23 ` or `1.23 M-V:`.
fn follow(said: Option<impl Read + Send + 'static>, position: &Arc<AtomicU64>) {
    let Some(mut said) = said else { return };
    let position = Arc::clone(position);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = said.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            let words: Vec<&str> = text.split_whitespace().collect();
            let seconds = words.windows(2).rev().find_map(|pair| match pair {
                ["at", seconds] | [seconds, "M-V:"] => seconds.parse::<f64>().ok(),
                _ => None,
            });
            if let Some(seconds) = seconds {
                position.store((seconds * 1e3) as u64, Relaxed);
            }
        }
    });
}

/// A player at work. It ends with this value.
pub(crate) enum Running {
    Fanlight {
        viewer: Box<Program>,
        relay: Site,
        _others: Vec<Program>,
        _env: TestEnv,
    },
    Others(Vec<Foreign>),
}

impl Running {
    /// Processor time that its threads have spent.
    pub(crate) fn cpu(&self) -> Duration {
        match self {
            Self::Fanlight { viewer, .. } => viewer
                .pid()
                .map_or(Duration::ZERO, |pid| threads_cpu(pid, |_| true)),
            Self::Others(processes) => {
                let spent = processes
                    .iter()
                    .map(|it| threads_cpu(it.child.id(), |_| true));
                spent.sum()
            }
        }
    }

    /// Frames shown so far, of all tiles.
    pub(crate) fn shown(&self) -> f64 {
        match self {
            Self::Fanlight { relay, .. } => told(relay),
            Self::Others(processes) => {
                let positions = processes.iter().map(|it| it.position.load(Relaxed));
                positions.sum::<u64>() as f64 / 1e3 * f64::from(RATE)
            }
        }
    }
}

/// The frames that a viewer shows, as it has just told its relay, which it does each second. Each tile does so by itself, always
/// so long after the first.
fn told(relay: &Site) -> f64 {
    let frames = || -> Vec<f64> {
        let answer = relay.get("/api/viewers").json();
        let mut tiles: Vec<_> = answer["viewers"].as_array().into_iter().flatten().collect();
        tiles.sort_by_key(|tile| tile["stream"].to_string());
        let frames = tiles.iter().map(|tile| tile["frames"].as_f64());
        frames.map(Option::unwrap_or_default).collect()
    };
    let before = frames();
    if before.is_empty() {
        return 0.0;
    }

    let frames = until("the viewer's next report", SOON, || {
        let frames = frames();
        (frames.first() > before.first()).then_some(frames)
    });
    frames.into_iter().sum()
}

fn fanlight(cell: &Cell, film: &Film, display: &str) -> Running {
    let env = TestEnv::new();
    let streams: Vec<String> = (0..cell.columns.pow(2))
        .map(|it| format!("cam{it}"))
        .collect();
    let source = |stream: &String| {
        env.source(stream)
            .flags("--input files")
            .flag("path", &film.pictures)
            .flag("rate", RATE.to_string())
            .ready()
    };
    let mut others: Vec<Program> = streams.iter().map(source).collect();
    let endpoints: Vec<String> = streams.iter().map(|stream| env.ipc(stream)).collect();
    let relay = env.relay(0, &endpoints).flags("--http 127.0.0.1:0").ready();
    let site = Site::of(&relay);
    others.push(relay);

    let mut viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .env("DISPLAY", display)
        .env("WAYLAND_DISPLAY", "");
    for stream in &streams {
        viewer = viewer.flag("stream", stream);
    }
    if cell.columns > 1 {
        viewer = viewer.flag("grid", format!("{0}x{0}", cell.columns));
    }
    viewer = if cell.frame == SCREEN {
        viewer.flags("--fullscreen")
    } else {
        viewer.flag("window", format!("{}x{}+0+0", cell.frame.0, cell.frame.1))
    };
    Running::Fanlight {
        viewer: Box::new(viewer.start()),
        relay: site,
        _others: others,
        _env: env,
    }
}
