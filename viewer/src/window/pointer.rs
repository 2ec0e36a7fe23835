//! The mouse: a double click, and by how much a pressed button or the wheel moved.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Two presses within so long are a double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);

/// A button that is pressed again farther away than so many pixels is no double click.
const DOUBLE_CLICK_REACH: f64 = 8.0;

/// Where the pointer is, and what its left button does.
#[derive(Debug, Default)]
pub(super) struct Pointer {
    at: (f64, f64),
    is_pressed: bool,
    last_press: Option<(Time, (f64, f64))>,
}

impl Pointer {
    pub(super) const fn at(&self) -> (f64, f64) {
        self.at
    }

    /// It moved; returns by how much, if that drags.
    pub(super) fn moved(&mut self, to: (f64, f64)) -> Option<(f64, f64)> {
        let from = std::mem::replace(&mut self.at, to);
        self.is_pressed.then_some((to.0 - from.0, to.1 - from.1))
    }

    /// The left button was pressed; returns whether that is a double click.
    pub(super) fn pressed(&mut self, now: Time) -> bool {
        self.is_pressed = true;
        let is_near = |(time, at): (Time, (f64, f64))| {
            let away = (at.0 - self.at.0).hypot(at.1 - self.at.1);
            now.saturating_since(time) < DOUBLE_CLICK && away < DOUBLE_CLICK_REACH
        };
        let is_double = self.last_press.is_some_and(is_near);
        self.last_press = (!is_double).then_some((now, self.at));
        is_double
    }

    pub(super) const fn released(&mut self) {
        self.is_pressed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn two_presses_soon_and_near_are_a_double_click_and_three_are_one() {
        let mut pointer = Pointer::default();
        let presses = [0, 300, 600, 1100].map(|at| pointer.pressed(ms(at)));
        assert_eq!(presses, [false, true, false, false]);
        pointer.moved((50.0, 0.0));
        assert!(!pointer.pressed(ms(1200)));
    }

    #[test]
    fn only_a_pressed_button_drags() {
        let mut pointer = Pointer::default();
        assert_eq!(pointer.moved((5.0, 5.0)), None);
        pointer.pressed(ms(0));
        assert_eq!(pointer.moved((8.0, 4.0)), Some((3.0, -1.0)));
        pointer.released();
        assert_eq!(pointer.moved((9.0, 9.0)), None);
        assert_eq!(pointer.at(), (9.0, 9.0));
    }
}
