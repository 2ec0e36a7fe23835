//! The Debian packages: what lintian says, and how they come, change and go on a host that runs systemd.

pub(crate) mod debian;
mod documents;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use debian::{Debian, run};
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};

/// How many watch while programs change.
const SCREENS: usize = 20;

pub(crate) const OLD: &str = "0.1.0+1";
const NEW: &str = "0.1.0+2";

const PROGRAMS: [&str; 5] = ["source", "relay", "viewer", "load", "gif"];

/// The packages of both versions, made once from the programs of the tests.
fn packages() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let relay = TestEnv::new().program("relay");
        let programs = relay.binary().parent().unwrap();
        let manuals = folder.path().join("manuals");
        run(Command::new(programs.join("examples/manuals")).arg(&manuals));

        run(Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/debian/build"
        ))
        .arg(programs)
        .arg(&manuals)
        .arg(OLD)
        .arg(folder.path().join(OLD))
        // What is thrown away need not be small.
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "0")
        .env("XZ_OPT", "-0"));

        fs::create_dir(folder.path().join(NEW)).unwrap();
        for package in debs(&folder.path().join(OLD)) {
            repack(&package, folder.path());
        }

        folder
    })
    .path()
}

/// Whether there can be a Debian; if not it is said aloud.
pub(crate) fn possible() -> bool {
    let missing = |tool| Command::new(tool).arg("--version").output().is_err();
    let possible = rustix::process::geteuid().is_root() && !missing("mmdebstrap");
    if !possible {
        skip("a Debian to install packages in takes root and mmdebstrap");
    }

    possible
}

/// A host with the packages of both versions in /root; none, said aloud, where that cannot be.
fn host() -> Option<Debian> {
    if !possible() {
        return None;
    }

    let debian = Debian::boot();
    for version in [OLD, NEW] {
        let folder = debian.path("root").join(version);
        fs::create_dir(&folder).unwrap();
        for package in built(version) {
            fs::copy(&package, folder.join(package.file_name().unwrap())).unwrap();
        }
    }

    Some(debian)
}

/// Makes the new version of an old package, with the same files.
fn repack(package: &Path, folder: &Path) {
    let root = tempfile::tempdir_in(folder).unwrap();
    let unpacked = root.path().join("package");
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .args([package, &unpacked]));

    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    fs::write(&control, text.replace(OLD, NEW)).unwrap();
    let name = package.file_name().unwrap().to_str().unwrap();
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .arg(&unpacked)
        .arg(folder.join(NEW).join(name.replace(OLD, NEW))));
}

pub(crate) fn built(version: &str) -> Vec<PathBuf> {
    let debs = debs(&packages().join(version));
    assert_eq!(debs.len(), 5, "{debs:?}");
    debs
}

fn debs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|end| end == "deb"))
        .collect()
}

/// A source and a second relay beside the one that the package starts.
fn start_source_and_second_relay(host: &Debian) {
    let file = host.path("etc/fanlight/fanlight.toml");
    let shipped = fs::read_to_string(&file).unwrap();
    let sections = "[source.hall]\ninput = \"ball\"\nsize = \"320x180\"\nrate = 10\n\
                    [relay.second]\nlisten = \"5005\"\n";
    fs::write(file, shipped + sections).unwrap();
    host.sh("fanlight-relay check-config /etc/fanlight/fanlight.toml");
    host.sh("systemctl daemon-reload && systemctl --all reload-or-restart 'fanlight-*'");
    for port in ["5004", "5005"] {
        until("the relay lists the stream", SOON, || {
            let list = host.command(&format!("fanlight-viewer --relay 127.0.0.1:{port} --list"));
            let said = { list }.output().unwrap().stdout;
            String::from_utf8_lossy(&said)
                .contains("hall")
                .then_some(())
        });
    }
}

fn process_of(host: &Debian, unit: &str) -> String {
    host.sh(&format!("systemctl show --value --property MainPID {unit}"))
}

#[test]
fn lintian_finds_no_error_in_the_packages() {
    if Command::new("lintian").arg("--version").output().is_err() {
        return skip("lintian is not installed");
    }

    run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .args(built(OLD)));
}

