//! Starts the trackers, and takes their results to the source, the trace and the screen.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context as _;
use fanlight_daemon::Shutdown;

use super::detection_queue::DetectionQueue;
use crate::config::{self, Config};
use crate::marker::Marker;
use crate::scene::SceneSlot;
use crate::trace::TrackLine;
use crate::track::{OnResult, TrackResult, TrackerPool};

/// Starts the trackers that are asked for.
///
/// # Errors
/// When there are no threads to be had.
pub(super) fn start(
    config: &Config,
    scenes: &Arc<SceneSlot>,
    trace: Option<Arc<File>>,
    detection_queue: &Arc<DetectionQueue>,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<TrackerPool>> {
    let Some(plan) = config::trackers(config) else {
        return Ok(None);
    };

    let scenes = Arc::clone(scenes);
    let shows = config.show_track;
    let detection_queue = Arc::clone(detection_queue);
    let on_result: OnResult = Arc::new(move |result: &TrackResult| {
        if let Some(Err(error)) = trace
            .as_ref()
            .map(|trace| TrackLine::of(result).write(&**trace))
        {
            tracing::error!("a detection is not in the trace: {error}");
        }
        detection_queue.push(result.stream.clone(), result.detection());
        if shows {
            scenes.set_marker(marker(result));
        }
    });

    TrackerPool::start(&plan, &on_result, shutdown)
        .map(Some)
        .context("the trackers cannot be started")
}

fn marker(result: &TrackResult) -> Option<Marker> {
    let TrackResult { id, at, size, .. } = *result;
    result.found.map(|found| Marker {
        id,
        at,
        size,
        x: found.x as f32,
        y: found.y as f32,
        radius: found.radius as f32,
    })
}
