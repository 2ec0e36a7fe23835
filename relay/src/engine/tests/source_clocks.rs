//! What viewers are told of the clocks of the sources.

use super::*;

#[test]
fn every_pulse_tells_the_clock_of_the_streams_own_source() {
    let mut rig = Rig::live();
    let accept = rig.join(viewer(1), 1);
    let told = |rig: &mut Rig| match rig.keep_alive(viewer(1), accept.session) {
        Said::Pulse(_, pulse) => pulse.source_clock,
        other => panic!("{other:?}"),
    };

    assert_eq!(told(&mut rig), None, "nothing is known yet");
    let known = SourceClock {
        clock_id: 0,
        offset_ns: -5_000_000_000,
        error_us: 120,
    };

    rig.engine.on_source_clock(
        rig.now,
        1,
        SourceClock {
            clock_id: 8,
            ..known
        },
    );

    assert_eq!(told(&mut rig), None, "that is another source's");
    rig.engine.on_source_clock(rig.now, 0, known);
    assert_eq!(told(&mut rig), Some(known));
    rig.outputs();
    rig.heartbeat("cam", 1, 100, State::Stalled);
    let unasked = rig.said();
    let clock = unasked.iter().find_map(|(_, said)| {
        if let Said::Pulse(_, p) = said {
            p.source_clock
        } else {
            None
        }
    });

    assert_eq!(clock, Some(known));
    rig.pass(SECOND);
    assert_eq!(
        told(&mut rig),
        Some(SourceClock {
            error_us: 220,
            ..known
        }),
        "two clocks part by 100 ppm at most"
    );
}
