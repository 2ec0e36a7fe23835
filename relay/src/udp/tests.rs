//! The shared socket and dedicated sockets beside it, on loopback.

use std::time::Duration;

use super::*;

/// Far above what anything here takes; reached only when it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

fn relay(listen: &str) -> (Socket, u16) {
    let socket = bind(listen.parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (Socket::new(socket).unwrap(), port)
}

fn viewer(relay: SocketAddr) -> tokio::net::UdpSocket {
    let socket = UdpSocket::bind(if relay.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    })
    .unwrap();

    socket.connect(relay).unwrap();
    socket.set_nonblocking(true).unwrap();
    tokio::net::UdpSocket::from_std(socket).unwrap()
}

/// The next datagram that reaches the relay, by whichever socket.
async fn next(socket: &Socket) -> (Route, Vec<u8>) {
    let mut buffers = Buffers::default();
    let mut got = Vec::new();
    let wait = async {
        while got.is_empty() {
            socket.readable().await;
            socket.receive(&mut buffers, |route, bytes| {
                got.push((route, bytes.to_vec()));
            });
        }
    };

    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("a datagram comes");
    assert_eq!(got.len(), 1);
    got.remove(0)
}

async fn says(viewer: &tokio::net::UdpSocket, socket: &Socket, bytes: &[u8]) -> Route {
    viewer.send(bytes).await.unwrap();
    let (route, got) = next(socket).await;
    assert_eq!(
        (route.remote.port(), got.as_slice()),
        (viewer.local_addr().unwrap().port(), bytes)
    );
    route
}

async fn hears(viewer: &tokio::net::UdpSocket, bytes: &[u8]) {
    let mut buffer = [0; 2048];
    let size = tokio::time::timeout(DEADLINE, viewer.recv(&mut buffer))
        .await
        .expect("an answer comes")
        .unwrap();
    assert_eq!(&buffer[..size], bytes);
}

/// A viewer gets a dedicated socket and loses it, another stays: both are heard and answered all the time from the same address.
async fn goes_to_a_lane_and_back(listen: &str, host: &str) {
    let (mut socket, port) = relay(listen);
    let address = SocketAddr::new(host.parse().unwrap(), port);
    let (one, other) = (viewer(address), viewer(address));
    let (one_route, other_route) = (
        says(&one, &socket, b"join").await,
        says(&other, &socket, b"join").await,
    );

    socket.isolate(one_route).unwrap();
    assert!(
        socket.has_dedicated_socket(one_route.remote)
            && !socket.has_dedicated_socket(other_route.remote)
    );

    for _ in 0..50 {
        assert_eq!(says(&one, &socket, b"still here").await, one_route);
        assert_eq!(says(&other, &socket, b"me too").await, other_route);
        let late = viewer(address);
        says(&late, &socket, b"a stranger").await;
        socket
            .send(GsoBatch {
                to: one_route,
                bytes: b"to one",
                segment: None,
            })
            .unwrap();

        socket
            .send(GsoBatch {
                to: other_route,
                bytes: b"to the other",
                segment: None,
            })
            .unwrap();

        hears(&one, b"to one").await;
        hears(&other, b"to the other").await;
    }

    one.send(b"on the way").await.unwrap();
    let mut waited = Vec::new();
    socket.rejoin(one_route, &mut Buffers::default(), |route, bytes| {
        waited.push((route, bytes.to_vec()));
    });
    assert_eq!(waited, [(one_route, b"on the way".to_vec())]);
    assert_eq!(says(&one, &socket, b"shared again").await, one_route);
    socket
        .send(GsoBatch {
            to: one_route,
            bytes: b"to one",
            segment: None,
        })
        .unwrap();

    hears(&one, b"to one").await;
}

#[tokio::test]
async fn a_viewer_with_a_lane_is_heard_and_answered_as_before() {
    goes_to_a_lane_and_back("127.0.0.1:0", "127.0.0.1").await;
}

#[tokio::test]
async fn lanes_leave_from_the_address_that_was_asked_when_the_relay_listens_on_all() {
    goes_to_a_lane_and_back("0.0.0.0:0", "127.0.0.1").await;
}

#[tokio::test]
async fn lanes_work_on_a_socket_of_both_families() {
    goes_to_a_lane_and_back("[::]:0", "127.0.0.1").await;
    goes_to_a_lane_and_back("[::]:0", "::1").await;
}

