//! A source: frames of known bytes, heartbeats between them, on a clock of its own.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::limits::HEARTBEAT_INTERVAL;
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, FrameId, State};
use siphasher::sip::SipHasher13;

use super::clock::Clock;
use crate::seeded::Random;

/// How a source behaves.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its stream.
    pub stream: String,
    /// Frames a second.
    pub fps: u32,
    /// Bytes of each picture.
    pub frame_bytes: usize,
    /// What its clock shows.
    pub clock: Clock,
}

impl Default for SourceConfig {
    /// 30 frames a second of four shards: enough to lose some and get others.
    fn default() -> Self {
        Self {
            stream: "cam".to_owned(),
            fps: 30,
            frame_bytes: 4_500,
            clock: Clock::default(),
        }
    }
}

/// What a source publishes at one time.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) topic: Bytes,
    pub(super) body: Bytes,
}

/// A source at work.
#[derive(Debug)]
pub(super) struct SourceNode {
    pub(super) config: SourceConfig,
    pub(super) alive: bool,
    pub(super) frozen: bool,
    /// Its camera delivers.
    pub(super) capturing: bool,
    /// Its pictures cannot be decoded.
    pub(super) damaged: bool,
    pub(super) next: Duration,
    /// Distinguishes its runs.
    epoch: u64,
    /// All its epochs, in order.
    epochs: Vec<u64>,
    number: u64,
    said: Duration,
    content: Random,
    /// The hash of each frame published, and whether it can be decoded.
    published: HashMap<FrameId, (u64, bool)>,
    /// When each was.
    times: Vec<(Duration, FrameId)>,
}

impl SourceNode {
    pub(super) fn new(config: SourceConfig, seed: u64) -> Self {
        let mut content = Random::new(seed);
        let next = Duration::from_nanos(content.below(30_000_000) as u64);
        let epoch = content.number().max(1);
        Self {
            config,
            alive: true,
            frozen: false,
            capturing: true,
            damaged: false,
            next,
            epoch,
            epochs: vec![epoch],
            number: 0,
            said: Duration::ZERO,
            content,
            published: HashMap::new(),
            times: Vec::new(),
        }
    }

    /// A new run, with frames from number 0 under another epoch.
    pub(super) fn start(&mut self, now: Duration) {
        self.alive = true;
        self.frozen = false;
        self.capturing = true;
        self.damaged = false;
        self.epoch = self.content.number().max(1);
        self.epochs.push(self.epoch);
        self.number = 0;
        self.next = now;
        self.said = now;
    }

    /// What it publishes at its time; a heartbeat when the camera is still and nothing has been said for long enough.
    pub(super) fn turn(&mut self, now: Duration) -> Option<Published> {
        self.next = now + Duration::from_secs(1) / self.config.fps.max(1);
        if !self.alive || self.frozen {
            return None;
        }

        if self.capturing {
            self.said = now;
            let frame = self.frame(now);
            self.number += 1;
            return Some(frame);
        }

        (now - self.said >= HEARTBEAT_INTERVAL).then(|| {
            self.said = now;
            self.message(now, State::Stalled, &[])
        })
    }

    /// Which of its runs `epoch` names, counted from 0; none if it is not its own.
    pub(super) fn run_of(&self, epoch: u64) -> Option<usize> {
        self.epochs.iter().position(|known| *known == epoch)
    }

    /// Whether the picture of frame `id` can be decoded; none when `body` is not what was published as `id`.
    pub(super) fn decodes(&self, id: FrameId, body: &[u8]) -> Option<bool> {
        let (published, decodes) = self.published.get(&id)?;
        (*published == hash(body)).then_some(*decodes)
    }

    /// All frames published, and when.
    pub(super) fn frames(&self) -> &[(Duration, FrameId)] {
        &self.times
    }

    /// The frames published in a span of time.
    pub(super) fn published_between(
        &self,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = FrameId> {
        let start = self.times.partition_point(|(at, _)| *at < from);
        self.times[start..]
            .iter()
            .take_while(move |(at, _)| *at < to)
            .map(|(_, id)| *id)
    }

    fn frame(&mut self, now: Duration) -> Published {
        let mut jpeg = vec![0; self.config.frame_bytes.max(4)];
        for chunk in jpeg.chunks_mut(8) {
            chunk.copy_from_slice(&self.content.number().to_ne_bytes()[..chunk.len()]);
        }

        let end = jpeg.len() - 2;
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
        jpeg[end..].copy_from_slice(&[0xff, 0xd9]);
        let id = FrameId {
            epoch: self.epoch,
            number: self.number,
        };

        let published = self.message(now, State::Live, &jpeg);
        self.published
            .insert(id, (hash(&published.body), !self.damaged));
        self.times.push((now, id));
        published
    }

    fn message(&self, now: Duration, state: State, jpeg: &[u8]) -> Published {
        let SourceConfig {
            stream, fps, clock, ..
        } = &self.config;
        let header = FrameHeader {
            stream: stream.clone(),
            epoch: self.epoch,
            number: if jpeg.is_empty() {
                self.number.saturating_sub(1)
            } else {
                self.number
            },
            captured_ns: clock.read(now).as_nanos(),
            wall_offset_ns: clock.wall_offset_ns,
            clock_id: 1,
            width: 64,
            height: 48,
            format: Format::Jpeg as i32,
            state: state as i32,
            rate_millihertz: fps * 1_000,
            ..FrameHeader::default()
        };

        let body = FrameBuffer::copy_of(jpeg).finish(header);
        Published {
            topic: format!("{stream}/").into(),
            body,
        }
    }
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    hasher.finish()
}
