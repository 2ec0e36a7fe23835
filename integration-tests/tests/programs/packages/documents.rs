//! The documents by task. Every command in them is run, on hosts of Debian as the documents have them: each has its own systemd,
//! and a switch is between them. What a person would do at the keyboard, such as logging in, is done here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use fanlight_tests::TestEnv;
use fanlight_tests::document::{Document, put_programs, put_viewer_without_display, shell};
use fanlight_tests::lab::Lab;
use fanlight_tests::wait::{SOON, until};

use super::debian::{Debian, run};
use super::{OLD, built, possible};

/// Copies a file to another host of the test, which gets it before its next command.
const SCP: &str = r#"#!/bin/sh
to=${2#*@}
host=${to%%:*} path=${to#*:}
case $path in /*) ;; *) path=/root/$path ;; esac
mkdir -p "/root/outbox/$host$(dirname "$path")"
cp -p "$1" "/root/outbox/$host$path"
"#;

/// What the programs say when a command fails.
const EXPLAIN: &str =
    "trap '[ $? = 0 ] || journalctl --no-pager --lines 40 --unit \"fanlight-*\"' EXIT";

/// What logs in on a kiosk: a user whose desktop starts, as far as systemd sees it.
const LOG_IN: &str = "useradd --create-home kiosk
mkdir -p /etc/systemd/user
printf '[Unit]\\nBindsTo=graphical-session.target\\n' >/etc/systemd/user/desktop.target
loginctl enable-linger kiosk
until systemctl is-active --quiet user@$(id -u kiosk); do sleep 0.1; done";

/// What the user of the kiosk does, by systemctl.
fn as_user(host: &Debian, words: &str) {
    host.sh(&format!(
        "runuser -u kiosk -- env XDG_RUNTIME_DIR=/run/user/$(id -u kiosk) systemctl --user {words}"
    ));
}

/// A laboratory in which there can be hosts of Debian.
fn lab() -> Option<Lab> {
    if !possible() {
        return None;
    }

    Lab::open()
}

/// A host by this name, with the packages in /root, a viewer that needs no display, and a way to copy files to others.
fn host(name: &str, enter: &[&str]) -> Debian {
    let host = Debian::boot_with(name, enter);
    for package in built(OLD) {
        let file = package.file_name().unwrap();
        fs::copy(&package, host.path("root").join(file)).unwrap();
    }

    let tools = host.path("root/bin");
    fs::create_dir(&tools).unwrap();
    put_viewer_without_display(
        &tools.join("fanlight-viewer"),
        "/usr/bin/fanlight-viewer".as_ref(),
    );
    fs::write(tools.join("scp"), SCP).unwrap();
    fs::set_permissions(tools.join("scp"), fs::Permissions::from_mode(0o755)).unwrap();
    host
}

fn with_packages(name: &str, enter: &[&str]) -> Debian {
    let host = host(name, enter);
    host.sh("dpkg --install /root/*.deb");
    host
}

/// The command of a document on one of `hosts`, which have got what was copied to them.
fn on(hosts: &[(&str, &Debian)], name: &str, commands: &str) -> Command {
    for (_, from) in hosts {
        for (to, host) in hosts {
            let sent = from.path("root/outbox").join(to);
            if sent.exists() {
                run(Command::new("cp")
                    .arg("--archive")
                    .arg(sent.join("."))
                    .arg(host.path("/")));
                fs::remove_dir_all(sent).unwrap();
            }
        }
    }

    let (_, host) = hosts.iter().find(|(known, _)| *known == name).unwrap();
    host.command(&format!("cd /root\n{EXPLAIN}\n{commands}"))
}

#[test]
fn five_minutes() {
    let Some(lab) = lab() else { return };
    let [here, there] = ["box", "screen"].map(|name| lab.host(name));
    let (box_host, screen) = (host("box", &here.enter()), host("screen", &there.enter()));
    let hosts = [("box", &box_host), ("screen", &screen)];
    Document::read("five-minutes.md").run(|name, commands| on(&hosts, name, commands));
}

#[test]
fn two_boxes() {
    let Some(lab) = lab() else { return };
    let env = TestEnv::new();
    let programs = put_programs(&env);
    let [one, two, three] = ["first", "second", "screen"].map(|name| lab.host(name));
    let first = with_packages("first", &one.enter());
    let second = with_packages("second", &two.enter());
    let hosts = [("first", &first), ("second", &second)];
    Document::read("two-boxes.md").run(|name, commands| {
        let commands = commands.replace("192.168.1.10", &one.address().to_string());
        let commands = commands.replace("192.168.1.11", &two.address().to_string());
        match name {
            "screen" => shell(&env, &three.enter(), &programs, &commands),
            _ => on(&hosts, name, &commands),
        }
    });

    // The viewer is content with one relay: each has the stream.
    for relay in [one.address(), two.address()] {
        let watch = format!("fanlight-viewer --relay {relay}:5004 --stream ball");
        run(&mut shell(&env, &three.enter(), &programs, &watch));
    }
}

#[test]
fn a_kiosk() {
    let Some(lab) = lab() else { return };
    let env = TestEnv::new();
    let (here, there) = (lab.host("relay"), lab.host("screen"));
    let _source = env.source("ball").flags("--input ball").ready();
    let address = format!("{}:5004", here.address());
    let relay = env.program("relay").flag("sources", env.ipc("ball"));
    let relay = relay.flag("listen", &address).flags("--access open");
    let relay = relay.under(&here.enter()).ready();

    let screen = host("screen", &there.enter());
    Document::read("kiosk.md").run(|name, commands| {
        on(
            &[("screen", &screen)],
            name,
            &commands.replace("192.168.1.10:5004", &address),
        )
    });

    // Its desktop has no display.
    let program = "#!/bin/sh\nexec /usr/bin/fanlight-viewer --headless \"$@\"\n";
    let file = screen.path("usr/local/bin/fanlight-viewer");
    fs::write(&file, program).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    screen.sh(LOG_IN);
    as_user(&screen, "start desktop.target");
    let joined = |count: usize| {
        until("the screen shows the stream", SOON, || {
            let lines = relay.log().matching(0, "viewers joined");
            (lines.len() >= count).then_some(())
        });
    };

    joined(1);
    as_user(&screen, "kill fanlight-viewer@HDMI-1");
    joined(2);
}

#[test]
fn behind_a_proxy() {
    if !possible() {
        return;
    }

    let host = with_packages("box", &["unshare", "--net"]);
    let hosts = [("box", &host)];
    Document::read("behind-a-proxy.md").run(|name, commands| on(&hosts, name, commands));
    let picture = fs::read(host.path("root/ball.jpg")).unwrap();
    assert!(picture.starts_with(&[0xFF, 0xD8]));
}

/// The port is forwarded by address translation, and the viewer is on the other side of it.
#[test]
fn from_the_internet() {
    let Some(lab) = lab() else { return };
    let (env, router, there) = (TestEnv::new(), lab.nat("router"), lab.host("screen"));
    let relay = with_packages("box", &router.enter());
    let screen = with_packages("screen", &there.enter());
    let hosts = [("box", &relay), ("screen", &screen)];
    Document::read("from-the-internet.md").run(|name, commands| {
        let commands = commands.replace("203.0.113.5", &router.outer().address().to_string());
        let commands = commands.replace("192.168.1.10", "10.78.0.2");
        match name {
            "router" => shell(&env, &router.outer().enter(), env.directory(), &commands),
            _ => on(&hosts, name, &commands),
        }
    });
}
