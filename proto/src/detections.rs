//! What viewers find, on its way to the source: bounds, and packing into messages. Relays see only how much it is and how
//! long; viewers encode, the source decodes and believes nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message as _;

use crate::limits::{
    DETECTION_MARGIN, MAX_DETECTION_BYTES, MAX_DETECTIONS, MAX_DETECTIONS_BYTES, MAX_HEIGHT,
    MAX_WIDTH,
};
use crate::message::{Ball, CanaryStatus, Detection, Detections, StreamName};

/// Checks what a relay takes: that each field of a message is within its bounds. What was found it does not look at.
///
/// # Errors
/// Names the first one that does not.
pub fn check_message(detections: &Detections) -> Result<(), &'static str> {
    bound(detections.screen != 0, "screen")?;
    check_list(&detections.detections)?;
    detections
        .canary_status
        .as_ref()
        .map_or(Ok(()), check_canary_status)
}

/// Checks the number of encoded detections in one message, and the length of each.
///
/// # Errors
/// Names the first bound that is broken.
pub fn check_list(detections: &[Bytes]) -> Result<(), &'static str> {
    bound(detections.len() <= MAX_DETECTIONS, "detections")?;
    detections
        .iter()
        .try_for_each(|bytes| bound(bytes.len() <= MAX_DETECTION_BYTES, "detection"))
}

/// Checks what a canary says of the stream beside it.
///
/// # Errors
/// Names the field that is out of its bounds.
pub fn check_canary_status(canary_status: &CanaryStatus) -> Result<(), &'static str> {
    bound(
        canary_status.stream.parse::<StreamName>().is_ok(),
        "canary_status",
    )
}

/// A detection as messages carry it.
#[must_use]
pub fn encode(detection: &Detection) -> Bytes {
    detection.encode_to_vec().into()
}

/// The detection in these bytes, if they are one and all in it is within its bounds.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Detection> {
    Detection::decode(bytes)
        .ok()
        .filter(|detection| check(detection).is_ok())
}

/// Checks what was found.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check(detection: &Detection) -> Result<(), &'static str> {
    bound(detection.epoch != 0, "epoch")?;
    // Not a number is in no range.
    bound((0.0..=1.0).contains(&detection.confidence), "confidence")?;
    detection.ball.as_ref().map_or(Ok(()), check_ball)
}

