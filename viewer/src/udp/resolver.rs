//! Resolves a relay's name in the background, and offers its addresses in turn. The name `auto` stands for those that are found.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fanlight_proto::handshake::ViewerAccess;
use tokio::net::lookup_host;
use tokio::task::JoinHandle;

use crate::found_relays::{AUTO, FoundRelays};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Which of the relays that are found belong to a path.
#[derive(Debug)]
pub(super) struct FoundOnPath {
    pub(super) relays: FoundRelays,
    pub(super) path: usize,
    pub(super) paths: usize,
    pub(super) access: ViewerAccess,
}

impl FoundOnPath {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.relays.addresses(self.path, self.paths, &self.access)
    }
}

/// The relay by name or address.
#[derive(Debug)]
pub(super) struct Resolver {
    name: String,
    /// In place of a name server, for the name `auto`.
    found: Option<FoundOnPath>,
    literal: bool,
    addresses: Vec<SocketAddr>,
    at: usize,
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    /// Why the name stands for no address.
    problem: Option<String>,
}

impl Resolver {
    pub(super) fn new(name: &str, found: FoundOnPath) -> Self {
        let literal: Option<SocketAddr> = name.parse().ok();
        Self {
            name: name.to_owned(),
            found: (name == AUTO).then_some(found),
            literal: literal.is_some(),
            addresses: literal.into_iter().collect(),
            at: 0,
            lookup: None,
            problem: None,
        }
    }

    /// Why there is no address to try, when the last look-up failed.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The address to try next; none while the name stands for none. A name is looked up again in the background, on
    /// the present runtime.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        if let Some(found) = &self.found {
            self.addresses = found.addresses();
        } else if !self.literal && self.lookup.is_none() {
            let name = self.name.clone();
            self.lookup = Some(tokio::spawn(async move {
                Ok(lookup_host(name).await?.take(MAX_ADDRESSES).collect())
            }));
        }

        let address = self
            .addresses
            .get(self.at % self.addresses.len().max(1))
            .copied();

        self.at = self.at.wrapping_add(1);
        address
    }

    /// Whether it looks for relays.
    pub(super) const fn looks(&self) -> bool {
        self.found.is_some()
    }

    /// Whether it looks for relays, and finds none beyond this host.
    pub(super) fn finds_none(&self) -> bool {
        self.looks() && self.addresses.len() <= 1
    }

    /// Whether there is another address to try.
    pub(super) fn has_others(&self) -> bool {
        self.addresses.len() > 1
    }

    /// Ready when the name stands for other addresses than before, or for none.
    pub(super) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(lookup) = &mut self.lookup else {
            return Poll::Pending;
        };

        let looked_up = ready!(Pin::new(lookup).poll(context));
        self.lookup = None;
        match looked_up.unwrap_or_else(|ended| Err(ended.into())) {
            Ok(found) if !found.is_empty() && found != self.addresses => {
                self.addresses = found;
                self.at = 0;
                self.problem = None;
                Poll::Ready(())
            }
            // A name server that is gone for a while does not make the relay move.
            Err(error) if self.addresses.is_empty() => {
                let problem = format!("{} cannot be resolved ({})", self.name, reason(&error));
                let is_new = self.problem.as_ref() != Some(&problem);
                self.problem = Some(problem);
                if is_new {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }
            _ => Poll::Pending,
        }
    }
}

/// What the resolver says, without what the standard library puts before it: a small card has no room for it.
fn reason(error: &io::Error) -> String {
    let said = error.to_string();
    said.strip_prefix("failed to lookup address information: ")
        .map_or(said.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(name: &str) -> Resolver {
        let found = FoundOnPath {
            relays: FoundRelays::default(),
            path: 0,
            paths: 1,
            access: ViewerAccess::Open,
        };
        Resolver::new(name, found)
    }

    #[test]
    fn a_viewer_that_finds_nothing_asks_its_own_host() {
        let mut resolver = resolver(AUTO);
        assert_eq!(resolver.next(), Some(crate::found_relays::LOCAL));
        assert!(resolver.finds_none() && resolver.lookup.is_none());
    }

    #[tokio::test]
    async fn an_address_as_written_is_not_looked_up() {
        let mut resolver = resolver("127.0.0.1:5004");
        for _ in 0..3 {
            assert_eq!(
                resolver.next(),
                Some(SocketAddr::from(([127, 0, 0, 1], 5004)))
            );
        }

        assert!(resolver.lookup.is_none());
    }

    #[tokio::test]
    async fn each_address_of_a_name_gets_its_turn() {
        let mut resolver = resolver("localhost:5004");
        assert_eq!(resolver.next(), None);
        std::future::poll_fn(|context| resolver.poll_changed(context)).await;
        let count = resolver.addresses.len();
        let tried: Vec<_> = (0..count).filter_map(|_| resolver.next()).collect();
        assert_eq!(tried, resolver.addresses);
        assert!(
            tried.contains(&SocketAddr::from(([127, 0, 0, 1], 5004))),
            "{tried:?}"
        );
    }

    #[tokio::test]
    async fn a_name_that_stands_for_nothing_is_said() {
        let mut resolver = resolver("no.such.host.invalid:5004");
        assert_eq!(resolver.next(), None);
        assert_eq!(resolver.problem(), None);
        std::future::poll_fn(|context| resolver.poll_changed(context)).await;
        let problem = resolver.problem().unwrap();
        assert!(
            problem.contains("no.such.host.invalid:5004 cannot be resolved"),
            "{problem}"
        );
    }
}
