//! How old a webcam's picture is when its source publishes it, by the way that it takes into the source.

use std::time::Duration;

use fanlight_tests::promise::judge;

use super::guest::{Guest, SOURCE};
use super::subscriber::{Arrival, Subscriber};

/// ustreamer at the webcam, whose JPEGs it passes on.
const USTREAMER: &str = "ustreamer --device /dev/video0 --format MJPEG --encoder HW --resolution 1280x720 --desired-fps 30 \
                         --host 127.0.0.1 --port 8081 >/dev/console 2>&1 & ustreamer=$!";

/// Of the marker behind which the webcam writes its stamp.
const COMMENT: u8 = 0xfe;

/// From the webcam's own stamp until the picture is published, by the guest's clock.
fn age(arrival: &Arrival) -> Duration {
    let header = &arrival.frame.header;
    let published = header.captured_ns + u64::from(header.prepared_us) * 1_000;
    Duration::from_nanos(published.saturating_sub(arrival.stamp().captured.as_nanos()))
}

#[test]
#[ignore = "./dev promises"]
fn input_age_of_a_webcam_by_way() {
    let what = "input age of a webcam in a virtual machine, 1280x720 at 30 fps";
    judge(what, |measurement| {
        let Some(mut guest) = Guest::boot() else {
            return;
        };

        guest.plug();
        let camera = "--input camera --size 1280x720 --rate 30";
        let network = "--input http://127.0.0.1:8081/stream";
        for (way, first, input) in [
            ("V4L2", "true", camera),
            ("ustreamer, MJPEG over HTTP", USTREAMER, network),
        ] {
            guest.run("source_stop; true");
            guest.run(first);
            guest.run(&format!("source_start {SOURCE} {input}"));
            let mut subscriber = Subscriber::new(guest.endpoint());
            // ustreamer has a picture of its own until the webcam's come.
            while subscriber.pictures(1)[0].frame.jpeg[3] != COMMENT {}
            subscriber.pictures(30);
            let mut ages: Vec<_> = subscriber.pictures(90).iter().map(age).collect();
            ages.sort_unstable();
            let limit = Duration::from_millis(500);
            for (part, age) in [("median", ages[45]), ("95 of 100", ages[85])] {
                measurement.at_most(format!("{way}, {part}"), limit, age);
            }
        }
        guest.run("kill $ustreamer");
    });
}
