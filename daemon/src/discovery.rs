//! Finds what runs on the network, and lets it be found: DNS-SD over multicast DNS. A relay announces itself and its page, a
//! source what others may subscribe to; viewers and relays look for them. The work is done on a thread of the crate
//! `mdns-sd`, one a program, and on one that keeps the list of what was found: never on the way of a frame. It shares port
//! 5353 with avahi. What is announced is a hint and proves nothing: keys do.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use parking_lot::Mutex;

use crate::clock;
use crate::rate_limit::LogLimiter;

/// Services of one kind that are remembered; further ones are left alone until one of these is gone.
pub const MAX_FOUND: usize = 32;

/// Addresses of one service that are tried.
const MAX_ADDRESSES: usize = 8;

/// Longest value of a property that is taken, in bytes: above any key.
const MAX_PROPERTY: usize = 200;

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A relay, for viewers.
    Relay,
    /// A source's TCP endpoint, for relays.
    Source,
    /// A relay's page, for browsers.
    Page,
}

impl Kind {
    /// Its type (RFC 6763 section 7).
    const fn service_type(self) -> &'static str {
        match self {
            Self::Relay => "_fanlight._udp.local.",
            Self::Source => "_fanlight-source._tcp.local.",
            Self::Page => "_http._tcp.local.",
        }
    }
}

/// What a program announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// Where it listens. All addresses of the host when that is unspecified.
    pub listen: SocketAddr,
    /// What else is to be known before one connects.
    pub properties: Vec<(&'static str, String)>,
}

impl Service {
    /// Whether others can reach it.
    fn is_reachable(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }

    fn info(&self, host: &str) -> mdns_sd::Result<ServiceInfo> {
        let port = self.listen.port();
        let name = format!("{host}-{port}");
        // A name of its own beside the host's, which avahi answers for with addresses that need not be these.
        let own_host = format!("fanlight-{:016x}.local.", clock::random_u64());
        let kind = self.kind.service_type();
        let ip = self.listen.ip().to_canonical();
        let properties = &self.properties[..];
        if ip.is_unspecified() {
            let info = ServiceInfo::new(kind, &name, &own_host, (), port, properties)?;
            return Ok(info.enable_addr_auto());
        }
        ServiceInfo::new(kind, &name, &own_host, ip, port, properties)
    }
}

/// Announces services until it is dropped, and then that they are gone.
#[derive(Debug)]
pub struct Announcer {
    _daemon: Daemon,
}

impl Announcer {
    /// Announces those that others can reach; none when there are none, or when it cannot be done, which is logged.
    #[must_use]
    pub fn start(services: &[Service]) -> Option<Self> {
        let reachable: Vec<_> = services.iter().filter(|it| it.is_reachable()).collect();
        if reachable.is_empty() {
            return None;
        }

        let announced = Daemon::start().and_then(|daemon| {
            let host = host_name();
            for service in reachable {
                daemon.0.register(service.info(&host)?)?;
            }
            Ok(Self { _daemon: daemon })
        });

        announced
            .inspect_err(|error| tracing::warn!("nobody can find this program by name: {error}"))
            .ok()
    }
}

/// A service that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called, for people.
    pub name: String,
    /// Where it may be reached; not empty.
    pub addresses: Vec<SocketAddr>,
    /// What it says of itself.
    pub properties: BTreeMap<String, String>,
}

/// Looks for services of one kind until it is dropped.
#[derive(Debug)]
pub struct Browser {
    found: Arc<Mutex<Places>>,
    _daemon: Daemon,
}

impl Browser {
    /// Begins to look.
    ///
    /// # Errors
    /// When the system has no thread or socket to give.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        let daemon = Daemon::start()?;
        let events = daemon.0.browse(kind.service_type())?;
        let found = Arc::<Mutex<Places>>::default();
        let places = Arc::clone(&found);
        thread::Builder::new()
            .name("discovery".to_owned())
            .spawn(move || keep(&events, &places))?;
        Ok(Self {
            found,
            _daemon: daemon,
        })
    }

    /// What there is now. The number of each stays the same as long as it is there.
    #[must_use]
    pub fn found(&self) -> Vec<(usize, Found)> {
        let places = self.found.lock();
        let numbered = places.0.iter().enumerate();
        numbered
            .filter_map(|(number, place)| Some((number, place.as_ref()?.1.clone())))
            .collect()
    }
}

/// Each service has a place, by its full name.
#[derive(Debug, Default)]
struct Places([Option<(String, Found)>; MAX_FOUND]);

impl Places {
    /// Whether that is news.
    fn put(&mut self, full_name: &str, found: Found) -> bool {
        let own = |place: &Option<(String, Found)>| {
            place.as_ref().is_some_and(|(name, _)| name == full_name)
        };
        let known = self.0.iter().position(own);
        let free = || self.0.iter().position(Option::is_none);
        let Some(place) = known.or_else(free).map(|at| &mut self.0[at]) else {
            return false;
        };

        let entry = Some((full_name.to_owned(), found));
        let is_news = *place != entry;
        *place = entry;
        is_news
    }

