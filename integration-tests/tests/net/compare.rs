//! The comparison of TCP and UDP (`./dev compare`), in short, and the example that shuffles a picture's datagrams.

use std::process::Command;
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::compare::{Buffer, LINKS, Link, Method, Pictures, measure};
use fanlight_tests::jpeg::numbered;
use fanlight_tests::promise::judge;
use fanlight_tests::target_directory;

/// A link of half the stream's need: what is queued there grows for as long as one looks.
#[test]
#[ignore = "./dev promises"]
fn over_half_a_link_the_newest_stays_young_and_what_is_queued_grows_old() {
    let folder = TestEnv::new();
    let pictures = Pictures::write(&folder.path("pictures"));
    let narrow = LINKS.iter().find(|link| link.name == "12 Mbit/s").unwrap();
    let Some(link) = Link::open(narrow) else {
        return;
    };

    if !link.is_real() {
        return;
    }

    judge("C3: TCP or UDP over half a link", |measurement| {
        let run = |method| {
            let length = Duration::from_secs(4);
            measure(&link, method, Buffer::Default, &pictures, length)
        };

        let queued = run(Method::TcpQueued)
            .age_ms
            .map_or(f64::MAX, |ages| ages[1]);
        let queued = Duration::from_secs_f64(queued.min(1e6) / 1e3);
        for method in [Method::Udp, Method::Tcp] {
            let figures = run(method);
            let age = figures.age_ms.map_or(f64::MAX, |ages| ages[1]);
            let age = Duration::from_secs_f64(age.min(1e6) / 1e3);
            let name = method.name();
            measurement.at_most(format!("{name}: age p95"), Duration::from_millis(400), age);
            measurement.at_most(
                format!("{name}: a third of what is queued"),
                queued / 3,
                age,
            );
            let shown = Duration::from_secs_f64(1.0 / figures.fps.max(0.01));
            measurement.at_most(
                format!("{name}: between pictures"),
                Duration::from_millis(250),
                shown,
            );
        }
    });
}

#[test]
fn shuffled_datagrams_of_a_picture_and_some_of_them_lost_are_put_together() {
    let env = TestEnv::new();
    let picture = numbered(7, 640, 480);
    let from = env.path("in.jpg");
    std::fs::write(&from, &picture).unwrap();

    let shuffle = |lost: &str, to: &str| {
        let output = Command::new(target_directory().join("debug/examples/shuffle"))
            .arg(&from)
            .arg(env.path(to))
            .arg(lost)
            .env("FANLIGHT_TEST_SEED", "5")
            .output()
            .unwrap();
        output.status.success()
    };

    for lost in ["0", "10"] {
        assert!(shuffle(lost, "out.jpg"));
        assert_eq!(std::fs::read(env.path("out.jpg")).unwrap(), picture);
    }

    assert!(!shuffle("90", "never.jpg"));
    assert!(!env.path("never.jpg").exists());
}
