//! What sources are told of who watches and what was found, and what viewers are told of that.

use std::collections::BTreeMap;

use fanlight_proto::detections::encode;
use fanlight_proto::feed::{encode_feedback, parse_to_source};
use fanlight_proto::limits::{DETECTIONS_PER_SECOND, MAX_DETECTION_BYTES, MAX_DETECTIONS};
use fanlight_proto::message::{
    Ball, CanaryStatus, Demand, Detection, Detections, Report, Verdict, ViewerReport, ViewerVerdict,
};
use prost::Message as _;

use super::*;

const MS: Duration = Duration::from_millis(1);

impl Rig {
    /// The feedback that are due until `length` is over, each with its time and its source.
    fn feedback(&mut self, length: Duration) -> Vec<(Time, usize, FeedbackReport)> {
        let until = self.now + length;
        let mut feedback = Vec::new();

        loop {
            for output in self.outputs() {
                if let Output::Feedback {
                    origin,
                    feedback: report,
                } = output
                {
                    parse_to_source(&encode_feedback(report.clone())).expect("a source takes it");
                    feedback.push((self.now, origin, report));
                }
            }

            let Some(deadline) = self
                .engine
                .next_deadline()
                .filter(|deadline| *deadline <= until)
            else {
                break;
            };

            self.now = self.now.max(deadline);
            self.engine.on_tick(self.now);
        }

        self.now = until;
        feedback
    }

    /// What one source is told until `length` is over.
    fn told(&mut self, length: Duration) -> Vec<FeedbackReport> {
        self.feedback(length)
            .into_iter()
            .map(|(_, _, feedback)| feedback)
            .collect()
    }

    /// A second in which a viewer keeps alive so that it does not fall silent.
    fn quiet_second(&mut self, viewers: &[(SocketAddr, u64)]) -> Vec<FeedbackReport> {
        let feedback = self.told(SECOND);
        for (address, session) in viewers {
            self.keep_alive(*address, *session);
        }
        feedback
    }

    /// Gives a message without taking what waits to be sent.
    fn give(&mut self, from: SocketAddr, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.engine.on_datagram(
            self.now,
            Route {
                remote: from,
                local: None,
            },
            &datagram,
        );
    }

    /// A session, and the feedback of the time until it is there.
    fn add_viewer(&mut self, n: u16) -> (SocketAddr, u64) {
        let accept = self.join(
            viewer(n),
            1000 * self.engine.session_count + u64::from(n) + 1,
        );
        (viewer(n), accept.session)
    }
}

fn found(number: u64) -> Detection {
    let ball = Some(Ball {
        x: 10.0,
        y: 20.0,
        radius: 20.0,
    });

    Detection {
        epoch: 1,
        number,
        ball,
        confidence: 1.0,
        transit_us: 900,
        ..Detection::default()
    }
}

fn detections(sent: u64, found: Vec<Detection>) -> Detections {
    Detections {
        screen: 77,
        detections: found.into_iter().map(|found| encode(&found)).collect(),
        sent,
        ..Detections::default()
    }
}

fn demand(feedback: &FeedbackReport) -> (u32, u32) {
    let Demand {
        viewers, clients, ..
    } = feedback.demand[0];
    (viewers, clients)
}

#[test]
fn the_source_is_told_within_milliseconds_who_comes_to_a_stream_that_nobody_watched() {
    let mut rig = Rig::live();
    let first = rig.feedback(5 * SECOND);
    assert!(
        first
            .iter()
            .all(|(_, origin, feedback)| *origin == 0 && demand(feedback) == (0, 0))
    );

    assert_eq!(first.len(), 6, "one at once, and one a second");
    rig.now = rig.now + 500 * MS;
    let before = rig.now;
    rig.join(viewer(1), 1);
    let (at, _, feedback) = rig.feedback(SECOND)[0].clone();
    assert_eq!(
        (demand(&feedback), at.saturating_since(before)),
        ((1, 0), Duration::ZERO)
    );

    // The next one waits for the turn of a tenth of a second.
    rig.now = rig.now + 5 * MS;
    rig.join(viewer(2), 2);
    let (at, _, feedback) = rig.feedback(SECOND)[0].clone();
    assert!(demand(&feedback) == (2, 0) && at.saturating_since(before) <= SECOND + 105 * MS);
}

