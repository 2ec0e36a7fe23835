//! Clients that do harm, or try to.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fanlight_tests::http::{Said, Site};
use fanlight_tests::usage::MIB;
use fanlight_tests::wait::{SOON, until};

use super::Fixture;

/// Waits until the relay hangs up.
#[track_caller]
fn wait_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).err();
    let kept =
        error.filter(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(kept.is_none(), "still open after {SOON:?}");
}

#[test]
fn slow_requests_are_cut_off_and_nobody_waits_for_them() {
    let fixture = Fixture::new("");
    let heads = [
        "",
        "GET / HT",
        "GET /api/streams HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "POST /api/sign HTTP/1.1\r\nContent-Le",
    ];

    let slow: Vec<TcpStream> = (0..100)
        .map(|n| {
            let mut stream = fixture.site.connect().unwrap();
            stream.write_all(heads[n % heads.len()].as_bytes()).unwrap();
            stream
        })
        .collect();

    for _ in 0..20 {
        assert_eq!(fixture.site.get("/snapshot/cam.jpg").status, 200);
    }

    for mut stream in &slow {
        // One byte now and then does not keep it open.
        let _ = stream.write_all(b"x");
        wait_closed(stream);
    }
}

#[test]
fn a_request_whose_body_does_not_come_is_cut_off() {
    let fixture = Fixture::new("");
    let mut stream = fixture.site.connect().unwrap();
    let host = fixture.site.0;
    let head = format!(
        "POST /api/sign HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    wait_closed(&stream);
}

#[test]
fn heads_and_bodies_have_limits() {
    let fixture = Fixture::new("");
    let long = "x".repeat(20_000);
    let answer = fixture
        .site
        .ask("GET", "/api/streams", &[("X-Long", &long)], "");
    assert_eq!(answer.status, 431);
    assert_eq!(
        fixture
            .site
            .ask("GET", &format!("/{}", "x".repeat(7_000)), &[], "")
            .status,
        404
    );

    let many: Vec<(String, &str)> = (0..200).map(|n| (format!("X-{n}"), "y")).collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();

    assert_eq!(
        fixture.site.ask("GET", "/api/streams", &many, "").status,
        431
    );

    let body = format!("{{\"path\":\"/{}\"}}", "x".repeat(10_000));
    assert_eq!(
        fixture.site.ask("POST", "/api/sign", &[], &body).status,
        400
    );

    assert_eq!(fixture.site.get("/readyz").status, 200);
}

#[test]
fn what_is_no_http_is_dropped() {
    let fixture = Fixture::new("");
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
    ] {
        let mut stream = fixture.site.connect().unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }

    assert_eq!(fixture.site.get("/readyz").status, 200);
}

#[test]
fn connections_have_a_limit_and_one_address_a_lower_one() {
    let fixture = Fixture::new("--http-connections 40 --http-connections-per-address 20");
    let idle: Vec<TcpStream> = (0..30).map(|_| fixture.site.connect().unwrap()).collect();
    // Who finds no place is hung up on.
    let open = |stream: &TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let read = { stream }.read(&mut [0; 1]);
        matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };

    until("ten of them are hung up on", SOON, || {
        let held = idle.iter().filter(|stream| open(stream)).count();
        assert!(held >= 20, "{held} of 20 places are in use");
        (held == 20).then_some(())
    });

    fixture.relay.wait_for_line("connections refused: too many");
    drop(idle);
    until("places are given back", SOON, || {
        let answer = fixture.site.begin("GET", "/readyz", &[], "").ok();
        answer.filter(|(answer, _)| answer.status == 200)
    });
}

#[test]
fn a_socket_that_breaks_the_rules_is_closed() {
    let fixture = Fixture::new("");
    let socket = || fixture.site.socket("/ws", &[]).unwrap();
    let ends = |mut socket: fanlight_tests::http::Socket| loop {
        match socket.hear() {
            Ok(Said::Close(code)) => break Some(code),
            Ok(_) => {}
            Err(_) => break None,
        }
    };

    let mut long = socket();
    long.send(1, &[b' '; 5_000]).unwrap();
    assert_eq!(ends(long), Some(1002));
    let mut flood = socket();
    // Sent until it is hung up on.
    while flood.send(1, br#"{"type":"credit","id":1}"#).is_ok() {}
    let unmasked = socket();
    { unmasked.stream() }
        .write_all(&[0x81, 2, b'{', b'}'])
        .unwrap();
    assert!(ends(unmasked).is_none_or(|code| code == 1002));
    let mut polite = socket();
    polite.send(8, &1000_u16.to_be_bytes()).unwrap();
    assert!(ends(polite).is_none_or(|code| code == 1000));
    assert_eq!(fixture.site.get("/readyz").status, 200);
}

#[test]
fn who_takes_nothing_is_cut_off_and_gives_its_memory_back() {
    let fixture = Fixture::of("--input ball --size 1280x720 --rate 30", "");
    let before = fixture.relay.usage();
    let stalled: Vec<_> = (0..20)
        .map(|_| fixture.site.stream("/stream/cam.mjpeg", &[]))
        .collect();
    let mut sockets: Vec<_> = (0..20)
        .map(|_| fixture.site.socket("/ws", &[]).unwrap())
        .collect();
    for socket in &mut sockets {
        socket.subscribe(1, "cam", None);
        // Credit for a minute, if it were kept.
        (0..1_000).for_each(|_| socket.credit(1));
    }

    let clients = |site: &Site| site.get("/api/streams").json()["streams"][0]["clients"].as_u64();
    until("all watch", SOON, || {
        (clients(&fixture.site) == Some(40)).then_some(())
    });

    until("those are cut off that take nothing", 2 * SOON, || {
        (clients(&fixture.site) == Some(0)).then_some(())
    });

    let grown = fixture
        .relay
        .usage()
        .resident
        .saturating_sub(before.resident);

    assert!(grown < 24 * MIB, "{} KiB more", grown / 1024);
    drop((stalled, sockets));
}
