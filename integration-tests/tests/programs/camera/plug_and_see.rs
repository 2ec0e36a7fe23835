//! A machine of Debian with its systemd and udev, to which the packages come and then cameras.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::guest::{Machine, share};
use crate::packages::debian::{base, run};
use crate::packages::{OLD, built, possible};

/// What a person at the machine does: starts a viewer by the name of $1, looks whether it shows further pictures, waits for a
/// word in what it says or for the list of streams to have one more, and asks why that does not come.
const PERSON: &str = r#"
screen() { name=$1; shift; fanlight-viewer --headless --trace /tmp/$name.trace "$@" >/tmp/$name.log 2>&1 & }
count() { cat /tmp/$1.trace 2>/dev/null | wc -l; }
patiently() { for try in $(seq 300); do "$@" && return; sleep 0.2; done; why; return 1; }
why() { tail -n 20 /tmp/*.log; fanlight-viewer --list; journalctl --no-pager --lines 40 --unit 'fanlight-*'; }
more() { [ $(count $1) -ge $2 ]; }
shows() { patiently more $1 $(($(count $1) + 3)); }
says() { patiently grep -q "$2" /tmp/$1.log; }
"#;

/// A folder that the machine has as /host: Debian, our packages and a webcam.
fn host_folder(share: &Path) -> PathBuf {
    let folder = share.with_file_name("debian");
    // What a run before has left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("packages")).unwrap();
    for part in ["bin", "lib"] {
        run(Command::new("cp")
            .arg("--archive")
            .args([share.join(part), folder.join(part)]));
    }

    fs::hard_link(base(), folder.join("debian.tar")).unwrap();
    for package in built(OLD) {
        let file = package.file_name().unwrap();
        fs::copy(&package, folder.join("packages").join(file)).unwrap();
    }

    folder
}

// It takes a minute: with the measurements, where it has the machine for itself.
#[test]
#[ignore = "./dev promises"]
fn cameras_that_are_plugged_in_are_on_the_screens_of_a_box_that_has_nothing_but_the_packages() {
    let Some(share) = share() else { return };
    if !possible() {
        return;
    }

    let mut machine = Machine::boot(&host_folder(&share));
    machine.run("dpkg --install /host/packages/*.deb");
    for line in PERSON.trim().lines() {
        machine.run(line);
    }

    machine.run("screen wall; says wall 'the relay has no stream yet'");
    machine.plug();
    machine.run("shows wall");
    let said = machine.run("cat /tmp/wall.log");
    assert!(
        !said.contains("the kernel keeps"),
        "buffers are large enough from the start: {said}"
    );

    machine.run("plug_second");
    let named = machine.run("patiently test -e /dev/fanlight/rig_camera_1_2; ls /dev/fanlight");
    assert_eq!(named, "rig_camera_1_1\nrig_camera_1_2\n");
    machine.run("screen other --stream rig_camera_1_2; shows other");

    machine.webcam("unplug");
    machine.run("says wall 'source gone'");
    let units = "systemctl list-units --plain --no-legend --state=active 'fanlight-camera@*'";
    let left = machine.run(units);
    assert!(
        left.starts_with("fanlight-camera@rig_camera_1_2.service") && left.lines().count() == 1,
        "{left}"
    );

    machine.run("shows other");
    machine.run("plug; shows wall");
    let failed = machine.run("systemctl --failed --no-legend --plain");
    assert_eq!(failed, "");
}
