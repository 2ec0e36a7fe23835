//! What each viewer gets of its stream: its rate, its parity, its pause, its first picture, its socket.

use fanlight_live::ledger::{CATCH_UPS_PER_SECOND, REPAIR_SHARDS_PER_SECOND};
use fanlight_proto::message::Report;
use fanlight_proto::parity::level_count;

use super::*;

/// A viewer that says what the test wants it to say, while a stream runs at 30 fps.
struct Watched {
    rig: Rig,
    session: u64,
    number: u64,
    report: Report,
    /// The highest sequence that it was sent.
    sequence: u64,
}

impl Watched {
    fn new() -> Self {
        let mut rig = Rig::live();
        let session = rig.join(viewer(1), 1).session;
        rig.outputs();
        Self {
            rig,
            session,
            number: 100,
            report: Report::default(),
            sequence: 0,
        }
    }

    fn frame(&mut self) -> Option<FrameTransmit> {
        self.rig.pass(FRAME_TIME);
        self.number += 1;
        self.rig.frame("cam", 1, self.number, 0);
        let transmit = self.rig.fans().pop();
        self.sequence = transmit
            .as_ref()
            .map_or(self.sequence, |transmit| transmit.packets.sequence());
        transmit
    }

    fn keep_alive(&mut self, body: KeepAlive) -> Pulse {
        let body = KeepAlive {
            sent_us: 1,
            newest_sequence: self.sequence,
            ..body
        };

        match only(
            self.rig
                .say(viewer(1), &ToRelay::KeepAlive(self.session, body)),
        ) {
            Said::Pulse(_, pulse) => pulse,
            other => panic!("{other:?}"),
        }
    }

    /// A second of frames with keep-alives, and a report that counts `lost` of them and `missed` shards as lost. The
    /// frames sent, and the answer to the report.
    fn second(&mut self, lost: u64, missed: u64) -> (Vec<FrameTransmit>, Pulse) {
        let mut fans = Vec::new();
        for n in 0..30 {
            fans.extend(self.frame());
            if n % 7 == 6 {
                self.keep_alive(KeepAlive::default());
            }
        }

        let sent = fans.len() as u64;
        self.report.frames_whole += sent - lost.min(sent);
        self.report.frames_unrecovered += lost.min(sent);
        self.report.shards_expected += 87 * sent;
        self.report.shards_missed += missed;
        let pulse = self.keep_alive(KeepAlive {
            report: Some(self.report),
            ..KeepAlive::default()
        });

        (fans, pulse)
    }
}

#[test]
fn a_viewer_that_loses_frames_gets_fewer_and_is_told_how_many_while_others_get_all() {
    let mut watched = Watched::new();
    assert_eq!(watched.second(3, 0).0.len(), 30);
    let (fans, pulse) = watched.second(0, 0);
    assert!((14..=16).contains(&fans.len()), "{}", fans.len());
    assert_eq!(pulse.frames_skipped, 30 - fans.len() as u64);
    assert!(
        fans.iter()
            .all(|transmit| transmit.targets[0].spread > Duration::ZERO)
    );

    watched.rig.join(viewer(2), 1);
    for _ in 0..30 {
        watched.rig.pass(FRAME_TIME);
        watched.number += 1;
        watched.rig.frame("cam", 1, watched.number, 0);
        let fans = watched.rig.fans();
        assert!(
            fans[0]
                .targets
                .iter()
                .any(|target| target.route.remote == viewer(2) && target.spread.is_zero())
        );
    }

    assert!(watched.rig.engine.skipped() > pulse.frames_skipped);
}

#[test]
fn parity_goes_to_who_reports_loss_and_is_made_only_then() {
    let mut watched = Watched::new();
    let (fans, pulse) = watched.second(0, 0);
    assert!(
        fans.iter()
            .all(|transmit| transmit.packets.parity() == 0 && transmit.targets[0].parity == 0)
    );

    assert_eq!(pulse.parity_percent, 0);
    let (_, pulse) = watched.second(0, 100);
    assert_eq!(
        pulse.parity_percent,
        u32::from(level_count(87, 2)) * 100 / 87
    );

    watched.rig.join(viewer(2), 1);
    let transmit = watched.frame().unwrap();
    assert_eq!(
        transmit.packets.parity(),
        fanlight_proto::parity::recovery_count(87)
    );

    let parity = |n| {
        transmit
            .targets
            .iter()
            .find(|target| target.route.remote == viewer(n))
            .unwrap()
            .parity
    };

    assert_eq!((parity(1), parity(2)), (level_count(87, 2), 0));
}

