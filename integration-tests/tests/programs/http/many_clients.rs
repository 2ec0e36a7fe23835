//! Many clients, and some of them slow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::http::Site;
use fanlight_tests::promise::Alone;
use fanlight_tests::usage::{MIB, threads_cpu};
use fanlight_tests::viewer_process::Report;
use fanlight_tests::wait::{SOON, pause, until};

use super::{Fixture, assert_picture};

/// What one client saw while it watched.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    frames: u64,
    skipped: u64,
    /// Ages when frames were handed to the socket, in microseconds.
    worst_age_us: u32,
}

/// Clients that watch until `done`, each in a thread: by WebSocket, as fast as frames come.
fn watch(site: Site, done: &AtomicBool) -> Seen {
    let mut socket = site.socket("/ws", &[]).unwrap();
    socket.subscribe(1, "cam", None);
    socket.credit(1);
    let mut seen = Seen::default();

    while !done.load(Ordering::Relaxed) {
        let frame = socket.frame().unwrap();
        socket.credit(1);
        seen.frames += 1;
        seen.skipped += u64::from(frame.skipped);
        seen.worst_age_us = seen.worst_age_us.max(frame.age_us);
    }

    seen
}

#[test]
#[ignore = "./dev promises"]
fn one_stalled_client_costs_sixteen_others_nothing() {
    Alone::wait().judge("a stalled HTTP client beside sixteen", |measurement| {
        let fixture = Fixture::of("--input ball --size 640x480 --rate 30", "");
        let site = fixture.site;
        // Neither is ever read.
        let stalled = site.stream("/stream/cam.mjpeg", &[]);
        let mut stalled_socket = site.socket("/ws", &[]).unwrap();
        stalled_socket.subscribe(1, "cam", None);
        (0..100).for_each(|_| stalled_socket.credit(1));
        let done = AtomicBool::new(false);
        let seen: Vec<Seen> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| watch(site, &done)))
                .collect();
            pause(Duration::from_secs(8));
            done.store(true, Ordering::Relaxed);
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });

        drop((stalled, stalled_socket));
        let most = seen.iter().map(|client| client.skipped).max().unwrap();
        let least = seen.iter().map(|client| client.frames).min().unwrap();
        let lossless = seen.iter().filter(|client| client.skipped == 0).count();
        // A frame or two, where this machine is busy with other things.
        measurement.compare("frames skipped", "<= 2", most.to_string(), "", most <= 2);
        measurement.compare(
            "frames in 8 s",
            ">= 220",
            least.to_string(),
            "240",
            least >= 220,
        );

        measurement.compare(
            "clients of 16 that lost nothing",
            ">= 12",
            lossless.to_string(),
            "",
            lossless >= 12,
        );
    });
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let fixture = Fixture::new("");
    let site = fixture.site;
    let round = |n: usize| match n % 4 {
        // Opened and closed, with a request half sent, with an answer, with a stream that goes on.
        0 => drop(site.connect().unwrap()),
        1 => std::io::Write::write_all(&mut site.connect().unwrap(), b"GET /api/str").unwrap(),
        2 => assert_eq!(site.get("/readyz").status, 200),
        _ if n % 8 == 3 => drop(site.stream("/stream/cam.mjpeg", &[])),
        _ => site.socket("/ws", &[]).unwrap().subscribe(1, "cam", None),
    };

    // What is allocated once is not what is lost.
    (0..1_000).for_each(round);
    let settle = || {
        until("all connections have ended", SOON, || {
            (fixture.stream()["clients"] == 0).then_some(())
        });

        pause(Duration::from_millis(300));
        fixture.relay.usage()
    };

    let before = settle();
    (0..10_000).for_each(round);
    let after = settle();
    println!("before {before:?}, after {after:?}");
    assert!(
        after.descriptors <= before.descriptors + 4,
        "{} descriptors after {}",
        after.descriptors,
        before.descriptors
    );

    let grown = after.resident.saturating_sub(before.resident);
    assert!(grown < 2 * MIB, "{} KiB more", grown / 1024);
    assert_picture(&site.get("/snapshot/cam.jpg").body, 320, 240);
}

