//! Pictures of other people's encoders, good and damaged, by files and by pipe, through source and relay to a viewer without
//! a window, to a window and to the page: what each shows, and what it says. The table is docs/foreign-jpegs.md; `camera` adds
//! what a webcam sends.

mod camera;
mod look;
mod rows;

use std::path::Path;
use std::time::Duration;

use fanlight_tests::browser::{Browser, Look};
use fanlight_tests::http::Site;
use fanlight_tests::wait::{Deadline, SOON, pause};
use fanlight_tests::{TestEnv, python, skip};

use super::window::display::Display;
use look::{Entrance, Seen};
use rows::Row;

/// Between two looks at all surfaces.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Both inputs, as streams are called.
const INPUTS: [&str; 2] = ["files", "pipe"];

#[test]
fn each_foreign_jpeg_is_shown_as_it_is_or_every_surface_names_what_is_wrong_with_it() {
    let Some(python) = python::python() else {
        return;
    };

    let (Some(browser), Some(display)) = (Browser::start(&[]), Display::single(320, 240)) else {
        return;
    };

    let env = TestEnv::new();
    let rows = match rows::make(&python, &env.path("made")) {
        Ok(rows) => rows,
        Err(missing) => return skip(&missing),
    };

    std::fs::create_dir(env.path("pictures")).unwrap();
    show(&env, &rows[0]);
    let other = Display::single(320, 240).expect("there was one a moment ago");
    let relay = env
        .relay(0, &INPUTS.map(|input| env.ipc(input)))
        .flag("http", format!("{}:0", env.relay_address(0).ip()))
        .ready();

    let site = Site::of(&relay);
    let page = browser.open(&site.url("/#files,pipe"), &Look::default());
    let entrances = [
        Entrance::open(&env, INPUTS[0], display),
        Entrance::open(&env, INPUTS[1], other),
    ];

    let mut table = rows::Table::new(env.directory());

    go_through(&rows.iter().collect::<Vec<_>>(), &mut table, |row| {
        show(&env, row);
        settled(row, || look::all(&entrances, &site, &page, row))
    });
    table.write(rows::Part::Files);
}

/// Shows each row by `show`, which waits until it is told truly, and adds what was seen to the table.
fn go_through(rows: &[&Row], table: &mut rows::Table, show: impl Fn(&Row) -> Vec<Seen>) {
    let good = rows.iter().find(|row| row.grid.is_some()).unwrap();
    for row in rows {
        table.add(row, &show(row));
        // Else the next reason could be this one's, still.
        if row.grid.is_none() {
            show(good);
        }
    }
}

/// Puts the picture of `row` where both inputs read it.
fn show(env: &TestEnv, row: &Row) {
    let next = env.path("next");
    std::fs::copy(&row.file, &next).unwrap();
    std::fs::rename(next, picture(env.directory())).unwrap();
}

/// Where the picture is that both inputs read.
fn picture(folder: &Path) -> std::path::PathBuf {
    folder.join("pictures/picture.jpg")
}

/// Looks until no surface of any input lies about `row`.
#[track_caller]
fn settled(row: &Row, look: impl Fn() -> Vec<Seen>) -> Vec<Seen> {
    let deadline = Deadline::after(SOON);
    loop {
        let seen = look();
        let lies: Vec<String> = seen.iter().flat_map(|seen| seen.lies(row)).collect();
        if lies.is_empty() {
            return seen;
        }

        assert!(
            !deadline.is_over(),
            "{} by {}: {lies:#?}",
            row.name,
            row.maker
        );
        pause(LOOK_INTERVAL);
    }
}
