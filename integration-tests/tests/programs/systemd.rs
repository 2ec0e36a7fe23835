//! The systemd units: understood without a complaint, and as locked up as promised (P26).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use fanlight_tests::skip;

/// Where the shipped units are.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd");

/// `systemd-analyze` and a copy of all units, whose programs are scripts in the same directory: the real ones need not
/// be installed where the units look for them.
struct Analyzed {
    dir: tempfile::TempDir,
}

impl Analyzed {
    /// None, said aloud, where the tool is missing.
    fn new() -> Option<Self> {
        if Command::new("systemd-analyze")
            .arg("--version")
            .output()
            .is_err()
        {
            skip("systemd-analyze is not installed");
            return None;
        }

        let dir = tempfile::tempdir().unwrap();
        for unit in units() {
            let text = fs::read_to_string(&unit).unwrap();
            let program = text
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart="))
                .unwrap()
                .split(' ')
                .next()
                .unwrap();

            let script = dir.path().join(program);
            fs::write(&script, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            let text = text.replace(
                "ExecStart=",
                &format!("ExecStart={}/", dir.path().display()),
            );

            fs::write(dir.path().join(unit.file_name().unwrap()), text).unwrap();
        }

        Some(Self { dir })
    }

    /// Whether the tool is content with a unit, and all that it says.
    fn analyze(&self, arguments: &[&str], unit: &OsStr) -> (bool, String) {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg("--no-pager")
            .arg(unit)
            .current_dir(self.dir.path())
            // The manager of a user wants one even to read units.
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap();

        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

fn units() -> Vec<PathBuf> {
    let entries = [
        Path::new(SHIPPED).to_owned(),
        Path::new(SHIPPED).join("user"),
    ]
    .map(|dir| fs::read_dir(dir).unwrap());

    let files = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());

    let units: Vec<PathBuf> = files
        .filter(|file| file.extension() == Some(OsStr::new("service")))
        .collect();
    assert_eq!(
        units.len(),
        8,
        "a unit is missing, or this test does not know it: {units:?}"
    );

    units
}

fn manager_of(unit: &Path) -> &'static str {
    if unit.parent().unwrap().ends_with("user") {
        "--user"
    } else {
        "--system"
    }
}

#[test]
fn systemd_understands_every_unit_without_a_complaint() {
    let Some(analyzed) = Analyzed::new() else {
        return;
    };

    for unit in units() {
        let (good, said) =
            analyzed.analyze(&[manager_of(&unit), "verify"], unit.file_name().unwrap());
        assert!(
            good && !said.contains("fanlight"),
            "{}: {said}",
            unit.display()
        );
    }
}

#[test]
fn a_misspelt_key_in_a_unit_is_noticed() {
    let Some(analyzed) = Analyzed::new() else {
        return;
    };

    let unit = analyzed.dir.path().join("fanlight-relay@.service");
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, text.replace("WatchdogSec=", "WatchdogSecs=")).unwrap();
    let (good, said) = analyzed.analyze(&["verify"], unit.file_name().unwrap());
    assert!(!good || said.contains("fanlight"), "{said}");
}

