//! Programs that find each other: without settings on one host, and by mDNS across hosts.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use fanlight_tests::TestEnv;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::viewer_process::{ViewerCommand, ViewerProcess};

use crate::fixture::{PORT, USUAL, relay, source};

/// Where multicast DNS is spoken.
const MDNS: &str = "224.0.0.251:5353";

const BALL: &str = "--input ball --size 640x360 --canary off";

/// A viewer that is told of no relay.
fn watch(env: &TestEnv, host: &Host, flags: &str) -> ViewerProcess {
    let viewer = env.program("viewer").flags(flags).under(&host.enter());
    ViewerCommand::new(viewer, env).start()
}

/// What `--list` says on `host`, as one text.
#[track_caller]
fn list(env: &TestEnv, host: &Host, flags: &str) -> String {
    let viewer = env.program("viewer").flags("--list").flags(flags);
    let listed = viewer.under(&host.enter()).ends_with(0);
    let lines = listed.log().matching(0, "");
    lines.iter().map(|line| line.text.clone() + "\n").collect()
}

fn key(env: &TestEnv, program: &str, kind: &str) -> PathBuf {
    let file = env.path(&format!("{kind}.key"));
    let words = format!("keygen {kind} {}", file.display());
    env.program(program).flags(&words).ends_with(0);
    file
}

/// A relay on `host` that takes the stream `cam`, with a key that viewers share. A port of its own, because the hosts of the
/// laboratory have one name: that a name is taken costs seconds.
fn relay_with_key(env: &TestEnv, host: &Host, port: u16, key: &Path) -> Launch {
    let listen = SocketAddr::from((host.address(), port)).to_string();
    env.program("relay")
        .flag("sources", env.ipc("cam"))
        .flag("listen", listen)
        .flags("--access psk")
        .flag("key-file", key)
        .under(&host.enter())
}

fn has_joined(relay: &Program) -> bool {
    !relay.log().matching(0, "viewers joined").is_empty()
}

#[test]
fn three_programs_without_an_option_or_a_file_work_together_on_one_host() {
    let Some(lab) = Lab::open() else { return };
    let (env, host) = (TestEnv::new(), lab.host("box"));
    let program = |name| env.program(name).under(&host.enter());
    let viewing = watch(&env, &host, "");
    let _relay = program("relay").ready();
    let _source = program("source").ready();
    viewing.wait_shown(5);
}

#[test]
fn a_viewer_without_settings_waits_for_a_relay_of_another_host_and_says_so() {
    let Some(lab) = Lab::open() else { return };
    let (env, host, screen) = (TestEnv::new(), lab.host("relay"), lab.host("screen"));
    let viewing = watch(&env, &screen, "");
    let _source = source(&env, USUAL).ready();
    viewing
        .program()
        .says(&["no relay is found on the network"]);
    let _relay = relay(&env, &host).ready();
    viewing.wait_shown(5);
    viewing.finish().0.assert_one_session();
}

#[test]
fn a_list_names_every_relay_and_its_streams_and_discovery_is_off_with_one_word() {
    let Some(lab) = Lab::open() else { return };
    let env = TestEnv::new();
    let [open, silent, screen] = ["open", "silent", "screen"].map(|name| lab.host(name));
    let source = source(&env, USUAL).ready();
    source.says(&["publishing"]);
    let _relays = [
        relay(&env, &open).ready(),
        relay(&env, &silent).flags("--discovery=false").ready(),
    ];

    let said = list(&env, &screen, "");
    assert!(
        said.contains(&format!("{}:{PORT} (", open.address())),
        "{said}"
    );
    assert!(said.contains("cam "), "{said}");
    assert!(!said.contains(&silent.address().to_string()), "{said}");

    let viewer = env.program("viewer").flags("--list --discovery=false");
    let none = viewer.under(&screen.enter()).ends_with(1);
    none.says(&["nobody listens at 127.0.0.1:5004"]);
}

