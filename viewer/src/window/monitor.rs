//! Finds the monitor that `--monitor` names.

use std::fmt;

/// A monitor, described for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// The name the display server gives it, such as "HDMI-1".
    pub name: String,
    /// Pixels from the left of the desktop.
    pub x: i32,
    /// Pixels from its top.
    pub y: i32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Monitor {
    pub(super) fn contains(&self, (x, y): (i32, i32)) -> bool {
        let inside = |at: i32, from: i32, length: u32| {
            at.checked_sub(from)
                .is_some_and(|offset| u32::try_from(offset).is_ok_and(|offset| offset < length))
        };
        inside(x, self.x, self.width) && inside(y, self.y, self.height)
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            x,
            y,
            width,
            height,
        } = self;

        write!(f, "{name} ({width}x{height} at {x},{y})")
    }
}

/// No monitor has the wanted name or number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoSuchMonitor {
    /// What was asked for.
    pub wanted: String,
    /// What there is, in the order of the numbers.
    pub present: Vec<Monitor>,
}

impl fmt::Display for NoSuchMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no monitor {:?}; there are:", self.wanted)?;
        if self.present.is_empty() {
            write!(f, " none")?;
        }

        for (index, monitor) in self.present.iter().enumerate() {
            write!(
                f,
                "{} {} {monitor}",
                if index == 0 { "" } else { "," },
                index + 1
            )?;
        }

        Ok(())
    }
}

/// The index in `present` of the monitor that `wanted` names, or numbers from 1 from left to right and then downwards.
/// A name wins over a number.
pub(super) fn choose(wanted: &str, present: &[Monitor]) -> Result<usize, NoSuchMonitor> {
    let mut order: Vec<usize> = (0..present.len()).collect();
    order.sort_by_key(|&index| (present[index].x, present[index].y));
    let named = present
        .iter()
        .position(|monitor| monitor.name.eq_ignore_ascii_case(wanted));
    let numbered = || {
        let number: usize = wanted.parse().ok()?;
        order.get(number.checked_sub(1)?).copied()
    };

    named.or_else(numbered).ok_or_else(|| NoSuchMonitor {
        wanted: wanted.to_owned(),
        present: order.iter().map(|&index| present[index].clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Monitor> {
        let monitor = |name: &str, x, y| Monitor {
            name: name.into(),
            x,
            y,
            width: 1920,
            height: 1080,
        };

        vec![
            monitor("DP-2", 1920, 0),
            monitor("HDMI-1", 0, 0),
            monitor("DP-3", 1920, 1080),
        ]
    }

    #[test]
    fn a_monitor_is_chosen_by_name_or_by_number_from_the_left() {
        assert_eq!(choose("DP-3", &three()), Ok(2));
        assert_eq!(choose("hdmi-1", &three()), Ok(1));
        assert_eq!(choose("1", &three()), Ok(1));
        assert_eq!(choose("2", &three()), Ok(0));
        assert_eq!(choose("3", &three()), Ok(2));
    }

    #[test]
    fn a_monitor_that_is_not_there_is_answered_with_those_that_are() {
        for wanted in ["0", "4", "-1", "VGA-1", ""] {
            let error = choose(wanted, &three()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "there is no monitor {wanted:?}; there are: 1 HDMI-1 (1920x1080 at 0,0), \
                     2 DP-2 (1920x1080 at 1920,0), 3 DP-3 (1920x1080 at 1920,1080)"
                )
            );
        }

        assert_eq!(
            choose("1", &[]).unwrap_err().to_string(),
            "there is no monitor \"1\"; there are: none"
        );
    }
}
