//! Crews whose trackers are the shell's commands.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use fanlight_daemon::{Shutdown, clock};

use super::*;

/// Longest that anything is waited for.
const SOON: Duration = Duration::from_secs(60);

/// A pool, and what it says of frames.
fn pool(command: &str, trackers: usize) -> (TrackerPool, Receiver<TrackResult>) {
    let (sender, answers) = channel();
    let on_result: OnResult =
        Arc::new(move |result: &TrackResult| drop(sender.send(result.clone())));
    let plan = Plan {
        trackers,
        kind: Kind::Command(command.to_owned()),
        format: Format::Grey,
    };

    (
        TrackerPool::start(&plan, &on_result, &Shutdown::new()).unwrap(),
        answers,
    )
}

fn frame(number: u64) -> Frame {
    let pixels = [128; 64];
    let image = turbojpeg::Image {
        pixels: &pixels[..],
        width: 8,
        pitch: 8,
        height: 8,
        format: turbojpeg::PixelFormat::GRAY,
    };

    let jpeg = turbojpeg::compress(image, 80, turbojpeg::Subsamp::Gray)
        .unwrap()
        .to_vec()
        .into();

    Frame {
        stream: "cam".parse().unwrap(),
        id: FrameId { epoch: 5, number },
        captured_ns: 9,
        jpeg,
        shown: Time::default(),
        timings: StageTimings::default(),
    }
}

/// A command that for each frame of 8x8 grey pixels, 112 bytes with its header, says `words`; `$n` counts them from 0.
fn answering(words: &str) -> String {
    format!("n=0; while [ \"$(head -c 112 | wc -c)\" = 112 ]; do {words}; n=$((n + 1)); done")
}

const NOTHING: &str = r#"echo "{\"epoch\":\"0000000000000005\",\"number\":$n,\"found\":null}""#;

/// Offers frames from `number` on, until the trackers' report is as wanted.
fn offer_until(
    pool: &TrackerPool,
    mut number: u64,
    wanted: impl Fn(&Tracking) -> bool,
) -> Tracking {
    let began = clock::now();
    loop {
        pool.offer(frame(number));
        number += 1;
        let report = pool.report();

        if wanted(&report) {
            return report;
        }

        assert!(clock::now().saturating_since(began) < SOON, "{report:?}");
        let _ = Shutdown::new().wait_timeout(Duration::from_millis(20));
    }
}

fn answer(answers: &Receiver<TrackResult>) -> TrackResult {
    answers.recv_timeout(SOON).expect("the tracker answers")
}

#[test]
fn each_frame_has_its_answer() {
    let found = r#"echo "{\"epoch\":\"0000000000000005\",\"number\":$n,\"took_us\":70,
        \"found\":{\"x\":1.5,\"y\":$n,\"radius\":2,\"confidence\":1}}" | tr -d '\n'; echo"#;
    let (pool, answers) = pool(&answering(found), 1);
    for number in 0..5 {
        pool.offer(frame(number));
        let result = answer(&answers);
        assert_eq!(
            (result.id, result.size),
            (FrameId { epoch: 5, number }, (8, 8))
        );

        let found = Found {
            x: 1.5,
            y: number as f64,
            radius: 2.0,
            confidence: 1.0,
        };

        assert_eq!(
            (result.found, result.work),
            (Some(found), Some(Duration::from_micros(70)))
        );
    }

    let report = pool.report();
    assert_eq!(
        (report.offered, report.found, report.missing, report.pending),
        (5, 5, 0, 0)
    );

    assert_eq!(
        (report.detection_rate, report.work_ms.p50),
        (Some(1.0), Some(0.07))
    );

    let last = report.last.unwrap();
    assert_eq!(
        (last.stream.as_str(), last.epoch.as_str(), last.number),
        ("cam", "0000000000000005", 4)
    );
}

#[test]
fn what_is_no_answer_is_counted_and_does_no_harm() {
    let rubbish = r#"echo hello; echo; head -c 5000 /dev/zero; echo; echo '{"number":3}'
        echo '{"epoch":"0000000000000005","number":77,"found":null}'"#;
    let (pool, answers) = pool(&answering(&format!("{rubbish}; {NOTHING}")), 1);
    for number in 0..3 {
        pool.offer(frame(number));
        assert_eq!(answer(&answers).id.number, number);
    }

    let report = pool.report();
    assert_eq!(
        (
            report.none,
            report.malformed,
            report.unknown,
            report.restarts
        ),
        (3, 12, 3, 0),
        "{report:?}"
    );
}

#[test]
fn a_tracker_that_ends_is_started_again() {
    let (pool, answers) = pool(
        &format!("head -c 112 >/dev/null; n=0; {NOTHING}; exit 3"),
        1,
    );

    pool.offer(frame(0));
    answer(&answers);
    let report = offer_until(&pool, 1, |report| report.restarts >= 2);
    assert!(report.none >= 1, "{report:?}");
}

