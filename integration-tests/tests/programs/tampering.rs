//! Somebody on the way between viewer and relay who has no key, and tampers with every fifth datagram in both directions.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use fanlight_proto::keys::{PrivateKey, SharedKey};
use fanlight_tests::TestEnv;
use fanlight_tests::udp_proxy::UdpProxy;
use fanlight_tests::viewer_process::{Shown, ViewerProcess};

/// Flags of the relay, and of its viewers.
struct Access {
    relay: Vec<(&'static str, String)>,
    viewer: Vec<(&'static str, String)>,
}

fn file(env: &TestEnv, name: &str, text: &str) -> String {
    let path = env.path(name);
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn psk(env: &TestEnv) -> Access {
    let key = file(env, "psk", &SharedKey::new([7; 32]).to_text());
    Access {
        relay: vec![("access", "psk".to_owned()), ("key-file", key.clone())],
        viewer: vec![("key-file", key)],
    }
}

fn keys(env: &TestEnv) -> Access {
    let [relay, viewer] = [1, 2].map(|seed| PrivateKey::new([seed; 32]));
    let list = format!("{} hall", viewer.public());
    Access {
        relay: vec![
            ("access", "keys".to_owned()),
            ("key-file", file(env, "relay.key", &relay.to_text())),
            ("viewer-keys", file(env, "viewers", &list)),
        ],
        viewer: vec![
            ("key-file", file(env, "viewer.key", &viewer.to_text())),
            ("relay-key", relay.public().to_string()),
        ],
    }
}

/// By epoch and number.
fn hashes(shown: &[Shown]) -> BTreeMap<(u64, u64), u64> {
    let entry = |frame: &Shown| ((frame.epoch, frame.number), frame.hash);
    shown.iter().map(entry).collect()
}

/// A viewer of cam-a behind the proxy shows genuine frames of cam-a alone, in order, and goes on showing them.
fn nothing_but_loss_comes_of_it(access: impl Fn(&TestEnv) -> Access, seed: u64) {
    let env = TestEnv::new();
    let source = |stream: &str| {
        let source = env.source(stream);
        source
            .flags("--input ball --size 320x240 --rate 30")
            .ready()
    };
    let _sources = ["cam-a", "cam-b"].map(source);
    let Access { relay, viewer } = access(&env);
    let launch = env.relay(0, &[env.ipc("cam-a"), env.ipc("cam-b")]);
    let relay = relay
        .iter()
        .fold(launch, |launch, (flag, value)| launch.flag(flag, value));
    let relay = relay.ready();

    let address = env.relay_address(0);
    let watch = |at| -> ViewerProcess {
        let launch = env.viewer(at, "cam-a");
        let flags = viewer.iter();
        flags
            .fold(launch, |launch, (flag, value)| launch.flag(flag, value))
            .start()
    };
    let direct = watch(address);
    direct.wait_shown(3);

    let proxy = UdpProxy::tampering(address, seed);
    let tampered = watch(proxy.address());
    tampered.wait_shown(20);
    tampered.wait_more(10);
    let (_, shown) = tampered.finish();
    direct.wait_more(3);
    let (_, genuine) = direct.finish();

    let known = hashes(&genuine);
    let epoch = genuine[0].epoch;
    assert!(
        shown.iter().all(|frame| frame.epoch == epoch),
        "frames of another stream"
    );
    assert!(
        shown.windows(2).all(|pair| pair[0].number < pair[1].number),
        "{shown:?}"
    );
    let both = hashes(&shown)
        .into_iter()
        .filter(|(frame, _)| known.contains_key(frame));
    let both: Vec<_> = both.collect();
    assert!(both.len() >= 10 && both.iter().all(|(frame, hash)| known[frame] == *hash));
    assert!(relay.exits().is_empty());
}

#[test]
fn with_a_shared_key_nothing_but_loss_comes_of_tampering() {
    nothing_but_loss_comes_of_it(psk, 6);
}

#[test]
fn with_keys_of_their_own_nothing_but_loss_comes_of_tampering() {
    nothing_but_loss_comes_of_it(keys, 7);
}
