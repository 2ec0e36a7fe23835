//! The relay behind Caddy, with the very file that is shipped.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use fanlight_tests::http::Site;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};

/// Where connections to loopback addresses come from that choose none.
const PROXY: &str = "127.0.0.1";

/// Where one comes from that chooses.
const CLIENT: &str = "127.0.0.77";

#[test]
fn pictures_and_streams_pass_through_caddy_and_it_says_who_asks() {
    let caddy = Path::new("/usr/bin/caddy");
    if !caddy.is_file() {
        return skip("caddy is not installed (Debian package caddy)");
    }

    let env = TestEnv::new();
    let _source = env.source("cam").flags("--input ball --rate 20").ready();
    let own = env.relay_address(0).ip();
    let front = SocketAddr::new(own, 8081);
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("http", format!("{own}:0"))
        .flag("http-proxies", PROXY)
        .ready();

    let mut shipped = include_str!("../../../deploy/Caddyfile").to_owned();
    let direct = Site::of(&relay);
    for (from, to) in [
        (
            "\ncams.example {",
            // A site's address alone would have it listen on all of them.
            format!("\n{{\n\tadmin off\n}}\n\nhttp://{front} {{\n\tbind {own}"),
        ),
        (
            "reverse_proxy 127.0.0.1:8080",
            format!("reverse_proxy {}", direct.0),
        ),
    ] {
        assert_eq!(
            shipped.matches(from).count(),
            1,
            "the shipped file has {from:?} once"
        );
        shipped = shipped.replace(from, &to);
    }

    let file = env.path("Caddyfile");
    fs::write(&file, shipped).unwrap();
    let words = format!("run --adapter caddyfile --config {}", file.display());
    let _caddy = env
        .launch("caddy", caddy.to_owned())
        .env("HOME", env.directory())
        .env("XDG_DATA_HOME", env.directory())
        .env("XDG_CONFIG_HOME", env.directory())
        .flags(&words)
        .start();

    let site = Site(front);
    until("caddy answers", SOON, || site.connect().ok());
    until("a picture comes", SOON, || {
        (site.get("/snapshot/cam.jpg").status == 200).then_some(())
    });
    let mut parts = site.stream("/stream/cam.mjpeg?framing=plain", &[]);
    for _ in 0..3 {
        let part = parts.next_part().unwrap().expect("pictures come");
        assert!(part.body.starts_with(&[0xff, 0xd8]));
    }

    // The relay believes what Caddy says of who asks, and Caddy believes nobody.
    let asked = Command::new("curl")
        .args(["--silent", "--fail", "--interface", CLIENT])
        .args(["--header", "X-Forwarded-For: 6.6.6.6", "--output"])
        .arg(env.path("picture.jpg"))
        .arg(site.url("/snapshot/cam.jpg"))
        .status();
    assert!(asked.unwrap().success());
    let viewers = direct.get("/api/viewers").json();
    let rows = viewers["viewers"].as_array().unwrap().iter();
    let addresses: Vec<_> = rows.map(|row| row["address"].as_str().unwrap()).collect();
    let of_client = |address: &&str| address.starts_with(CLIENT);
    assert!(addresses.iter().any(of_client), "{addresses:?}");

    let metrics = site.get("/metrics");
    assert!(metrics.status == 200 && metrics.body.starts_with(b"# "));
}
