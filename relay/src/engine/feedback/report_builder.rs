//! A report to a source while it is made.

use std::collections::VecDeque;

use fanlight_proto::feed::{MAX_FEEDBACK_DETECTIONS, MAX_VIEWER_REPORTS};
use fanlight_proto::message::{Demand, FeedbackReport, ViewerReport};
use prost::Message as _;

/// Builds a report within its bounds.
pub(super) struct ReportBuilder {
    pub(super) feedback: FeedbackReport,
    pub(super) bytes: usize,
    detections: usize,
}

impl ReportBuilder {
    pub(super) fn new(relay: u64, demand: Vec<Demand>) -> Self {
        // The upstream sets the sequence; this is the longest.
        let feedback = FeedbackReport {
            relay,
            sequence: u64::MAX,
            demand,
            viewers: Vec::new(),
        };

        Self {
            bytes: feedback.encoded_len(),
            feedback,
            detections: 0,
        }
    }

    /// Adds `report` if there is room within `max_bytes`.
    pub(super) fn add(&mut self, report: ViewerReport, max_bytes: usize) -> bool {
        let length = report.encoded_len();
        let bytes = self.bytes + 1 + prost::length_delimiter_len(length) + length;
        let detections = self.detections + report.detections.len();
        let fits = bytes <= max_bytes
            && detections <= MAX_FEEDBACK_DETECTIONS
            && self.feedback.viewers.len() < MAX_VIEWER_REPORTS;
        if fits {
            self.bytes = bytes;
            self.detections = detections;
            self.feedback.viewers.push(report);
        }

        fits
    }
}

/// Adds `waiting` reports, as far as there is room within `max_bytes`.
pub(super) fn report_waiting(
    waiting: &mut VecDeque<ViewerReport>,
    builder: &mut ReportBuilder,
    max_bytes: usize,
) {
    while let Some(report) = waiting.pop_front() {
        if !builder.add(report.clone(), max_bytes) {
            waiting.push_front(report);
            break;
        }
    }
}
