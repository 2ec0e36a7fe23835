//! Several send threads on loopback.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::datagram::ToViewer;

use super::super::{Socket, bind};
use super::*;

const INTERVAL: Duration = Duration::from_millis(33);

/// Far above what anything here takes; reached only when it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    socket: Socket,
    pool: SenderPool,
    viewers: Vec<tokio::net::UdpSocket>,
}

fn rig(threads: usize, viewers: usize) -> Rig {
    let socket = Socket::new(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let pool = SenderPool::new(Gso::Auto, socket.max_segments(), threads, &socket).unwrap();
    let viewer = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20).unwrap();
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    };
    Rig {
        socket,
        pool,
        viewers: (0..viewers).map(viewer).collect(),
    }
}

impl Rig {
    fn address(&self, viewer: usize) -> SocketAddr {
        self.viewers[viewer].local_addr().unwrap()
    }

    /// A frame of 44 shards for all viewers.
    fn transmit(&self) -> FrameTransmit {
        let mut transmit =
            FrameTransmit::example(50_000, &vec![10_000; self.viewers.len()], INTERVAL);
        for (target, viewer) in Arc::make_mut(&mut transmit.targets)
            .iter_mut()
            .zip(&self.viewers)
        {
            target.route.remote = viewer.local_addr().unwrap();
        }
        transmit
    }

    /// Turns until no frame is on its way.
    async fn run(&mut self) {
        let until = clock::now() + DEADLINE;
        while self.pool.run(clock::now(), &self.socket) != NextRun::Idle || self.pool.busy(1) {
            assert!(clock::now() < until, "a frame is never out");
            let _ = tokio::time::timeout(Duration::from_millis(1), self.pool.told()).await;
        }
    }

    /// The indices of the shards that came to a viewer, and how many datagrams those were.
    fn got(&self, viewer: usize) -> (BTreeSet<u16>, usize) {
        let (mut indices, mut count, mut buffer) = (BTreeSet::new(), 0, [0; 2048]);
        while let Ok(length) = self.viewers[viewer].try_recv(&mut buffer) {
            let Ok(ToViewer::Data(header, _)) = ToViewer::parse(&buffer[..length]) else {
                panic!("not a shard")
            };
            indices.insert(header.index);
            count += 1;
        }
        (indices, count)
    }
}

#[tokio::test]
async fn every_viewer_gets_every_shard_once_however_many_threads_send() {
    for threads in [1, 2, 5] {
        let mut rig = rig(threads, 40);
        for frame in 1..=3_u64 {
            rig.pool.start(clock::now(), rig.transmit());
            assert!(rig.pool.busy(1));
            rig.run().await;
            for viewer in 0..40 {
                rig.viewers[viewer].readable().await.unwrap();
                assert_eq!(
                    rig.got(viewer),
                    ((0..44).collect(), 44),
                    "viewer {viewer} of {threads} threads"
                );
            }
            assert_eq!(rig.pool.counts().datagrams, frame * 40 * 44);
        }
    }
}

#[tokio::test]
async fn a_viewer_with_a_socket_of_its_own_is_served_by_the_event_loop() {
    let mut rig = rig(4, 8);
    let mut transmit = rig.transmit();
    for (number, target) in Arc::make_mut(&mut transmit.targets).iter_mut().enumerate() {
        target.own_socket = true;
        rig.socket.isolate(target.route).unwrap();
        assert_eq!(target.route.remote, rig.address(number));
    }
    rig.pool.start(clock::now(), transmit);
    assert!(
        rig.pool
            .workers
            .iter()
            .all(|worker| worker.queue.state().busy.is_empty())
    );
    rig.run().await;
    assert_eq!(rig.pool.own.counts().datagrams, 8 * 44);
}

#[tokio::test]
async fn repairs_are_sent_by_the_thread_that_serves_the_viewer() {
    let mut rig = rig(3, 12);
    let packets = rig.transmit().packets;
    for viewer in 0..12 {
        let to = Route {
            remote: rig.address(viewer),
            local: None,
        };
        rig.pool.retransmit(
            &rig.socket,
            Retransmit {
                to,
                way: to,
                packets: Arc::clone(&packets),
                ranges: vec![3..4, 4..5],
            },
        );
    }
    for viewer in 0..12 {
        let repaired = tokio::time::timeout(DEADLINE, async {
            let mut all = BTreeSet::new();
            while all.len() < 2 {
                rig.viewers[viewer].readable().await.unwrap();
                all.append(&mut rig.got(viewer).0);
            }
            all
        });
        assert_eq!(
            repaired.await.expect("the shards come"),
            BTreeSet::from([3, 4])
        );
    }
    assert!(
        rig.pool.own.counts().datagrams < 24,
        "all were sent by one thread"
    );
}

#[tokio::test]
async fn what_a_thread_gives_up_is_told() {
    let mut rig = rig(2, 8);
    let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let mut transmit = rig.transmit();
    Arc::make_mut(&mut transmit.targets)
        .iter_mut()
        .for_each(|target| target.route.remote = nowhere);
    rig.pool.start(clock::now(), transmit);
    rig.run().await;
    assert_eq!(
        (rig.pool.counts().failed, rig.pool.counts().datagrams),
        (8, 0)
    );
    // Two frames at once for a viewer that holds few datagrams: the second is not begun while the first is on its way.
    let mut slow = rig.transmit();
    Arc::make_mut(&mut slow.targets)
        .iter_mut()
        .for_each(|target| target.capacity = 8);
    rig.pool.start(clock::now(), slow.clone());
    rig.pool.start(clock::now(), slow);
    rig.run().await;
    let mut aborted = 0;
    while let Some(given) = rig.pool.take_aborted() {
        assert!(!given.begun);
        aborted += 1;
    }
    assert_eq!((aborted, rig.pool.counts().skipped), (8, 8));
}

#[test]
fn repairs_that_a_thread_cannot_keep_up_with_are_lost_and_counted_and_frames_are_not() {
    let queue = WorkQueue::default();
    let transmit = FrameTransmit::example(50_000, &[10_000], INTERVAL);
    let to = transmit.targets[0].route;
    for _ in 0..MAX_ORDERS + 7 {
        let ranges = std::iter::once(3..4).collect();
        queue.order(Order::Retransmit(Retransmit {
            to,
            way: to,
            packets: Arc::clone(&transmit.packets),
            ranges,
        }));
    }
    queue.order(Order::Transmit(clock::now(), transmit));
    let state = queue.state();
    assert_eq!(
        (
            state.orders.len(),
            state.counts().buffer_full,
            state.busy.len()
        ),
        (MAX_ORDERS + 1, 7, 1)
    );
}
