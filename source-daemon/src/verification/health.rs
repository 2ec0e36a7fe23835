//! The health of a screen: right, late, wrong, blind or not measured.

use std::fmt;
use std::time::Duration;

use fanlight_proto::message::Health;

/// A screen that was sent a frame and has sent no detection for so long is blind: as long as a screen itself passes its last
/// picture for live (promise P32: no surface says anything else for more than 1.5 s).
pub const BLIND_AFTER: Duration = Duration::from_millis(1200);

/// Detections older than this say nothing of the present. It is longer than [`BLIND_AFTER`] by the time between two frames
/// of a canary, so that a screen that falls silent is blind before it is not measured.
pub const RECENT: Duration = Duration::from_secs(3);

/// The limits within which a screen is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Largest distance between the ball found and the true one, in pixels.
    pub max_error: f64,
    /// Longest time from capture to the screen.
    pub max_age: Duration,
}

/// The health of a screen.
#[derive(Clone, Debug, PartialEq)]
pub enum ScreenHealth {
    /// The right picture, in time.
    Right,
    /// The right picture, too late.
    Late {
        /// By so much more than allowed.
        by: Duration,
    },
    /// Something else, or something wrong.
    Wrong(String),
    /// It shows nothing, or sends nothing.
    Blind(String),
    /// Nothing is known to evaluate it by.
    Unmeasured(&'static str),
}

impl ScreenHealth {
    /// Its kind in words.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Right => "right picture",
            Self::Late { .. } => "late",
            Self::Wrong(_) => "wrong",
            Self::Blind(_) => "blind",
            Self::Unmeasured(_) => "not measured",
        }
    }

    /// Why; empty when all is well.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Right | Self::Late { .. } => String::new(),
            Self::Wrong(reason) | Self::Blind(reason) => reason.clone(),
            Self::Unmeasured(reason) => (*reason).to_owned(),
        }
    }

    /// The value in the message to the viewer.
    #[must_use]
    pub const fn health(&self) -> Health {
        match self {
            Self::Right => Health::Right,
            Self::Late { .. } => Health::Late,
            Self::Wrong(_) => Health::Wrong,
            Self::Blind(_) => Health::Blind,
            Self::Unmeasured(_) => Health::Unspecified,
        }
    }

    /// How bad it is: 0 not measured, 1 right, 2 late, 3 wrong, 4 blind.
    #[must_use]
    pub fn severity(&self) -> u8 {
        severity_of(self.label())
    }
}

/// The [`severity`](ScreenHealth::severity) of a health by its label.
#[must_use]
pub fn severity_of(label: &str) -> u8 {
    match label {
        "blind" => 4,
        "wrong" => 3,
        "late" => 2,
        "right picture" => 1,
        _ => 0,
    }
}

impl fmt::Display for ScreenHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { by } => write!(f, "late by {} ms", by.as_millis().max(1)),
            _ => f.write_str(self.label()),
        }
    }
}

/// What is known of a screen when it is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Of the ball found recently, the largest error, in pixels; none when none was found.
    pub worst_error: Option<f64>,
    /// Recent answers.
    pub answers: usize,
    /// Of these, the ones that found no ball though there was one.
    pub none: usize,
    /// From capture to the screen, median of the recent answers.
    pub age: Option<Duration>,
    /// How long a detection for a published frame has been overdue.
    pub overdue: Option<Duration>,
    /// Of a canary: how long the main picture beside it has been overdue on the screen.
    pub main_overdue: Option<Duration>,
    /// Of a canary: the age of the main picture when it was last shown.
    pub main_age: Option<Duration>,
}

/// Evaluates a screen. A screen that shows nothing, or something wrong, is not also late.
#[must_use]
pub fn evaluate(evidence: &Measurements, limits: &Limits) -> ScreenHealth {
    let Measurements {
        worst_error,
        answers,
        none,
        ..
    } = *evidence;

    let over = |overdue: Option<Duration>| {
        overdue
            .filter(|overdue| *overdue > BLIND_AFTER)
            .map(|overdue| overdue.as_secs_f64())
    };

    if let Some(seconds) = over(evidence.overdue) {
        return ScreenHealth::Blind(format!("no detection for {seconds:.1} s"));
    }

    if let Some(seconds) = over(evidence.main_overdue) {
        return ScreenHealth::Blind(format!(
            "shows no picture for {seconds:.1} s; the canary beside it is found"
        ));
    }

    if answers == 0 {
        return ScreenHealth::Unmeasured("no detection is due");
    }

    if let Some(error) = worst_error.filter(|error| *error > limits.max_error) {
        return ScreenHealth::Wrong(format!("the ball is {error:.1} px from where it should be"));
    }

    if 2 * none > answers {
        return ScreenHealth::Wrong(format!("no ball in {none} of {answers} pictures"));
    }

    let age = evidence.age.into_iter().chain(evidence.main_age).max();
    match age
        .and_then(|age| age.checked_sub(limits.max_age))
        .filter(|by| !by.is_zero())
    {
        Some(by) => ScreenHealth::Late { by },
        None => ScreenHealth::Right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_error: 2.0,
        max_age: Duration::from_millis(100),
    };

    const GOOD: Measurements = Measurements {
        worst_error: Some(0.5),
        answers: 10,
        none: 0,
        age: Some(Duration::from_millis(40)),
        overdue: None,
        main_overdue: None,
        main_age: None,
    };

    fn label(evidence: Measurements) -> String {
        evaluate(&evidence, &LIMITS).to_string()
    }

    #[test]
    fn each_state_has_its_evidence() {
        let second = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(label(GOOD), "right picture");
        assert_eq!(
            label(Measurements {
                age: Some(Duration::from_millis(137)),
                ..GOOD
            }),
            "late by 37 ms"
        );

        assert_eq!(
            label(Measurements {
                main_age: Some(Duration::from_millis(101)),
                ..GOOD
            }),
            "late by 1 ms"
        );

        assert_eq!(
            label(Measurements {
                worst_error: Some(2.1),
                ..GOOD
            }),
            "wrong"
        );

        assert_eq!(
            label(Measurements {
                worst_error: None,
                none: 6,
                ..GOOD
            }),
            "wrong"
        );

        assert_eq!(
            label(Measurements {
                overdue: second(3),
                ..GOOD
            }),
            "blind"
        );

        assert_eq!(
            label(Measurements {
                main_overdue: second(3),
                ..GOOD
            }),
            "blind"
        );

        assert_eq!(
            label(Measurements {
                overdue: second(1),
                none: 5,
                ..GOOD
            }),
            "right picture"
        );

        assert_eq!(label(Measurements::default()), "not measured");
    }

    #[test]
    fn who_shows_nothing_is_blind_whatever_else_is_wrong() {
        let all = Measurements {
            worst_error: Some(1e6),
            age: Some(Duration::MAX),
            overdue: Some(Duration::MAX),
            ..GOOD
        };

        assert_eq!(label(all), "blind");
        assert_eq!(
            label(Measurements {
                overdue: None,
                ..all
            }),
            "wrong"
        );
    }

    #[test]
    fn a_frame_that_is_exactly_at_the_limits_is_right() {
        assert_eq!(
            label(Measurements {
                worst_error: Some(2.0),
                age: Some(LIMITS.max_age),
                ..GOOD
            }),
            "right picture"
        );
    }
}
