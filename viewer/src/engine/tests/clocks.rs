//! What the viewer makes of the clock of its relay.

use super::*;

#[test]
fn when_the_relay_had_a_frame_is_known_once_the_clocks_are_compared() {
    // So that the lower half of the microseconds of the relay begins anew meanwhile.
    let wraps = Duration::from_micros(1 << 32) - Duration::from_millis(2500);
    for ahead in [Duration::ZERO, wraps, Duration::from_secs(1 << 30)] {
        let mut world = World::new(1);
        world.relay().ahead = ahead;
        for at in (1000..4000).step_by(100) {
            world.run_until(ms(at));
            let (arrived, _) = *world.frames.last().unwrap();
            let way = arrived.saturating_since(world.relayed.unwrap());
            let error = Duration::from_micros(2);
            assert!(way.abs_diff(ONE_WAY) <= error, "{ahead:?}: {way:?}");
        }
    }
}
