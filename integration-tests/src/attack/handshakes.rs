//! Garbage in place of handshakes, by somebody who knows the relay's public key, which is no secret.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::handshake::{PrivateKey, ViewerAccess};
use fanlight_proto::message::Join;

use super::{Outcome, PATIENCE, Scale, beside, shows, source};
use crate::TestEnv;
use crate::raw_client::{RawClient, join};
use crate::seeded::Random;
use crate::wait::{SOON, pause, until};

/// Addresses of the attacker.
const ADDRESSES: u8 = 40;

/// Between two rounds, in each of which every address sends [`EACH`].
const ROUND: Duration = Duration::from_millis(4);

/// 40 addresses, one datagram each in 4 ms: 10 000 a second.
const EACH: usize = 1;

/// Datagrams that have been sent before the first newcomer comes: four seconds' worth of handshakes.
const HEIGHT: u64 = 4000;

/// Long enough for a first Noise message with a request.
const GARBAGE: usize = 160;

/// A client that has proved its address.
fn proven(own: Ipv4Addr, relay: SocketAddr) -> (RawClient, Bytes) {
    let mut client = RawClient::between(own, relay);
    let join = join("");
    let token = until("the relay gives a token", SOON, || {
        client.say(&ToRelay::Join(join.clone()));
        let answer = client.receive(Duration::from_millis(200))?;
        match ToViewer::parse(&answer) {
            Ok(ToViewer::Challenge(challenge)) => Some(challenge.token),
            _ => None,
        }
    });
    (client, token)
}

/// The attack, until it is told to end.
struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(relay: SocketAddr, access: ViewerAccess) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (ended, count) = (Arc::clone(&over), Arc::clone(&sent));
        let mut clients: Vec<_> = (1..=ADDRESSES)
            .map(|host| proven(Ipv4Addr::new(127, 40, 0, host), relay))
            .collect();

        let thread = std::thread::spawn(move || {
            let mut random = Random::new(40);
            while !ended.load(SeqCst) {
                for (client, token) in &mut clients {
                    for _ in 0..EACH {
                        let join = Join {
                            nonce: random.number(),
                            token: token.clone(),
                            ..join("")
                        };
                        let garbage = random.bytes(GARBAGE).into();
                        client.say(&ToRelay::Join(join.envelope(&access, garbage)));
                        count.fetch_add(1, SeqCst);
                    }
                    client.drain(Duration::ZERO);
                }
                pause(ROUND);
            }
        });

        Self { over, sent, thread }
    }

    fn end(self) -> u64 {
        self.over.store(true, SeqCst);
        self.thread.join().expect("the attacker has no bug");
        self.sent.load(SeqCst)
    }
}

/// A private key in a file that only its owner may read.
fn private_key(env: &TestEnv, name: &str, seed: u8) -> (PathBuf, PrivateKey) {
    let (path, key) = (env.path(name), PrivateKey::new([seed; 32]));
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{}", *key.to_text()));
    written.expect("the test has a folder of its own");
    (path, key)
}

/// Viewers with keys come while garbage comes from 40 addresses.
pub(super) fn garbage(scale: Scale) -> Outcome {
    let env = TestEnv::new();
    let _source = source(&env, "cam");
    let (own, viewers) = (
        private_key(&env, "relay", 1),
        private_key(&env, "viewer", 2),
    );
    let list = env.path("viewers");
    let listed = std::fs::write(&list, format!("{} hall\n", viewers.1.public()));
    listed.expect("the test has a folder of its own");

    let relay = env.relay_address(0);
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("access", "keys")
        .flag("key-file", &own.0)
        .flag("viewer-keys", &list)
        .ready();

    let public = own.1.public();
    let viewer = || {
        let viewer = env.viewer(relay, "cam").flag("key-file", &viewers.0);
        viewer.flag("relay-key", public.to_string()).start()
    };
    let direct = viewer();
    let watched = shows(&direct, 10).is_some();

    let stranger = ViewerAccess::Keys {
        own: PrivateKey::new([3; 32]),
        relay: public,
    };
    let flood = Flood::start(relay, stranger);
    // More than a relay works on in a second: nothing is left to come by.
    until("the flood has used up what there is", SOON, || {
        (flood.sent.load(SeqCst) >= HEIGHT).then_some(())
    });
    let count = scale.pick(3, 10);
    let times: Vec<_> = (0..count)
        .map(|_| {
            let newcomer = viewer();
            let time = shows(&newcomer, 1);
            drop(newcomer);
            time
        })
        .collect();
    let sent = flood.end();

    let inside = times.iter().flatten().count();
    let slowest = times.iter().flatten().max().copied().unwrap_or(PATIENCE);
    Outcome {
        now: format!(
            "beside {sent} datagrams {inside} of {count} keyed newcomers watch, the slowest after {slowest:.1?}"
        ),
        honest: beside(direct),
        held: watched && inside == count,
    }
}
