//! A network camera that sends JPEGs over HTTP, as `multipart/x-mixed-replace` (MJPEG). Called on the capture thread.
//!
//! Where pictures begin and end is told by their own markers, not by boundaries and lengths of parts, which cameras write in
//! many wrong ways and which come too late: the end of a part without a length shows when the next picture comes.

mod connection;
mod credentials;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod opening;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::keys::KeyPath;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameBuffer;

use super::address::CameraAddress;
use super::{Camera, CameraError, CapturedFrame, Content, Input, Raw};
use crate::jpeg::splitter::Splitter;
use opening::{Body, not_a_stream};

pub use connection::Trust;

/// So many bytes between two pictures are no heads of parts.
const MAX_BETWEEN: u64 = 64 << 10;

/// The input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpInput {
    /// Where the camera is.
    pub address: CameraAddress,
    /// The file of its password; none: it stands in the address, or there is none.
    pub password: Option<KeyPath>,
    /// By what its certificate is judged.
    pub trust: Trust,
    /// How long the camera may take to answer, and to send a picture.
    pub stall_limit: Duration,
}

impl Input for HttpInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let body = opening::open(self)?;
        tracing::info!(camera = %self.address, "camera open");
        Ok(Box::new(HttpCamera {
            address: self.address.clone(),
            stall_limit: self.stall_limit,
            body,
            splitter: Splitter::default(),
            begun: clock::now(),
            newest: clock::now(),
            delivered: 0,
            broken: 0,
            garbage: 0,
        }))
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

struct HttpCamera {
    address: CameraAddress,
    stall_limit: Duration,
    body: Body,
    splitter: Splitter,
    /// When the first bytes came of the picture that is coming.
    begun: Time,
    /// When the newest picture was whole; the opening before there is one.
    newest: Time,
    delivered: u64,
    /// Broken pictures that the captured frames so far have accounted for.
    broken: u64,
    /// Bytes that belonged to no picture, up to the newest one.
    garbage: u64,
}

impl HttpCamera {
    /// Waits for bytes; how many the connection brought.
    fn fill(&mut self) -> Result<usize, CameraError> {
        let camera = &self.address;
        let until = self.newest + self.stall_limit;
        match self.body.read(until, &mut self.splitter) {
            Ok(0) if self.delivered == 0 => Err(not_a_stream(camera, "no picture and ends")),
            Ok(0) => Err(CameraError::Unplugged(format!(
                "{camera} has ended the stream"
            ))),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(CameraError::Stalled(format!("{camera} sends no picture")))
            }
            Err(error) => Err(CameraError::Unplugged(format!(
                "the connection to {camera} broke: {error}"
            ))),
        }
    }

    /// The next picture if it is whole, and when its first bytes came.
    fn pop(&mut self, arrived: Time) -> Option<(Time, FrameBuffer)> {
        let jpeg = self.splitter.pop()?;
        self.newest = arrived;
        self.garbage = self.splitter.garbage();
        self.delivered += 1;
        Some((std::mem::replace(&mut self.begun, arrived), jpeg))
    }

    /// The newest picture among the bytes that have come by now, and how many it replaces: after a pause of this process old
    /// ones wait in the kernel, and nobody wants them any more.
    fn newest_of_those_that_wait(
        &mut self,
        mut picture: (Time, FrameBuffer),
    ) -> ((Time, FrameBuffer), u64) {
        let mut waiting = self.body.waiting();
        let mut replaced = 0;
        let mut arrived = self.newest;
        loop {
            while let Some(newer) = self.pop(arrived) {
                picture = newer;
                replaced += 1;
            }

            // Behind TLS fewer bytes come out than waited, and to read on would be to wait.
            if waiting.min(self.body.waiting()) == 0 {
                return (picture, replaced);
            }

            // An error comes again when nothing else is left to read.
            let Ok(count) = self.fill() else {
                return (picture, replaced);
            };
            waiting = waiting.saturating_sub(count as u64);
            arrived = clock::now();
            self.note_beginning(arrived);
        }
    }

    /// Bytes have come: unless they go on with a picture, theirs begins no earlier.
    fn note_beginning(&mut self, now: Time) {
        if !self.splitter.is_within_picture() {
            self.begun = now;
        }
    }

    /// What has come and is no whole picture.
    fn check_rest(&mut self, arrived: Time) -> Result<Option<String>, CameraError> {
        if self.splitter.broken() > self.broken {
            self.newest = arrived;
            self.garbage = self.splitter.garbage();
            return Ok(Some(self.splitter.fault()));
        }

        match self.splitter.garbage() - self.garbage > MAX_BETWEEN {
            true => Err(not_a_stream(&self.address, "other things")),
            false => Ok(None),
        }
    }
}

impl Camera for HttpCamera {
    fn next(&mut self, _number: u64, _raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let mut arrived = self.newest;
        let (captured, content, replaced) = loop {
            if let Some(picture) = self.pop(arrived) {
                let ((begun, jpeg), replaced) = self.newest_of_those_that_wait(picture);
                break (begun, Content::Jpeg(jpeg), replaced);
            }

            if let Some(reason) = self.check_rest(arrived)? {
                self.broken += 1;
                break (arrived, Content::Unusable(reason), 0);
            }

            self.fill()?;
            arrived = clock::now();
            self.note_beginning(arrived);
        };

        let broken = self.splitter.broken() - self.broken;
        self.broken += broken;
        Ok(CapturedFrame {
            captured,
            skipped: broken + replaced,
            truth: None,
            content,
        })
    }

    fn rate_millihertz(&self) -> u32 {
        0
    }
}
