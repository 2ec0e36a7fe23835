//! Streams by multicast: one sender for all sessions of a stream that are played this way, which is a session itself. It is a
//! task on the RTSP thread, from the first SETUP until the last of them has ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Weak};

use fanlight_live::{Arrival, FrameSubscription, Subscribe};
use fanlight_proto::limits::MULTICAST_GROUPS;
use fanlight_proto::message::StreamName;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::App;
use crate::group::Group;
use crate::session::{Event, Session, Transport, UdpPair};

/// The settings of multicast.
#[derive(Clone, Copy, Debug)]
pub struct Multicast {
    /// The group of the first stream that is asked for, and its port for RTP; RTCP has the next one. Further streams have
    /// the addresses behind it.
    pub first: SocketAddrV4,
    /// The address of the interface to send by.
    pub interface: Ipv4Addr,
    /// Routers to pass, and one.
    pub ttl: u8,
    /// Whether players on this host get it too.
    pub looped: bool,
}

/// The groups in use, at most [`MULTICAST_GROUPS`].
#[derive(Debug)]
pub(crate) struct Groups {
    settings: Option<Multicast>,
    taken: Mutex<Vec<(StreamName, Weak<Group>)>>,
}

impl Groups {
    pub(crate) fn new(settings: Option<Multicast>) -> Self {
        Self {
            settings,
            taken: Mutex::default(),
        }
    }

    /// Whether there are any.
    pub(crate) const fn are_served(&self) -> bool {
        self.settings.is_some()
    }

    /// The group of `stream`, which is sent to from now on when somebody plays.
    ///
    /// # Errors
    /// When there is none left, or no socket for it.
    pub(crate) async fn join(app: &Arc<App>, stream: &StreamName) -> io::Result<Arc<Group>> {
        let (groups, none) = (&app.groups, || {
            io::Error::from(io::ErrorKind::AddrNotAvailable)
        });
        if let Some(group) = groups.sent_to(stream) {
            return Ok(group);
        }

        let settings = groups.settings.ok_or_else(none)?;
        let subscription = app.output.subscribe(stream, Subscribe::default());
        let subscription = subscription.ok_or_else(none)?;
        let (players, played) = watch::channel(0);
        let group = groups.take(settings, stream, players).ok_or_else(none)?;

        let ports = [0, 1].map(|more| (*group.address.ip(), group.address.port() + more).into());
        let sockets = UdpPair::bind(settings.interface.into(), ports).await?;
        sockets.reach(settings.ttl, settings.looped)?;
        tokio::spawn(send(Arc::clone(app), subscription, sockets, played));
        Ok(group)
    }

    fn sent_to(&self, stream: &StreamName) -> Option<Arc<Group>> {
        let taken = self.taken.lock();
        let (_, group) = taken.iter().find(|(name, _)| name == stream)?;
        group.upgrade().filter(|group| group.is_sent_to())
    }

    /// Takes the place that `stream` had, or one of a stream that nobody has asked for any more.
    fn take(
        &self,
        settings: Multicast,
        stream: &StreamName,
        players: watch::Sender<usize>,
    ) -> Option<Arc<Group>> {
        let mut taken = self.taken.lock();
        let is_free =
            |(name, group): &(StreamName, Weak<Group>)| name == stream || group.strong_count() == 0;
        let place = taken.iter().position(is_free).unwrap_or(taken.len());
        if place == MULTICAST_GROUPS {
            return None;
        }

        let ip = settings.first.ip().to_bits() + place as u32;
        let address = SocketAddrV4::new(Ipv4Addr::from_bits(ip), settings.first.port());
        let group = Arc::new(Group::new(address, settings.ttl, players));
        let entry = (stream.clone(), Arc::downgrade(&group));
        match taken.get_mut(place) {
            Some(former) => *former = entry,
            None => taken.push(entry),
        }
        Some(group)
    }
}

/// Sends while anybody plays, until nobody has the group or the relay no longer has the stream.
async fn send(
    app: Arc<App>,
    subscription: FrameSubscription,
    sockets: UdpPair,
    mut players: watch::Receiver<usize>,
) {
    let mut session = Session::new(subscription, Transport::Udp(sockets));
    let out = &mut Vec::new();
    loop {
        let event = tokio::select! {
            changed = players.changed() => {
                if changed.is_err() {
                    break;
                }
                session.playing = *players.borrow_and_update() > 0;
                continue;
            }
            event = session.event(true) => event,
        };
        match event {
            Event::Heard => {}
            Event::Burst => session.burst().await,
            Event::Frame(Some(Arrival { frame, .. })) => {
                // What cannot be sent ends the sessions of the players.
                if let Ok(picture) = app.pictures.of(&frame) {
                    session.begin(&frame, picture, out).await;
                }
            }
            Event::Frame(None) => break,
        }
    }
    session.report(true, out).await;
}
