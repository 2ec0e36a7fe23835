//! A TCP listening socket of an output, and how many connections there may be. Used by every output that accepts TCP.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::network::client_network;

/// Connections that the kernel holds until they are accepted: a page that all screens of a app load at one moment.
const BACKLOG: i32 = 1024;

/// Bytes that may wait in the kernel unsent before a socket counts as full. More would be frames that grow old in a queue:
/// a client behind 12 Mbit/s was 690 ms late without this, and 132 ms with it.
const UNSENT_BYTES: u32 = 16 << 10;

/// What was sent and is not acknowledged for so long ends a connection: the other end has no power or no network.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Binds `listen`. Accepted sockets inherit what is set here.
///
/// # Errors
/// Those of the system.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;

    // A port that a former run of ours left in TIME_WAIT is free; one that somebody listens on is not.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    }

    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Limits of connections: so many in all, and so many for one address that is no proxy's.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    taken: Arc<Mutex<Taken>>,
    emptied: Arc<Notify>,
    all: usize,
    each: usize,
    proxies: Arc<[IpAddr]>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limits: ConnectionLimits,
    address: IpAddr,
}

impl ConnectionLimits {
    /// `all` connections, of which `each` from one address; `proxies` may have all.
    #[must_use]
    pub fn new(all: usize, each: usize, proxies: &[IpAddr]) -> Self {
        Self {
            taken: Arc::default(),
            emptied: Arc::default(),
            all,
            each,
            proxies: proxies.into(),
        }
    }

    /// Counts a connection from `address`; none when there are too many.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let each = if self.proxies.contains(&address.to_canonical()) {
            self.all
        } else {
            self.each
        };

        let address = client_network(address);
        let mut taken = self.taken.lock();
        let all = taken.count;
        let mine = taken.by_address.get(&address).copied().unwrap_or(0);

        if all >= self.all || mine >= each {
            return None;
        }

        taken.count += 1;
        taken.by_address.insert(address, mine + 1);
        Some(ConnectionPermit {
            limits: self.clone(),
            address,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().count
    }

    /// Waits until there are none.
    pub async fn emptied(&self) {
        while self.taken() > 0 {
            self.emptied.notified().await;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.limits.taken.lock();

        taken.count -= 1;
        if taken.count == 0 {
            self.limits.emptied.notify_one();
        }

        if let Some(mine) = taken.by_address.get_mut(&self.address) {
            *mine -= 1;
            if *mine == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_use_up_the_connections_of_others_and_all_are_given_back() {
        let limits = ConnectionLimits::new(5, 3, &["10.0.0.9".parse().unwrap()]);

        let take = |address: &str| limits.take(address.parse().unwrap());
        let mut held: Vec<_> = (0..4).map(|_| take("10.0.0.1")).collect();
        assert_eq!(held.iter().flatten().count(), 3);
        held.push(take("2001:db8::1"));
        held.push(take("2001:db8::2"));
        assert_eq!(limits.taken(), 5);
        assert!(take("10.0.0.2").is_none(), "there are no more than five");
        held.clear();
        assert_eq!(limits.taken(), 0);
        assert!(limits.taken.lock().by_address.is_empty());
        assert!(take("10.0.0.1").is_some());
        let held: Vec<_> = (0..6).map(|_| take("10.0.0.9")).collect();
        assert_eq!(
            held.iter().flatten().count(),
            5,
            "many speak through a proxy"
        );
    }

    #[test]
    fn a_port_that_is_taken_is_not_shared() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
