//! What viewers find in frames, checked: by the relay when it comes, and again by the source, which believes no relay.

use std::collections::VecDeque;

use prost::Message as _;

use crate::limits::{FINDING_MARGIN, MAX_FINDINGS, MAX_FINDINGS_BYTES, MAX_HEIGHT, MAX_WIDTH};
use crate::message::{Ball, Beside, Finding, Findings, StreamName};

/// Whether each field of a message keeps within its bounds.
///
/// # Errors
/// Names the first one that does not.
pub fn check(findings: &Findings) -> Result<(), &'static str> {
    bound(findings.screen != 0, "screen")?;
    check_list(&findings.findings)?;
    findings.beside.as_ref().map_or(Ok(()), check_beside)
}

/// Whether these are as many findings as one message may carry, and each of them can be one.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check_list(findings: &[Finding]) -> Result<(), &'static str> {
    bound(findings.len() <= MAX_FINDINGS, "findings")?;
    findings.iter().try_for_each(check_finding)
}

/// Whether a canary can have said that of the stream that it sits beside.
///
/// # Errors
/// Names the field that is out of its bounds.
pub fn check_beside(beside: &Beside) -> Result<(), &'static str> {
    bound(beside.stream.parse::<StreamName>().is_ok(), "beside")
}

fn check_finding(finding: &Finding) -> Result<(), &'static str> {
    bound(finding.epoch != 0, "epoch")?;
    // Not a number is in no range.
    bound((0.0..=1.0).contains(&finding.confidence), "confidence")?;
    finding.ball.as_ref().map_or(Ok(()), check_ball)
}

fn check_ball(ball: &Ball) -> Result<(), &'static str> {
    let within = |at: f32, length: u32| {
        let margin = f64::from(FINDING_MARGIN);
        (-margin..=f64::from(length) + margin).contains(&f64::from(at))
    };
    bound(
        within(ball.x, MAX_WIDTH) && within(ball.y, MAX_HEIGHT),
        "ball",
    )?;
    bound(
        (0.0..=f64::from(MAX_WIDTH)).contains(&f64::from(ball.radius)),
        "radius",
    )
}

const fn bound(holds: bool, field: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(field) }
}

