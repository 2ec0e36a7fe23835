//! The constants of the congestion controller. PROTOCOL.md shows them as a table; a test keeps that
//! table equal to this file. "simulation" as source: chosen by `./dev sim` and the link model in
//! `tests.rs`.

use std::time::Duration;

/// Declares [`Params`]: name, type, value, and the RFC or paper that a rule follows. The doc comment
/// becomes the meaning in PROTOCOL.md.
macro_rules! params {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $value:expr, from $source:literal;)+) => {
        /// The constants of the congestion controller.
        #[derive(Debug)]
        pub(super) struct Params {
            $($(#[doc = $doc])+ pub(super) $name: $type,)+
        }

        /// The constants in use.
        pub(super) const PARAMS: Params = Params { $($name: $value,)+ };

        /// Name, value, meaning and source of each constant.
        #[cfg(test)]
        fn rows() -> Vec<[String; 4]> {
            vec![$([
                stringify!($name).to_owned(),
                tests::Shown::shown(&PARAMS.$name),
                concat!($($doc),+).trim().to_owned(),
                $source.to_owned(),
            ],)+]
        }
    };
}

params! {
    /// More than this part of the frames of the last two reports lost: congestion.
    loss: f64 = 0.02, from "RFC 8085 section 3.1";
    /// Of fewer frames than this in two reports, a single lost one is no sign.
    min_frames: u64 = 12, from "simulation";
    /// More than this part of the frames lost: the path carries far less than it is sent.
    heavy_loss: f64 = 0.2, from "simulation";
    /// The share is multiplied by this after loss, or when frames stand in a queue.
    after_loss: f64 = 0.5, from "RFC 5681 section 3.1";
    /// The share is multiplied by this after heavy loss.
    after_heavy_loss: f64 = 0.35, from "simulation";
    /// More than this part of the shards lost: congestion, although parity and repair saved every frame.
    shard_loss: f64 = 0.1, from "simulation";
    /// The share is multiplied by this after lost shards.
    after_shard_loss: f64 = 0.85, from "simulation";
    /// More than this part of the shards lost: the share grows by `careful_raise` only.
    some_shard_loss: f64 = 0.01, from "simulation";
    /// A frame in flight for so much longer than the shortest delay stands in a queue.
    queued: Duration = Duration::from_millis(250), from "RFC 6817 (LEDBAT)";
    /// The shortest delay is that of a window of this length and the window before.
    base_delay_window: Duration = Duration::from_secs(10), from "RFC 6817 (LEDBAT)";
    /// Queues and lost shards never lower the share below this.
    min_share_by_signs: f64 = 0.25, from "simulation";
    /// A second without a sign adds half of the share, at most this.
    raise: f64 = 0.1, from "simulation";
    /// Near the share at which loss was seen last, a second adds this.
    careful_raise: f64 = 0.01, from "RFC 9438 (CUBIC)";
    /// Below `min_share_by_signs` a second adds at least this.
    low_raise: f64 = 0.04, from "simulation";
    /// Near begins at this part of the share at which loss was seen last.
    near: f64 = 0.75, from "simulation";
    /// Whatever is lost, one frame in so long is sent.
    max_gap: Duration = Duration::from_secs(1), from "simulation";
    /// Without a report for so long nothing is sent.
    report_timeout: Duration = Duration::from_secs(3), from "RFC 8085 section 3.1.10";
    /// A frame in flight for so long, with nothing newer arrived, is lost.
    swallowed: Duration = Duration::from_secs(1), from "simulation";
    /// At the least share, more than this part of the frames lost trips the circuit breaker.
    breaker_loss: f64 = 0.5, from "RFC 8083";
    /// The circuit breaker trips after so long.
    breaker_after: Duration = Duration::from_secs(5), from "RFC 8084";
    /// A tripped circuit breaker stops all frames for so long.
    breaker_pause: Duration = Duration::from_secs(5), from "RFC 8084";
    /// A frame is spread over this part of the time to the next frame of the viewer.
    spread: f64 = 0.85, from "RFC 9002 section 7.7";
    /// A frame is spread over so long at most.
    max_spread: Duration = Duration::from_millis(200), from "simulation";
    /// A frame is spread over so many frame intervals of the stream at most.
    max_spread_intervals: u32 = 6, from "simulation";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// A value as PROTOCOL.md shows it.
    pub(super) trait Shown {
        fn shown(&self) -> String;
    }

    impl Shown for f64 {
        fn shown(&self) -> String {
            format!("{self}")
        }
    }

    impl Shown for u64 {
        fn shown(&self) -> String {
            format!("{self}")
        }
    }

    impl Shown for u32 {
        fn shown(&self) -> String {
            format!("{self}")
        }
    }

    impl Shown for Duration {
        fn shown(&self) -> String {
            format!("{self:?}")
        }
    }

    #[test]
    fn protocol_md_has_the_table_of_these_constants() {
        let mut table = "| name | value | meaning | source |\n|---|---|---|---|\n".to_owned();
        for [name, value, meaning, source] in rows() {
            writeln!(table, "| `{name}` | {value} | {meaning} | {source} |").unwrap();
        }

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/PROTOCOL.md");
        let protocol = std::fs::read_to_string(path).unwrap();
        assert!(
            protocol.contains(&table),
            "put this table into the section Congestion of PROTOCOL.md:\n{table}"
        );
    }
}
