//! How the engine directs screens: takes what admins want and what screens report, and tells each session what it lacks.

use fanlight_live::{OrderError, ScreenEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToViewer;
use fanlight_proto::direction::Stamp;
use fanlight_proto::message::{Direction, Notice, ScreenReport, StreamName};

use super::Engine;
use super::client_screens::{ClientScreens, ScreenKey};
use super::log_limits::LogLine;
use super::output::Output;
use super::screens::Screen;
use super::sessions::Sessions;
use super::standing::{Member, ScreenSession};
use super::streams::Streams;

impl Engine {
    /// Gives the screen `name` a direction, whose version and origin are ours to set. Gives its place among all directions
    /// of the screen. One that has the screen start anew is for the rest the one that there is.
    ///
    /// # Errors
    /// [`OrderError`]: then nothing has changed.
    pub fn direct(
        &mut self,
        now: Time,
        name: &str,
        direction: Direction,
    ) -> Result<Stamp, OrderError> {
        self.check_streams(&direction.streams)?;
        let direction = match direction.reload {
            0 => direction,
            _ => self
                .screens
                .reload(name, direction, self.secrets.number().max(1)),
        };
        let given = self.screens.direct(now, name, direction)?;
        let (by, streams) = (given.by.as_str(), given.streams.join(","));
        tracing::info!(
            screen = name,
            by,
            version = given.version,
            streams,
            cycle_ms = given.cycle_ms,
            frozen = given.frozen,
            card = given.card.as_str(),
            "a screen is directed"
        );

        self.counts.directions += 1;
        self.tell_screen(now, name);
        self.settle_screen(now, name);
        Ok(given.stamp())
    }

    /// Has the screen `name` show something for a while. The id of the notice is ours to set.
    ///
    /// # Errors
    /// [`OrderError`]: then nothing has changed.
    pub fn notify(&mut self, now: Time, name: &str, notice: Notice) -> Result<u64, OrderError> {
        let stream = Some(notice.stream.clone()).filter(|stream| !stream.is_empty());
        self.check_streams(stream.as_slice())?;
        let id = self.secrets.number().max(1);
        let id = self.screens.notify(now, name, Notice { id, ..notice })?;
        self.tell_screen(now, name);
        Ok(id)
    }

    /// Changes when a screen has come closer to what it was told.
    #[must_use]
    pub const fn screens_progress(&self) -> u64 {
        self.screens.progress()
    }

    /// Takes what a session says of its screen. Over UDP it is told what it lacks at once; a client's output finds that in
    /// [`ScreenEntry::given`].
    pub(super) fn on_screen_report(&mut self, now: Time, from: ScreenKey, said: ScreenReport) {
        let known = match from {
            ScreenKey::Viewer(address) => self.sessions.get_mut(address).map(|session| {
                let is_proved = session.auth.identity().is_some();
                (session.name.clone(), &mut session.screen, is_proved)
            }),
            ScreenKey::Client(number) => {
                let client = self.clients.get_mut(&number);
                client.map(|client| (client.name.clone(), &mut client.screen, false))
            }
        };
        let Some((name, slot, is_proved)) = known else {
            return;
        };

        let direction = said.direction.clone();
        let taken = match slot {
            Some(screen) => screen.take(now, said),
            // Nobody can direct a screen that has no name.
            None if name.is_empty() => false,
            None => {
                let has_room = self.screens.enter(now, &name, from);
                *slot = has_room.then(|| Box::new(ScreenSession::new(now, said)));
                has_room
            }
        };

        if !taken {
            self.counts.dropped_screen_reports += 1;
            return;
        }

        self.screens.hear(now, &name, direction.as_ref(), is_proved);
        self.note_claim(now, &name, from);
        self.settle_screen(now, &name);
        self.tell_screen_session(now, &name, from);
    }

    /// A session has ended: its screen may have none left.
    pub(super) fn leave_screen(&mut self, now: Time, name: &str, session: ScreenKey) {
        self.screens.leave(now, name, session);
        self.settle_screen(now, name);
    }

    /// Tells again what has not been answered, and forgets who has been away for too long.
    pub(super) fn update_screens(&mut self, now: Time) {
        self.screens.expire(now);
        for name in self.screens.names() {
            self.settle_screen(now, &name);
            self.tell_lacking(now, &name);
        }
    }

    /// All screens, for other outputs to show.
    pub(super) fn screen_entries(&self, now: Time) -> Vec<ScreenEntry> {
        let entry = |(name, screen): (&String, &Screen)| {
            screen.entry(now, name, &self.members(screen, name))
        };
        self.screens.iter().map(entry).collect()
    }

    fn members(&self, screen: &Screen, name: &str) -> Vec<Member<'_>> {
        members(screen, name, (&self.sessions, &self.clients), &self.streams)
    }

    fn check_streams(&self, names: &[String]) -> Result<(), OrderError> {
        let is_known = |name: &String| {
            let name = name.parse::<StreamName>();
            name.is_ok_and(|name| self.streams.named(&name).is_some())
        };
        let unknown = names.iter().find(|name| !is_known(name));
        unknown.map_or(Ok(()), |name| Err(OrderError::NoSuchStream(name.clone())))
    }

    /// Counts a frame that is no proof, because the relay has not had it.
    fn note_claim(&mut self, now: Time, name: &str, from: ScreenKey) {
        let Some(screen) = self.screens.get(name) else {
            return;
        };

        let members = self.members(screen, name);
        let mut own = members.iter().filter(|it| it.key == from);
        let Some(viewer) = own.find(|it| it.claims_unknown()).map(|it| it.viewer) else {
            return;
        };

        self.counts.unproved_screen_frames += 1;
        if let Some(count) = self.log_limits.note(LogLine::UnprovedFrames, now) {
            let what = "screens report frames that this relay has not had";
            tracing::info!(count, %viewer, screen = name, "{what}");
        }
    }

    fn settle_screen(&mut self, now: Time, name: &str) {
        let Some(screen) = self.screens.get(name) else {
            return;
        };
        let members = members(screen, name, (&self.sessions, &self.clients), &self.streams);
        self.screens.settle(now, name, &members);
    }

    /// Tells all sessions of a screen something new.
    fn tell_screen(&mut self, now: Time, name: &str) {
        for session in self.screens.sessions(name) {
            if let ScreenKey::Viewer(viewer) = session
                && let Some(session) = self.sessions.get_mut(viewer)
                && let Some(told) = &mut session.screen
            {
                told.forget_told();
            }
        }
        self.tell_lacking(now, name);
    }

    fn tell_lacking(&mut self, now: Time, name: &str) {
        for session in self.screens.sessions(name) {
            self.tell_screen_session(now, name, session);
        }
    }

    /// Tells a session of a viewer what it lacks, if it still reads what is sent to it.
    fn tell_screen_session(&mut self, now: Time, name: &str, session: ScreenKey) {
        let ScreenKey::Viewer(viewer) = session else {
            return;
        };
        let (Some(screen), Some(session)) = (self.screens.get(name), self.sessions.get_mut(viewer))
        else {
            return;
        };

        let told = session.screen.as_mut().filter(|_| session.name == name);
        let told = told.filter(|_| session.delivery.has_consent(now));
        let Some(direct) = told.and_then(|told| screen.tell(now, told)) else {
            return;
        };

        let datagram = session.encode(&ToViewer::Direct(session.id, direct));
        self.outputs.push_back(Output::Send {
            to: session.route,
            datagram,
        });
    }
}

/// What the sessions of a screen say.
fn members<'a>(
    screen: &Screen,
    name: &str,
    (sessions, clients): (&'a Sessions, &'a ClientScreens),
    streams: &'a Streams,
) -> Vec<Member<'a>> {
    let member = |key: &ScreenKey| match *key {
        ScreenKey::Viewer(viewer) => {
            let session = sessions.get(viewer).filter(|it| it.name == name)?;
            Some(Member {
                key: *key,
                viewer,
                session: session.screen.as_deref()?,
                stream: streams.by_alias(session.alias)?,
            })
        }
        ScreenKey::Client(number) => {
            let client = clients.get(&number).filter(|it| it.name == name)?;
            Some(Member {
                key: *key,
                viewer: client.address,
                session: client.screen.as_deref()?,
                stream: streams.named(&client.stream)?,
            })
        }
    };
    screen.sessions().iter().filter_map(member).collect()
}
