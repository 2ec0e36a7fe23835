use super::*;

/// Ends on a whole frame: what is lost behind the last whole one is not decided yet.
fn end_on_a_whole_frame(world: &mut World) {
    world.link = Link::default();
    let now = world.now;
    world.run_until(now + Duration::from_millis(100));
}

#[test]
fn every_frame_between_the_first_and_the_last_is_whole_or_lost_for_one_reason() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.run_until(ms(100));
        world.link = Link {
            lost: seed * 3,
            doubled: seed % 7 * 10,
            reordered: seed % 5 * 40,
        };

        world.run_until(ms(5000));
        end_on_a_whole_frame(&mut world);
        let summary = world.engine.summary(world.now);
        assert_eq!(summary.counts.whole, world.frames.len() as u64);
        assert_eq!(
            summary.counts.whole + summary.losses.total(),
            world.span(),
            "seed {seed}: {summary:?}"
        );

        assert_eq!(world.bodies_wrong, 0, "seed {seed}");
    }
}

#[test]
fn the_sum_holds_when_relay_and_source_restart_in_any_order() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let mut dice = SplitMix64::new(seed);
        world.run_until(ms(500));

        for start in 2..8 {
            world.link = Link {
                lost: dice.next() % 30,
                doubled: 5,
                reordered: 20,
            };

            match dice.next() % 4 {
                0 => world.relays[0] = None,
                1 => world.restart_relay(start),
                2 => (world.epoch, world.number) = (start, 0),
                _ => world.relay().skip_frame(),
            }

            let now = world.now;
            world.run_until(now + Duration::from_millis(dice.next() % 1500));
            if world.relays[0].is_none() {
                world.restart_relay(start);
            }
        }

        let now = world.now;
        world.run_until(now + Duration::from_secs(2));
        end_on_a_whole_frame(&mut world);
        let summary = world.engine.summary(world.now);
        assert_eq!(
            summary.counts.whole + summary.losses.total(),
            world.span(),
            "seed {seed}: {summary:?}"
        );

        assert_eq!(
            world.link_state_at(world.now),
            LinkState::Live,
            "seed {seed}"
        );
    }
}

#[test]
fn one_datagram_in_a_hundred_lost_costs_no_frame() {
    let mut world = World::new(11);
    world.run_until(ms(200));
    world.link.lost = 10;
    world.run_until(ms(30_000));
    end_on_a_whole_frame(&mut world);
    let summary = world.engine.summary(world.now);
    assert!(summary.losses.total() <= 2, "{summary:?}");
    assert!(summary.counts.repairs_received > 100, "{summary:?}");
}

#[test]
fn frames_missed_without_a_relay_are_counted_as_missed_while_away() {
    let mut world = World::new(12);
    world.run_until(ms(1000));
    world.relays[0] = None;
    world.run_until(ms(2000));
    world.restart_relay(2);
    world.run_until(ms(4000));
    let losses = world.engine.summary(world.now).losses;
    assert!((30..50).contains(&losses.away), "{losses:?}");
    assert_eq!(losses.total(), losses.away, "{losses:?}");
}

#[test]
fn a_relay_hears_how_far_a_frame_is_read_that_the_socket_does_not_hold() {
    let mut world = World::new(1);
    world.relay().progress_every = 100;
    world.frame_bytes = 400_000;
    world.run_until(ms(1000));

    let told = std::mem::take(&mut world.relay().progress);
    let frames = world.frames.len();
    assert!(frames > 20, "{frames}");
    let reaches: Vec<_> = told.iter().map(|progress| progress.reach).collect();
    assert_eq!(reaches[..6], [100, 200, 300, 100, 200, 300]);
    assert!(told.is_sorted_by_key(|progress| (progress.sequence, progress.reach)));

    // One that it holds is told of to nobody.
    world.frame_bytes = 200_000;
    world.run_until(ms(1100));
    world.relay().progress.clear();
    world.run_until(ms(2000));
    assert_eq!(world.relay().progress, []);
}