#[test]
fn who_comes_and_goes_all_the_time_causes_forty_words_a_second_and_the_last_is_true() {
    let mut rig = Rig::live();
    rig.told(2 * SECOND);
    let (mut feedback, mut nonce) = (Vec::new(), 1);

    for _ in 0..500 {
        nonce += 1;
        let session = rig.join(viewer(1), nonce).session;
        feedback.extend(rig.told(MS));
        rig.give(viewer(1), &ToRelay::Goodbye(session, Goodbye::default()));
        feedback.extend(rig.told(MS));
    }

    assert!((10..=42).contains(&feedback.len()), "{}", feedback.len());
    assert_eq!(demand(rig.told(SECOND).last().unwrap()), (0, 0));
}

#[test]
fn what_a_viewer_finds_is_told_with_who_it_is_and_its_report_once_a_second() {
    let mut rig = Rig::live();
    let (address, session) = rig.add_viewer(1);
    rig.told(SECOND);
    let report = Report {
        frames_shown: 12,
        ..Report::default()
    };

    rig.give(
        address,
        &ToRelay::KeepAlive(
            session,
            KeepAlive {
                report: Some(report),
                ..KeepAlive::default()
            },
        ),
    );

    let canary_status = Some(CanaryStatus {
        stream: "door".into(),
        shown: 3,
        ..CanaryStatus::default()
    });

    for round in 0..10 {
        let body = Detections {
            canary_status: canary_status.clone(),
            untracked: round,
            ..detections(2 * round + 2, vec![found(100); 2])
        };

        rig.give(address, &ToRelay::Detections(session, body));
        rig.now = rig.now + 20 * MS;
        rig.engine.on_tick(rig.now);
    }

    let feedback = rig.told(800 * MS);
    let seen: Vec<_> = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .collect();

    assert_eq!(
        seen.iter().map(|seen| seen.detections.len()).sum::<usize>(),
        20
    );

    assert!(
        (2..=4).contains(
            &seen
                .iter()
                .filter(|seen| !seen.detections.is_empty())
                .count()
        )
    );

    // Its newest frame has aged by the time that it is told.
    let told = seen.iter().filter_map(|seen| seen.report);
    let told = told.map(|report| Report {
        last_shown_ms: 0,
        ..report
    });

    assert_eq!(told.collect::<Vec<_>>(), [report], "once a second");

    let last = seen.last().unwrap();
    assert_eq!(
        (
            last.stream.as_str(),
            last.name.as_str(),
            last.address.as_str()
        ),
        ("cam", "hall", "10.0.0.1:4001")
    );

    assert_eq!(
        (
            last.viewer,
            last.screen,
            last.sent,
            last.untracked,
            last.dropped
        ),
        (1, 77, 20, 9, 0)
    );

    assert_eq!(last.canary_status, canary_status);
}

#[test]
fn a_viewer_that_floods_is_heard_so_often_and_takes_nothing_from_the_others() {
    let mut rig = Rig::live();
    let ((bad, flooding), (good, honest)) = (rig.add_viewer(1), rig.add_viewer(2));
    rig.told(SECOND);
    let mut heard = BTreeMap::<u64, u64>::new();
    let mut dropped = 0;

    for tick in 0..200_u64 {
        for n in 0..20 {
            rig.give(
                bad,
                &ToRelay::Detections(
                    flooding,
                    detections(16 * (20 * tick + n + 1), vec![found(1); 16]),
                ),
            );
        }

        if tick % 10 == 0 {
            rig.give(
                good,
                &ToRelay::Detections(
                    honest,
                    detections(3 * (tick / 10 + 1), vec![found(tick); 3]),
                ),
            );
        }

        for feedback in rig.told(10 * MS) {
            for seen in feedback.viewers {
                *heard.entry(seen.viewer).or_default() += seen.detections.len() as u64;
                dropped = if seen.viewer == 1 {
                    seen.dropped
                } else {
                    dropped
                };
            }
        }
    }

    for feedback in rig.told(500 * MS) {
        feedback.viewers.iter().for_each(|seen| {
            *heard.entry(seen.viewer).or_default() += seen.detections.len() as u64;
        });
        dropped = feedback
            .viewers
            .iter()
            .filter(|seen| seen.viewer == 1)
            .map(|seen| seen.dropped)
            .max()
            .unwrap_or(dropped);
    }

    assert_eq!(heard[&2], 60, "the honest one's all");
    // It sends its share of a second at once, and so many wait for a feedback.
    assert!((60..=360).contains(&heard[&1]), "{heard:?}");
    assert_eq!(dropped + heard[&1], 200 * 20 * 16);
    assert_eq!(rig.engine.refusals().of(Resource::Detections), dropped);
}

