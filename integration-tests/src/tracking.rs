//! A ball, a viewer that looks for it, and whether what it found is right.

use std::collections::HashMap;

use crate::TestEnv;
use crate::program::Program;
use crate::viewer_process::{self, Report, Shown, Tracked, Tracking, ViewerProcess};

/// A ball on its way to a viewer.
#[derive(Debug)]
pub struct Fixture {
    /// Where it plays.
    pub env: TestEnv,
    /// The source.
    pub source: Program,
    /// The relay.
    pub relay: Program,
}

impl Fixture {
    /// A source of the stream `cam`, started with the flags `source`, and a relay of it.
    ///
    /// # Panics
    /// When a program does not start.
    #[must_use]
    #[track_caller]
    pub fn new(source: &str) -> Self {
        let env = TestEnv::new();
        let source = env.source("cam").flags(source).ready();
        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        Self { env, source, relay }
    }

    /// Starts a viewer with these flags.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn viewer(&self, flags: &str) -> ViewerProcess {
        self.env
            .viewer(self.env.relay_address(0), "cam")
            .flags(flags)
            .start()
    }
}

/// What a viewer and its trackers saw.
#[derive(Debug)]
pub struct TrackingResult {
    /// What the viewer reported at its end.
    pub report: Report,
    /// Of that, what it says of the trackers.
    pub tracking: Tracking,
    /// The frames shown, by their numbers.
    pub shown: HashMap<u64, Shown>,
    /// What the trackers said, in that order.
    pub tracked: Vec<Tracked>,
}

impl TrackingResult {
    /// Ends a viewer, and asserts that its counts agree.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    #[track_caller]
    pub fn of(viewing: ViewerProcess) -> Self {
        let trace = viewing.trace_path();
        let (report, shown) = viewing.finish();
        let tracked = viewer_process::read_answers(&trace);
        report.assert_balanced();
        let tracking = report.tracking.clone().expect("there were trackers");
        let Tracking {
            offered,
            found,
            none,
            missing,
            failed,
            pending,
            ..
        } = tracking;

        assert_eq!(offered, report.frames.shown, "{tracking:?}");
        assert_eq!(
            offered,
            found + none + missing + failed + pending,
            "{tracking:?}"
        );

        assert_eq!(tracked.len() as u64, found + none, "{tracking:?}");
        Self {
            report,
            tracking,
            shown: shown
                .into_iter()
                .map(|shown| (shown.number, shown))
                .collect(),
            tracked,
        }
    }

    /// How far each detection is from the truth, in pixels. Asserts that each answer names a frame that was shown before.
    ///
    /// # Panics
    /// When one does not.
    #[must_use]
    #[track_caller]
    pub fn errors(&self) -> Vec<f64> {
        let mut errors = Vec::new();
        for tracked in &self.tracked {
            let shown = &self.shown[&tracked.number];
            assert!(
                shown.epoch == tracked.epoch && shown.at <= tracked.at,
                "{shown:?} {tracked:?}"
            );

            let Some(detection) = tracked.detection else {
                continue;
            };

            let [x, y] = shown.ball.expect("the source tells where the ball is");
            errors.push((detection.x - x).hypot(detection.y - y));
        }

        errors
    }

    /// Asserts that the ball was found where it was in that very frame, within `mean` and `max` pixels.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn assert_right(&self, what: &str, mean: f64, max: f64) {
        let errors = self.errors();
        let sum = errors.iter().sum::<f64>();
        let worst = errors.iter().copied().fold(0.0, f64::max);
        let average = sum / errors.len() as f64;
        println!(
            "{what}: error mean {average:.3} px, max {worst:.3} px of {} detections, {} missing; answer p50 {:?} p95 {:?} \
             ms, work p50 {:?} ms; {} frames lost",
            errors.len(),
            self.tracking.missing,
            self.tracking.answer_ms.p50,
            self.tracking.answer_ms.p95,
            self.tracking.work_ms.p50,
            self.report.frames.lost.total,
        );

        assert!(
            average < mean && worst < max,
            "{what}: mean {average} max {worst}"
        );
    }
}
