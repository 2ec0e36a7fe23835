//! The camera input against the kernel's own drivers: uvcvideo with a webcam in user space (examples/fakecam), and vivid.
//! Each test boots a virtual machine of its own; `./dev test-camera` prepares it (see camera-rig/README.md).

mod controls;
mod guest;
mod input_age;
mod loopback;
mod plug_and_see;
pub(crate) mod subscriber;

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::State;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::wait::SOON;
use fanlight_tests::{TestEnv, jpeg};
use turbojpeg::PixelFormat;

use crate::events::{append, states};
use guest::{Guest, PICTURES, SOURCE};
use subscriber::{Arrival, Subscriber};

/// The share of a camera's rate that must arrive from an emulated machine.
const RATE_SHARE: f64 = 0.8;

#[test]
fn a_webcams_jpegs_arrive_untouched() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 1280x720 --rate 30");
    let mut subscriber = Subscriber::new(guest.endpoint());
    subscriber.pictures(10);
    let pictures = subscriber.pictures(60);

    let originals: Vec<Vec<u8>> = (0..PICTURES)
        .map(|number| jpeg::numbered(number, 1280, 720))
        .collect();
    for picture in &pictures {
        let header = &picture.frame.header;
        assert_eq!(
            (header.width, header.height, header.state()),
            (1280, 720, State::Live)
        );

        assert_eq!(header.rate_millihertz, 30_000);
        assert!(
            originals.contains(&picture.original()),
            "the webcam sent no such picture"
        );
    }

    assert_in_order(&pictures);
}

#[test]
fn a_rate_that_is_no_whole_number_can_be_had() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --rate 29.97");
    let pictures = Subscriber::new(guest.endpoint()).pictures(30);
    assert_eq!(pictures[0].frame.header.rate_millihertz, 29_970);
}

#[test]
#[ignore = "./dev promises"]
fn a_webcams_jpegs_arrive_at_its_rate() {
    judge("a webcam in a virtual machine", |measurement| {
        for (flags, rate) in [
            ("--size 1280x720 --rate 30", 30.0),
            ("--size 640x360 --rate 29.97", 29.97),
        ] {
            let Some(mut guest) = Guest::boot() else {
                return;
            };

            guest.plug();
            guest.source(flags);
            let mut subscriber = Subscriber::new(guest.endpoint());
            subscriber.pictures(10);
            let pictures = subscriber.pictures(60);
            judge_rate(&pictures, rate, measurement);
            // The driver stamps a picture when its first bytes come, on the clock that the webcam writes down.
            let late = pictures.iter().map(|picture| {
                let taken = picture.stamp().captured.as_nanos();
                Duration::from_nanos(picture.frame.header.captured_ns.abs_diff(taken))
            });

            measurement.all_at_most(
                "between taken and captured",
                Duration::from_millis(500),
                late,
            );
        }
    });
}

#[test]
fn a_damaged_picture_is_never_shown_and_always_counted() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --rate 30");
    let mut subscriber = Subscriber::new(guest.endpoint());
    let mut pictures = subscriber.pictures(10);

    // Cut short by the camera, and marked by the bus: uvcvideo hands the former on and drops the latter itself.
    for command in ["truncate 3", "error 3"] {
        guest.webcam(command);
        pictures.extend(subscriber.pictures(30));
    }

    // The subscriber has decoded every one of them.
    assert_in_order(&pictures);
    let numbers = |p: &Arrival| p.frame.id.number;
    let captured = numbers(&pictures[pictures.len() - 1]) - numbers(&pictures[0]) + 1;
    let lost = captured - pictures.len() as u64;
    assert!(lost >= 6, "6 damaged pictures, {lost} numbers missing");
}

