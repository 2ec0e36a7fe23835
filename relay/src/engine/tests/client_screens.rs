//! What sources are told of screens that watch by another output than UDP.

use fanlight_live::ClientDetections;
use fanlight_proto::message::{Detections, Report, Verdict, ViewerVerdict};

use super::*;
use crate::engine::client_screens::MAX_SCREENS;

const CLIENT: u64 = 9;

fn said(client: u64, numbers: std::ops::Range<u64>) -> ClientDetections {
    let sent = numbers.end;
    let detection = |number: u64| number.to_be_bytes().to_vec().into();

    ClientDetections {
        client,
        name: "hall\n".to_owned(),
        address: "10.0.0.7:9".parse().unwrap(),
        stream: "cam".parse().unwrap(),
        report: Report {
            frames_whole: sent,
            frames_shown: sent,
            ..Report::default()
        },
        detections: Detections {
            screen: 77,
            detections: numbers.map(detection).collect(),
            sent,
            ..Detections::default()
        },
        knows_clocks: false,
        screen: None,
        left: false,
    }
}

impl Rig {
    /// What the source is told of screens within a second.
    fn screens(&mut self) -> Vec<ViewerReport> {
        self.pass(SECOND);
        let outputs = self.outputs().into_iter();
        let reports = outputs.filter_map(|output| match output {
            Output::Feedback { feedback, .. } => Some(feedback.viewers),
            _ => None,
        });
        reports.flatten().collect()
    }
}

#[test]
fn a_client_that_tells_what_it_found_is_a_screen_until_it_leaves() {
    let mut rig = Rig::live();
    rig.engine
        .on_client_detections(rig.now, said(CLIENT, 98..101));
    let told = rig.screens();
    let screen = &told[0];
    assert_eq!(
        (screen.stream.as_str(), screen.name.as_str(), screen.screen),
        ("cam", "hall", 77)
    );
    assert_eq!((screen.detections.len(), screen.sent), (3, 3 + 98));
    assert_eq!(screen.report.map(|report| report.frames_shown), Some(101));
    assert!(told.iter().all(|again| again.viewer == screen.viewer));

    let verdict = ViewerVerdict {
        viewer: screen.viewer,
        verdict: Some(Verdict::default()),
    };
    rig.engine.on_verdicts(rig.now, 0, vec![verdict]);

    let left = ClientDetections {
        left: true,
        ..said(CLIENT, 0..0)
    };
    rig.engine.on_client_detections(rig.now, left);
    let told = rig.screens();
    assert!(told.iter().any(|report| report.left), "{told:?}");
    assert!(rig.screens().is_empty());
}

#[test]
fn one_whose_output_says_no_more_that_it_is_there_has_left() {
    let mut rig = Rig::live();
    rig.engine.on_client_detections(rig.now, said(CLIENT, 0..1));
    let told: Vec<_> = (0..12)
        .flat_map(|number| {
            rig.frame("cam", 1, 101 + number, 0);
            rig.screens()
        })
        .collect();
    assert!(told.last().is_some_and(|report| report.left), "{told:?}");
}

#[test]
fn screens_take_turns_and_those_that_find_no_place_are_not_told_of() {
    let mut rig = Rig::live();
    let mut viewers = std::collections::BTreeSet::new();
    for number in 0..4 {
        rig.frame("cam", 1, 101 + number, 0);
        let range = number * 4..number * 4 + 4;
        for client in 0..MAX_SCREENS as u64 + 50 {
            rig.engine
                .on_client_detections(rig.now, said(client, range.clone()));
        }
        viewers.extend(rig.screens().iter().map(|report| report.viewer));
    }
    assert_eq!(viewers.len(), MAX_SCREENS);
}
