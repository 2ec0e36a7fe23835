//! Redundancy by standby: which of several relays sends media, and when the others take over.

use std::time::Duration;

use fanlight_proto::clock::Time;

use super::path::Path;

/// The lead has failed when it brings no frame for one and a half intervals plus this.
const GRACE: Duration = Duration::from_millis(10);

/// The interval of a stream that does not say its rate.
const USUAL_INTERVAL: Duration = Duration::from_millis(33);

/// After the lead has failed all paths send media for so long; then the best of them is the lead.
const TRIAL: Duration = Duration::from_secs(5);

/// Which path is the lead: the one that sends media.
#[derive(Debug, Default)]
pub(super) struct Standby {
    lead: usize,
    frame: Time,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Trial {
    began: Time,
    /// Frames that each path had brought by then.
    frames: Vec<u64>,
}

impl Standby {
    /// A frame is whole.
    pub(super) fn on_frame(&mut self, now: Time) {
        self.frame = now;
    }

    /// When [`Standby::on_tick`] has something to do.
    pub(super) fn deadline(&self, paths: &[Path]) -> Option<Time> {
        match &self.trial {
            Some(trial) => Some(trial.began + TRIAL),
            None => paths[self.lead]
                .session
                .as_ref()
                .map(|_| self.frame + timeout(&paths[self.lead])),
        }
    }

    /// Asks all paths for media when the lead fails, and only the best one when the trial is over.
    pub(super) fn on_tick(&mut self, now: Time, paths: &mut [Path]) {
        match &self.trial {
            Some(trial) if trial.began + TRIAL <= now => {
                self.lead = trial.best(paths);
                self.trial = None;
                // Perhaps nothing comes at all: the new lead gets its full timeout.
                self.frame = now;
                for (at, path) in paths.iter_mut().enumerate() {
                    path.set_paused(now, at != self.lead);
                }
            }
            None if self.has_failed(now, &paths[self.lead]) => {
                let frames = paths.iter().map(|path| path.summary.frames).collect();
                self.trial = Some(Trial { began: now, frames });

                paths
                    .iter_mut()
                    .for_each(|path| path.set_paused(now, false));
            }
            _ => {}
        }
    }

    fn has_failed(&self, now: Time, lead: &Path) -> bool {
        lead.session.is_none() || self.frame + timeout(lead) <= now
    }
}

impl Trial {
    /// The path that brought the most; of equals the first.
    fn best(&self, paths: &[Path]) -> usize {
        let brought = |at: usize| paths[at].summary.frames.saturating_sub(self.frames[at]);

        (0..paths.len())
            .rev()
            .max_by_key(|at| brought(*at))
            .unwrap_or_default()
    }
}

fn timeout(path: &Path) -> Duration {
    path.link.interval().unwrap_or(USUAL_INTERVAL) * 3 / 2 + GRACE
}