/// An archive whose name ends so, after a look at its checksum.
fn archive(end: &str) -> PathBuf {
    let folder = packages().join(OLD);
    let archive = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|file| file.to_string_lossy().ends_with(end))
        .unwrap();

    run(Command::new("sha256sum")
        .args(["--check", "--strict"])
        .arg(format!("{}.sha256", archive.display()))
        .current_dir(&folder));

    archive
}

#[test]
fn the_archive_has_its_checksum_and_every_program() {
    let listed = run(Command::new("tar").arg("-tf").arg(archive("64.tar.xz")));
    for program in PROGRAMS {
        for file in ["bin/fanlight-", "share/man/man1/fanlight-"] {
            assert!(listed.contains(&format!("{file}{program}")), "{listed}");
        }
    }
}

#[test]
fn lines_of_each_stripped_program_are_found_by_its_build_id() {
    let folder = tempfile::tempdir().unwrap();
    for end in ["64.tar.xz", "64-symbols.tar.xz"] {
        run(Command::new("tar")
            .args(["--strip-components", "1", "-xf"])
            .arg(archive(end))
            .current_dir(&folder));
    }

    for program in PROGRAMS {
        let program = folder.path().join("usr/bin/fanlight-".to_owned() + program);
        let readelf = |file: &Path| {
            let words = ["--wide", "--notes", "--sections"];
            run(Command::new("readelf").args(words).arg(file))
        };
        let stripped = readelf(&program);
        assert!(!stripped.contains(".debug_line"), "{stripped}");

        let (_, id) = stripped.split_once("Build ID: ").unwrap();
        let (first, rest) = id.split_whitespace().next().unwrap().split_at(2);
        let symbols = format!("usr/lib/debug/.build-id/{first}/{rest}.debug");
        let symbols = readelf(&folder.path().join(symbols));
        assert!(symbols.contains(".debug_line"), "{symbols}");
    }
}

/// The unit that records a stream does so, within what it may.
fn record_by_unit(host: &Debian, stream: &str) {
    let unit = format!("fanlight-record@{stream}");
    host.sh(&format!("systemctl start {unit}"));
    until("there is a film", SOON, || {
        let folder = format!("/var/lib/fanlight-record/{stream}");
        let large = host.command(&format!("find {folder}/ -name '{stream}-*.mkv' -size +8k"));
        (!{ large }.output().unwrap().stdout.is_empty()).then_some(())
    });
    host.sh(&format!("systemctl stop {unit}"));
}

/// Starts a viewer of both relays, and has it write what it showed into a file of its own.
fn start_screen(host: &Debian, number: usize) -> Child {
    host.command(&format!(
        "echo $$ >/root/viewer-{number}.pid; exec fanlight-viewer --relay 127.0.0.1:5004 --relay 127.0.0.1:5005 \
         --stream hall --headless --report /root/report-{number}.json"
    ))
    .stdout(Stdio::null())
    .spawn()
    .unwrap()
}

/// Asserts that a screen was live from its first frame to its end, and lost none.
fn assert_never_blank(report: &str) {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let states = report["link_states"].as_array().unwrap();
    let live = states.iter().position(|state| state["state"] == "live");
    assert_eq!(live, Some(states.len() - 1), "live to the end: {report}");
    for reason in ["away", "link", "incomplete"] {
        assert_eq!(report["frames"]["lost"][reason], 0, "{report}");
    }
    assert!(report["frames"]["shown"].as_u64().unwrap() > 30, "{report}");
}

