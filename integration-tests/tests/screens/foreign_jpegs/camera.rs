//! The pictures as a webcam's: by the kernel's driver in the virtual machine of the camera rig, through the source there and
//! everything behind it on this host. `./dev test-camera` runs it.

use std::collections::HashSet;

use fanlight_tests::TestEnv;
use fanlight_tests::browser::{Browser, Look};
use fanlight_tests::http::Site;
use fanlight_tests::{python, skip};

use super::super::window::display::Display;
use super::look::{self, Entrance};
use super::rows::{self, Row};
use super::{go_through, settled};
use guest::{Guest, share};

#[path = "../../programs/camera/guest.rs"]
mod guest;

/// The stream of the source in the machine.
const STREAM: &str = "cam";

#[test]
fn each_foreign_jpeg_of_a_webcam_is_shown_as_it_is_or_every_surface_names_what_is_wrong_with_it() {
    let Some(share) = share() else {
        return;
    };
    let Some(python) = python::python() else {
        return;
    };
    let (Some(browser), Some(display)) = (Browser::start(&[]), Display::single(320, 240)) else {
        return;
    };

    let env = TestEnv::new();
    let folder = share.join("foreign");
    let _ = std::fs::remove_dir_all(&folder);
    let rows = match rows::make(&python, &folder) {
        Ok(rows) => rows,
        Err(missing) => return skip(&missing),
    };

    let mut guest = Guest::boot().expect("there is a rig");
    guest.plug();
    guest.source("--size 640x360 --rate 15 --canary off");
    let relay = env
        .relay(0, &[guest.endpoint()])
        .flag("http", format!("{}:0", env.relay_address(0).ip()))
        .ready();

    let site = Site::of(&relay);
    let page = browser.open(&site.url("/#cam"), &Look::default());
    let source = (guest.endpoint(), None);
    let entrances = [Entrance::watch(&env, STREAM, source, display)];
    let guest = std::cell::RefCell::new(guest);
    let mut table = rows::Table::new(env.directory());

    go_through(&one_of_each(&rows), &mut table, |row| {
        let name = row.file.file_name().unwrap().display();
        guest
            .borrow_mut()
            .webcam(&format!("picture /host/foreign/{name}"));
        settled(row, || look::all(&entrances, &site, &page, row))
    });
    table.write(rows::Part::Camera);
}

/// The first row of each name.
fn one_of_each(rows: &[Row]) -> Vec<&Row> {
    let mut names = HashSet::new();
    rows.iter().filter(|row| names.insert(&row.name)).collect()
}