fn check_ball(ball: &Ball) -> Result<(), &'static str> {
    let within = |at: f32, length: u32| {
        let margin = f64::from(DETECTION_MARGIN);
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

/// Moves waiting detections into the message, oldest first, as long as it is not too long to be sent.
pub fn fill(detections: &mut Detections, waiting: &mut VecDeque<Detection>) {
    while detections.detections.len() < MAX_DETECTIONS
        && let Some(next) = waiting.pop_front()
    {
        detections.detections.push(encode(&next));
        // The counters may still grow to the longest numbers.
        let longest = Detections {
            sent: u64::MAX,
            untracked: u64::MAX,
            ..detections.clone()
        };

        if longest.encoded_len() > MAX_DETECTIONS_BYTES {
            detections.detections.pop();
            waiting.push_front(next);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{SEAL_BYTES, SEALED_HEADER, ToRelay};
    use crate::limits::{MAX_DATAGRAM, MAX_STREAM_NAME};
    use crate::message::NotShown;

    fn found(x: f32, y: f32) -> Detection {
        Detection {
            epoch: 7,
            ball: Some(Ball { x, y, radius: 20.0 }),
            confidence: 0.5,
            ..Detection::default()
        }
    }

    fn message(detection: Detection) -> Detections {
        Detections {
            screen: 1,
            detections: vec![encode(&detection)],
            ..Detections::default()
        }
    }

    #[test]
    fn what_can_be_found_is_taken() {
        for (x, y) in [(0.0, 0.0), (3840.0, 2160.0), (-100.0, 2500.0)] {
            assert_eq!(decode(&encode(&found(x, y))), Some(found(x, y)));
        }

        assert_eq!(
            check(&Detection {
                epoch: 7,
                ..Detection::default()
            }),
            Ok(())
        );

        let canary = CanaryStatus {
            stream: "cam".into(),
            ..CanaryStatus::default()
        };

        assert_eq!(
            check_message(&Detections {
                screen: 1,
                canary_status: Some(canary),
                ..Detections::default()
            }),
            Ok(())
        );
    }

    #[test]
    fn what_cannot_be_found_is_refused() {
        let far = (MAX_WIDTH + DETECTION_MARGIN + 1) as f32;
        for (name, wrong) in [
            ("ball", found(f32::NAN, 0.0)),
            ("ball", found(0.0, f32::INFINITY)),
            ("ball", found(0.0, f32::NEG_INFINITY)),
            ("ball", found(far, 0.0)),
            ("ball", found(0.0, -far)),
            (
                "radius",
                Detection {
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
                Detection {
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
                Detection {
                    confidence: f32::NAN,
                    ..found(0.0, 0.0)
                },
            ),
            (
                "confidence",
                Detection {
                    confidence: 1.01,
                    ..found(0.0, 0.0)
                },
            ),
            (
                "epoch",
                Detection {
                    epoch: 0,
                    ..found(0.0, 0.0)
                },
            ),
        ] {
            assert_eq!(check(&wrong), Err(name));
            assert_eq!(decode(&encode(&wrong)), None);
            assert_eq!(
                check_message(&message(wrong)),
                Ok(()),
                "a relay passes it on"
            );
        }

        assert_eq!(
            check_message(&Detections {
                screen: 0,
                ..message(found(0.0, 0.0))
            }),
            Err("screen")
        );

        let many = vec![Bytes::new(); MAX_DETECTIONS + 1];
        assert_eq!(
            check_message(&Detections {
                screen: 1,
                detections: many,
                ..Detections::default()
            }),
            Err("detections")
        );

        assert_eq!(
            check_message(&Detections {
                screen: 1,
                detections: vec![vec![0; MAX_DETECTION_BYTES + 1].into()],
                ..Detections::default()
            }),
            Err("detection")
        );
        assert_eq!(decode(&[0xff; 9]), None);

        let canary_status = Some(CanaryStatus {
            stream: "no/name".into(),
            ..CanaryStatus::default()
        });

        assert_eq!(
            check_message(&Detections {
                screen: 1,
                canary_status,
                ..Detections::default()
            }),
            Err("canary_status")
        );
    }

    #[test]
    fn a_message_is_filled_up_to_what_a_datagram_holds_and_in_order() {
        let longest = |number: u64| Detection {
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
        assert!(encode(&longest(0)).len() <= MAX_DETECTION_BYTES);

        let mut waiting: VecDeque<Detection> = (0..40).map(longest).collect();
        let (mut came, mut messages) = (Vec::new(), 0);

        while !waiting.is_empty() {
            let stream = "s".repeat(MAX_STREAM_NAME);
            let canary_status = CanaryStatus {
                stream,
                shown: u64::MAX,
                lost: u64::MAX,
                silent_ms: u32::MAX,
                age_us: u32::MAX,
                not_shown: NotShown::Display.into(),
            };

            let mut next = Detections {
                screen: 1,
                canary_status: Some(canary_status),
                ..Detections::default()
            };

            fill(&mut next, &mut waiting);
            let said = Detections {
                sent: u64::MAX,
                untracked: u64::MAX,
                ..next
            };

            let mut datagram = Vec::new();
            ToRelay::Detections(9, said.clone()).encode_inner(&mut datagram);
            assert!(SEALED_HEADER + datagram.len() + SEAL_BYTES <= MAX_DATAGRAM);
            assert_eq!(
                ToRelay::parse_inner(9, &datagram),
                Ok(ToRelay::Detections(9, said.clone()))
            );

            came.extend(said.detections);
            messages += 1;
        }

        let all = (0..40).map(longest).map(|found| encode(&found));
        assert_eq!(came, all.collect::<Vec<_>>());
        assert!(messages < 5, "{messages}");
        let mut usual: VecDeque<Detection> = vec![
            Detection {
                number: 50_000,
                transit_us: 900,
                ..found(1.0, 2.0)
            };
            20
        ]
        .into();

        let mut next = Detections {
            screen: 1,
            ..Detections::default()
        };

        fill(&mut next, &mut usual);
        assert_eq!((next.detections.len(), usual.len()), (MAX_DETECTIONS, 4));
    }
}
