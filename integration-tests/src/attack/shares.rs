//! Attacks that take all there is of something.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use fanlight_proto::datagram::ToRelay;
use fanlight_proto::message::{Join, KeepAlive};

use super::{Outcome, PATIENCE, Scale, beside, key_file, shows, source};
use crate::TestEnv;
use crate::raw_client::{RawClient, join};
use crate::wait::pause;
use crate::zmtp::{connect, greeting, ready};

/// Where the attacker of a relay sits; honest viewers come from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 66, 6, 6);

/// How often the attacker's sessions say that they are there.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// Peers that shake hands without the source's key and stay, from the very address of its relay.
pub(super) fn peers_without_key(scale: Scale) -> Outcome {
    let env = TestEnv::new();
    let key = key_file(&env, "feed");
    let tcp = format!("tcp://{}", env.source_address(0));
    let _source = env
        .program("source")
        .flags("--stream cam --input ball --size 320x240 --rate 30")
        .flag("publish", format!("{},{tcp}", env.ipc("cam")))
        .flag("feed-key", &key)
        .ready();

    let relay = |number, endpoint| {
        let relay = env.relay(number, &[endpoint]);
        relay.flag("feed-key", &key).ready()
    };
    let _first = relay(0, env.ipc("cam"));
    let direct = env.viewer(env.relay_address(0), "cam").start();
    let watched = shows(&direct, 10).is_some();

    let count = scale.pick(64, 256);
    let peers: Vec<_> = (0..count)
        .filter_map(|_| {
            let mut stream = connect(env.source_address(0)).ok()?;
            let hello = [greeting(), ready("SUB")].concat();
            stream.write_all(&hello).ok().map(|()| stream)
        })
        .collect();

    let _second = relay(1, tcp);
    let late = env.viewer(env.relay_address(1), "cam").start();
    let taken = shows(&late, 10);
    let outcome = Outcome {
        now: match taken {
            Some(time) => format!(
                "beside {} peers a relay is in, with 10 frames, after {time:.1?}",
                peers.len()
            ),
            None => format!(
                "beside {} peers no relay gets in within {PATIENCE:?}",
                peers.len()
            ),
        },
        honest: beside(direct),
        held: watched && taken.is_some(),
    };
    drop((late, peers));
    outcome
}

/// A crowd at one address takes all sessions and keeps them; then others come.
pub(super) fn all_sessions(scale: Scale) -> Outcome {
    let count = scale.pick(100, 1000);
    let env = TestEnv::new();
    let _source = source(&env, "cam");
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("max-viewers", count.to_string())
        .ready();

    let address = env.relay_address(0);
    let direct = env.viewer(address, "cam").start();
    let watched = shows(&direct, 10).is_some();

    let mut crowd = Vec::new();
    for _ in 1..count {
        let mut client = RawClient::between(ATTACKER, address);
        let accept = client.join_with(Join {
            paused: true,
            ..join("cam")
        });
        crowd.push((client, accept.session));
    }

    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let keeping = std::thread::spawn(move || {
        while !ended.load(SeqCst) {
            for (client, session) in &mut crowd {
                client.say(&ToRelay::KeepAlive(
                    *session,
                    KeepAlive {
                        sent_us: 1,
                        paused: true,
                        ..KeepAlive::default()
                    },
                ));
                client.drain(Duration::ZERO);
            }
            pause(KEEP_ALIVE);
        }
    });

    let newcomers: Vec<_> = (0..5).map(|_| env.viewer(address, "cam").start()).collect();
    let times: Vec<_> = newcomers.iter().map(|viewer| shows(viewer, 10)).collect();
    let inside = times.iter().flatten().count();
    let slowest = times.iter().flatten().max().copied().unwrap_or(PATIENCE);
    over.store(true, SeqCst);
    let kept = keeping.join().is_ok();

    Outcome {
        now: format!(
            "beside {} sessions of one address {inside} of 5 newcomers watch, after {slowest:.1?}",
            count - 1
        ),
        honest: beside(direct),
        held: watched && kept && inside == 5,
    }
}
