//! Fanlight's window beside mpv's and ffplay's: processor time for each frame shown, of the player and of the display server
//! that it gives its pictures to.
//!
//! `./dev bench screen`; with words only those rows that have them all: `./dev bench screen window 4K`. All show the same
//! JPEGs at 30 frames a second on one Xvfb of 1920x1080 pixels: the others from a file, Fanlight from its relay by UDP, which
//! is counted too. Each round measures every player in turn, and medians of rounds are compared: ratios within one run. The
//! others leave no frame out, and fall behind where they are too slow; what Fanlight leaves out is not counted. All rows take
//! ten minutes; a player that shows nothing within [`START`] ends it with an error.

use std::time::Duration;

use fanlight_tests::usage::threads_cpu;
use fanlight_tests::wait::{Deadline, pause};
use fanlight_tests::xvfb::Xvfb;

mod player;
use player::{Film, Player};

/// Interleaved measurements of each player.
const ROUNDS: usize = 3;

/// How long is counted at least, and what goes before it once there is a picture, which has to come within [`START`].
const LENGTH: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(20);

/// Frames a second.
const RATE: u32 = 30;

/// Width and height in pixels.
type Size = (u32, u32);

/// The display, and a window that does not fill it.
const SCREEN: Size = (1920, 1080);
const WINDOW: Size = (1280, 720);

const SIZES: [(&str, Size); 3] = [
    ("720p", (1280, 720)),
    ("1080p", (1920, 1080)),
    ("4K", (3840, 2160)),
];

/// What is shown.
struct Cell {
    layout: &'static str,
    pictures: &'static str,
    size: Size,
    /// Streams side by side, as many below each other.
    columns: u32,
    frame: Size,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = wanted.iter().any(|word| word == "--quick");
    wanted.retain(|word| !word.starts_with('-'));
    let rounds = if is_quick { 1 } else { ROUNDS };
    let display = Xvfb::start(SCREEN.0, SCREEN.1).ok_or("Xvfb is not installed")?;

    println!(
        "{:<11} {:<8} {:<9} {:>16} {:>12} {:>12} {:>20}",
        "",
        "pictures",
        "player",
        "player, ms/frame",
        "display, ms",
        "together, ms",
        "ours to the better"
    );
    let mut lines = Vec::new();
    for cell in cells() {
        let is_meant = |word: &String| [cell.layout, cell.pictures].contains(&word.as_str());
        if wanted.iter().all(is_meant) {
            lines.push(row(&cell, &display, rounds)?);
        }
    }

    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn cells() -> Vec<Cell> {
    let layout = |layout, frame| {
        SIZES.map(|(pictures, size)| Cell {
            layout,
            pictures,
            size,
            columns: 1,
            frame,
        })
    };
    let (pictures, size) = SIZES[0];
    let grid = Cell {
        layout: "grid",
        pictures,
        size,
        columns: 2,
        frame: SCREEN,
    };
    let mut cells = Vec::from(layout("window", WINDOW));
    cells.extend(layout("full", SCREEN));
    cells.push(grid);
    cells
}

/// What a frame costs, in seconds: the player and the display server.
type Costs = (f64, f64);

/// Prints a cell; gives its JSON line.
fn row(cell: &Cell, display: &Xvfb, rounds: usize) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    let film = Film::write(folder.path(), cell.size)?;
    let mut results = Player::ALL.map(|player| (player, Vec::new()));
    for round in 1..=rounds {
        for (player, costs) in &mut results {
            let Cell {
                layout, pictures, ..
            } = cell;
            eprintln!(
                "{layout} {pictures}: {}, {round} of {rounds}",
                player.name()
            );
            costs.push(measure(*player, cell, &film, display)?);
        }
    }

    let medians = results.map(|(player, costs)| (player, median(costs)));
    let together = medians.map(|(_, (player, display))| player + display);
    let better = together[1..].iter().copied().fold(f64::MAX, f64::min);
    let ratio = together[0] / better;
    let mut json = String::new();
    for ((player, (own, server)), together) in medians.iter().zip(together) {
        let name = player.name();
        let ratio = if *player == Player::Fanlight {
            format!("{ratio:.2}")
        } else {
            String::new()
        };
        println!(
            "{:<11} {:<8} {name:<9} {:>16.2} {:>12.2} {:>12.2} {ratio:>20}",
            cell.layout,
            cell.pictures,
            own * 1e3,
            server * 1e3,
            together * 1e3,
        );
        json += &format!(
            r#","{name}_ms":{:.3},"{name}_display_ms":{:.3}"#,
            own * 1e3,
            server * 1e3
        );
    }

    Ok(format!(
        r#"{{"bench":"screen","layout":"{}","pictures":"{}","ratio_to_better":{ratio:.3}{json}}}"#,
        cell.layout, cell.pictures
    ))
}

fn measure(player: Player, cell: &Cell, film: &Film, display: &Xvfb) -> Result<Costs, Failure> {
    let running = player.start(cell, film, display.name())?;
    let deadline = Deadline::after(START);
    while running.shown() == 0.0 {
        if deadline.is_over() {
            return Err(format!("{} shows nothing", player.name()).into());
        }
        pause(Duration::from_millis(100));
    }

    pause(WARM_UP);
    // Who shows is asked first: the answer may come with its next second.
    let sample = || {
        (
            running.shown(),
            running.cpu(),
            threads_cpu(display.pid(), |_| true),
        )
    };
    let before = sample();
    pause(LENGTH);
    let after = sample();
    let frames = after.0 - before.0;
    let cost = |before: Duration, after: Duration| (after - before).as_secs_f64() / frames;
    Ok((cost(before.1, after.1), cost(before.2, after.2)))
}

/// The costs whose sum is in the middle.
fn median(mut costs: Vec<Costs>) -> Costs {
    costs.sort_by(|one, other| (one.0 + one.1).total_cmp(&(other.0 + other.1)));
    costs[costs.len() / 2]
}