#[test]
fn after_a_pause_no_old_picture_is_published() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --rate 30");
    let mut subscriber = Subscriber::new(guest.endpoint());
    let before = subscriber.pictures(5).remove(4);
    guest.run("kill -STOP $source_pid; sleep 2; kill -CONT $source_pid");
    let after = subscriber.pictures(30);
    let gaps = after
        .windows(2)
        .map(|pair| pair[1].stamp().sequence - pair[0].stamp().sequence);
    let pause = gaps
        .max()
        .unwrap()
        .max(after[0].stamp().sequence - before.stamp().sequence);

    assert!(pause >= 30, "the source was away for {pause} pictures");
    // One picture may have been on its way through the source when it was stopped.
    let old = after
        .iter()
        .filter(|picture| picture.frame.header.prepared_us > 1_000_000)
        .count();

    assert!(
        old <= 1,
        "{old} pictures from before the pause were published after it"
    );
}

#[test]
fn unplugging_and_plugging_in_again_is_told_and_survived() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    let name = "/dev/v4l/by-id/usb-Rig-video-index0";
    guest.run(&format!(
        "mkdir -p /dev/v4l/by-id && ln -s ../../video0 {name}"
    ));
    guest.source(&format!("--device {name}"));
    let mut subscriber = Subscriber::new(guest.endpoint());
    subscriber.until(State::Unplugged);
    guest.plug();
    let first = subscriber.pictures(5).remove(0);

    for _ in 0..2 {
        guest.webcam("unplug");
        let gone = subscriber.until(State::Unplugged);
        assert_eq!(
            gone.frame.header.reason,
            format!("camera unplugged: {name}")
        );

        guest.plug();
        let live = subscriber.pictures(1).remove(0);
        assert_eq!(
            live.frame.id.epoch, first.frame.id.epoch,
            "the same run of the source"
        );
    }
}

/// The devices that the udev rule has named, each of which asks for a unit of its own.
fn named_cameras(guest: &mut Guest) -> Vec<String> {
    let listed = guest.run("udevadm settle; ls /dev/fanlight 2>/dev/null || true");
    let names: Vec<String> = listed.lines().map(ToOwned::to_owned).collect();
    for name in &names {
        let asked = guest.run(&format!(
            "udevadm info --query=property --name=fanlight/{name}"
        ));
        let wants = format!("SYSTEMD_WANTS=fanlight-camera@{name}.service");
        for line in [wants.as_str(), "TAGS=:systemd:"] {
            assert!(asked.lines().any(|said| said == line), "{line}: {asked}");
        }
    }

    names
}

#[test]
fn each_camera_that_is_plugged_in_asks_for_a_unit_whose_name_stays() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.run("udev");
    guest.plug();
    let first = named_cameras(&mut guest);
    assert_eq!(first.len(), 1, "{first:?}");
    let nodes = guest.run("ls -d /sys/class/video4linux/*");
    assert!(
        nodes.lines().count() > 1,
        "it has a node for metadata too: {nodes}"
    );

    // Of the same make and serial number.
    guest.run("plug_second");
    guest.run(
        "for i in $(seq 200); do [ -e /dev/video2 ] && break; sleep 0.05; done; ls /dev/video2",
    );
    let both = named_cameras(&mut guest);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both.contains(&first[0]), "{both:?}");
    let target = format!("readlink -f /dev/fanlight/{}", first[0]);
    let node = guest.run(&target);

    guest.webcam("unplug");
    guest.run(&format!(
        "while [ -e {} ]; do sleep 0.05; done",
        node.trim()
    ));
    let left = named_cameras(&mut guest);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(both.contains(&left[0]) && left != first, "{left:?}");

    guest.run("plug");
    guest.run(
        "for i in $(seq 200); do [ $(ls /dev/fanlight | wc -l) = 2 ] && break; sleep 0.05; done",
    );
    assert_eq!(named_cameras(&mut guest), both);
    guest.run(&format!(
        "source_start {SOURCE} --input camera --device /dev/fanlight/{}",
        first[0]
    ));
    Subscriber::new(guest.endpoint()).pictures(5);
}

#[test]
fn of_a_device_with_many_nodes_those_that_capture_pictures_are_cameras() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.run("udev");
    guest.run("load vivid");
    let nodes = guest.run("udevadm settle; ls /sys/class/video4linux");
    let cameras = named_cameras(&mut guest);
    assert!(nodes.contains("v4l-touch0"), "{nodes}");
    assert_eq!(cameras, ["vivid_000_vid_cap_vivid.0"], "{nodes}");
}

