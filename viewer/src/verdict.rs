//! The source's verdict on this screen, as people and reports read it.

use std::fmt;

use fanlight_proto::message::{Health, Verdict};
use serde::Serialize;

/// A verdict as reports and traces have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct VerdictSummary {
    /// `right`, `late`, `wrong` or `blind`; `unknown` when the source does not know.
    pub health: &'static str,
    /// Distance between the true centre of the ball and where it was found last, in pixels.
    pub error_px: f64,
    /// The same over the detections that the source remembers.
    pub mean_px: f64,
    /// The largest of them.
    pub max_px: f64,
    /// Their standard deviation.
    pub deviation_px: f64,
    /// From capture to the tracker's answer, the median of them.
    pub latency_ms: f64,
    /// How many they are.
    pub count: u32,
}

impl From<Verdict> for VerdictSummary {
    fn from(verdict: Verdict) -> Self {
        let health = match verdict.health() {
            Health::Unspecified => "unknown",
            Health::Right => "right",
            Health::Late => "late",
            Health::Wrong => "wrong",
            Health::Blind => "blind",
        };

        Self {
            health,
            error_px: pixels(verdict.error),
            mean_px: pixels(verdict.mean),
            max_px: pixels(verdict.max),
            deviation_px: pixels(verdict.deviation),
            latency_ms: f64::from(verdict.latency_us) / 1e3,
            count: verdict.count,
        }
    }
}

/// As `right 0.21 px 34 ms`: the health, the newest error, and how late.
impl fmt::Display for VerdictSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.health)?;
        if self.count > 0 {
            write!(f, " {:.2} px {:.0} ms", self.error_px, self.latency_ms)?;
        }
        Ok(())
    }
}

/// To a thousandth, which is less than can be found.
fn pixels(length: f32) -> f64 {
    if length.is_finite() {
        (f64::from(length) * 1e3).round() / 1e3
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_told_in_pixels_and_milliseconds() {
        let verdict = Verdict {
            health: Health::Late as i32,
            error: 0.2104,
            mean: 0.3,
            max: 1.5,
            deviation: 0.1,
            latency_us: 134_400,
            count: 30,
        };

        let summary = VerdictSummary::from(verdict);
        assert_eq!(summary.to_string(), "late 0.21 px 134 ms");
        let json = serde_json::to_value(summary).unwrap();
        assert_eq!(
            (&json["health"], &json["error_px"], &json["mean_px"]),
            (&"late".into(), &0.21.into(), &0.3.into())
        );

        assert_eq!(
            (&json["latency_ms"], &json["count"]),
            (&134.4.into(), &30.into())
        );
    }

    #[test]
    fn who_found_nothing_has_no_error_and_nonsense_is_none() {
        let blind = Verdict {
            health: Health::Blind as i32,
            ..Verdict::default()
        };

        assert_eq!(VerdictSummary::from(blind).to_string(), "blind");
        let odd = Verdict {
            health: 99,
            error: f32::NAN,
            max: f32::INFINITY,
            count: 1,
            ..Verdict::default()
        };

        assert_eq!(
            VerdictSummary::from(odd).to_string(),
            "unknown 0.00 px 0 ms"
        );

        assert!(serde_json::to_string(&VerdictSummary::from(odd)).is_ok());
    }
}
