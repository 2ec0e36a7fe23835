//! The ZeroMQ leg with a key for each source and relay: who is not listed, or is not who is listed, is turned away.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::wait::{SOON, until};

const INPUT: &str = "--input ball --size 640x360 --rate 30";

/// The exit code for a start that failed.
const FAILED: i32 = 1;

/// A key that `keygen pair` made.
struct Pair {
    file: PathBuf,
    public: String,
}

fn pair(env: &TestEnv, name: &str) -> Pair {
    let file = env.path(&format!("{name}.key"));
    let path = file.to_str().unwrap();
    let keygen = |what: &str| {
        let program = env.program("source").flags(what).flags(path).ends_with(0);
        program
            .wait_for_line("fanlight-public:")
            .text
            .trim()
            .to_owned()
    };
    let public = keygen("keygen pair");
    assert_eq!(keygen("keygen public"), public);
    Pair { file, public }
}

fn list(env: &TestEnv, name: &str, lines: &[(&Pair, &str)]) -> PathBuf {
    let path = env.path(name);
    write(&path, lines);
    path
}

fn write(path: &Path, lines: &[(&Pair, &str)]) {
    let lines = lines
        .iter()
        .map(|(pair, rest)| format!("{} {rest}\n", pair.public));
    fs::write(path, lines.collect::<String>()).unwrap();
}

/// A source of `stream` at `address` that knows the relays of the list.
fn source(env: &TestEnv, stream: &str, address: SocketAddr, own: &Pair, relays: &Path) -> Launch {
    env.program("source")
        .flag("stream", stream)
        .flags(INPUT)
        .flag("publish", format!("tcp://{address}"))
        .flag("feed-identity", &own.file)
        .flag("relay-keys", relays)
}

fn relay(env: &TestEnv, endpoint: &str, own: &Pair, sources: &Path) -> Program {
    let http = format!("{}:0", env.relay_address(0).ip());
    env.relay(0, &[endpoint.to_owned()])
        .flag("feed-identity", &own.file)
        .flag("source-keys", sources)
        .flag("http", http)
        .ready()
}

/// Waits until the relay's log, `/readyz` and the page's data say why its source is not taken.
#[track_caller]
fn is_refused(relay: &Program, why: &str) {
    relay.wait_for_line(why);
    let site = Site::of(relay);
    for path in ["/readyz", "/api/sources"] {
        until("the reason is told", SOON, || {
            let told = String::from_utf8(site.get(path).body).unwrap();
            told.contains(why).then_some(())
        });
    }
    until("it is not ready", SOON, || {
        (site.get("/readyz").status == 503).then_some(())
    });
}

#[test]
fn a_listed_source_is_shown_and_another_one_at_its_endpoint_is_not() {
    let env = TestEnv::new();
    let [hall, thief, own] = ["hall", "thief", "relay"].map(|name| pair(&env, name));
    let address = env.source_address(0);
    let endpoint = format!("tcp://{address}");
    let relays = list(&env, "relays", &[(&own, "the relay")]);
    let sources = list(&env, "sources", &[(&hall, &endpoint)]);

    let stolen = source(&env, "cam", address, &thief, &relays).ready();
    let relay = relay(&env, &endpoint, &own, &sources);
    is_refused(&relay, "my key is not the one you list");
    stolen.says(&["list fanlight-public:", &thief.public, "source_keys"]);
    stolen.stop();

    // Without any key it gets no further.
    let plain = env
        .program("source")
        .flags("--stream cam")
        .flags(INPUT)
        .flag("publish", &endpoint)
        .ready();
    relay.wait_for_line("set feed_identity at the source");
    plain.stop();

    let _source = source(&env, "cam", address, &hall, &relays).ready();
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);
    let (_, frames) = viewing.finish();
    assert!(frames.iter().all(|frame| frame.epoch == frames[0].epoch));
}

