//! Attacks by who sits between a viewer and its relay without a key.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::limits::MAX_DATAGRAM;

use super::{Outcome, Scale, beside, key_file, shows, source};
use crate::TestEnv;
use crate::wait::pause;

/// How often an idle thread checks whether the proxy has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Between two sendings of recorded JOINs.
const REPLAY_PAUSE: Duration = Duration::from_millis(50);

/// What the threads of a proxy share.
struct Shared {
    front: UdpSocket,
    back: UdpSocket,
    viewer: OnceLock<SocketAddr>,
    /// The stream that each JOIN is made to ask for.
    stream: Option<&'static str>,
    joins: Mutex<Vec<Vec<u8>>>,
    accepts: AtomicUsize,
    closed: AtomicBool,
}

/// Passes datagrams on, and reads, keeps or rewrites JOINs.
struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    fn before(relay: SocketAddr, stream: Option<&'static str>) -> Self {
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
            let limited = socket.set_read_timeout(Some(LOOK));
            limited.expect("a socket can wait for a time");
            socket
        };

        let shared = Arc::new(Shared {
            front: socket(),
            back: socket(),
            viewer: OnceLock::new(),
            stream,
            joins: Mutex::default(),
            accepts: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });

        shared.back.connect(relay).expect("loopback is there");
        let run = |pass: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || pass(&shared))
        };
        let threads = vec![run(Shared::pass_to_relay), run(Shared::pass_to_viewer)];
        Self { shared, threads }
    }

    fn address(&self) -> SocketAddr {
        let address = self.shared.front.local_addr();
        address.expect("a bound socket has an address")
    }

    fn accepts(&self) -> usize {
        self.shared.accepts.load(SeqCst)
    }

    fn joins(&self) -> Vec<Vec<u8>> {
        let joins = self.shared.joins.lock();
        joins.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, SeqCst);
        self.threads
            .drain(..)
            .for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn pass_to_relay(&self) {
        self.each(&self.front, |datagram, from| {
            self.viewer.get_or_init(|| from);
            let datagram = self.through(datagram);
            let _ = self.back.send(&datagram);
        });
    }

    fn pass_to_viewer(&self) {
        self.each(&self.back, |datagram, _| {
            if matches!(ToViewer::parse(&datagram), Ok(ToViewer::Accept(_))) {
                self.accepts.fetch_add(1, SeqCst);
            }
            if let Some(viewer) = self.viewer.get() {
                let _ = self.front.send_to(&datagram, viewer);
            }
        });
    }

    /// Gives `pass` each datagram until the proxy ends.
    fn each(&self, socket: &UdpSocket, pass: impl Fn(Vec<u8>, SocketAddr)) {
        let mut buffer = [0; MAX_DATAGRAM];
        while !self.closed.load(SeqCst) {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => pass(buffer[..length].to_vec(), from),
                // Nothing for a while, or the other side is away.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => panic!("the proxy cannot read: {error}"),
            }
        }
    }

    /// What goes on in place of a datagram of the viewer's.
    fn through(&self, datagram: Vec<u8>) -> Vec<u8> {
        let Ok(ToRelay::Join(mut join)) = ToRelay::parse(&datagram) else {
            return datagram;
        };

        let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        joins.push(datagram.clone());
        let Some(stream) = self.stream else {
            return datagram;
        };

        stream.clone_into(&mut join.stream);
        let mut rewritten = Vec::new();
        ToRelay::Join(join).encode(&mut rewritten);
        rewritten
    }
}

/// With the shared key and without one: a viewer that asked for cam-a must never show cam-b.
pub(super) fn rewritten_join(scale: Scale) -> Outcome {
    let mut now = Vec::new();
    let mut honest = Vec::new();
    let mut held = true;

    for access in ["psk", "loopback"] {
        let env = TestEnv::new();
        let _sources = ["cam-a", "cam-b"].map(|stream| source(&env, stream));
        let mut relay = env.relay(0, &[env.ipc("cam-a"), env.ipc("cam-b")]);
        let key = (access == "psk").then(|| key_file(&env, "psk"));
        if let Some(key) = &key {
            relay = relay.flag("access", access).flag("key-file", key);
        }

        let _relay = relay.ready();
        let proxy = Proxy::before(env.relay_address(0), Some("cam-b"));
        let viewer = |address| {
            let viewer = env.viewer(address, "cam-a");
            match &key {
                Some(key) => viewer.flag("key-file", key).start(),
                None => viewer.start(),
            }
        };

        let direct = viewer(env.relay_address(0));
        held &= shows(&direct, 10).is_some();
        let misled = viewer(proxy.address());
        shows(&direct, scale.pick(60, 300));

        let epochs: Vec<_> = direct.shown().iter().map(|frame| frame.epoch).collect();
        let (_, frames) = misled.finish();
        let foreign = frames.iter().filter(|frame| !epochs.contains(&frame.epoch));
        let foreign = foreign.count();
        held &= foreign == 0;
        now.push(format!(
            "{access}: {foreign} of {} frames of the other camera",
            frames.len()
        ));
        honest.push(beside(direct));
    }

    Outcome {
        now: now.join("; "),
        honest: honest.join("; "),
        held,
    }
}

/// Sends what a viewer said again, from the same address, after that viewer has left.
pub(super) fn ghost_session(scale: Scale) -> Outcome {
    let env = TestEnv::new();
    let _source = source(&env, "cam");
    let key = key_file(&env, "psk");
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("access", "psk")
        .flag("key-file", &key)
        .ready();

    let viewer = |address| env.viewer(address, "cam").flag("key-file", &key).start();
    let proxy = Proxy::before(env.relay_address(0), None);
    let direct = viewer(env.relay_address(0));
    let victim = viewer(proxy.address());
    let watched = shows(&victim, 10).is_some() && shows(&direct, 10).is_some();
    let _ = victim.finish();

    let (joins, before) = (proxy.joins(), proxy.accepts());
    let rounds = scale.pick(10, 50);
    for _ in 0..rounds {
        for join in &joins {
            let _ = proxy.shared.back.send(join);
        }
        pause(REPLAY_PAUSE);
    }

    // The way back is as long for an honest viewer, whose frames still come.
    let goes_on = shows(&direct, 10).is_some();
    let ghosts = proxy.accepts() - before;
    Outcome {
        now: format!(
            "{ghosts} sessions by {} recorded JOINs, {rounds} times each",
            joins.len()
        ),
        honest: beside(direct),
        held: watched && goes_on && !joins.is_empty() && ghosts == 0,
    }
}
