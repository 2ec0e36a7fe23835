//! Admission: JOIN and its answers.

use fanlight_live::ledger::{Holders, Resource, holders};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{CONTROL_HEADER, DatagramError, ToViewer, VERSION};
use fanlight_proto::handshake::{Channel, Channels, HandshakeError, Responder, answer};
use fanlight_proto::limits::{JOIN_BYTES, KEEP_ALIVE_INTERVAL, SESSION_IDLE};
use fanlight_proto::message::{Accept, Access, Challenge, Join, Refusal, Refuse, StreamName};
use prost::Message as _;

use super::auth::{Auth, SecureChannel};
use super::delivery::{Delivery, progress_every};
use super::key_rotation::KeyRotation;
use super::log_limits::LogLine;
use super::output::{Output, Route};
use super::sessions::{Session, label};
use super::stream::Stream;
use super::viewer_feedback::ViewerFeedback;
use super::{Engine, encoded, goodbye};

/// Longest list of streams: with the header, a handshake's bytes and its seal it is no longer than a JOIN.
const MAX_LIST: usize = JOIN_BYTES - CONTROL_HEADER - 96;

/// Streams that are named to who asks for another: as many as one sentence on a card holds, and of the longest names far
/// fewer bytes than a JOIN has.
const MAX_NAMED_STREAMS: usize = 8;

impl Engine {
    /// An address that has not proved itself gets one datagram, smaller than the padded JOIN, and no state is
    /// kept for it.
    pub(super) fn on_join(&mut self, now: Time, from: Route, join: &Join) {
        if join.version != VERSION {
            let detail = format!("this relay speaks version {VERSION}");
            return self.refuse(now, from, join, Refusal::Version, &detail);
        }

        if !self.token_key.holds(now, from.remote, &join.token) {
            self.counts.challenges += 1;
            let token = self.token_key.mint(now, from.remote).to_vec().into();
            let access = self.access.kind().into();
            return self.send(
                from,
                &ToViewer::Challenge(Challenge {
                    nonce: join.nonce,
                    token,
                    access,
                }),
            );
        }

        // The same JOIN again means that ACCEPT was lost.
        let repeated = self
            .sessions
            .get(from.remote)
            .filter(|session| session.auth.is_repeat(join.nonce) && !join.list);
        match repeated {
            Some(session) if session.auth.is_sealed() => {
                // The bytes as they were: another answer to the same handshake would be another channel.
                let datagram = session.auth.unconfirmed_accept();
                self.outputs
                    .extend(datagram.map(|datagram| Output::Send { to: from, datagram }));
            }
            Some(session) => {
                let accept = self.accept_message(join, session.id, session.alias);
                self.send(from, &ToViewer::Accept(accept));
                self.catch_up(now, from.remote);
            }
            // That session has ended: whoever says so again has recorded it.
            None if self.spent_nonces.contains(now, from.remote, join.nonce) => {}
            None => self.on_proven_join(now, from, join),
        }
    }

    /// Takes a JOIN from an address that has proved itself; checks the key, if the relay asks for one.
    fn on_proven_join(&mut self, now: Time, from: Route, join: &Join) {
        if self.access.kind() == Access::Open {
            return self.on_request(now, from, join, None);
        }

        // Before it counts: whoever does not know this relay uses up nobody's handshakes.
        if !self.join_mac.as_ref().is_some_and(|mac| mac.holds(join)) {
            return self.refuse_key(now, from, join, &HandshakeError::Refused);
        }

        let ledger = &mut self.ledger;
        if !ledger.handshakes.admits(now, &self.token_key, from.remote) {
            ledger.refusals.note(Resource::Handshakes, 1);
            let detail = "too many handshakes at a time";
            return self.refuse(now, from, join, Refusal::Busy, detail);
        }

        let ephemeral = self.secrets.bytes();
        let responder = answer(
            &self.access,
            join.nonce,
            &join.token,
            &join.handshake,
            ephemeral,
        );

        let responder = match responder {
            Ok(responder) => responder,
            Err(error) => return self.refuse_key(now, from, join, &error),
        };

        self.ledger.handshakes.on_success(now, from.remote);
        match join.with_request(responder.request()) {
            Some(join) => self.on_request(now, from, &join, Some(responder)),
            None => self.on_malformed(now, from, DatagramError::Body),
        }
    }