#[test]
fn a_relay_that_is_not_listed_gets_nothing_until_it_is_and_nothing_after_that() {
    let env = TestEnv::new();
    let [hall, own, other] = ["hall", "relay", "other"].map(|name| pair(&env, name));
    let address = env.source_address(0);
    let endpoint = format!("tcp://{address}");
    let relays = list(&env, "relays", &[(&other, "another relay")]);
    let sources = list(&env, "sources", &[(&hall, &endpoint)]);

    let source = source(&env, "cam", address, &hall, &relays).ready();
    let relay = relay(&env, &endpoint, &own, &sources);
    is_refused(&relay, "your key is not in my relay_keys");
    source.says(&["subscriber refused", &own.public, "relay_keys"]);

    write(&relays, &[(&own, "the relay")]);
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);

    // What cannot be read changes nothing.
    fs::write(&relays, "fanlight-private:00 the relay\n").unwrap();
    source.says(&["relay_keys has changed and is not used", "line 1"]);
    viewing.wait_more(10);

    write(&relays, &[(&other, "another relay")]);
    source.says(&["its key has been taken out of relay_keys"]);
    viewing.program().wait_for_line("source gone");
    is_refused(&relay, "your key is not in my relay_keys");
}

#[test]
fn a_source_that_is_taken_out_of_the_list_or_publishes_another_stream_is_not_taken() {
    let env = TestEnv::new();
    let [hall, own] = ["hall", "relay"].map(|name| pair(&env, name));
    let address = env.source_address(0);
    let endpoint = format!("tcp://{address}");
    let relays = list(&env, "relays", &[(&own, "the relay")]);
    let door = format!("{endpoint} door");
    let sources = list(&env, "sources", &[(&hall, &door)]);

    let _source = source(&env, "cam", address, &hall, &relays).ready();
    let relay = relay(&env, &endpoint, &own, &sources);
    relay.wait_for_line("it has no such stream: door wanted");

    let cam = format!("{endpoint} cam door");
    write(&sources, &[(&hall, &cam)]);
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);

    write(&sources, &[]);
    viewing.program().wait_for_line("source gone");
    is_refused(&relay, "it is not in source_keys");
}

#[test]
fn status_asks_with_the_key_of_its_source() {
    let env = TestEnv::new();
    let [hall, own] = ["hall", "relay"].map(|name| pair(&env, name));
    let address = env.source_address(0);
    let relays = list(&env, "relays", &[(&own, "the relay")]);
    let flags = || source(&env, "cam", address, &hall, &relays);
    let _source = flags().ready();
    flags()
        .flags("status --json")
        .ends_with(0)
        .says(&["\"cam\""]);
    env.program("source")
        .flag("publish", format!("tcp://{address}"))
        .flags("status")
        .ends_with(2)
        .says(&["set feed_identity"]);
}

#[test]
fn keys_that_are_missing_or_of_the_wrong_kind_are_named_with_what_to_do() {
    let env = TestEnv::new();
    let own = pair(&env, "own");
    let own_path = own.file.to_str().unwrap();
    let feed = env.path("feed.key");
    env.program("source")
        .flags("keygen feed")
        .flags(feed.to_str().unwrap())
        .ends_with(0);

    let good = list(&env, "good", &[(&own, "tcp://127.0.0.1:5010")]);
    let bad = list(&env, "bad", &[(&own, "hall")]);
    let secret = env.path("secret");
    fs::copy(&own.file, &secret).unwrap();

    let (feed, good, bad) = (
        feed.to_str().unwrap(),
        good.to_str().unwrap(),
        bad.to_str().unwrap(),
    );
    let secret = secret.to_str().unwrap();
    for (name, identity, list, says) in [
        (
            "relay",
            "/no/such.key",
            good,
            &["/no/such.key", "keygen"][..],
        ),
        ("relay", feed, good, &["`fanlight-private:` is wanted"]),
        ("relay", own_path, "/no/such.list", &["/no/such.list"]),
        ("relay", own_path, bad, &["line 1", "`hall` is no endpoint"]),
        (
            "source",
            "/no/such.key",
            good,
            &["feed_identity", "/no/such.key"],
        ),
        (
            "source",
            feed,
            good,
            &["feed_identity", "`fanlight-private:` is wanted"],
        ),
        (
            "source",
            own_path,
            secret,
            &["relay_keys", "`fanlight-public:` is wanted"],
        ),
    ] {
        let key = if name == "relay" {
            "source-keys"
        } else {
            "relay-keys"
        };
        let launch = env.program(name);
        let launch = match name {
            "relay" => launch.flags("--listen 127.0.0.1:0"),
            _ => launch.flags(INPUT),
        };
        let program = launch
            .flag("feed-identity", identity)
            .flag(key, list)
            .ends_with(FAILED);
        program.says(says);
    }
}