#[test]
fn unplugging_a_webcam_is_one_event_and_its_return_one_end() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360");
    let env = TestEnv::new();
    let file = env.path("events");
    let relay = env.relay(0, &[guest.endpoint()]);
    let relay = relay.flag("event-command", append(&file)).ready();
    relay.wait_for_line("live stream=cam");

    // An emulated machine stands still at times, and is told to be frozen then.
    let wait = |state: &str| {
        let states = fanlight_tests::wait::until(state, SOON, || {
            let states = states(&file, "cam");
            (states.last().map(String::as_str) == Some(state)).then_some(states)
        });
        assert_eq!(
            states.iter().filter(|it| *it == "unplugged").count(),
            1,
            "{states:?}"
        );
    };

    guest.webcam("unplug");
    wait("unplugged");
    guest.plug();
    wait("live");
}

#[test]
#[ignore = "./dev promises"]
fn unplugging_plugging_in_and_stalling_are_told_in_time() {
    judge(
        "a webcam is unplugged, plugged in and stalls",
        |measurement| {
            let Some(mut guest) = Guest::boot() else {
                return;
            };

            guest.plug();
            guest.source("--size 640x360");
            let mut subscriber = Subscriber::new(guest.endpoint());
            subscriber.pictures(5);

            for (command, state, limit) in [
                ("unplug", State::Unplugged, Duration::from_secs(3)),
                ("stall", State::Stalled, Duration::from_secs(5)),
            ] {
                let began = clock::now();
                guest.webcam(command);
                let told = subscriber.until(state).time;
                measurement.at_most(
                    format!("{command}: told"),
                    limit,
                    told.saturating_since(began),
                );

                let began = clock::now();
                match state {
                    State::Unplugged => guest.plug(),
                    _ => guest.webcam("go"),
                }

                let live = subscriber.pictures(1).remove(0).time;
                measurement.at_most(
                    format!("after {command}: live again"),
                    Duration::from_secs(6),
                    live.saturating_since(began),
                );
            }
        },
    );
}

#[test]
fn a_camera_that_stalls_is_told_and_goes_on() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360");
    let mut subscriber = Subscriber::new(guest.endpoint());
    subscriber.pictures(5);

    for _ in 0..2 {
        let stopped = clock::now();
        guest.webcam("stall");
        let stalled = subscriber.until(State::Stalled).time;
        let after = stalled.saturating_since(stopped);
        assert!(after >= Duration::from_millis(1500), "told after {after:?}");
        guest.webcam("go");
        subscriber.until(State::Live);
        subscriber.pictures(5);
    }
}

#[test]
fn a_size_that_the_camera_has_not_is_answered_with_those_it_has() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 800x600");
    let refused = Subscriber::new(guest.endpoint()).until(State::WrongFormat);
    assert_eq!(
        refused.frame.header.reason,
        "/dev/video0 has no 800x600; it offers MJPG/YUYV 640x360@60 1280x720@60 1920x1080@60"
    );
}

#[test]
fn controls_are_set_and_wrong_ones_answered_with_their_ranges() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --controls brightness=77");
    let picture = Subscriber::new(guest.endpoint()).pictures(1).remove(0);
    assert_eq!(picture.stamp().brightness, 77);

    for (flag, reason) in [
        (
            "zoom=1",
            "/dev/video0: no control \"zoom\"; there are brightness 0 to 255, contrast 0 to 255",
        ),
        (
            "brightness=256",
            "/dev/video0: brightness takes 0 to 255, not 256",
        ),
    ] {
        guest.source(&format!("--controls {flag}"));
        let failed = Subscriber::new(guest.endpoint()).until(State::Failed);
        assert_eq!(failed.frame.header.reason, reason);
    }
}

