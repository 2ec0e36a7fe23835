//! Whether the frames that the engine gave out reach the screen.
//!
//! A screen is live while it shows new frames. If complete frames come and none of them is shown within the usual timeout,
//! the link state says so with the reason that the caller gave.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::NotShown;

use super::{Engine, LinkState};

/// What became of the frames given out. Judges nothing before [`Engine::on_display`] was called: not all who use an
/// engine have a screen.
#[derive(Debug, Default)]
pub(super) struct DisplayMonitor {
    has_screen: bool,
    frames_shown: u64,
    last_shown: Option<Time>,
    /// Since when no frame that was given out has been shown; none when nothing is overdue.
    waiting_since: Option<Time>,
    /// When a frame was last given out.
    given_out: Time,
    rejected: Option<NotShown>,
}

impl DisplayMonitor {
    /// A frame is given out.
    pub(super) fn on_frame(&mut self, now: Time, timeout: Duration) {
        // What was on its way when the stream paused says nothing of now.
        if self.given_out + timeout <= now {
            self.waiting_since = None;
        }
        self.given_out = now;
        self.waiting_since.get_or_insert(now);
    }

    /// What a link on which frames come amounts to, and when that changes by itself if none is shown.
    pub(super) fn assess(&self, now: Time, timeout: Duration) -> (LinkState, Option<Time>) {
        let Some(since) = self.waiting_since.filter(|_| self.has_screen) else {
            return (LinkState::Live, None);
        };

        // There is no picture yet whose time could be waited for.
        let none_ever = self.last_shown.is_none() && self.rejected.is_some();
        let until = since + timeout;
        if now < until && !none_ever {
            return (LinkState::Live, Some(until));
        }

        let reason = self.rejected.unwrap_or(NotShown::Display);
        (LinkState::NotShown(reason), None)
    }

    /// How long ago the newest frame was shown, in milliseconds; 0 when there was none.
    pub(super) fn last_shown_ms(&self, now: Time) -> u32 {
        let ago = self
            .last_shown
            .map_or(Duration::ZERO, |at| now.saturating_since(at));
        u32::try_from(ago.as_millis()).unwrap_or(u32::MAX)
    }
}

impl Engine {
    /// Takes what became of the frames given out: how many were shown so far, and why those since the last one shown were
    /// rejected, if they were. To be called several times a second by whoever has a screen.
    pub fn on_display(&mut self, now: Time, frames_shown: u64, rejected: Option<NotShown>) {
        let display = &mut self.display;
        display.has_screen = true;

        if frames_shown > display.frames_shown {
            display.frames_shown = frames_shown;
            display.last_shown = Some(now);
            display.waiting_since = None;
        }

        display.rejected = rejected;
        if rejected.is_some() {
            display.waiting_since.get_or_insert(now);
        }

        self.assess(now);
    }
}
