//! Trackers at the screen: what is shown goes to them, what they say goes to the source, to the trace and on the screen.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context as _;
use fanlight_daemon::Shutdown;

use super::outbox::Outbox;
use crate::config::{self, Config};
use crate::feed::Feed;
use crate::mark::Mark;
use crate::trace::TrackLine;
use crate::track::{Crew, Told, TrackResult};

/// Starts the trackers that are asked for.
///
/// # Errors
/// When there are no threads to be had.
pub(super) fn start(
    config: &Config,
    feed: &Arc<Feed>,
    trace: Option<Arc<File>>,
    outbox: &Arc<Outbox>,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Crew>> {
    let Some(plan) = config::trackers(config) else {
        return Ok(None);
    };
    let (feed, shows, outbox) = (Arc::clone(feed), config.show_track, Arc::clone(outbox));
    let told: Told = Arc::new(move |result: &TrackResult| {
        if let Some(Err(error)) = trace
            .as_ref()
            .map(|trace| TrackLine::of(result).write(&**trace))
        {
            tracing::error!("a detection is not in the trace: {error}");
        }
        outbox.put(result.stream.clone(), result.detection());
        if shows {
            feed.set_mark(mark(result));
        }
    });
    Crew::start(&plan, &told, shutdown)
        .map(Some)
        .context("the trackers cannot be started")
}

fn mark(result: &TrackResult) -> Option<Mark> {
    let TrackResult { id, at, size, .. } = *result;
    result.found.map(|found| Mark {
        id,
        at,
        size,
        x: found.x as f32,
        y: found.y as f32,
        radius: found.radius as f32,
    })
}