/// Moves into `findings` what waits, oldest first, as long as it stays a message that can be sent.
pub fn fill(findings: &mut Findings, waiting: &mut VecDeque<Finding>) {
    while findings.findings.len() < MAX_FINDINGS
        && let Some(next) = waiting.pop_front()
    {
        findings.findings.push(next);
        // The count may yet grow to the longest number.
        let longest = Findings {
            sent: u64::MAX,
            passed_over: u64::MAX,
            ..findings.clone()
        };
        if longest.encoded_len() > MAX_FINDINGS_BYTES {
            if let Some(next) = findings.findings.pop() {
                waiting.push_front(next);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{SEAL_BYTES, SEALED_HEADER, ToRelay};
    use crate::limits::{MAX_DATAGRAM, MAX_STREAM_NAME};

    fn found(x: f32, y: f32) -> Finding {
        Finding {
            epoch: 7,
            ball: Some(Ball { x, y, radius: 20.0 }),
            confidence: 0.5,
            ..Finding::default()
        }
    }

    fn message(finding: Finding) -> Findings {
        Findings {
            screen: 1,
            findings: vec![finding],
            ..Findings::default()
        }
    }

    #[test]
    fn what_can_be_found_is_taken() {
        for (x, y) in [(0.0, 0.0), (3840.0, 2160.0), (-100.0, 2500.0)] {
            assert_eq!(check(&message(found(x, y))), Ok(()));
        }
        assert_eq!(
            check(&message(Finding {
                epoch: 7,
                ..Finding::default()
            })),
            Ok(())
        );
        let canary = Beside {
            stream: "cam".into(),
            ..Beside::default()
        };
        assert_eq!(
            check(&Findings {
                screen: 1,
                beside: Some(canary),
                ..Findings::default()
            }),
            Ok(())
        );
    }

    #[test]
    fn what_cannot_be_found_is_refused() {
        let far = (MAX_WIDTH + FINDING_MARGIN + 1) as f32;
        for (name, wrong) in [
            ("ball", found(f32::NAN, 0.0)),
            ("ball", found(0.0, f32::INFINITY)),
            ("ball", found(0.0, f32::NEG_INFINITY)),
            ("ball", found(far, 0.0)),
            ("ball", found(0.0, -far)),
            (
                "radius",
                Finding {
                    ball: Some(Ball {
                        x: 1.0,
                        y: 1.0,
                        radius: -1.0,
                    }),
                    ..found(0.0, 0.0)
                },
            ),
            (
                "radius",
                Finding {
                    ball: Some(Ball {
                        x: 1.0,
                        y: 1.0,
                        radius: f32::NAN,
                    }),
                    ..found(0.0, 0.0)
                },
            ),
            (
                "confidence",
                Finding {
                    confidence: f32::NAN,
                    ..found(0.0, 0.0)
                },
            ),
            (
                "confidence",
                Finding {
                    confidence: 1.01,
                    ..found(0.0, 0.0)
                },
            ),
            (
                "epoch",
                Finding {
                    epoch: 0,
                    ..found(0.0, 0.0)
                },
            ),
        ] {
            assert_eq!(check(&message(wrong)), Err(name));
        }
        assert_eq!(
            check(&Findings {
                screen: 0,
                ..message(found(0.0, 0.0))
            }),
            Err("screen")
        );
        let many = vec![found(0.0, 0.0); MAX_FINDINGS + 1];
        assert_eq!(
            check(&Findings {
                screen: 1,
                findings: many,
                ..Findings::default()
            }),
            Err("findings")
        );
        let beside = Some(Beside {
            stream: "no/name".into(),
            ..Beside::default()
        });
        assert_eq!(
            check(&Findings {
                screen: 1,
                beside,
                ..Findings::default()
            }),
            Err("beside")
        );
    }

    #[test]
    fn a_message_is_filled_up_to_what_a_datagram_holds_and_in_order() {
        let longest = |number: u64| Finding {
            number: u64::MAX - number,
            transit_us: u32::MAX,
            wait_us: u32::MAX,
            decode_us: u32::MAX,
            present_us: u32::MAX,
            track_us: u32::MAX,
            looked_us: u32::MAX,
            clock_error_us: u32::MAX,
            ..found(1.0, 2.0)
        };
        let mut waiting: VecDeque<Finding> = (0..40).map(longest).collect();
        let (mut came, mut messages) = (Vec::new(), 0);
        while !waiting.is_empty() {
            let stream = "s".repeat(MAX_STREAM_NAME);
            let beside = Beside {
                stream,
                shown: u64::MAX,
                lost: u64::MAX,
                silent_ms: u32::MAX,
                age_us: u32::MAX,
            };
            let mut next = Findings {
                screen: 1,
                beside: Some(beside),
                ..Findings::default()
            };
            fill(&mut next, &mut waiting);
            let said = Findings {
                sent: u64::MAX,
                passed_over: u64::MAX,
                ..next
            };
            let mut datagram = Vec::new();
            ToRelay::Findings(9, said.clone()).encode_inner(&mut datagram);
            assert!(SEALED_HEADER + datagram.len() + SEAL_BYTES <= MAX_DATAGRAM);
            assert_eq!(
                ToRelay::parse_inner(9, &datagram),
                Ok(ToRelay::Findings(9, said.clone()))
            );
            came.extend(said.findings);
            messages += 1;
        }
        assert_eq!(came, (0..40).map(longest).collect::<Vec<_>>());
        assert!(messages < 5, "{messages}");
        let mut usual: VecDeque<Finding> = vec![
            Finding {
                number: 50_000,
                transit_us: 900,
                ..found(1.0, 2.0)
            };
            20
        ]
        .into();
        let mut next = Findings {
            screen: 1,
            ..Findings::default()
        };
        fill(&mut next, &mut usual);
        assert_eq!((next.findings.len(), usual.len()), (MAX_FINDINGS, 4));
    }
}
