//! The sessions. One for each address, made only after the address has proved itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_live::ledger::{Holders, SessionLimits, SessionShares, holders};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToViewer;
use fanlight_proto::handshake::PublicKey;

use super::auth::Auth;
use super::delivery::Delivery;
use super::output::{Route, Target};
use super::standing::ScreenSession;
use super::viewer_feedback::ViewerFeedback;

/// A session is silent when four keep-alives have not come.
const SILENT: Duration = Duration::from_secs(1);

/// One viewer's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    /// The stream that the viewer watches.
    pub(super) alias: u16,
    pub(super) route: Route,
    /// What the operator calls the viewer.
    pub(super) name: String,
    /// The same for log lines; see [`label`].
    pub(super) label: String,
    pub(super) since: Time,
    /// When the last message came.
    pub(super) heard: Time,
    /// Names viewer and stream in log lines.
    pub(super) span: tracing::Span,
    pub(super) auth: Auth,
    pub(super) delivery: Delivery,
    pub(super) feedback: ViewerFeedback,
    /// What it says of the screen that it is of; none when that takes no directions.
    pub(super) screen: Option<Box<ScreenSession>>,
}

impl Session {
    /// Encodes a message of this session, sealed if the session is.
    pub(super) fn encode(&mut self, message: &ToViewer<'_>) -> Vec<u8> {
        self.auth.encode(self.id, message)
    }

    /// Who holds it.
    pub(super) fn holders(&self) -> Holders {
        holders(self.route.remote.ip(), self.auth.identity())
    }

    /// How a frame of `shards` is sent to the viewer; one comes each `interval`.
    pub(super) fn target(&self, shards: u16, interval: Duration) -> Target {
        self.delivery.target(self.route, shards, interval)
    }
}

/// What a log line calls a viewer: the name that belongs to its key, if each has one, and what it calls itself, which
/// anybody can.
pub(super) fn label(listed: Option<&str>, claimed: &str) -> String {
    match listed {
        Some(listed) if claimed.is_empty() || claimed == listed => format!("{listed:?}"),
        Some(listed) => format!("{listed:?}, claims to be {claimed:?}"),
        None if claimed.is_empty() => "unnamed".to_owned(),
        None => format!("claims to be {claimed:?}"),
    }
}

/// All sessions, ordered by address, so that the same input always gives the same output.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_address: BTreeMap<SocketAddr, Session>,
    shares: SessionShares,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_address.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.by_address.values_mut()
    }

    /// The session of `address`.
    pub(super) fn get(&self, address: SocketAddr) -> Option<&Session> {
        self.by_address.get(&address)
    }

    /// The session of `address`.
    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Session> {
        self.by_address.get_mut(&address)
    }

    /// The session `id`, if `address` has it.
    pub(super) fn by_id(&mut self, address: SocketAddr, id: u64) -> Option<&mut Session> {
        self.get_mut(address).filter(|session| session.id == id)
    }

    pub(super) fn insert(&mut self, session: Session) {
        self.shares.add(session.holders());
        if let Some(former) = self.by_address.insert(session.route.remote, session) {
            self.shares.remove(former.holders());
        }
    }

    pub(super) fn remove(&mut self, address: SocketAddr) -> Option<Session> {
        let removed = self.by_address.remove(&address);
        if let Some(session) = &removed {
            self.shares.remove(session.holders());
        }
        removed
    }

    /// One address that has not been heard for `limit`.
    pub(super) fn find_idle(&self, now: Time, limit: Duration) -> Option<SocketAddr> {
        let is_idle = |session: &&Session| now.saturating_since(session.heard) >= limit;
        self.iter()
            .find(is_idle)
            .map(|session| session.route.remote)
    }

    /// Whether `newcomer` has as many as one holder may.
    pub(super) fn is_at_limit(&self, newcomer: Holders, limits: SessionLimits) -> bool {
        self.shares.is_at_limit(newcomer, limits)
    }

    /// A session of `holders` itself that has fallen silent, and may end so that it gets another one.
    pub(super) fn find_silent_of(&self, now: Time, holders: Holders) -> Option<SocketAddr> {
        first_to_go(self.iter().filter(|session| {
            session.holders() == holders && now.saturating_since(session.heard) >= SILENT
        }))
    }

    /// The session that must end so that `newcomer` gets an equal share of a full relay, if it has not got that yet: one
    /// that has fallen silent, or one of the holder that has most.
    pub(super) fn find_evictable(&self, now: Time, newcomer: Holders) -> Option<SocketAddr> {
        let silent = |session: &&Session| now.saturating_since(session.heard) >= SILENT;
        // Whoever has its share already costs no search.
        let idle = self.shares.is_below_share(newcomer).then(|| self.iter());
        first_to_go(idle.into_iter().flatten().filter(silent)).or_else(|| {
            let debtor = self.shares.debtor(newcomer)?;
            first_to_go(
                self.iter()
                    .filter(|session| session.holders().contains(&debtor)),
            )
        })
    }

    /// The route of one viewer that may not stay, by its key if each has one.
    pub(super) fn find_unauthorized(
        &self,
        may_stay: impl Fn(Option<&PublicKey>) -> bool,
    ) -> Option<Route> {
        let unauthorized = |session: &&Session| !may_stay(session.auth.identity());
        self.iter().find(unauthorized).map(|session| session.route)
    }
}

/// Of sessions of which one must end: one that has said nothing since it began before one that has, then the one that has
/// been silent for longest.
fn first_to_go<'a>(sessions: impl Iterator<Item = &'a Session>) -> Option<SocketAddr> {
    sessions
        .min_by_key(|session| (session.heard > session.since, session.heard))
        .map(|session| session.route.remote)
}