#[tokio::test]
async fn a_second_relay_on_the_port_is_noticed_although_lanes_share_it() {
    let (mut socket, port) = relay("127.0.0.1:0");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(matches!(bind(address), Err(BindError::InUse(_))));
    let one = viewer(address);
    let route = says(&one, &socket, b"join").await;
    socket.isolate(route).unwrap();
    assert!(matches!(bind(address), Err(BindError::InUse(_))));
}

#[tokio::test]
async fn a_train_goes_by_a_lane_too() {
    let (mut socket, port) = relay("127.0.0.1:0");
    let one = viewer(SocketAddr::from(([127, 0, 0, 1], port)));
    let route = says(&one, &socket, b"join").await;
    socket.isolate(route).unwrap();

    if socket.max_segments() > 1 {
        socket
            .send(GsoBatch {
                to: route,
                bytes: b"first-second",
                segment: Some(6),
            })
            .unwrap();

        hears(&one, b"first-").await;
        hears(&one, b"second").await;
    }
}

/// Trains to several viewers by one call leave from the address that each of them talks to: connected sockets hear
/// nothing else.
async fn several_trains_leave_by_one_call(listen: &str, host: &str) {
    let (socket, port) = relay(listen);
    let address = SocketAddr::new(host.parse().unwrap(), port);
    let viewers = [viewer(address), viewer(address), viewer(address)];
    let mut routes = Vec::new();

    for viewer in &viewers {
        routes.push(says(viewer, &socket, b"join").await);
    }

    let whole: Vec<GsoBatch<'_>> = routes
        .iter()
        .map(|route| GsoBatch {
            to: *route,
            bytes: b"all",
            segment: None,
        })
        .collect();

    assert!(matches!(socket.send_many(&whole), (3, Ok(()))));
    for viewer in &viewers {
        hears(viewer, b"all").await;
    }

    if socket.max_segments() > 1 {
        // One datagram may be among batches, and the last of a batch may be short.
        let bytes = [&b"first-second"[..], b"first-2", b"alone."];
        let batches: Vec<GsoBatch<'_>> = routes
            .iter()
            .zip(bytes)
            .map(|(route, bytes)| GsoBatch {
                to: *route,
                bytes,
                segment: Some(6),
            })
            .collect();

        assert!(matches!(socket.send_many(&batches), (3, Ok(()))));
        for (viewer, bytes) in viewers.iter().zip(bytes) {
            for datagram in bytes.chunks(6) {
                hears(viewer, datagram).await;
            }
        }
    }
}

#[tokio::test]
async fn several_trains_leave_by_one_call_from_a_bound_address() {
    several_trains_leave_by_one_call("127.0.0.1:0", "127.0.0.1").await;
    several_trains_leave_by_one_call("[::1]:0", "::1").await;
}

#[tokio::test]
async fn several_trains_leave_by_one_call_from_the_address_that_was_asked() {
    several_trains_leave_by_one_call("0.0.0.0:0", "127.0.0.2").await;
    several_trains_leave_by_one_call("[::]:0", "::1").await;
    several_trains_leave_by_one_call("[::]:0", "127.0.0.3").await;
}

#[tokio::test]
async fn a_train_that_the_system_refuses_is_named_and_those_before_it_are_sent() {
    let (socket, port) = relay("127.0.0.1:0");
    let one = viewer(SocketAddr::from(([127, 0, 0, 1], port)));
    let route = says(&one, &socket, b"join").await;
    let nowhere = Route {
        remote: SocketAddr::from(([255, 255, 255, 255], 9)),
        local: None,
    };

    let batch = |to| GsoBatch {
        to,
        bytes: b"some",
        segment: None,
    };

    let (sent, refused) = socket.send_many(&[batch(route), batch(nowhere), batch(route)]);
    assert!(
        sent == 1 && matches!(refused, Err(Refused::Failed(_))),
        "{sent} {refused:?}"
    );

    let (sent, refused) = socket.send_many(&[batch(nowhere), batch(route)]);
    assert!(
        sent == 0 && matches!(refused, Err(Refused::Failed(_))),
        "{sent} {refused:?}"
    );

    hears(&one, b"some").await;
}