#[test]
fn a_viewer_with_a_key_takes_two_relays_that_have_it_and_no_strangers() {
    let Some(lab) = Lab::open() else { return };
    let env = TestEnv::new();
    let [stranger, left, right, screen] =
        ["stranger", "left", "right", "screen"].map(|name| lab.host(name));
    let key = key(&env, "relay", "psk");
    let _source = source(&env, USUAL).ready();
    let open = relay(&env, &stranger).ready();
    let hosts = [(&left, PORT + 1), (&right, PORT + 2)];
    let relays = hosts.map(|(host, port)| relay_with_key(&env, host, port, &key).ready());

    let flags = format!("--key-file {}", key.display());
    let viewing = watch(&env, &screen, &flags);
    for relay in &relays {
        relay.wait_for_line("viewers joined");
    }

    viewing.wait_shown(20);
    relays[0].kill();
    viewing.wait_more(20);
    assert!(!has_joined(&open));
    assert_eq!(viewing.finish().0.joins, 2);

    let said = list(&env, &screen, &flags);
    assert!(
        said.contains("takes a key that this viewer does not have"),
        "{said}"
    );
}

#[test]
fn a_relay_with_a_key_takes_the_sources_of_other_hosts_that_have_it_and_no_strangers() {
    let Some(lab) = Lab::open() else { return };
    let env = TestEnv::new();
    let [own, other, relays] = ["own", "stranger", "relay"].map(|name| lab.host(name));
    let key = key(&env, "source", "feed");
    let source = |stream: &str, host: &Host| {
        env.program("source")
            .flag("stream", stream)
            .flag("publish", format!("tcp://{}:5010", host.address()))
            .flags(BALL)
            .under(&host.enter())
    };

    let _strange = source("strange", &other).flags("--allow-remote").ready();
    let _own = source("hall", &own).flag("feed-key", &key).ready();
    let relay = env.program("relay").flag("feed-key", &key);
    let _relay = relay.under(&relays.enter()).ready();
    let viewing = watch(&env, &relays, "--stream hall");
    viewing.wait_shown(5);
    let said = list(&env, &relays, "--discovery=false");
    assert!(said.contains("hall") && !said.contains("strange"), "{said}");
}

#[test]
fn a_relay_without_a_key_takes_no_source_of_another_host_unless_that_was_allowed() {
    let Some(lab) = Lab::open() else { return };
    let env = TestEnv::new();
    let [remote, careful, trusting] = ["remote", "careful", "trusting"].map(|name| lab.host(name));
    let publish = format!("tcp://{}:5010", remote.address());
    let source = env.program("source").flags("--allow-remote --stream far");
    let source = source.flag("publish", publish).flags(BALL);
    let _source = source.under(&remote.enter()).ready();
    // A directory of its own for each: they are on different hosts.
    let relay = |host: &Host, flags: &str| {
        let relay = env.program("relay").flags(flags);
        let folder = env.path(host.name());
        relay.env("RUNTIME_DIRECTORY", folder).under(&host.enter())
    };

    let careful_relay = relay(&careful, "").ready();
    let _trusting = relay(&trusting, "--allow-remote-sources").ready();
    watch(&env, &trusting, "--stream far").wait_shown(5);
    let said = list(&env, &careful, "--discovery=false");
    assert!(!said.contains("far"), "{said}");
    assert!(
        careful_relay
            .log()
            .matching(0, "subscribing source")
            .is_empty()
    );
}

#[test]
fn nonsense_at_the_port_of_mdns_harms_nothing() {
    let Some(lab) = Lab::open() else { return };
    let env = TestEnv::new();
    let [host, screen, hostile] = ["relay", "screen", "hostile"].map(|name| lab.host(name));
    let _source = source(&env, USUAL).ready();
    let relay = relay(&env, &host).ready();
    let before = watch(&env, &screen, "");
    before.wait_shown(5);

    let from = SocketAddr::from((hostile.address(), 0));
    let socket = hostile.within(|| UdpSocket::bind(from).unwrap());
    let mut random = Random::new(seed(7));
    for round in 0..3000_u32 {
        let length = 12 + random.below(500);
        let mut datagram = random.bytes(length);
        // A third look like answers with many records, and a third like questions.
        match round % 3 {
            0 => datagram[..8].copy_from_slice(&[0, 0, 0x84, 0, 0, 0, 0, 9]),
            1 => datagram[..8].copy_from_slice(&[0, 0, 0, 0, 0, 9, 0, 0]),
            _ => {}
        }
        socket.send_to(&datagram, MDNS).unwrap();
    }

    let after = watch(&env, &screen, "");
    after.wait_shown(5);
    before.wait_more(5);
    before.finish().0.assert_one_session();
    assert!(relay.exits().is_empty());
}
