//! Limits of an output's TCP connections. Used by every output that accepts TCP, on its own thread.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Resource, SharedRefusals, client_network};

/// Limits of connections: so many in all, and so many for one address that is no proxy's.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    taken: Arc<Mutex<Taken>>,
    emptied: Arc<Notify>,
    all: usize,
    each: usize,
    proxies: Arc<[IpAddr]>,
    refusals: SharedRefusals,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: LogLimiter,
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limits: ConnectionLimits,
    address: IpAddr,
}

impl ConnectionLimits {
    /// `all` connections, of which `each` from one address; `proxies` may have all. `refusals` counts the others.
    #[must_use]
    pub fn new(all: usize, each: usize, proxies: &[IpAddr], refusals: SharedRefusals) -> Self {
        Self {
            taken: Arc::default(),
            emptied: Arc::default(),
            all,
            each,
            proxies: proxies.into(),
            refusals,
        }
    }

    /// Counts a connection from `client`; none when there are too many, which is logged.
    #[must_use]
    pub fn admit(&self, now: Time, client: SocketAddr) -> Option<ConnectionPermit> {
        let permit = self.take(client.ip());
        if permit.is_none() {
            self.refusals.note(Resource::Connections, 1);
            let mut taken = self.taken.lock();
            let connections = taken.count;
            if let Some(count) = taken.refused.note(now) {
                tracing::warn!(count, %client, connections, "connections refused: too many");
            }
        }
        permit
    }

    fn take(&self, address: IpAddr) -> Option<ConnectionPermit> {
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
        let limits = ConnectionLimits::new(
            5,
            3,
            &["10.0.0.9".parse().unwrap()],
            SharedRefusals::default(),
        );

        let take = |address: &str| {
            let client = SocketAddr::new(address.parse().unwrap(), 5000);
            limits.admit(Time::default(), client)
        };
        let mut held: Vec<_> = (0..4).map(|_| take("10.0.0.1")).collect();
        assert_eq!(held.iter().flatten().count(), 3);
        held.push(take("2001:db8::1"));
        held.push(take("2001:db8::2"));
        assert_eq!(limits.taken(), 5);
        assert!(take("10.0.0.2").is_none(), "there are no more than five");
        assert_eq!(limits.refusals.of(Resource::Connections), 2);
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
}