    /// Takes what a viewer asks for, which has shown its key if one is needed.
    fn on_request(&mut self, now: Time, from: Route, join: &Join, responder: Option<Responder>) {
        if join.list {
            let list = self.list(join.nonce);
            let answered = self.accept_datagram(&list, responder);
            self.outputs
                .extend(answered.map(|(datagram, _)| Output::Send { to: from, datagram }));
            return;
        }

        match responder {
            Some(responder) if self.is_renewal(from, join, &responder) => {
                self.renew(now, from, join, responder);
            }
            responder => self.admit(now, from, join, responder),
        }
    }

    /// Whether a handshake is for the session that its viewer has.
    fn is_renewal(&self, from: Route, join: &Join, responder: &Responder) -> bool {
        let session = self.sessions.get(from.remote);
        session.is_some_and(|session| {
            session.id == join.session
                && session.auth.is_sealed()
                && session.auth.identity() == responder.identity()
        })
    }

    /// Gives a session another channel. Everything else of it stays.
    fn renew(&mut self, now: Time, from: Route, join: &Join, responder: Responder) {
        let Some(session) = self.sessions.get(from.remote) else {
            return;
        };

        let accept = self.accept_message(join, session.id, session.alias);
        let Some((datagram, Some(channel))) = self.accept_datagram(&accept, Some(responder)) else {
            return;
        };

        self.spent_nonces.spend(now, from.remote, join.nonce);
        self.counts.renewals += 1;
        if let Some(session) = self.sessions.get_mut(from.remote) {
            session.auth.renew(join.nonce, channel, datagram.clone());
        }
        self.outputs.push_back(Output::Send { to: from, datagram });
    }

    fn admit(&mut self, now: Time, from: Route, join: &Join, responder: Option<Responder>) {
        let alias = match self.requested_stream(join) {
            Ok(stream) => stream.alias,
            Err((refusal, detail)) => {
                self.spend_refused(now, from, join, responder.as_ref());
                self.note_waiting(now, from, join);
                let mut refuse = self.refusal(now, from, join, refusal, &detail);
                self.name_streams(&mut refuse, responder);
                return self.send(from, &ToViewer::Refuse(refuse));
            }
        };

        let identity = responder.as_ref().and_then(Responder::identity).cloned();
        let holders = holders(from.remote.ip(), identity.as_ref());
        let former = self.sessions.get(from.remote).map(Session::holders);
        let returning = former.is_some();

        if former != Some(holders)
            && let Err(detail) = self.make_room(now, holders, returning)
        {
            self.ledger.refusals.note(Resource::Sessions, 1);
            self.spend_refused(now, from, join, responder.as_ref());
            return self.refuse(now, from, join, Refusal::Busy, &detail);
        }

        self.session_count += 1;
        let id = self.token_key.session(self.session_count);
        if responder.is_some() {
            self.make_keys(now, alias);
        }

        let listed = responder.as_ref().and_then(Responder::name);
        let names = (
            listed.unwrap_or(&join.name).to_owned(),
            label(listed, &join.name),
        );
        let accept = self.accept_message(join, id, alias);

        let Some((datagram, channel)) = self.accept_datagram(&accept, responder) else {
            return;
        };

        self.spent_nonces.spend(now, from.remote, join.nonce);
        if returning {
            self.leave(now, from, "joined anew");
        }

        let channel = channel.map(|channel| SecureChannel {
            channels: Channels::new(channel),
            accept: Some(datagram.clone()),
            identity,
        });

        self.outputs.push_back(Output::Send { to: from, datagram });
        let auth = Auth::new(join.nonce, channel);
        self.add_session(now, join, (id, alias, from), names, auth);
    }

    /// A viewer with a key asks with another nonce after a refusal: whoever repeats this one has recorded it.
    fn spend_refused(
        &mut self,
        now: Time,
        from: Route,
        join: &Join,
        responder: Option<&Responder>,
    ) {
        if responder.is_some() {
            self.spent_nonces.spend(now, from.remote, join.nonce);
        }
    }

