//! Keys and tokens whose files change: what is still allowed lives on, what is not ends, and a file that is wrong changes
//! nothing and is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};

const INPUT: &str = "--input ball --size 320x240 --rate 30";

/// Puts `text` in the place of a file that only its owner may read, as an editor does.
fn put(path: &Path, text: &str) {
    let newer = path.with_extension("new");
    fs::write(&newer, format!("{text}\n")).unwrap();
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&newer, path).unwrap();
}

fn key(kind: &str, byte: u8) -> String {
    format!("fanlight-{kind}:{}", format!("{byte:02x}").repeat(32))
}

fn file(env: &TestEnv, name: &str, text: &str) -> PathBuf {
    let path = env.path(name);
    put(&path, text);
    path
}

#[test]
fn another_shared_key_ends_the_viewers_of_the_former_and_a_wrong_file_ends_nobody() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(INPUT).ready();
    let [used, former, newer] = [("used", 1), ("former", 1), ("newer", 2)]
        .map(|(name, byte)| file(&env, name, &key("psk", byte)));
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("access", "psk")
        .flag("key-file", &used)
        .ready();

    let address = env.relay_address(0);
    let watch = |key: &Path| env.viewer(address, "cam").flag("key-file", key).start();
    let before = watch(&former);
    before.wait_shown(10);

    put(&used, "fanlight-psk:nonsense");
    relay.wait_for_line("key_file has changed and is not used");
    before.wait_more(10);

    put(&used, &key("psk", 2));
    before
        .program()
        .wait_for_line("the relay does not know this viewer's key");
    let after = watch(&newer);
    after.wait_shown(10);
    after.finish().0.assert_one_session();
    relay.wait_for_line("the handshake was not made with this key");
}

#[test]
fn a_viewer_takes_another_key_without_being_started_anew() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(INPUT).ready();
    let [at_relay, at_viewer] =
        ["relay.key", "viewer.key"].map(|name| file(&env, name, &key("psk", 1)));
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("access", "psk")
        .flag("key-file", &at_relay)
        .ready();
    let viewing = env.viewer(env.relay_address(0), "cam");
    let viewing = viewing.flag("key-file", &at_viewer).start();
    viewing.wait_shown(10);

    put(&at_viewer, "fanlight-psk:nonsense");
    let wrong = "key_file has changed and is not used";
    viewing.program().wait_for_line(wrong);
    viewing.wait_more(10);

    put(&at_relay, &key("psk", 2));
    let refused = "the relay does not know this viewer's key";
    viewing.program().wait_for_line(refused);
    put(&at_viewer, &key("psk", 2));
    viewing.wait_more(10);
    assert!(viewing.program().exits().is_empty());
}

#[test]
fn another_feed_key_at_source_and_relay_brings_the_stream_back_and_the_former_opens_nothing() {
    let env = TestEnv::new();
    let [at_source, at_relay] =
        ["source.key", "relay.key"].map(|name| file(&env, name, &key("feed", 1)));
    let endpoint = format!("tcp://{}", env.source_address(0));
    let source = env
        .program("source")
        .flags("--stream cam")
        .flags(INPUT)
        .flag("publish", &endpoint)
        .flag("feed-key", &at_source)
        .ready();
    let relay = env
        .relay(0, &[endpoint])
        .flag("feed-key", &at_relay)
        .ready();
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);

    let wrong = "feed_key, feed_identity or relay_keys has changed and is not used";
    put(&at_source, "fanlight-feed:nonsense");
    source.wait_for_line(wrong);
    viewing.wait_more(10);

    put(&at_source, &key("feed", 2));
    source.wait_for_line("or feed_key has changed");
    viewing.program().wait_for_line("source gone");
    put(&at_relay, &key("feed", 2));
    viewing.wait_more(10);
    assert!(source.exits().is_empty() && relay.exits().is_empty());
}

/// A relay whose tokens are in those files, with HTTP and RTSP.
fn guarded(env: &TestEnv, view: &Path, admin: &Path) -> (Program, Site, TcpStream) {
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flags("--http 127.0.0.1:0 --rtsp 127.0.0.1:0 --http-access token")
        .flag("http-view-token", view)
        .flag("http-admin-token", admin)
        .ready();
    let site = Site::of(&relay);
    let line = relay.wait_for_line(" rtsp=").text;
    let (_, rest) = line.split_once(" rtsp=").unwrap();
    let rtsp = TcpStream::connect(rest.split(' ').next().unwrap()).unwrap();
    (relay, site, rtsp)
}

/// The status that a request for the description gets.
fn describe(rtsp: &mut TcpStream, token: &str) -> String {
    let basic = STANDARD.encode(format!("me:{token}"));
    write!(
        rtsp,
        "OPTIONS rtsp://localhost/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n\
         DESCRIBE rtsp://localhost/cam RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic {basic}\r\n\r\n"
    )
    .unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = rtsp.read(&mut buffer).unwrap();
        assert!(count > 0, "the relay answers");
        heard.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&heard);
        let answer = text.split("RTSP/1.0 ").nth(2);
        if let Some(status) = answer.and_then(|answer| answer.split(' ').next()) {
            return status.to_owned();
        }
    }
}

#[test]
fn another_token_ends_what_the_former_let_in_and_nothing_of_the_other_role() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(INPUT).ready();
    let [first, second, boss] = ["first", "second", "boss"].map(|word| word.repeat(5));
    let (view, admin) = (file(&env, "view", &first), file(&env, "admin", &boss));
    let (relay, site, mut rtsp) = guarded(&env, &view, &admin);
    let status = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        site.ask("GET", "/snapshot/cam.jpg", &headers, "").status
    };
    until("the first picture has come", SOON, || {
        (status(&first) == 200).then_some(())
    });

    let stream = |token: &str| {
        let bearer = format!("Bearer {token}");
        site.stream("/stream/cam.mjpeg", &[("Authorization", &bearer)])
    };
    let [mut watching, mut ruling] = [stream(&first), stream(&boss)];
    let part = |parts: &mut fanlight_tests::http::Parts| parts.next_part().ok().flatten();
    assert!(part(&mut watching).is_some() && part(&mut ruling).is_some());
    assert_eq!(describe(&mut rtsp, &first), "200");

    put(&view, "short");
    relay.wait_for_line("http_view_token or http_admin_token has changed and is not used");
    assert!(part(&mut watching).is_some());
    assert_eq!(status(&first), 200);

    put(&view, &second);
    until("the stream of the former token ends", SOON, || {
        part(&mut watching).is_none().then_some(())
    });
    assert_eq!(
        (status(&first), status(&second), status(&boss)),
        (401, 200, 200)
    );
    assert!(part(&mut ruling).is_some());
    // So does the connection that it opened by RTSP.
    until("the RTSP connection ends", SOON, || {
        (!matches!(rtsp.read(&mut [0; 4096]), Ok(1..))).then_some(())
    });
}