    fn remove(&mut self, full_name: &str) {
        for place in &mut self.0 {
            if place.as_ref().is_some_and(|(name, _)| name == full_name) {
                *place = None;
            }
        }
    }
}

/// Keeps the list of what was found, until the daemon ends. Were events left lying, the crate would end the search.
fn keep(events: &Receiver<ServiceEvent>, places: &Mutex<Places>) {
    // Anybody on the network can cause these lines.
    let mut lines = LogLimiter::new();
    while let Ok(event) = events.recv() {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let Some(found) = found(&service) else {
                    continue;
                };

                let (name, address) = (found.name.clone(), found.addresses[0]);
                if places.lock().put(&service.fullname, found)
                    && let Some(count) = lines.note(clock::now())
                {
                    tracing::info!(count, name, %address, "found on the network");
                }
            }
            ServiceEvent::ServiceRemoved(_, full_name) => places.lock().remove(&full_name),
            _ => {}
        }
    }
}

fn found(service: &ResolvedService) -> Option<Found> {
    let port = service.port;
    let mut addresses: Vec<SocketAddr> = service
        .addresses
        .iter()
        .map(|address| SocketAddr::new(address.to_ip_addr(), port))
        .filter(|address| can_be_reached(address.ip()))
        .collect();
    // IPv4 first; and in one order, so that the same service stays the same.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.truncate(MAX_ADDRESSES);

    let name = service.fullname.split("._").next().unwrap_or_default();
    let properties = service.txt_properties.iter().filter_map(|property| {
        let value = property.val_str();
        let fits = value.len() <= MAX_PROPERTY && !value.contains(char::is_control);
        fits.then(|| (property.key().to_owned(), value.to_owned()))
    });

    (port != 0 && !addresses.is_empty()).then(|| Found {
        // What comes from elsewhere must not steer a terminal.
        name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        addresses,
        properties: properties.take(16).collect(),
    })
}

/// Not this host's own, no group, and not one that needs the name of an interface.
fn can_be_reached(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let letters = name.trim().chars().filter(char::is_ascii_graphic).take(40);
    let name: String = letters.map(|c| if c == '.' { '-' } else { c }).collect();
    if name.is_empty() {
        "fanlight".to_owned()
    } else {
        name
    }
}

/// The thread of the crate; it ends with this.
struct Daemon(ServiceDaemon);

impl Daemon {
    fn start() -> mdns_sd::Result<Self> {
        ServiceDaemon::new().map(Self)
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Daemon")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It says goodbye for what it announced. When it has ended already, that is as good.
        drop(self.0.shutdown().map(|ended| ended.recv()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(listen: &str) -> Service {
        Service {
            kind: Kind::Relay,
            listen: listen.parse().unwrap(),
            properties: vec![("access", "open".to_owned())],
        }
    }

    fn a(name: &str) -> Found {
        Found {
            name: name.to_owned(),
            addresses: vec!["10.0.0.1:5004".parse().unwrap()],
            properties: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_for_this_host_alone_is_not_announced() {
        assert!(Announcer::start(&[service("127.0.0.1:5004")]).is_none());
        assert!(!service("[::ffff:127.0.0.1]:5004").is_reachable());
        assert!(service("0.0.0.0:5004").is_reachable());
    }

    #[test]
    fn a_service_keeps_its_place_and_there_are_no_more_than_the_limit() {
        let mut places = Places::default();
        for number in 0..2 * MAX_FOUND {
            places.put(&format!("relay-{number}"), a("relay"));
        }
        assert!(places.0.iter().all(Option::is_some));

        places.remove("relay-3");
        places.put("relay-5", a("moved"));
        assert!(places.0[3].is_none());
        assert_eq!(places.0[5].as_ref().unwrap().1.name, "moved");
        places.put("new", a("new"));
        assert_eq!(places.0[3].as_ref().unwrap().0, "new");
    }

    #[test]
    fn an_announcement_has_a_name_of_letters_and_the_port() {
        for listen in ["0.0.0.0:5004", "10.0.0.5:5004"] {
            let info = service(listen).info("box").unwrap();
            assert_eq!(info.get_fullname(), "box-5004._fanlight._udp.local.");
            assert_eq!(info.get_property_val_str("access"), Some("open"));
        }
    }

    #[test]
    fn addresses_that_nobody_else_can_use_are_left_out() {
        for (ip, used) in [
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("239.1.2.3", false),
            ("255.255.255.255", false),
            ("fe80::1", false),
        ] {
            assert_eq!(can_be_reached(ip.parse().unwrap()), used, "{ip}");
        }
    }
}
