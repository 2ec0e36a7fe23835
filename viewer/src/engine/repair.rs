//! Asks for shards that are missing, each time of the path that is most likely to have them in time.
//!
//! The engine calls it at each tick, on the thread of its socket.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

use super::Engine;
use super::path::Path;

/// A path of which nothing came for so long is asked for shards only when there is no other.
const SILENT_PATH: Duration = Duration::from_millis(150);

impl Engine {
    pub(super) fn ask_for_repairs(&mut self, now: Time) {
        while self.paths.iter().any(Path::repairs) {
            let Some(repair) = self.reassembly.poll_repair(now) else {
                return;
            };

            let id = FrameId {
                epoch: repair.epoch,
                number: repair.number,
            };

            let Some(at) = self.repair_path(now, id) else {
                return;
            };

            self.paths[at].send_repair(&mut self.shared, repair);
            self.repaired = Some((id, at));
        }
    }

    /// The path to ask for shards of frame `id`: of those by which something comes the one with the shortest round trip,
    /// or another one when that has been asked already.
    fn repair_path(&self, now: Time, id: FrameId) -> Option<usize> {
        let asked = self
            .repaired
            .filter(|(repaired, _)| *repaired == id)
            .map(|(_, at)| at);

        let active = (0..self.paths.len()).filter(|at| self.paths[*at].repairs());
        active.min_by_key(|at| {
            let path = &self.paths[*at];
            let silent = path
                .link
                .last_received
                .is_none_or(|at| at + SILENT_PATH <= now);

            (
                silent,
                Some(*at) == asked,
                path.summary.round_trip.unwrap_or(Duration::MAX),
            )
        })
    }
}
