//! Coming, staying and going.

use fanlight_proto::message::{Refusal, Report};

use super::*;

#[test]
fn nothing_is_kept_of_an_address_that_has_not_proved_itself() {
    let mut rig = Rig::live();
    for n in 0..1000 {
        rig.say(viewer(n), &ToRelay::Join(join(u64::from(n))));
    }
    assert_eq!(rig.engine.viewers(), 0);
    rig.frame("cam", 1, 101, 0);
    assert!(rig.outputs().is_empty());
}

#[test]
fn a_viewer_that_brings_its_token_back_gets_a_session_and_the_stream() {
    let mut rig = Rig::live();
    let accept = rig.join(viewer(1), 9);
    let stream = accept.stream.unwrap();
    assert_eq!(
        (
            accept.nonce,
            stream.name.as_str(),
            stream.width,
            stream.height
        ),
        (9, "cam", 640, 480)
    );

    assert_eq!(stream.status.unwrap().state, State::Live as i32);
    assert_ne!(accept.session, 0);
    assert_ne!(stream.alias, 0);
    assert_eq!((accept.keep_alive_ms, accept.idle_timeout_ms), (250, 3000));
}

#[test]
fn the_token_of_another_address_is_worth_nothing() {
    let mut rig = Rig::live();
    let Said::Challenge(token) = only(rig.say(viewer(1), &ToRelay::Join(join(1)))) else {
        panic!()
    };

    let stolen = ToRelay::Join(Join {
        token: token.into(),
        ..join(1)
    });

    assert!(matches!(
        only(rig.say(viewer(2), &stolen)),
        Said::Challenge(_)
    ));

    assert_eq!(rig.engine.viewers(), 0);
}

#[test]
fn the_same_join_again_gets_the_same_session_and_a_new_one_replaces_it() {
    let mut rig = Rig::live();
    let first = rig.join(viewer(1), 1).session;
    assert_eq!(rig.join(viewer(1), 1).session, first);
    let second = rig.join(viewer(1), 2).session;
    assert_ne!(second, first);
    assert_eq!(rig.engine.viewers(), 1);
    assert_eq!(rig.keep_alive(viewer(1), first), Said::Reset(first));
    rig.frame("cam", 1, 101, 0);
    assert_eq!(rig.fans()[0].targets.len(), 1);
}

#[test]
fn one_viewer_too_many_is_told_that_the_relay_is_busy() {
    let mut rig = Rig::with(EngineConfig {
        max_viewers: 2,
        ..EngineConfig::default()
    });

    rig.frame("cam", 1, 100, 0);
    let first = rig.join(viewer(1), 1).session;
    rig.join(viewer(2), 1);

    let Said::Refuse(refuse) = rig.ask(viewer(3), join(1)) else {
        panic!()
    };

    assert_eq!(refuse.refusal(), Refusal::Busy);
    // Those who are in may come again, and a place that is left is free.
    rig.join(viewer(2), 2);
    rig.say(viewer(1), &ToRelay::Goodbye(first, Goodbye::default()));
    rig.join(viewer(3), 2);
}

/// From issue 14: one address took all sessions within 0.1 s.
#[test]
fn one_address_that_has_all_sessions_gives_way_to_others() {
    let mut rig = Rig::with(EngineConfig {
        max_viewers: 40,
        ..EngineConfig::default()
    });

    rig.frame("cam", 1, 100, 0);
    for n in 0..40 {
        rig.join(viewer(n), u64::from(n) + 1);
    }

    let newcomer = |n: u8| SocketAddr::from(([10, 0, 1, n], 4000));
    for n in 0..10 {
        rig.join(newcomer(n), 1);
    }

    assert_eq!(rig.engine.viewers(), 40);
    assert_eq!(rig.engine.counts().evicted, 10);

    // Whoever has more than a share gets no place back.
    let Said::Refuse(refuse) = rig.ask(viewer(50), join(1)) else {
        panic!()
    };
    assert_eq!(refuse.refusal(), Refusal::Busy);
    assert_eq!(rig.engine.counts().evicted, 10);
}

/// From issue 14: 1000 sessions from one address in 0.1 s.
#[test]
fn one_address_with_a_thousand_sessions_keeps_no_other_out() {
    let mut rig = Rig::live();
    for n in 0..1000 {
        rig.join(viewer(n), u64::from(n) + 1);
    }

    let other = SocketAddr::from(([10, 0, 0, 2], 4000));
    rig.join(other, 1);
    assert_eq!(rig.engine.viewers(), 1000);
    assert_eq!(rig.engine.counts().evicted, 1);
}