    /// Ends a session if there must be one less for `newcomer`, which is `returning` to a place of its own or not.
    ///
    /// # Errors
    /// Why it may have none, for the log.
    fn make_room(&mut self, now: Time, newcomer: Holders, returning: bool) -> Result<(), String> {
        let max_viewers = self.config.max_viewers;
        let (evictable, why) = if self.sessions.is_at_limit(newcomer, self.config.sessions) {
            let why = "its key or address has all the sessions that one may have".to_owned();
            (self.sessions.find_silent_of(now, newcomer), why)
        } else if !returning && self.sessions.len() >= max_viewers {
            let why = format!("this relay serves {max_viewers} viewers and no more");
            (self.sessions.find_evictable(now, newcomer), why)
        } else {
            return Ok(());
        };

        let session = evictable.and_then(|address| self.sessions.get_mut(address));
        let session = session.ok_or(why)?;
        let route = session.route;
        self.outputs
            .push_back(goodbye(session, "others need its place"));
        self.counts.evicted += 1;
        drop(self.remove_session(now, route));
        Ok(())
    }

    /// Adds a session, and sends its viewer the first frame.
    fn add_session(
        &mut self,
        now: Time,
        join: &Join,
        (id, alias, route): (u64, u16, Route),
        (name, label): (String, String),
        auth: Auth,
    ) {
        self.counts.joins += 1;
        let mut span = tracing::Span::none();

        if let Some(stream) = self.streams.by_alias_mut(alias) {
            stream.add(route.remote);
            span = tracing::info_span!("session", viewer = %route.remote, stream = %stream.name);
        }

        if let Some((count, names)) = self.log_limits.joined(now, &label) {
            span.in_scope(|| tracing::info!(count, names, "viewers joined"));
        }

        let delivery = Delivery::new(now, join, self.dedicated_sockets);
        if delivery.is_isolated() {
            self.dedicated_sockets += 1;
            self.outputs.push_back(Output::Isolate(route));
        }

        self.sessions.insert(Session {
            id,
            alias,
            route,
            name,
            label,
            since: now,
            heard: now,
            span,
            auth,
            delivery,
            feedback: ViewerFeedback::new(self.session_count),
            screen: None,
        });

        self.on_viewer_joined(now, alias);
        self.catch_up(now, route.remote);
    }

    /// The datagram that answers a JOIN, with the channel that it opens when it brought a handshake; none when the
    /// handshake comes to nothing after all.
    fn accept_datagram(
        &mut self,
        accept: &Accept,
        responder: Option<Responder>,
    ) -> Option<(Vec<u8>, Option<Channel>)> {
        let Some(responder) = responder else {
            return Some((encoded(&ToViewer::Accept(accept.clone())), None));
        };

        match responder.finish(&accept.encode_to_vec()) {
            Ok((handshake, channel)) => {
                let outer = Accept {
                    nonce: accept.nonce,
                    handshake: handshake.into(),
                    ..Accept::default()
                };
                Some((encoded(&ToViewer::Accept(outer)), Some(channel)))
            }
            Err(_) => {
                self.counts.handshakes_refused += 1;
                None
            }
        }
    }

    /// Makes the first key of a stream whose media is sealed.
    fn make_keys(&mut self, now: Time, alias: u16) {
        let secret = self.secrets.bytes();
        if let Some(stream) = self.streams.by_alias_mut(alias) {
            stream
                .keys
                .get_or_insert_with(|| KeyRotation::new(now, secret));
        }
    }

    fn refuse_key(&mut self, now: Time, to: Route, join: &Join, error: &HandshakeError) {
        self.counts.handshakes_refused += 1;
        self.refuse(now, to, join, Refusal::Key, &error.to_string());
    }

    fn requested_stream(&self, join: &Join) -> Result<&Stream, (Refusal, String)> {
        let Some(first) = self.streams.first() else {
            return Err((Refusal::NoStreams, "no source has come yet".to_owned()));
        };

        if join.stream.is_empty() {
            return Ok(first);
        }

        // An invalid name is not repeated in the log: it may be as long as a datagram.
        let name = join
            .stream
            .parse()
            .map_err(|_| (Refusal::NoSuchStream, "that is no stream name".to_owned()))?;

        self.streams
            .named(&name)
            .ok_or_else(|| (Refusal::NoSuchStream, format!("no stream {name} here")))
    }