#[test]
fn twenty_screens_with_two_relays_lose_no_frame_by_a_reload_and_an_upgrade() {
    let Some(host) = host() else { return };
    host.sh(&format!("dpkg --install /root/{OLD}/*.deb"));
    start_source_and_second_relay(&host);
    let units = [
        "fanlight-relay@main",
        "fanlight-relay@second",
        "fanlight-source@hall",
    ];
    let before = units.map(|unit| process_of(&host, unit));
    record_by_unit(&host, "hall");

    let viewers: Vec<_> = (0..SCREENS)
        .map(|number| start_screen(&host, number))
        .collect();
    let joined = |relays: usize| {
        until("the relays have the viewers", SOON, || {
            let said = host.sh("systemctl show --property StatusText 'fanlight-relay@*'");
            let all = format!("={SCREENS} viewers");
            (said.matches(&all).count() == relays).then_some(())
        });
    };

    joined(2);
    host.sh("sed -i 's/^rate = 10$/&\\noverlay = true/' /etc/fanlight/fanlight.toml");
    host.sh("printf 'max_viewers = 50\\n# ours\\n' >>/etc/fanlight/fanlight.toml");
    host.sh("systemctl reload 'fanlight-*'");
    for unit in ["fanlight-source@hall", "fanlight-relay@second"] {
        until("the journal has the reload", SOON, || {
            let said = host.sh(&format!("journalctl --no-pager --unit {unit}"));
            said.contains("reload: changed by").then_some(())
        });
    }
    assert_eq!(units.map(|unit| process_of(&host, unit)), before);

    host.sh(&format!("dpkg --install /root/{NEW}/*.deb"));
    joined(2);
    host.sh("kill -TERM $(cat /root/viewer-*.pid)");
    for (number, viewer) in viewers.into_iter().enumerate() {
        let ended = { viewer }.wait().unwrap();
        assert!(ended.success());
        let report = host.path(&format!("root/report-{number}.json"));
        assert_never_blank(&fs::read_to_string(report).unwrap());
    }

    for (unit, before) in units.iter().zip(before) {
        assert_ne!(process_of(&host, unit), before, "{unit} is the old program");
        host.sh(&format!("systemctl is-active {unit}"));
    }

    host.sh("grep -q '# ours' /etc/fanlight/fanlight.toml");
}

#[test]
fn a_purge_leaves_nothing() {
    let Some(host) = host() else { return };
    let all = "find / -xdev -path /root -prune -o -path /var/log -prune -o -path /var/lib/dpkg -prune -o -path /var/cache \
               -prune -o -path '/var/lib/systemd' -prune -o -name '*-' -prune -o -print | sort";
    let before = host.sh(all);
    let users = host.sh("cat /etc/passwd /etc/group");

    host.sh(&format!("dpkg --install /root/{OLD}/*.deb"));
    start_source_and_second_relay(&host);
    host.sh("dpkg --purge fanlight fanlight-source fanlight-relay fanlight-viewer fanlight-common");

    assert_eq!(host.sh(all), before);
    let left = host.sh("cat /etc/passwd /etc/group");
    assert_eq!(left, users);
    assert!(
        !host
            .sh("systemctl list-units --all 'fanlight*'")
            .contains("fanlight")
    );
}

#[test]
fn a_relay_that_was_taken_can_neither_signal_a_source_nor_replace_its_socket() {
    let Some(host) = host() else { return };
    host.sh(&format!("dpkg --install /root/{OLD}/*.deb"));
    start_source_and_second_relay(&host);
    let source = process_of(&host, "fanlight-source@hall");
    let as_relay = |line: &str| {
        host.command(&format!(
            "setpriv --reuid fanlight-relay --regid fanlight-relay --groups $(getent group fanlight | cut -d: -f3) {line}"
        ))
        .status()
        .unwrap()
        .success()
    };

    let socket = host.sh("find /run/fanlight -type s");
    let socket = socket.trim();
    assert!(as_relay(&format!("test -w {socket}")), "it may connect");
    assert!(
        !host
            .command(&format!(
                "setpriv --reuid fanlight-relay --regid fanlight-relay --clear-groups test -w {socket}"
            ))
            .status()
            .unwrap()
            .success(),
        "others may not"
    );

    let relay = process_of(&host, "fanlight-relay@main");
    let user = |process: &str| host.sh(&format!("stat -c %U /proc/{}", process.trim()));
    let users = [&source, &relay].map(|process| user(process));
    assert_eq!(
        users.each_ref().map(|user| user.trim()),
        ["fanlight-source", "fanlight-relay"]
    );
    assert!(as_relay(&format!("sh -c 'kill -0 {}'", relay.trim())));
    assert!(!as_relay(&format!("sh -c 'kill -0 {}'", source.trim())));
    assert!(!as_relay(&format!("rm {socket}")));
    assert!(!as_relay(&format!("mv {socket} {socket}.old")));
    assert!(!as_relay("touch /run/fanlight/mine.ipc"));
}