#[test]
fn frames_aborted_or_not_begun_are_told_to_the_viewer() {
    let mut watched = Watched::new();
    watched.rig.engine.on_aborted(viewer(1), true);
    watched.rig.engine.on_aborted(viewer(1), false);
    watched.rig.engine.on_aborted(viewer(7), true);
    let pulse = watched.keep_alive(KeepAlive::default());
    assert_eq!((pulse.frames_aborted, pulse.frames_skipped), (1, 1));
}

#[test]
fn a_paused_viewer_gets_no_media_and_a_picture_at_once_when_it_goes_on() {
    let mut watched = Watched::new();
    watched.frame().unwrap();
    watched.keep_alive(KeepAlive {
        paused: true,
        ..KeepAlive::default()
    });

    for _ in 0..200 {
        assert!(watched.frame().is_none());
        watched.keep_alive(KeepAlive {
            paused: true,
            ..KeepAlive::default()
        });
    }

    let mut datagram = Vec::new();
    ToRelay::KeepAlive(
        watched.session,
        KeepAlive {
            sent_us: 1,
            ..KeepAlive::default()
        },
    )
    .encode(&mut datagram);

    watched.rig.engine.on_datagram(
        watched.rig.now,
        Route {
            remote: viewer(1),
            local: None,
        },
        &datagram,
    );

    let fans = watched.rig.all_fans();
    assert_eq!(
        (fans.len(), fans[0].packets.id().number, fans[0].catch_up),
        (1, watched.number, true)
    );

    assert!(watched.frame().is_some());
    // What was not sent meanwhile was not left out.
    assert_eq!(watched.keep_alive(KeepAlive::default()).frames_skipped, 0);
}

#[test]
fn a_viewer_that_joins_gets_the_newest_frame_at_once_unless_it_is_to_wait() {
    let mut rig = Rig::live();
    rig.pass(SECOND / 2);
    let token = rig.engine.token_key.mint(rig.now, viewer(1)).to_vec();
    let mut ask = |nonce, paused| {
        let mut datagram = Vec::new();
        ToRelay::Join(Join {
            token: token.clone().into(),
            paused,
            ..join(nonce)
        })
        .encode(&mut datagram);

        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: viewer(1),
                local: None,
            },
            &datagram,
        );

        let fans = rig.all_fans();
        fans.iter()
            .map(|transmit| {
                (
                    transmit.packets.id().number,
                    transmit.packets.sequence(),
                    transmit.targets.len(),
                )
            })
            .collect::<Vec<_>>()
    };

    assert_eq!(ask(1, false), [(100, 1, 1)]);
    // The same cut again, not another under another number.
    assert_eq!(ask(2, false), [(100, 1, 1)]);
    assert_eq!(ask(3, true), []);
}

#[test]
fn an_old_picture_is_shown_to_nobody_who_joins() {
    let mut rig = Rig::live();
    rig.heartbeat("cam", 1, 100, State::Live);

    for _ in 0..10 {
        rig.pass(SECOND / 2);
        rig.heartbeat("cam", 1, 100, State::Live);
    }

    rig.join(viewer(1), 1);
    rig.engine.poll_output();
    assert!(rig.all_fans().is_empty());
}

#[test]
fn no_cut_of_a_stream_has_the_number_of_another() {
    let mut rig = Rig::live();
    let mut seen = std::collections::BTreeMap::new();

    for number in 101..200 {
        rig.frame("cam", 1 + number / 150, number, 0);
        for transmit in rig.all_fans() {
            let known = seen.insert(transmit.packets.sequence(), transmit.packets.id());
            assert!(known.is_none_or(|known| known == transmit.packets.id()));
        }

        if number % 3 == 0 {
            rig.join(viewer(number as u16), number);
        }
    }

    assert!(seen.len() > 90);
}

#[test]
fn who_joins_and_goes_all_the_time_gets_no_more_pictures_than_the_limit() {
    let mut rig = Rig::live();
    let mut catch_ups = 0;

    for nonce in 0..2000 {
        let token = rig.engine.token_key.mint(rig.now, viewer(1)).to_vec();
        let mut datagram = Vec::new();
        ToRelay::Join(Join {
            token: token.into(),
            ..join(nonce)
        })
        .encode(&mut datagram);

        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: viewer(1),
                local: None,
            },
            &datagram,
        );

        catch_ups += rig.all_fans().len();
    }

    assert_eq!(catch_ups, CATCH_UPS_PER_SECOND as usize);
}