#[test]
fn a_control_is_set_while_pictures_flow() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --rate 30");
    let mut subscriber = Subscriber::new(guest.endpoint());
    let before = subscriber.pictures(10);
    assert_ne!(before[9].stamp().brightness, 99);

    let listed = guest.run("fanlight-source controls --device /dev/video0 brightness=99 2>&1");
    assert!(listed.contains("brightness=99  0 to 255"), "{listed}");
    let after = fanlight_tests::wait::until("the picture changes", SOON, || {
        let pictures = subscriber.pictures(10);
        (pictures[9].stamp().brightness == 99).then_some(pictures)
    });
    assert_eq!(after[0].frame.id.epoch, before[0].frame.id.epoch);

    let refused =
        guest.run("fanlight-source controls --device /dev/video0 zoom=1 2>&1; echo code $?");
    let says = "there are brightness 0 to 255, contrast 0 to 255";
    assert!(
        refused.contains(says) && refused.contains("code 1"),
        "{refused}"
    );
}

#[test]
fn a_camera_that_another_program_uses_is_busy_until_it_is_free() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.run(
        "fanlight-source --input camera --stream other --publish ipc:///tmp/other.ipc >/dev/console 2>&1 & other=$!",
    );
    guest.run("for i in $(seq 100); do [ -e /tmp/other.ipc ] && break; sleep 0.05; done; sleep 1");
    guest.source("");
    let mut subscriber = Subscriber::new(guest.endpoint());
    let busy = subscriber.until(State::Busy);
    assert_eq!(busy.frame.header.reason, "another program uses /dev/video0");
    guest.run("kill $other");
    subscriber.pictures(1);
}

#[test]
fn raw_pictures_are_encoded_in_their_colours() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.run("load vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00");
    for format in ["yuyv", "nv12"] {
        guest.source(&format!("--size 320x180 --rate 15 --pixel-format {format}"));
        let mut subscriber = Subscriber::new(guest.endpoint());
        subscriber.pictures(5);
        let pictures = subscriber.pictures(30);
        assert_eq!(pictures[0].frame.header.rate_millihertz, 15_000);
        pictures
            .iter()
            .for_each(|picture| assert_colour_bars(&picture.frame.jpeg));
    }
}

/// Each picture was taken after the one before it, and its number leaves room for those lost between.
#[track_caller]
fn assert_in_order(pictures: &[Arrival]) {
    for pair in pictures.windows(2) {
        let taken = pair[1]
            .stamp()
            .sequence
            .checked_sub(pair[0].stamp().sequence)
            .unwrap();

        let counted = pair[1]
            .frame
            .id
            .number
            .checked_sub(pair[0].frame.id.number)
            .unwrap();

        assert!(
            (1..=taken).contains(&counted),
            "{counted} counted where the webcam took {taken}"
        );
    }
}

fn judge_rate(pictures: &[Arrival], rate: f64, measurement: &mut Measurement) {
    let captured = |index: usize| pictures[index].frame.header.captured_ns;
    let last = pictures.len() - 1;
    let seconds = Duration::from_nanos(captured(last) - captured(0)).as_secs_f64();
    let measured = last as f64 / seconds;
    let bounds = rate * RATE_SHARE..rate * 1.1;
    measurement.compare(
        "pictures a second",
        format!("{:.0} to {:.0}", bounds.start, bounds.end),
        format!("{measured:.1}"),
        format!("{rate}"),
        bounds.contains(&measured),
    );
}

/// vivid's test picture: white, yellow, cyan, green, magenta, red, blue, black, with text at the top.
#[track_caller]
fn assert_colour_bars(jpeg: &[u8]) {
    let picture = turbojpeg::decompress(jpeg, PixelFormat::RGB).unwrap();
    let row = picture.height * 15 / 16;
    let bars = [0b111, 0b110, 0b011, 0b010, 0b101, 0b100, 0b001, 0b000];

    for (index, bar) in bars.into_iter().enumerate() {
        let column = picture.width * (2 * index + 1) / 16;
        let pixel = &picture.pixels[row * picture.pitch + column * 3..][..3];
        let seen = pixel
            .iter()
            .fold(0, |bits, value| bits << 1 | u32::from(*value > 96));
        assert_eq!(seen, bar, "bar {index} is {pixel:?}");
    }
}