#[test]
fn more_messages_a_second_than_a_viewer_may_send_are_dropped() {
    let mut rig = Rig::live();
    let (address, session) = rig.add_viewer(1);
    rig.told(2 * SECOND);

    for n in 1..=100 {
        rig.give(
            address,
            &ToRelay::Detections(session, detections(n, vec![found(n)])),
        );
    }

    let feedback = rig.told(SECOND - MS);
    let told: usize = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .map(|seen| seen.detections.len())
        .sum();

    assert_eq!(told, DETECTIONS_PER_SECOND as usize);
}

#[test]
fn too_many_or_too_long_detections_are_dropped_and_what_they_say_is_for_the_source() {
    let mut rig = Rig::live();
    let (address, session) = rig.add_viewer(1);
    rig.told(SECOND);
    rig.give(
        address,
        &ToRelay::Detections(session, detections(17, vec![found(1); 17])),
    );

    let said = |found: Vec<u8>| Detections {
        detections: vec![found.into()],
        ..detections(1, Vec::new())
    };

    let too_long = said(vec![0; MAX_DETECTION_BYTES + 1]);
    rig.give(address, &ToRelay::Detections(session, too_long));
    assert_eq!(rig.engine.counts().malformed, 2);
    assert_eq!(rig.engine.counts().detections, 0);

    let anything = vec![0xff; MAX_DETECTION_BYTES];
    rig.give(
        address,
        &ToRelay::Detections(session, said(anything.clone())),
    );
    rig.give(
        viewer(9),
        &ToRelay::Detections(session, detections(2, vec![found(8)])),
    );

    let feedback = rig.told(200 * MS);
    let told: Vec<_> = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .flat_map(|seen| &seen.detections)
        .collect();

    assert_eq!(told, [&anything]);
    assert_eq!(rig.engine.counts().unknown_sessions, 1);
    assert_eq!(rig.engine.viewers(), 1);
}

#[test]
fn five_hundred_that_send_all_they_may_have_turns_alike() {
    let mut rig = Rig::live();
    let seats: Vec<_> = (0..500).map(|n| rig.add_viewer(n)).collect();
    let mut told = BTreeMap::<u64, usize>::new();
    let mut bytes = 0;

    for tenth in 0..40_u64 {
        for (address, session) in &seats {
            rig.give(
                *address,
                &ToRelay::Detections(
                    *session,
                    detections(12 * tenth + 12, vec![found(tenth); 12]),
                ),
            );
        }

        for feedback in rig.told(100 * MS) {
            bytes += feedback.encoded_len();
            feedback
                .viewers
                .iter()
                .for_each(|seen| *told.entry(seen.viewer).or_default() += 1);
        }
    }

    assert_eq!(told.len(), 500, "nobody is left out");
    let (least, most) = (told.values().min().unwrap(), told.values().max().unwrap());
    assert!(
        *least >= 2 && most - least <= 1,
        "{least} to {most} turns in four seconds"
    );

    assert!(
        bytes <= 41 * fanlight_proto::feed::MAX_FEEDBACK_BYTES,
        "{bytes}"
    );
}

#[test]
fn the_longest_names_and_numbers_still_leave_room_for_everyone() {
    let mut rig = Rig::new();
    for n in 0..64 {
        rig.frame(&format!("{}{n:02}", "n".repeat(62)), u64::MAX, u64::MAX, 0);
    }

    let name = format!("{}07", "n".repeat(62));
    let mut seats = Vec::new();

    for n in 0..20 {
        let join = Join {
            stream: name.clone(),
            name: "w".repeat(64),
            ..join(n + 1)
        };

        let Said::Accept(accept) = rig.ask(viewer(n as u16), join) else {
            panic!("it is let in")
        };

        seats.push((viewer(n as u16), accept.session));
    }

    let numbers = u32::MAX;
    let longest = Detection {
        epoch: u64::MAX,
        number: u64::MAX,
        transit_us: numbers,
        wait_us: numbers,
        decode_us: numbers,
        present_us: numbers,
        track_us: numbers,
        looked_us: numbers,
        clock_error_us: numbers,
        ..found(1)
    };

    // As many as a datagram holds.
    for (address, session) in &seats {
        rig.give(
            *address,
            &ToRelay::Detections(*session, detections(u64::MAX - 1, vec![longest; 12])),
        );

        rig.give(
            *address,
            &ToRelay::Detections(*session, detections(u64::MAX, vec![longest; 12])),
        );
    }

    let feedback = rig.told(2 * SECOND);
    let told: usize = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .map(|seen| seen.detections.len())
        .sum();

    assert_eq!(told, 20 * 24);
    let most = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .map(|seen| seen.detections.len())
        .max();

    assert_eq!(most, Some(MAX_DETECTIONS));
}

