//! Promise P10: a stream that does not fit its link leaves room for others.

use std::process::Command;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::lab::{Host, installed};
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::pause;
use fanlight_tests::{long, skip};
use serde_json::Value;

use crate::fixture::{Fixture, Pictures};

/// The link that both use.
const LINK_MEGABITS: u32 = 20;

/// About 100 kB a frame: 25 Mbit/s.
const PICTURES: Pictures = Pictures {
    size: (1104, 624),
    rate: 30,
};

/// What the TCP flow keeps of the link, and the frames a second that the viewer keeps.
const TCP_SHARE: f64 = 0.3;
const FRAMES: f64 = 5.0;

/// Until the stream has found its rate.
const SETTLING: Duration = Duration::from_secs(5);

#[test]
#[ignore = "./dev promises"]
fn beside_a_tcp_flow_neither_starves() {
    if !installed("iperf3") {
        return skip("not installed: iperf3");
    }

    let Some(fixture) = Fixture::open(PICTURES) else {
        return;
    };

    let host = fixture.lab.host("screen");
    let viewing = fixture.viewer(&host);
    host.limit(LINK_MEGABITS);
    pause(SETTLING);
    let seconds = if long() { 60 } else { 12 };
    judge("P10: a stream beside a TCP flow", |measurement| {
        let (share, rate) = beside_tcp(&fixture, &host, &viewing, seconds);
        measurement.compare(
            "TCP's share of the link",
            format!(">= {TCP_SHARE}"),
            format!("{share:.2}"),
            "",
            share >= TCP_SHARE,
        );

        measurement.compare(
            "frames a second of the viewer",
            format!(">= {FRAMES}"),
            format!("{rate:.1}"),
            "",
            rate >= FRAMES,
        );
    });
}

/// TCP's share of the link, and the viewer's frames a second beside it.
fn beside_tcp(fixture: &Fixture, host: &Host, viewing: &ViewerProcess, seconds: u32) -> (f64, f64) {
    let server = fixture.env.launch("iperf3", "/usr/bin/iperf3".into());
    let server = server
        .flags("--server --one-off --forceflush")
        .under(&host.enter())
        .start();

    server.wait_for_line("Server listening");
    let before = viewing.count();
    let began = clock::now();
    let client = format!("iperf3 --json --time {seconds} --client {}", host.address());
    let words: Vec<String> = fixture
        .host
        .enter()
        .map(str::to_owned)
        .into_iter()
        .collect();

    let said = Command::new(&words[0])
        .args(&words[1..])
        .args(client.split(' '))
        .output()
        .unwrap();

    let rate =
        (viewing.count() - before) as f64 / clock::now().saturating_since(began).as_secs_f64();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let received = said["end"]["sum_received"]["bits_per_second"].as_f64();
    let share = received.unwrap_or_else(|| panic!("{said}")) / 1e6 / f64::from(LINK_MEGABITS);
    (share, rate)
}