#[test]
fn one_address_gets_as_many_sessions_as_the_settings_say_and_its_silent_ones_end_first() {
    let mut rig = Rig::with(EngineConfig {
        sessions: SessionLimits {
            per_address: 2,
            ..SessionLimits::default()
        },
        ..EngineConfig::default()
    });

    rig.frame("cam", 1, 100, 0);
    rig.join(viewer(1), 1);
    let second = rig.join(viewer(2), 1).session;
    let refused = |rig: &mut Rig| match rig.ask(viewer(3), join(1)) {
        Said::Refuse(refuse) => refuse.refusal() == Refusal::Busy,
        _ => false,
    };
    assert!(refused(&mut rig));
    assert_eq!(rig.engine.refusals().of(Resource::Sessions), 1);
    // Who is in may join anew, and other addresses may come.
    rig.join(viewer(1), 2);
    rig.join(SocketAddr::from(([10, 0, 0, 2], 4000)), 1);

    rig.pass(SECOND);
    rig.keep_alive(viewer(2), second);
    rig.join(viewer(3), 2);
    assert!(matches!(rig.keep_alive(viewer(2), second), Said::Pulse(..)));
    assert_eq!(rig.engine.viewers(), 3);
}

#[test]
fn silent_sessions_make_room_in_a_full_relay_before_others() {
    let mut rig = Rig::with(EngineConfig {
        max_viewers: 4,
        ..EngineConfig::default()
    });

    rig.frame("cam", 1, 100, 0);
    let crowd: Vec<_> = (0..3).map(|n| rig.join(viewer(n), 1).session).collect();
    let alone = SocketAddr::from(([10, 0, 0, 2], 4000));
    let silent = rig.join(alone, 1).session;
    rig.pass(SECOND);
    for (n, session) in (0..).zip(&crowd) {
        rig.keep_alive(viewer(n), *session);
    }

    rig.join(SocketAddr::from(([10, 0, 0, 3], 4000)), 1);
    assert_eq!(rig.keep_alive(alone, silent), Said::Reset(silent));
    for (n, session) in (0..).zip(crowd) {
        assert!(matches!(
            rig.keep_alive(viewer(n), session),
            Said::Pulse(..)
        ));
    }
}

#[test]
fn joins_that_cannot_be_met_are_refused_with_the_reason() {
    let mut rig = Rig::new();
    let refusal = |rig: &mut Rig, join| match rig.ask(viewer(1), join) {
        Said::Refuse(refuse) => refuse.refusal(),
        other => panic!("{other:?}"),
    };

    assert_eq!(refusal(&mut rig, join(1)), Refusal::NoStreams);
    rig.frame("cam", 1, 100, 0);

    for name in ["other", "not a name", &"x".repeat(1000)] {
        let wanted = Join {
            stream: name.into(),
            ..join(1)
        };
        assert_eq!(refusal(&mut rig, wanted), Refusal::NoSuchStream);
    }

    for n in 0..20 {
        rig.frame(&format!("gate{n:02}"), 1, 100, 0);
        rig.frame(&format!("gate{n:02}.canary"), 1, 100, 0);
    }
    let wanted = Join {
        stream: "other".into(),
        ..join(1)
    };
    let Said::Refuse(refuse) = rig.ask(viewer(1), wanted) else {
        panic!()
    };
    assert_eq!((refuse.streams.len(), refuse.total_streams), (8, 21));
    assert_eq!(refuse.streams[..2], ["cam", "gate00"]);

    let future = ToRelay::Join(Join {
        version: VERSION + 1,
        ..join(1)
    });

    let Said::Refuse(refuse) = only(rig.say(viewer(1), &future)) else {
        panic!()
    };

    assert_eq!((refuse.refusal(), refuse.nonce), (Refusal::Version, 1));
}

#[test]
fn who_asked_for_a_stream_before_it_came_is_told_once_when_it_comes() {
    let mut rig = Rig::new();
    for (n, stream) in [(1, ""), (2, "cam"), (3, "other"), (4, "cam"), (4, "cam")] {
        let wanted = Join {
            stream: stream.into(),
            ..join(n.into())
        };
        assert!(matches!(rig.ask(viewer(n), wanted), Said::Refuse(_)));
        // The last is told in time, once though it asks twice, and the others before it no more.
        if n == 3 {
            rig.pass(Duration::from_millis(600));
        }
    }

    rig.frame("cam", 1, 100, 0);
    let [(to, Said::Refuse(again))] = &rig.said()[..] else {
        panic!("one waits");
    };
    let told = (again.nonce, again.refusal(), again.retry_after_ms);
    assert_eq!((*to, told), (viewer(4), (4, Refusal::NoSuchStream, 0)));

    rig.frame("cam", 1, 101, 0);
    rig.frame("other", 1, 101, 0);
    assert!(
        rig.said().is_empty(),
        "told once, and in time or not at all"
    );
}

#[test]
fn a_list_names_the_streams_and_opens_no_session_even_when_busy() {
    let mut rig = Rig::with(EngineConfig {
        max_viewers: 0,
        ..EngineConfig::default()
    });

    for name in ["one", "two"] {
        rig.frame(name, 1, 5, 0);
    }

    let Said::Accept(list) = rig.ask(
        viewer(1),
        Join {
            list: true,
            ..join(3)
        },
    ) else {
        panic!()
    };

    let names: Vec<_> = list
        .streams
        .iter()
        .map(|stream| stream.name.as_str())
        .collect();

    assert_eq!(
        (list.session, names, list.total_streams),
        (0, vec!["one", "two"], 2)
    );

    assert_eq!(rig.engine.viewers(), 0);
}