/// What viewers over UDP see in so many seconds.
fn udp_watched(fixture: &Fixture, viewers: usize, length: Duration) -> Vec<Report> {
    let flags = format!("--duration {}s", length.as_secs());
    let viewings: Vec<_> = (0..viewers)
        .map(|_| {
            fixture
                .env
                .viewer(fixture.env.relay_address(0), "cam")
                .flags(&flags)
                .start()
        })
        .collect();

    viewings
        .into_iter()
        .map(|viewing| viewing.wait_end(length + SOON).0)
        .collect()
}

/// Median and 95th percentile of the viewers' ages in milliseconds, the worst of each, and all frames lost.
fn worst(reports: &[Report]) -> (f64, f64, u64, u64) {
    let most = |of: fn(&Report) -> Option<f64>| reports.iter().filter_map(of).fold(0.0, f64::max);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum();
    (
        most(|r| r.age_ms.p50),
        most(|r| r.age_ms.p95),
        sum(|r| r.frames.lost.total),
        sum(|r| r.frames.shown),
    )
}

#[test]
#[ignore = "./dev promises"]
fn a_hundred_browsers_ten_of_them_stalled_do_not_touch_the_viewers_over_udp() {
    Alone::wait().judge(
        "a hundred HTTP clients beside viewers over UDP",
        |measurement| {
            let fixture = Fixture::of("--input ball --size 640x480 --rate 30", "");
            let site = fixture.site;
            let length = Duration::from_secs(8);
            let before = worst(&udp_watched(&fixture, 2, length));
            let done = AtomicBool::new(false);
            let pid = fixture.relay.pid().unwrap();
            let (after, seen, spent) = std::thread::scope(|scope| {
                let stalled: Vec<_> = (0..10)
                    .map(|_| site.stream("/stream/cam.mjpeg", &[]))
                    .collect();
                let clients: Vec<_> = (0..90)
                    .map(|_| scope.spawn(|| watch(site, &done)))
                    .collect();
                until("all watch", SOON, || {
                    (fixture.stream()["clients"].as_u64() >= Some(100)).then_some(())
                });

                let cpu = threads_cpu(pid, |name| name == "http");
                let begun = clock::now();
                let after = worst(&udp_watched(&fixture, 2, length));
                let spent = threads_cpu(pid, |name| name == "http")
                    .saturating_sub(cpu)
                    .as_secs_f64()
                    / clock::now().saturating_since(begun).as_secs_f64();

                done.store(true, Ordering::Relaxed);
                let seen: Vec<Seen> = clients
                    .into_iter()
                    .map(|client| client.join().unwrap())
                    .collect();

                drop(stalled);
                (after, seen, spent)
            });

            let frames: u64 = seen.iter().map(|client| client.frames).sum();
            let skipped: u64 = seen.iter().map(|client| client.skipped).sum();
            println!(
                "the 90 that read got {frames} frames, {skipped} skipped; the HTTP thread took {spent:.2} of a core"
            );
            // The clients themselves take what this machine has: what they must not do is to delay the sending.
            let age = |of: (f64, f64, u64, u64)| format!("p50 {} p95 {} ms", of.0, of.1);
            measurement.compare(
                "median age over UDP",
                "+ 15 ms",
                age(after),
                age(before),
                after.0 < before.0 + 15.0,
            );

            let lost = |of: (f64, f64, u64, u64)| of.2 as f64 / (of.2 + of.3).max(1) as f64;
            measurement.compare(
                "frames lost over UDP",
                "+ 5 %",
                format!("{:.2} %", 100.0 * lost(after)),
                format!("{:.2} %", 100.0 * lost(before)),
                lost(after) < lost(before) + 0.05,
            );
        },
    );
}
