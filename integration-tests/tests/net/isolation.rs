//! Promise P8: a slow viewer harms only itself.

use std::time::Duration;

use fanlight_tests::lab::Host;
use fanlight_tests::light_viewers::{LightViewers, ViewerStats, age_percentile, socket};
use fanlight_tests::long;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::{SOON, pause};

use crate::fixture::{Fixture, PORT, Pictures, relay};

/// About 100 kB a frame: what a slow link of [`SLOW_MEGABITS`] carries a twelfth of.
const PICTURES: Pictures = Pictures {
    size: (1104, 624),
    rate: 30,
};

const SLOW_MEGABITS: u32 = 2;

/// The viewers that are not slow.
const OTHERS: usize = 9;

/// What they may lose by the slow one: points of their delivery, and time of their 99th percentile of age.
const DELIVERY_POINTS: f64 = 0.1;
const AGE: Duration = Duration::from_millis(5);

/// Least bytes of a receive buffer; the kernel keeps twice as many (socket(7)).
const SMALLEST_BUFFER: usize = 2048;

/// Nine viewers of a relay that a slow one joins, and as many of another relay of the same stream that it does not: what
/// stays away from the second is the machine's doing.
struct Nine {
    light_viewers: LightViewers,
    control: LightViewers,
    _control_relay: Program,
    before: Service,
    fixture: Fixture,
}

impl Nine {
    fn open() -> Option<Self> {
        let fixture = Fixture::open(PICTURES)?;
        let light_viewers = fixture.light_viewers(&fixture.lab.host("nine"), OTHERS);
        let host = fixture.lab.host("control");
        let control_relay = relay(&fixture.env, &host).ready();
        let control = fixture.light_viewers_of(
            (host.address(), PORT).into(),
            &fixture.lab.host("others"),
            OTHERS,
        );

        light_viewers.wait_served(SOON);
        control.wait_served(SOON);
        light_viewers.begin();
        measure();
        let before = Service::of(&light_viewers);
        Some(Self {
            light_viewers,
            control,
            _control_relay: control_relay,
            before,
            fixture,
        })
    }

    /// Compares how they fare with how they did before, and with how the others do at the same time.
    #[track_caller]
    fn judge_unharmed(&self, by: &str) {
        judge(&format!("P8: nine viewers beside {by}"), |measurement| {
            self.light_viewers.begin();
            self.control.begin();
            measure();
            let beside = Service::of(&self.light_viewers);
            let control = Service::of(&self.control);

            let least = self.before.delivery.min(control.delivery) - DELIVERY_POINTS;
            measurement.compare(
                "frames whole for the worst served",
                format!(">= {least:.2} %"),
                format!("{:.2} %", beside.delivery),
                format!("{:.2} %", control.delivery),
                beside.delivery >= least,
            );

            let most = self.before.age.max(control.age) + AGE;
            measurement.compare(
                "99th percentile of age",
                format!("<= {most:.1?}"),
                format!("{:.1?}", beside.age),
                format!("{:.1?}", control.age),
                beside.age <= most,
            );
        });
    }

    /// A viewer on `host` that shows, and then is slow by `act`.
    fn slow(&self, host: &Host, act: impl FnOnce(&ViewerProcess)) -> ViewerProcess {
        let viewing = self.fixture.viewer(host);
        act(&viewing);
        viewing
    }
}

/// How a set of viewers fares.
struct Service {
    /// Frames that were whole in time for who got the fewest, in percent.
    delivery: f64,
    /// The 99th percentile of all ages.
    age: Duration,
}

impl Service {
    fn of(light_viewers: &LightViewers) -> Self {
        let seen = light_viewers.seen();
        let delivery = seen.iter().map(ViewerStats::delivery).fold(100.0, f64::min);
        Self {
            delivery,
            age: age_percentile(&seen, 99).unwrap_or(Duration::MAX),
        }
    }
}

fn measure() {
    pause(Duration::from_secs(if long() { 60 } else { 6 }));
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_behind_a_slow_link_harms_no_other() {
    let Some(nine) = Nine::open() else { return };
    let host = nine.fixture.lab.host("slow");
    let _slow = nine.slow(&host, |_| host.limit(SLOW_MEGABITS));
    nine.judge_unharmed("a viewer behind a slow link");
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_behind_a_slow_class_of_the_relays_own_egress_harms_no_other() {
    let Some(nine) = Nine::open() else { return };
    let host = nine.fixture.lab.host("slow");
    // One that does not give up when answers come late: it keeps the queue full.
    let slow = nine.fixture.light_viewers(&host, 1);
    slow.wait_served(SOON);
    nine.fixture.host.limit_class(&host, SLOW_MEGABITS);
    nine.judge_unharmed("a viewer behind a slow class of the egress");
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_stands_still_harms_no_other() {
    let Some(nine) = Nine::open() else { return };
    let host = nine.fixture.lab.host("slow");
    let _slow = nine.slow(&host, |viewing| viewing.program().freeze());
    nine.judge_unharmed("a viewer that stands still");
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_reads_nothing_into_the_smallest_buffer_harms_no_other() {
    let Some(nine) = Nine::open() else { return };
    let host = nine.fixture.lab.host("slow");
    let sockets = host.within(|| vec![socket(Some(SMALLEST_BUFFER))]);
    let slow = LightViewers::join_and_read_nothing(sockets, nine.fixture.address(), "cam");
    slow.wait_joined(SOON);
    nine.judge_unharmed("a viewer that reads nothing");
}