    /// What a viewer is told when it is let in.
    fn accept_message(&self, join: &Join, session: u64, alias: u16) -> Accept {
        let stream = self.streams.by_alias(alias);
        let keys = stream
            .and_then(|stream| stream.keys.as_ref())
            .map(KeyRotation::messages)
            .unwrap_or_default();

        Accept {
            session,
            stream: stream.map(Stream::info),
            keys,
            progress_every: progress_every(join),
            ..self.base_accept(join.nonce)
        }
    }

    /// The answer to a request for the list: what fits a datagram no longer than the request.
    fn list(&self, nonce: u64) -> Accept {
        let mut list = self.base_accept(nonce);
        for stream in self.streams.iter() {
            list.streams.push(stream.info());
            if list.encoded_len() > MAX_LIST {
                list.streams.pop();
                break;
            }
        }

        list
    }

    fn base_accept(&self, nonce: u64) -> Accept {
        Accept {
            nonce,
            total_streams: u32::try_from(self.streams.len()).unwrap_or(u32::MAX),
            keep_alive_ms: millis(KEEP_ALIVE_INTERVAL),
            idle_timeout_ms: millis(SESSION_IDLE),
            ..Accept::default()
        }
    }

    /// Refuses a JOIN. The answer is in the clear: it says which kind of refusal, and nothing of the viewer or its stream.
    fn refuse(&mut self, now: Time, to: Route, join: &Join, refusal: Refusal, detail: &str) {
        let refuse = self.refusal(now, to, join, refusal, detail);
        self.send(to, &ToViewer::Refuse(refuse));
    }

    /// Adds which streams there are to a refusal for want of one: sealed where a key is asked for.
    fn name_streams(&self, refuse: &mut Refuse, responder: Option<Responder>) {
        if refuse.refusal() != Refusal::NoSuchStream {
            return;
        }

        let streams = || self.streams.iter().map(|stream| &stream.name);
        let is_canary = |name: &StreamName| streams().any(|other| other.canary() == *name);
        let mut names: Vec<_> = streams().filter(|name| !is_canary(name)).collect();
        names.sort_unstable();
        let total = names.len();
        names.truncate(MAX_NAMED_STREAMS);

        let named = Refuse {
            streams: names.iter().map(ToString::to_string).collect(),
            total_streams: u32::try_from(total).unwrap_or(u32::MAX),
            ..Refuse::default()
        };

        match responder.map(|responder| responder.finish(&named.encode_to_vec())) {
            Some(Ok((handshake, _))) => refuse.handshake = handshake,
            // Whoever sent a bad point for a key learns no names.
            Some(Err(_)) => {}
            None => {
                refuse.streams = named.streams;
                refuse.total_streams = named.total_streams;
            }
        }
    }

    /// Counts and logs the refusal of a JOIN. Returns what its viewer is told.
    fn refusal(
        &mut self,
        now: Time,
        to: Route,
        join: &Join,
        refusal: Refusal,
        detail: &str,
    ) -> Refuse {
        self.counts.refusals += 1;
        if let Some(count) = self.log_limits.note(LogLine::RefusedJoins, now) {
            let name = label(None, &join.name);
            tracing::info!(count, viewer = %to.remote, %name, "joins refused, the last: {detail}");
        }

        let retry_after_ms = match refusal {
            Refusal::NoStreams => 250,
            Refusal::NoSuchStream => 1_000,
            Refusal::Busy | Refusal::Version | Refusal::Key | Refusal::Unspecified => 2_000,
        };

        Refuse {
            nonce: join.nonce,
            refusal: refusal.into(),
            message: refusal_text(refusal).to_owned(),
            retry_after_ms,
            ..Refuse::default()
        }
    }
}

/// What a refused viewer is told in words.
const fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unspecified => "refused",
        Refusal::Busy => "this relay serves as many viewers as it may at present",
        Refusal::NoSuchStream => "this relay has no such stream",
        Refusal::Version => "this relay speaks another version of the protocol",
        Refusal::NoStreams => "this relay has no stream yet",
        Refusal::Key => "this is no key that this relay knows",
    }
}

fn millis(length: std::time::Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}
