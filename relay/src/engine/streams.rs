//! All streams of the relay, by name and by the short alias that media datagrams carry.

use std::time::Duration;

use fanlight_live::Arrival;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;

use super::stream::{Rejected, Stream};

/// A stream that is gone and that nobody watches is forgotten after so long, to make room for others.
const STREAM_TTL: Duration = Duration::from_secs(60);

/// All streams, in the order in which they came.
#[derive(Debug)]
pub(super) struct Streams {
    stale: Duration,
    memory_budget: usize,
    all: Vec<Stream>,
}

/// A stream that something was heard of.
pub(super) struct Heard<'a> {
    pub(super) stream: &'a mut Stream,
    /// Whether there is news for its viewers.
    pub(super) news: bool,
    /// The source that it came from before, when that was another.
    pub(super) former: Option<usize>,
}

impl Streams {
    /// No streams. All together may take `memory_budget` bytes.
    pub(super) const fn new(stale: Duration, memory_budget: usize) -> Self {
        Self {
            stale,
            memory_budget,
            all: Vec::new(),
        }
    }

    /// All together may take `memory_budget` bytes from now on.
    pub(super) fn set_memory_budget(&mut self, memory_budget: usize) {
        self.memory_budget = memory_budget;
        self.share_memory();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.all.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn named(&self, name: &StreamName) -> Option<&Stream> {
        self.all.iter().find(|stream| stream.name == *name)
    }

    /// What a viewer gets that does not choose: the first that has a source, or else the first.
    pub(super) fn first(&self) -> Option<&Stream> {
        self.all
            .iter()
            .find(|stream| !stream.is_source_gone())
            .or_else(|| self.all.first())
    }

    pub(super) fn by_alias(&self, alias: u16) -> Option<&Stream> {
        self.all.iter().find(|stream| stream.alias == alias)
    }

    pub(super) fn by_alias_mut(&mut self, alias: u16) -> Option<&mut Stream> {
        self.all.iter_mut().find(|stream| stream.alias == alias)
    }

    /// Notes what a source says of its stream, which may be new. Which source has a stream is the table's to decide.
    pub(super) fn hear(&mut self, arrival: &Arrival) -> Result<Heard<'_>, Rejected> {
        let known = self
            .all
            .iter()
            .position(|stream| stream.name == arrival.frame.stream);

        let at = match known {
            Some(at) => at,
            None => self.begin(arrival)?,
        };

        let stream = &mut self.all[at];
        let news = stream.hear(arrival)?;
        let former = std::mem::replace(&mut stream.origin, arrival.frame.origin);
        let former = Some(former).filter(|former| *former != stream.origin);
        Ok(Heard {
            stream,
            news,
            former,
        })
    }

    /// When [`Streams::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.all
            .iter()
            .filter_map(|stream| self.stream_deadline(stream))
            .min()
    }

    /// Notes that a source is silent, and gives its stream; call it until there is none.
    pub(super) fn expire(&mut self, now: Time) -> Option<&Stream> {
        self.all.retain(|stream| {
            !stream.is_source_gone()
                || !stream.members().is_empty()
                || now.saturating_since(stream.heard) < STREAM_TTL
        });

        self.share_memory();
        let stale = self.stale;
        let silent =
            |s: &&mut Stream| !s.is_source_gone() && now.saturating_since(s.heard) >= stale;
        let stream = self.all.iter_mut().find(silent)?;
        stream.set_source_gone();
        Some(stream)
    }

    fn stream_deadline(&self, stream: &Stream) -> Option<Time> {
        match (stream.is_source_gone(), stream.members().is_empty()) {
            (false, _) => Some(stream.heard + self.stale),
            (true, true) => Some(stream.heard + STREAM_TTL),
            (true, false) => None,
        }
    }

    fn begin(&mut self, arrival: &Arrival) -> Result<usize, Rejected> {
        if self.all.len() == MAX_STREAMS {
            let idle = self
                .all
                .iter()
                .position(|s| s.is_source_gone() && s.members().is_empty());
            self.all.remove(idle.ok_or(Rejected::TooMany)?);
        }

        let alias = self.free_alias(&arrival.frame.stream);
        let slot = (0..MAX_STREAMS).find(|slot| self.all.iter().all(|stream| stream.slot != *slot));
        let slot = slot.expect("there are fewer streams than places");
        self.all.push(Stream::new(alias, slot, arrival));
        self.share_memory();
        Ok(self.all.len() - 1)
    }

    /// Gives each stream an equal share of the memory.
    fn share_memory(&mut self) {
        let share = self.memory_budget / self.all.len().max(1);
        for stream in &mut self.all {
            stream.memory_share = share;
        }
    }

    /// The same on every relay that does not have two names with one hash.
    fn free_alias(&self, name: &StreamName) -> u16 {
        let mut alias = name_hash(name).max(1);
        while self.by_alias(alias).is_some() {
            alias = alias.wrapping_add(1).max(1);
        }
        alias
    }
}

/// FNV-1a (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>) of 32 bits, folded to 16.
fn name_hash(name: &StreamName) -> u16 {
    let hash = name.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    ((hash >> 16) ^ (hash & 0xffff)) as u16
}
