//! A multicast group as the sessions have it that are played by it. On the RTSP thread.

use std::net::SocketAddrV4;
use std::sync::Arc;

use tokio::sync::watch;

/// Where one stream goes; its sender ends with this value.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) address: SocketAddrV4,
    pub(crate) ttl: u8,
    /// How many sessions are playing.
    players: watch::Sender<usize>,
}

impl Group {
    pub(crate) const fn new(address: SocketAddrV4, ttl: u8, players: watch::Sender<usize>) -> Self {
        Self {
            address,
            ttl,
            players,
        }
    }

    /// Whether its sender goes on.
    pub(crate) fn is_sent_to(&self) -> bool {
        !self.players.is_closed()
    }
}

/// One session that is playing.
#[derive(Debug)]
pub(crate) struct Player(Arc<Group>);

impl Player {
    pub(crate) fn new(group: &Arc<Group>) -> Self {
        group.players.send_modify(|players| *players += 1);
        Self(Arc::clone(group))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.0.players.send_modify(|players| *players -= 1);
    }
}
