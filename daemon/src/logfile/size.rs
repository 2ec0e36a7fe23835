//! A number of bytes as people write it.

use std::fmt;
use std::str::FromStr;

/// Least size of a log file: a few lines.
const MIN: u64 = 1_000;

/// What a suffix stands for, the longest first.
const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// The size of a log file in bytes, at least 1 kB: `10MB`, `500kB`, `1GB` or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

impl Size {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// It is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no size of a log file: a size is a number of bytes, at least 1000, or a number with kB, MB or GB, such as 10MB"
)]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let unit = UNITS
            .iter()
            .find_map(|(suffix, bytes)| text.strip_suffix(suffix).map(|rest| (rest, *bytes)));
        let (number, bytes) = unit.unwrap_or((text, 1));
        let size = number
            .trim_end()
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(bytes));

        size.filter(|size| *size >= MIN)
            .map(Self)
            .ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, bytes)| self.0.is_multiple_of(*bytes))
        {
            Some((suffix, bytes)) => write!(f, "{}{suffix}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["10MB", "500kB", "1GB", "1001"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("10 MB".parse::<Size>().unwrap().bytes(), 10_000_000);
        assert_eq!("4000".parse::<Size>().unwrap().to_string(), "4kB");
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "MB", "-1", "999", "0", "10 MiB", "1e6", "99999999999GB"] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.to_string().contains("10MB"), "{error}");
        }
    }
}