#[test]
fn each_source_is_told_of_its_own_viewers_and_judges_only_them() {
    let mut rig = Rig::live();
    rig.arrive(3, header("door", 1, 5, State::Live), &[], 0);
    let Said::Accept(other) = rig.ask(
        viewer(2),
        Join {
            stream: "door".into(),
            ..join(2)
        },
    ) else {
        panic!()
    };

    let (address, session) = rig.add_viewer(1);
    rig.give(
        address,
        &ToRelay::Detections(session, detections(1, vec![found(100)])),
    );

    for (_, origin, feedback) in rig.feedback(SECOND) {
        let stream = if origin == 0 { "cam" } else { "door" };
        assert!(
            feedback.demand.iter().all(|demand| demand.stream == stream),
            "{origin} {feedback:?}"
        );

        assert!(
            feedback
                .viewers
                .iter()
                .all(|seen| seen.stream == stream && (origin == 0 || seen.detections.is_empty()))
        );
    }

    let verdict = |error| {
        Some(Verdict {
            error,
            count: 4,
            ..Verdict::default()
        })
    };

    let verdicts = vec![
        ViewerVerdict {
            viewer: 1,
            verdict: verdict(0.25),
        },
        ViewerVerdict {
            viewer: 2,
            verdict: verdict(0.5),
        },
        ViewerVerdict {
            viewer: 9,
            verdict: verdict(9.0),
        },
    ];

    rig.engine.on_verdicts(rig.now, 3, verdicts);
    let told = |rig: &mut Rig, (address, session)| match rig.keep_alive(address, session) {
        Said::Pulse(_, pulse) => pulse.verdict,
        other => panic!("{other:?}"),
    };

    assert_eq!(
        told(&mut rig, (viewer(2), other.session)),
        verdict(0.25),
        "the first that came is its"
    );

    assert_eq!(
        told(&mut rig, (address, session)),
        None,
        "its own source has said nothing"
    );

    let nan = ViewerVerdict {
        viewer: 2,
        verdict: verdict(f32::NAN),
    };

    rig.engine.on_verdicts(rig.now, 0, vec![nan]);
    assert_eq!(told(&mut rig, (address, session)), None);
    rig.engine.on_verdicts(
        rig.now,
        0,
        vec![ViewerVerdict {
            viewer: 2,
            verdict: verdict(0.75),
        }],
    );

    rig.pass(SECOND);
    assert_eq!(told(&mut rig, (address, session)), verdict(0.75));
    rig.pass(SECOND);
    assert_eq!(
        told(&mut rig, (address, session)),
        None,
        "it is two seconds old"
    );
}

#[test]
fn who_goes_is_told_of_once_and_who_comes_again_has_another_name() {
    let mut rig = Rig::live();
    let (address, session) = rig.add_viewer(1);
    rig.told(SECOND);
    rig.give(
        address,
        &ToRelay::Detections(session, detections(1, vec![found(100)])),
    );

    rig.give(address, &ToRelay::Goodbye(session, Goodbye::default()));
    let (_, again) = rig.add_viewer(1);
    assert_ne!(again, session);
    let feedback = rig.quiet_second(&[(address, again)]);
    let seen: Vec<_> = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .collect();

    let left: Vec<_> = seen.iter().filter(|seen| seen.left).collect();
    assert_eq!(
        (left.len(), left[0].viewer, &left[0].detections[..]),
        (1, 1, &[encode(&found(100))][..])
    );

    assert!(seen.iter().any(|seen| seen.viewer == 2 && !seen.left));
    // One that falls silent has gone too.
    rig.pass(3 * SECOND);
    rig.engine.on_tick(rig.now);
    let feedback = rig.told(SECOND);
    assert!(
        feedback
            .iter()
            .flat_map(|feedback| &feedback.viewers)
            .any(|seen| seen.viewer == 2 && seen.left),
        "{feedback:?}"
    );
}