#[test]
fn a_tracker_that_talks_without_end_is_replaced() {
    for command in ["yes", "cat /dev/zero | tr '\\0' 'x'"] {
        let (pool, _answers) = pool(command, 1);
        if command == "yes" {
            let report = offer_until(&pool, 0, |report| report.restarts >= 1);
            assert!(
                report.malformed >= 100 && report.found + report.none == 0,
                "{report:?}"
            );
        }

        drop(pool);
    }
}

#[test]
fn a_tracker_that_hangs_is_replaced_and_nobody_waits_for_it() {
    let hang = format!("[ $n -lt 1 ] || exec sleep 1000; {NOTHING}");
    let (pool, answers) = pool(&answering(&hang), 1);
    pool.offer(frame(0));
    assert_eq!(answer(&answers).id.number, 0);
    let began = clock::now();

    for number in 1..1000 {
        pool.offer(frame(number));
    }

    assert!(
        clock::now().saturating_since(began) < SOON,
        "offering never waits"
    );

    let report = offer_until(&pool, 1000, |report| report.restarts >= 1);
    assert!(report.timeouts == 1 && report.missing > 900, "{report:?}");
}

#[test]
fn frames_go_to_whoever_is_idle() {
    // The lowest byte of the frame's number stands at offset 24; each tracker tells its own number as the time it took.
    let answer_line =
        r#"echo "{\"epoch\":\"0000000000000005\",\"number\":$n,\"took_us\":$$,\"found\":null}""#;
    let number = "head -c 112 | od -An -tu1 -j24 -N1 | tr -d ' '";
    let (pool, answers) = pool(
        &format!("while n=$({number}) && [ \"$n\" ]; do {answer_line}; done"),
        4,
    );

    let mut tellers = std::collections::BTreeSet::new();
    for number in 0..200 {
        pool.offer(frame(number));
        let result = answer(&answers);
        assert_eq!(result.id.number, number);
        tellers.insert(result.work);
        if tellers.len() == 4 {
            break;
        }
    }

    assert_eq!(tellers.len(), 4, "each was given some");
    let report = pool.report();
    assert_eq!(
        (report.trackers, report.missing, report.restarts),
        (4, 0, 0)
    );
}

#[test]
fn a_command_that_does_not_exist_is_tried_again() {
    let (pool, _answers) = pool("/nowhere/to/be/found", 2);
    offer_until(&pool, 0, |report| report.restarts >= 3);
}

#[test]
fn the_end_takes_everything_along_that_a_tracker_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let command = format!(
        "trap '' TERM; sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait; wait",
        file.display()
    );

    let (mut pool, _answers) = pool(&command, 1);
    let began = clock::now();
    let pid = loop {
        if let Ok(text) = std::fs::read_to_string(&file) {
            break text.trim().to_owned();
        }
        assert!(clock::now().saturating_since(began) < SOON);
        let _ = Shutdown::new().wait_timeout(Duration::from_millis(5));
    };

    let began = clock::now();
    pool.stop();
    assert!(clock::now().saturating_since(began) < SOON);
    let runs = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status
            .rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    };

    while runs() {
        assert!(
            clock::now().saturating_since(began) < SOON,
            "the grandchild {pid} is still there"
        );
        let _ = Shutdown::new().wait_timeout(Duration::from_millis(5));
    }
}

#[test]
fn the_built_in_tracker_answers_every_frame_in_order_whatever_the_format() {
    let headers = |format, length| wire::Header {
        format,
        width: 8,
        height: 8,
        id: frame(3).id,
        captured_ns: 0,
        length,
    };

    let jpeg = frame(3).jpeg;
    let mut input = Vec::new();

    for (format, payload) in [
        (Format::Jpeg, &jpeg[..]),
        (Format::Grey, &[0; 64]),
        (Format::Rgb, &[0; 192]),
        (Format::Grey, b"x"),
    ] {
        input.extend(headers(format, payload.len() as u32).encode());
        input.extend(payload);
    }

    let mut output = Vec::new();
    serve::serve(&input[..], &mut output).unwrap();
    let answers: Vec<_> = output
        .split(|byte| *byte == b'\n')
        .filter_map(wire::Answer::parse)
        .collect();

    assert!(
        answers.len() == 4
            && answers
                .iter()
                .all(|(id, found, _)| id.number == 3 && found.is_none())
    );

    assert!(serve::serve(&[b'x'; 48][..], Vec::new()).is_err());
    assert!(
        serve::serve(&input[..20], Vec::new()).is_ok(),
        "half a header is the end"
    );
}
