//! What the panels over a picture and the foot of a card say. The timekeeper makes it, and the window's thread draws it.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

/// The stages of a frame's way, in the order in which it passes them: to the publisher, to the relay, from there to its first shard
/// and to its last, until the decoder takes it, until it is decoded, and until it is shown. Where it is not known when the relay had
/// it, all until the first shard is of the network.
pub const STAGES: [&str; 7] = [
    "capture",
    "publish",
    "network",
    "reassembly",
    "wait",
    "decode",
    "present",
];

/// Texts and values of one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Stream, link state and time of day, in a line.
    pub name: String,
    /// Stream, link state and age, in a short line.
    pub caption: String,
    /// Lines of statistics.
    pub statistics: String,
    /// What a frame spent in each of [`STAGES`], the mean of the last second; all zero when no new frame was shown.
    pub stages: [Duration; STAGES.len()],
    /// The median age of each of the last seconds, the newest last; zero where no frame was shown.
    pub minute: Vec<Duration>,
    /// Lines of figures.
    pub figures: String,
    /// The stream that is shown or asked for; empty when it is any.
    pub stream: String,
    /// What the operator calls this screen.
    pub screen: String,
    /// The address of this host, or that it has none.
    pub address: String,
}

/// The time of day at `at`: `23:59:59 UTC`.
pub(crate) fn time_of_day(at: Time) -> String {
    let utc_ns = at.as_nanos().saturating_add_signed(clock::wall_offset_ns());
    let seconds = utc_ns / 1_000_000_000 % 86_400;
    format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A length of time for people: `7 s`, `3 min 7 s`, `2 h 3 min`, `4 d 2 h`.
pub(crate) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A length of less than a minute for people: `3.2 s`.
pub(crate) fn length_with_tenths(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (187, "3 min 7 s"),
            (7380, "2 h 3 min"),
            (352_800, "4 d 2 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_time_of_day_is_that_of_the_wall_clock() {
        let text = time_of_day(clock::now());
        assert!(text.ends_with(" UTC") && text.len() == 12, "{text}");
    }
}
