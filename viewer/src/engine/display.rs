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

    /// Whether frames were given out of which nobody knows yet whether they are shown.
    pub(super) const fn is_waiting(&self) -> bool {
        self.has_screen && self.waiting_since.is_some()
    }

    /// What a link on which frames come amounts to, and when that changes by itself if none is shown. `live` is whether
    /// the last picture passes for live at present: if so, its time counts from when it was shown.
    pub(super) fn assess(
        &self,
        now: Time,
        timeout: Duration,
        live: bool,
    ) -> (LinkState, Option<Time>) {
        let Some(since) = self.waiting_since.filter(|_| self.has_screen) else {
            return (LinkState::Live, None);
        };

        // There is no picture yet whose time could be waited for.
        let none_ever = self.last_shown.is_none() && self.rejected.is_some();
        let at_once = none_ever || self.rejected == Some(NotShown::Directed);
        let until = self.last_shown.filter(|_| live).unwrap_or(since) + timeout;
        if now < until && !at_once {
            return (LinkState::Live, Some(until));
        }

        match self.rejected {
            Some(reason) => (LinkState::NotShown(reason), None),
            // After a gap the first frame may still be on its way to the screen. In a steady stream frames have come all the
            // while: then "no frames come" would not be true even for a moment.
            None if now < since + timeout / 2 => (LinkState::NoFrames, Some(since + timeout / 2)),
            None => (LinkState::NotShown(NotShown::Display), None),
        }
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
    /// Takes what became of the frames given out: when the last one was shown, and why those since then were rejected, if
    /// they were. To be called several times a second by whoever has a screen.
    pub fn on_display(&mut self, now: Time, last_shown: Option<Time>, rejected: Option<NotShown>) {
        let display = &mut self.display;
        display.has_screen = true;

        if last_shown > display.last_shown {
            display.last_shown = last_shown;
            display.waiting_since = None;
        }

        if display.rejected == Some(NotShown::Directed) {
            display.waiting_since = None;
        }
        display.rejected = rejected;
        if rejected.is_some() {
            display.waiting_since.get_or_insert(now);
        }

        self.assess(now);
    }
}