#[test]
fn a_list_of_many_streams_is_cut_to_one_datagram_and_says_so() {
    let mut rig = Rig::new();
    for n in 0..60 {
        rig.heartbeat(&format!("{n:060}"), 1, 5, State::Live);
    }

    let Said::Accept(list) = rig.ask(
        viewer(1),
        Join {
            list: true,
            ..join(3)
        },
    ) else {
        panic!()
    };

    assert_eq!(list.total_streams, 60);
    assert!((5..60).contains(&list.streams.len()));
}

#[test]
fn a_keep_alive_is_answered_and_keeps_the_session() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;

    for _ in 0..100 {
        rig.pass(FRAME_TIME * 30);
        let Said::Pulse(answered, pulse) = rig.keep_alive(viewer(1), session) else {
            panic!()
        };

        assert_eq!(
            (answered, pulse.echo_us, pulse.relay_us),
            (session, 77, rig.now.as_micros())
        );
    }

    assert_eq!(rig.engine.viewers(), 1);
}

#[test]
fn a_viewer_that_falls_silent_gets_frames_for_three_seconds_and_no_longer() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    let joined = rig.now;
    let mut last = joined;

    for number in 101..300 {
        rig.pass(FRAME_TIME);
        rig.frame("cam", 1, number, 0);
        if !rig.fans().is_empty() {
            last = rig.now;
        }
    }

    let served = last.saturating_since(joined);
    assert!(
        (SECOND * 2..=SESSION_IDLE + SWEEP_INTERVAL).contains(&served),
        "{served:?}"
    );

    assert_eq!(rig.keep_alive(viewer(1), session), Said::Reset(session));
}

#[test]
fn a_session_at_another_address_is_not_a_session() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    assert_eq!(rig.keep_alive(viewer(2), session), Said::Reset(session));
    assert_eq!(
        rig.say(viewer(2), &ToRelay::Goodbye(session, Goodbye::default())),
        []
    );

    rig.frame("cam", 1, 101, 0);
    let targets = rig.fans()[0].targets.clone();
    assert_eq!(targets[0].route.remote, viewer(1));
}

#[test]
fn a_viewer_that_says_goodbye_gets_nothing_more() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    assert_eq!(
        rig.say(viewer(1), &ToRelay::Goodbye(session, Goodbye::default())),
        []
    );

    rig.frame("cam", 1, 101, 0);
    assert!(rig.outputs().is_empty());
}

#[test]
fn a_relay_that_stops_says_goodbye_to_all() {
    let mut rig = Rig::live();
    let mut sessions: Vec<_> = (1..4)
        .map(|n| (viewer(n), Said::Goodbye(rig.join(viewer(n), 1).session)))
        .collect();
    rig.engine.shut_down();
    let mut said = rig.said();
    said.sort_by_key(|(to, _)| *to);
    sessions.sort_by_key(|(to, _)| *to);
    assert_eq!(said, sessions);
    assert_eq!(rig.engine.viewers(), 0);
}

#[test]
fn a_viewer_that_does_not_return_what_it_is_told_gets_media_for_four_seconds_and_then_none() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    let joined = rig.now;
    let mut last = joined;
    let mut consent = 0;
    let mut served = |rig: &mut Rig, number: u64, reads: bool| {
        rig.pass(FRAME_TIME);
        rig.frame("cam", 1, number, 0);
        let sent = !rig.all_fans().is_empty();
        if number.is_multiple_of(7) {
            // It claims to have everything, which it can guess without reading anything.
            let report = Report {
                frames_whole: number,
                ..Report::default()
            };
            let body = KeepAlive {
                report: Some(report),
                newest_sequence: rig.newest_sequence(),
                consent,
                ..KeepAlive::default()
            };

            for output in rig.tell(viewer(1), &ToRelay::KeepAlive(session, body)) {
                if let Said::Pulse(_, pulse) = output
                    && reads
                {
                    consent = pulse.consent;
                }
            }
        }
        sent
    };

    for number in 101..500 {
        if served(&mut rig, number, false) {
            last = rig.now;
        }
    }

    let span = last.saturating_since(joined);
    assert!((SECOND * 2..=SECOND * 4).contains(&span), "{span:?}");
    assert_eq!(rig.engine.viewers(), 1, "the session itself goes on");

    // Who begins to read gets everything again.
    let frames = (500..700).filter(|number| served(&mut rig, *number, true));
    assert!(frames.count() > 150);
}

#[test]
fn a_keep_alive_that_claims_media_which_was_never_sent_counts_for_nothing() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    let body = KeepAlive {
        newest_sequence: 1 << 60,
        ..KeepAlive::default()
    };

    for _ in 0..15 {
        rig.pass(Duration::from_millis(250));
        let answers = rig.say(viewer(1), &ToRelay::KeepAlive(session, body));
        assert!(
            answers
                .iter()
                .all(|(_, said)| matches!(said, Said::Reset(_))),
            "{answers:?}"
        );
    }

    assert_eq!(rig.engine.viewers(), 0, "nor does it keep the session");
    assert!(rig.engine.counts().unsent_sequences >= 11);
}
