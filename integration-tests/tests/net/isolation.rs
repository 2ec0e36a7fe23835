//! Promise P8: a slow viewer harms only itself.

use std::time::Duration;

use fanlight_tests::crowd::{Crowd, Seen, age_percentile, socket};
use fanlight_tests::lab::Host;
use fanlight_tests::long;
use fanlight_tests::viewing::Viewing;
use fanlight_tests::wait::{SOON, pause};

use crate::scene::{Pictures, Scene, quiet};

/// About 100 kB a frame: what a slow link of [`SLOW_MEGABITS`] carries a twelfth of.
const PICTURES: Pictures = Pictures { size: (1104, 624), rate: 30 };

const SLOW_MEGABITS: u32 = 2;

/// The viewers that are not slow.
const OTHERS: usize = 9;

/// What they may lose by the slow one: points of their delivery, and time of their 99th percentile of age.
const DELIVERY_POINTS: f64 = 0.1;
const AGE: Duration = Duration::from_millis(5);

/// Measurements of which one must be good.
const TRIES: usize = 3;

/// Least bytes of a receive buffer; the kernel keeps twice as many (socket(7)).
const SMALLEST_BUFFER: usize = 2048;

/// How nine viewers on a host of their own fare, alone and beside a slow one.
struct Nine {
    crowd: Crowd,
    alone: Vec<Seen>,
    scene: Scene,
}

impl Nine {
    fn open() -> Option<Self> {
        let scene = Scene::open(PICTURES)?;
        let crowd = scene.crowd(&scene.lab.host("nine"), OTHERS);
        crowd.wait_served(SOON);
        let alone = fare(&crowd);
        Some(Self { crowd, alone, scene })
    }

    /// Compares how they fare now with how they did alone. A busy machine spoils a measurement; harm spoils each.
    #[track_caller]
    fn assert_unharmed(&self) {
        let good = (0..TRIES).any(|_| self.unharmed());
        assert!(good, "the nine were harmed in each of {TRIES} measurements, whose figures stand above");
    }

    fn unharmed(&self) -> bool {
        let [alone, beside] = [&self.alone, &fare(&self.crowd)].map(|seen| {
            let least = seen.iter().map(Seen::delivery).fold(100.0, f64::min);
            (least, age_percentile(seen, 99).unwrap_or(Duration::MAX))
        });
        eprintln!(
            "measured: nine alone {:.2} % and p99 {:?}; beside a slow one {:.2} % and p99 {:?}",
            alone.0, alone.1, beside.0, beside.1
        );
        beside.0 >= alone.0 - DELIVERY_POINTS && beside.1 <= alone.1 + AGE
    }

    /// A viewer on `host` that shows, and then is slow by `act`.
    fn slow(&self, host: &Host, act: impl FnOnce(&Viewing)) -> Viewing {
        let viewing = self.scene.viewer(host);
        act(&viewing);
        viewing
    }
}

/// What the members see in the time of a measurement.
fn fare(crowd: &Crowd) -> Vec<Seen> {
    crowd.begin();
    pause(Duration::from_secs(if long() { 60 } else { 6 }));
    crowd.seen()
}

#[test]
fn a_viewer_behind_a_slow_link_harms_no_other() {
    let _quiet = quiet();
    let Some(nine) = Nine::open() else { return };
    let host = nine.scene.lab.host("slow");
    let _slow = nine.slow(&host, |_| host.limit(SLOW_MEGABITS));
    nine.assert_unharmed();
}

#[test]
fn a_viewer_behind_a_slow_class_of_the_relays_own_egress_harms_no_other() {
    let _quiet = quiet();
    let Some(nine) = Nine::open() else { return };
    let host = nine.scene.lab.host("slow");
    // One that does not give up when answers come late: it keeps the queue full.
    let slow = nine.scene.crowd(&host, 1);
    slow.wait_served(SOON);
    nine.scene.host.limit_class(&host, SLOW_MEGABITS);
    nine.assert_unharmed();
}

#[test]
fn a_viewer_that_stands_still_harms_no_other() {
    let _quiet = quiet();
    let Some(nine) = Nine::open() else { return };
    let host = nine.scene.lab.host("slow");
    let _slow = nine.slow(&host, |viewing| viewing.program().freeze());
    nine.assert_unharmed();
}

#[test]
fn a_viewer_that_reads_nothing_into_the_smallest_buffer_harms_no_other() {
    let _quiet = quiet();
    let Some(nine) = Nine::open() else { return };
    let host = nine.scene.lab.host("slow");
    let sockets = host.within(|| vec![socket(Some(SMALLEST_BUFFER))]);
    let slow = Crowd::join_and_read_nothing(sockets, nine.scene.address(), "cam");
    slow.wait_joined(SOON);
    nine.assert_unharmed();
}