#[test]
fn many_that_come_and_go_do_not_silence_who_stays() {
    let mut rig = Rig::live();
    let (address, session) = rig.add_viewer(0);
    let mut detections_told = 0;

    for round in 0..100_u64 {
        for n in 1..50 {
            let guest = rig.join(viewer(n), 1000 * round + u64::from(n)).session;
            rig.give(viewer(n), &ToRelay::Goodbye(guest, Goodbye::default()));
        }

        if round % 10 == 0 {
            rig.give(
                address,
                &ToRelay::Detections(session, detections(round / 10 + 1, vec![found(round)])),
            );
        }

        for feedback in rig.told(10 * MS) {
            detections_told += feedback
                .viewers
                .iter()
                .map(|seen| seen.detections.len())
                .sum::<usize>();
        }
    }

    assert!(detections_told >= 9, "{detections_told}");
}

#[test]
fn clients_over_http_count_also_those_who_wait_for_a_stream() {
    let mut rig = Rig::new();
    let name: StreamName = "cam".parse().unwrap();
    rig.engine.on_clients(rig.now, &name, 3);
    assert!(rig.told(SECOND).is_empty(), "there is no source to tell");
    rig.frame("cam", 1, 1, 0);
    assert_eq!(demand(&rig.told(MS)[0]), (0, 3));
    rig.told(2 * SECOND);
    rig.engine.on_clients(rig.now, &name, 0);
    assert_eq!(demand(&rig.told(100 * MS)[0]), (0, 0));
    rig.now = rig.now + 30 * MS;
    let before = rig.now;
    rig.engine.on_clients(rig.now, &name, 1);
    let (at, _, feedback) = rig.feedback(SECOND)[0].clone();
    assert_eq!((demand(&feedback), at), ((0, 1), before));
    rig.engine.on_clients(rig.now, &name, 1);
    assert_eq!(rig.feedback(500 * MS).len(), 0, "that is no news");

    // Names that no source has do not pile up.
    for n in 0..1000 {
        rig.engine
            .on_clients(rig.now, &format!("s{n}").parse().unwrap(), 1);
    }

    rig.engine.on_clients(rig.now, &name, 2);
    assert_eq!(demand(rig.told(SECOND).last().unwrap()), (0, 2));
}

#[test]
fn what_could_not_be_said_is_counted_or_told_again() {
    let mut rig = Rig::live();
    let ((address, session), (other, gone)) = (rig.add_viewer(1), rig.add_viewer(2));
    rig.told(SECOND);
    rig.give(
        address,
        &ToRelay::Detections(session, detections(3, vec![found(100); 3])),
    );

    rig.give(other, &ToRelay::Goodbye(gone, Goodbye::default()));
    let undelivered = rig.told(100 * MS).remove(0);
    assert_eq!(undelivered.viewers.len(), 2);
    rig.engine.on_feedback_undelivered(rig.now, 0, undelivered);
    let feedback = rig.told(SECOND);
    let seen: Vec<_> = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .collect();

    assert!(seen.iter().any(|seen| seen.viewer == 2 && seen.left));
    assert!(
        seen.iter()
            .any(|seen| seen.viewer == 1 && seen.dropped == 3 && seen.detections.is_empty())
    );
}

#[test]
fn reports_of_other_relays_go_to_the_source_of_their_stream_and_leave_room_for_its_own() {
    let mut rig = Rig::new();
    rig.heartbeat("cam", 1, 100, State::Live);
    let (own, session) = rig.add_viewer(1);
    rig.told(SECOND);
    for viewer in 1..=2000 {
        rig.engine.on_viewer_report(
            rig.now,
            ViewerReport {
                stream: if viewer == 1 { "eye" } else { "cam" }.to_owned(),
                viewer: 0x5eed_0000_0000 + viewer,
                name: "elsewhere".to_owned(),
                ..ViewerReport::default()
            },
        );
    }

    rig.keep_alive(own, session);
    let told = rig.told(SECOND);
    let reports = || told.iter().flat_map(|report| &report.viewers);
    let relayed = reports().filter(|report| report.name == "elsewhere");
    assert!(
        (100..1024).contains(&relayed.count()),
        "as many as have room"
    );
    assert!(reports().any(|report| report.address == own.to_string()));
    assert!(reports().all(|report| report.stream == "cam"));
}
