//! Who gets in: JOIN and its answers.

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{CONTROL_HEADER, ToViewer, VERSION};
use fanlight_proto::limits::{JOIN_BYTES, KEEP_ALIVE_INTERVAL, SESSION_IDLE};
use fanlight_proto::message::{Accept, Access, Challenge, Join, Refusal, Refuse, Report};
use prost::Message as _;

use super::viewers::{Allowance, REPAIR_SHARDS_PER_SECOND, Viewer};
use super::{Engine, Route, Stream, Target};

impl Engine {
    /// An address that has not proved itself gets one datagram, smaller than the padded JOIN, and leaves nothing behind.
    pub(super) fn on_join(&mut self, now: Time, from: Route, join: &Join) {
        if join.version != VERSION {
            let message = format!("this relay speaks version {VERSION}");
            return self.refuse(now, from, join, Refusal::Version, message);
        }
        if !self.minter.holds(now, from.remote, &join.token) {
            self.counts.challenges += 1;
            let token = self.minter.mint(now, from.remote).to_vec().into();
            return self
                .send(from, &ToViewer::Challenge(Challenge { nonce: join.nonce, token, access: Access::Open.into() }));
        }
        if join.list {
            let list = self.list(join.nonce);
            return self.send(from, &ToViewer::Accept(list));
        }
        // The same JOIN again means that ACCEPT was lost.
        let known = self.viewers.at(from.remote).filter(|viewer| viewer.nonce == join.nonce);
        match known.map(|viewer| (viewer.session, viewer.alias)) {
            Some((session, alias)) => self.accept(from, join.nonce, session, alias),
            None => self.admit(now, from, join),
        }
    }

    fn admit(&mut self, now: Time, from: Route, join: &Join) {
        let alias = match self.wanted(join) {
            Ok(stream) => stream.alias,
            Err((refusal, message)) => return self.refuse(now, from, join, refusal, message),
        };
        let returning = self.viewers.at(from.remote).is_some();
        if !returning && self.viewers.len() >= self.config.max_viewers {
            let message = format!("this relay serves {} viewers and no more", self.config.max_viewers);
            return self.refuse(now, from, join, Refusal::Busy, message);
        }
        if returning {
            self.leave(now, from, "joined anew");
        }
        self.sessions += 1;
        let viewer = Viewer {
            session: self.minter.session(self.sessions),
            nonce: join.nonce,
            alias,
            name: join.name.clone(),
            heard: now,
            report: Report::default(),
            repairs: Allowance::new(now, REPAIR_SHARDS_PER_SECOND),
        };
        let session = viewer.session;
        self.viewers.insert(from.remote, viewer);
        self.counts.joins += 1;
        if let Some(stream) = self.streams.by_alias_mut(alias) {
            stream.add(Target { route: from, capacity: join.receive_capacity });
            if let Some(count) = self.lines.joined.note(now) {
                tracing::info!(count, viewer = %from.remote, name = ?join.name, stream = %stream.name, "viewers joined");
            }
        }
        self.accept(from, join.nonce, session, alias);
    }

    fn wanted(&self, join: &Join) -> Result<&Stream, (Refusal, String)> {
        let Some(first) = self.streams.first() else {
            return Err((Refusal::NoStreams, "no source has come yet".to_owned()));
        };
        if join.stream.is_empty() {
            return Ok(first);
        }
        // The text of a name that is none is not repeated: it may be as long as a datagram.
        let name = join.stream.parse().map_err(|_| (Refusal::NoSuchStream, "that is no stream name".to_owned()))?;
        self.streams.named(&name).ok_or_else(|| (Refusal::NoSuchStream, format!("no stream {name} here")))
    }

    fn accept(&mut self, to: Route, nonce: u64, session: u64, alias: u16) {
        let stream = self.streams.by_alias(alias).map(Stream::info);
        let accept = Accept { session, stream, ..self.welcome(nonce) };
        self.send(to, &ToViewer::Accept(accept));
    }

    /// The answer to a request for the list: what fits a datagram no longer than the request.
    fn list(&self, nonce: u64) -> Accept {
        let mut list = self.welcome(nonce);
        for stream in self.streams.iter() {
            list.streams.push(stream.info());
            if CONTROL_HEADER + list.encoded_len() > JOIN_BYTES {
                list.streams.pop();
                break;
            }
        }
        list
    }

    fn welcome(&self, nonce: u64) -> Accept {
        Accept {
            nonce,
            total_streams: u32::try_from(self.streams.len()).unwrap_or(u32::MAX),
            keep_alive_ms: millis(KEEP_ALIVE_INTERVAL),
            idle_timeout_ms: millis(SESSION_IDLE),
            ..Accept::default()
        }
    }

    fn refuse(&mut self, now: Time, to: Route, join: &Join, refusal: Refusal, message: String) {
        self.counts.refusals += 1;
        if let Some(count) = self.lines.refused_joins.note(now) {
            tracing::info!(count, viewer = %to.remote, name = ?join.name, "joins refused, the last: {message}");
        }
        let retry_after_ms = match refusal {
            Refusal::NoStreams => 250,
            Refusal::NoSuchStream => 1_000,
            Refusal::Busy | Refusal::Version | Refusal::Key | Refusal::Unspecified => 2_000,
        };
        let refuse = Refuse { nonce: join.nonce, refusal: refusal.into(), message, retry_after_ms };
        self.send(to, &ToViewer::Refuse(refuse));
    }
}

fn millis(length: std::time::Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}