/// Whom the engine moves out of the shared socket, and back.
fn moves(rig: &mut Rig) -> Vec<(bool, SocketAddr)> {
    let each = |output| match output {
        Output::Isolate(route) => Some((true, route.remote)),
        Output::Rejoin(route) => Some((false, route.remote)),
        _ => None,
    };
    rig.outputs().into_iter().filter_map(each).collect()
}

/// Some time of frames with keep-alives every fourth that have seen all, or nothing new.
fn watch(watched: &mut Watched, frames: u64, keeps_up: bool) -> Vec<(bool, SocketAddr)> {
    let mut all = Vec::new();
    let seen = watched.sequence;

    for n in 0..frames {
        watched.rig.pass(FRAME_TIME);
        watched.number += 1;
        watched.rig.frame("cam", 1, watched.number, 0);
        all.extend(moves(&mut watched.rig));
        watched.sequence = if keeps_up { watched.sequence + 1 } else { seen };

        if n % 4 == 0 {
            let report = Report {
                frames_whole: watched.number,
                ..Report::default()
            };

            watched.keep_alive(KeepAlive {
                report: Some(report),
                ..KeepAlive::default()
            });
        }
    }

    all
}

#[test]
fn a_viewer_begins_apart_shares_when_it_keeps_up_and_is_set_apart_when_it_falls_behind() {
    let mut watched = Watched::new();
    assert_eq!(watched.rig.engine.dedicated_sockets(), 1);
    watched.sequence = 1;
    assert_eq!(watch(&mut watched, 90, true), [(false, viewer(1))]);
    assert_eq!(
        (
            watched.rig.engine.dedicated_sockets(),
            watched.rig.engine.counts().isolated
        ),
        (0, 0)
    );

    assert_eq!(watch(&mut watched, 30, false), [(true, viewer(1))]);
    assert_eq!(
        (
            watched.rig.engine.dedicated_sockets(),
            watched.rig.engine.counts().isolated
        ),
        (1, 1)
    );

    watched.rig.say(
        viewer(1),
        &ToRelay::Goodbye(watched.session, Goodbye::default()),
    );

    assert_eq!(watched.rig.engine.dedicated_sockets(), 0);
}

#[test]
fn a_viewer_whose_keep_alives_stop_is_set_apart_before_its_session_ends() {
    let mut watched = Watched::new();
    watch(&mut watched, 90, true);
    let mut silent = 0;

    while moves(&mut watched.rig).is_empty() {
        watched.rig.pass(FRAME_TIME);
        watched.number += 1;
        watched.rig.frame("cam", 1, watched.number, 0);
        silent += 1;
    }

    assert!((18..30).contains(&silent), "{silent} frames");
}

#[test]
fn there_are_never_more_sockets_than_the_limit() {
    let mut rig = Rig::live();
    for n in 0..500 {
        rig.join(viewer(n), 1);
    }

    assert!(rig.engine.dedicated_sockets() <= MAX_DEDICATED_SOCKETS / 2);
    for number in 101..160 {
        rig.pass(FRAME_TIME);
        rig.frame("cam", 1, number, 0);
        rig.outputs();
    }

    assert_eq!(rig.engine.dedicated_sockets(), MAX_DEDICATED_SOCKETS);
    rig.pass(SECOND * 4);
    assert_eq!(
        (rig.engine.viewers(), rig.engine.dedicated_sockets()),
        (0, 0)
    );
}

#[test]
fn repairs_for_a_narrow_way_are_fewer() {
    let mut watched = Watched::new();
    watched.second(30, 0);
    let repair = Repair {
        alias: 0,
        epoch: 1,
        number: watched.number,
        ranges: vec![0, 1000],
    };

    let alias = u32::from(watched.rig.engine.alias(&"cam".parse().unwrap()).unwrap());
    let mut shards = 0;

    for _ in 0..1000 {
        let mut datagram = Vec::new();
        ToRelay::Repair(
            watched.session,
            Repair {
                alias,
                ..repair.clone()
            },
        )
        .encode(&mut datagram);

        watched.rig.engine.on_datagram(
            watched.rig.now,
            Route {
                remote: viewer(1),
                local: None,
            },
            &datagram,
        );

        for output in watched.rig.outputs() {
            let Output::Retransmit(retransmit) = output else {
                continue;
            };

            shards += retransmit
                .ranges
                .iter()
                .map(|range| u32::from(range.end - range.start))
                .sum::<u32>();
        }
    }

    assert!(shards <= REPAIR_SHARDS_PER_SECOND, "{shards}");
    assert!(
        watched
            .frame()
            .is_none_or(|transmit| transmit.targets[0].spread > Duration::ZERO)
    );
}
