//! The thread that makes of each capture what is published.

use std::sync::Arc;

use fanlight_daemon::clock;
use fanlight_daemon::logline::Limited;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX};

use super::outlet::{Outlet, Picture};
use super::reports::Reports;
use super::slot::{Capture, Item, Slot};
use crate::camera::Raw;
use crate::picture::{Pipeline, Prepared};

/// The preparing thread's belongings.
pub(super) struct Preparing {
    pub(super) slot: Arc<Slot>,
    pub(super) reports: Arc<Reports>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) pipeline: Pipeline,
    pub(super) refused: Limited,
}

impl Preparing {
    /// Prepares and publishes until the slot is closed.
    pub(super) fn run(mut self) {
        let mut done = None;
        while let Some(item) = self.slot.take(done.take()) {
            match item {
                Item::Captured(capture) => done = Some(self.handle(capture)),
                Item::Failed(error) => self.reports.tell(|news| news.error = Some(error)),
            }
        }
    }

    fn handle(&mut self, capture: Capture) -> Raw {
        let Capture { number, rate_millihertz, shot, mut raw } = capture;
        let captured = shot.captured;
        let utc_ns = captured.as_nanos().saturating_add_signed(clock::wall_offset_ns());
        let prepared = self.pipeline.process(shot, &mut raw, utc_ns).map_err(|error| error.to_string());
        match prepared.and_then(whole) {
            Ok(Prepared { jpeg, width, height, truth }) => {
                self.outlet.frame(Picture { number, captured, rate_millihertz, width, height, truth, jpeg });
                self.reports.tell(|news| news.published += 1);
            }
            Err(reason) => self.refuse(number, reason),
        }
        raw
    }

    fn refuse(&mut self, number: u64, reason: String) {
        if let Some(count) = self.refused.note(clock::now()) {
            tracing::warn!(number, reason, count, "picture not published");
        }
        self.reports.tell(|news| news.unusable = Some(reason));
    }
}

/// Refuses what no relay would take.
fn whole(prepared: Prepared) -> Result<Prepared, String> {
    let jpeg = prepared.jpeg.jpeg();
    if !(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9])) {
        return Err(format!("the camera cut its picture of {} bytes short", jpeg.len()));
    }
    if jpeg.len() > MAX_FRAME_BYTES - MAX_FRAME_PREFIX {
        return Err(format!("a picture of {} bytes is too large: lower size, scale or quality", jpeg.len()));
    }
    Ok(prepared)
}
