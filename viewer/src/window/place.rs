//! The size and place of a window as an option has them.

use std::fmt;
use std::str::FromStr;

/// A window's size in pixels, and where its upper left corner lies on the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlace {
    /// Width and height.
    pub size: (u32, u32),
    /// From the left and from the top of the desktop; none: in the middle of the monitor.
    pub position: Option<(i32, i32)>,
}

/// A text that is no [`WindowPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected WIDTHxHEIGHT or WIDTHxHEIGHT+X+Y, such as 640x360+100+50")]
pub struct WindowPlaceError;

impl FromStr for WindowPlace {
    type Err = WindowPlaceError;

    fn from_str(text: &str) -> Result<Self, WindowPlaceError> {
        let (size, position) = match text.split_once('+') {
            Some((size, position)) => (size, Some(position)),
            None => (text, None),
        };

        let (width, height) = size.split_once('x').ok_or(WindowPlaceError)?;
        let length = |text: &str| {
            text.parse()
                .ok()
                .filter(|length| (1..=16_384).contains(length))
        };
        let size = length(width).zip(length(height)).ok_or(WindowPlaceError)?;
        let offset = |text: &str| text.parse().map_err(|_| WindowPlaceError);
        let position = position.map(|position| {
            let (x, y) = position.split_once('+').ok_or(WindowPlaceError)?;
            Ok((offset(x)?, offset(y)?))
        });

        Ok(Self {
            size,
            position: position.transpose()?,
        })
    }
}

impl fmt::Display for WindowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.size.0, self.size.1)?;
        match self.position {
            Some((x, y)) => write!(f, "+{x}+{y}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_size_and_may_have_a_place() {
        for (text, size, position) in [
            ("640x360", (640, 360), None),
            ("640x360+100+50", (640, 360), Some((100, 50))),
            ("1x1+-20+0", (1, 1), Some((-20, 0))),
        ] {
            let place: WindowPlace = text.parse().unwrap();
            assert_eq!(place, WindowPlace { size, position });
            assert_eq!(place.to_string(), text);
        }

        for bad in [
            "",
            "640",
            "0x9",
            "640x360+1",
            "640x360+a+b",
            "20000x1",
            "axb",
            "-1x4",
        ] {
            assert_eq!(bad.parse::<WindowPlace>(), Err(WindowPlaceError), "{bad}");
        }
    }
}