#[test]
fn units_of_the_system_are_locked_up_as_promised() {
    let Some(analyzed) = Analyzed::new() else {
        return;
    };

    // The threshold is in tenths.
    for (unit, threshold) in [
        ("fanlight-relay@.service", "12"),
        ("fanlight-source@.service", "15"),
        ("fanlight-camera@.service", "15"),
        ("fanlight-record@.service", "15"),
        ("fanlight-output@.service", "20"),
    ] {
        let threshold = format!("--threshold={threshold}");
        let (good, said) = analyzed.analyze(
            &["security", "--offline=true", &threshold],
            OsStr::new(unit),
        );
        assert!(
            good && said.contains("Overall exposure level"),
            "{unit}: {said}"
        );
        println!("{}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn an_open_unit_is_noticed() {
    let Some(analyzed) = Analyzed::new() else {
        return;
    };

    let unit = analyzed.dir.path().join("fanlight-relay@.service");
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(
        &unit,
        text.replace("SystemCallFilter=", "# SystemCallFilter="),
    )
    .unwrap();

    let (good, said) = analyzed.analyze(
        &["security", "--offline=true", "--threshold=12"],
        unit.file_name().unwrap(),
    );

    assert!(!good, "{said}");
}

#[test]
fn a_wedged_program_is_killed_and_started_again_within_the_promised_time() {
    let milliseconds = |value: &str| -> u32 {
        let number = |unit| {
            value
                .strip_suffix(unit)
                .and_then(|number| number.parse::<u32>().ok())
        };

        number("ms")
            .or_else(|| number("s").map(|seconds| seconds * 1000))
            .unwrap()
    };

    // A compositor feeds no watchdog.
    let ours = units()
        .into_iter()
        .filter(|unit| !unit.ends_with("fanlight-outputs.service"));
    for unit in ours {
        let text = fs::read_to_string(&unit).unwrap();
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap()
        };

        let replaced_after = milliseconds(value("WatchdogSec")) + milliseconds(value("RestartSec"));
        assert!(
            replaced_after < 3500,
            "{}: {replaced_after} ms leave no time to start",
            unit.display()
        );

        assert_eq!(
            value("WatchdogSignal"),
            "SIGKILL",
            "{}: a wedged loop does not stop when asked",
            unit.display()
        );

        assert_eq!(value("Type"), "notify");
        assert_eq!(value("RestartPreventExitStatus"), "64");
        assert_eq!(value("StartLimitIntervalSec"), "0");
    }
}

#[test]
fn the_user_and_the_directories_of_the_units_can_be_made() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make users and their directories");
    }

    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();

    for (tool, argument, file) in [
        ("systemd-sysusers", "--no-pager", "sysusers.d/fanlight.conf"),
        ("systemd-tmpfiles", "--create", "tmpfiles.d/fanlight.conf"),
    ] {
        let file = Path::new(SHIPPED).join(file).canonicalize().unwrap();
        let rooted = format!("--root={}", root.path().display());
        let Ok(output) = Command::new(tool)
            .args([&rooted, argument])
            .arg(file)
            .output()
        else {
            return skip(&format!("{tool} is not installed"));
        };

        assert!(
            output.status.success(),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    let met = fs::metadata(root.path().join("run/fanlight")).unwrap();
    assert_eq!(met.permissions().mode() & 0o7777, 0o750);
    assert_ne!(met.uid(), 0, "user fanlight is to own it");
}

#[test]
fn each_named_section_of_the_config_file_is_a_unit_that_starts_at_boot() {
    let made = tempfile::tempdir().unwrap();
    let file = made.path().join("fanlight.toml");
    fs::write(
        &file,
        "[source]\n[source.hall]\ninput = \"ball\"\n [ source . \"a.b\" ] # two\n[camera.c920_1_4]\n#[source.off]\n[relay.second]\n\
         [viewer.left]\n[source.\"../x\"]\n",
    )
    .unwrap();

    let generate = |config: &Path| {
        let output = Command::new(Path::new(SHIPPED).join("fanlight-generator"))
            .arg(made.path())
            .env("FANLIGHT_CONFIG", config)
            .env("FANLIGHT_UNITS", SHIPPED)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };

    generate(&made.path().join("nothing"));
    assert!(!made.path().join("multi-user.target.wants").exists());
    generate(&file);
    let links = fs::read_dir(made.path().join("multi-user.target.wants")).unwrap();
    let mut units: Vec<_> = links
        .map(|link| {
            let link = link.unwrap();
            assert!(fs::metadata(link.path()).unwrap().is_file());
            link.file_name().into_string().unwrap()
        })
        .collect();
    units.sort();
    assert_eq!(
        units,
        [
            "fanlight-relay@second.service",
            "fanlight-source@a.b.service",
            "fanlight-source@hall.service"
        ]
    );
}

#[test]
fn a_desktop_without_the_target_starts_the_screens_that_are_enabled() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let systemctl = folder.path().join("systemctl");
    let words = format!(
        "#!/bin/sh\necho \"$@\" >>{}\ncase \"$*\" in *show*) echo 'at-spi.service fanlight-viewer@DP-1.service \
         fanlight-viewer@main.service' ;; esac\n",
        told.display()
    );
    fs::write(&systemctl, words).unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();

    let status = Command::new(Path::new(SHIPPED).join("fanlight-start-screens"))
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("WAYLAND_DISPLAY", "wayland-0")
        .env_remove("DISPLAY")
        .env_remove("XAUTHORITY")
        .status()
        .unwrap();
    assert!(status.success());
    let told = fs::read_to_string(told).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        told,
        [
            "--user import-environment WAYLAND_DISPLAY",
            "--user show --property Wants --value graphical-session.target",
            "--user start --no-block fanlight-viewer@DP-1.service",
            "--user start --no-block fanlight-viewer@main.service",
        ]
    );
}

/// A camera as sysfs shows it, plugged in at `place`; what it is called.
fn camera_name(model: &str, place: &str, index: u32) -> String {
    let sysfs = tempfile::tempdir().unwrap();
    let interface = sysfs.path().join(place);
    let node = sysfs.path().join("class/video4linux/video7");
    fs::create_dir(&interface).unwrap();
    fs::create_dir_all(&node).unwrap();
    std::os::unix::fs::symlink(&interface, node.join("device")).unwrap();
    fs::write(node.join("name"), format!("{model}\n")).unwrap();
    fs::write(node.join("index"), format!("{index}\n")).unwrap();

    let output = Command::new(Path::new(SHIPPED).join("fanlight-camera-name"))
        .arg("video7")
        .arg(sysfs.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_camera_is_named_by_model_and_place_so_that_equal_ones_and_several_nodes_differ() {
    for (model, place, index, name) in [
        (
            "HD Pro Webcam C920: HD Pro",
            "1-4:1.0",
            0,
            "hd_pro_webcam_c920_1_4",
        ),
        (
            "HD Pro Webcam C920: HD Pro",
            "1-4.2:1.0",
            0,
            "hd_pro_webcam_c920_1_4.2",
        ),
        (
            "HD Pro Webcam C920: HD Pro",
            "1-4:1.2",
            0,
            "hd_pro_webcam_c920_1_4_1.2",
        ),
        (
            "HD Pro Webcam C920: HD Pro",
            "1-4:1.0",
            1,
            "hd_pro_webcam_c920_1_4.1",
        ),
        ("vivid", "vivid.0", 0, "vivid_vivid.0"),
        ("Kamera/ü; $(id)", "1-1:1.0", 0, "kamera_id_1_1"),
    ] {
        let named = camera_name(model, place, index);
        assert_eq!(named, name);
        named
            .parse::<fanlight_proto::message::StreamName>()
            .unwrap();
    }
}
