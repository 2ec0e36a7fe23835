//! The report as a table for people.

use std::fmt::{self, Display, Formatter};

use super::{FanOutAges, Percentiles, Processor, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.tell_sessions(f)?;
        self.tell_delivery(f)?;
        self.tell_ages(f)?;
        writeln!(
            f,
            "received  {:.3} Gbit/s of frames in {} datagrams, {} shards asked for again, {} of them came, {} frames \
             completed by parity",
            self.gigabits / self.measured_s.max(1e-3),
            self.datagrams,
            self.repairs.asked,
            self.repairs.received,
            self.recovered
        )?;

        let processors = self.cpu.relays.iter().chain([&self.cpu.own]);
        processors.enumerate().try_for_each(|(at, one)| {
            let label = if at == 0 { "processor" } else { "" };
            writeln!(f, "{label:<9} {one}")
        })
    }
}

impl Report {
    fn tell_sessions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sessions = &self.sessions;
        let stream = self.stream.as_deref().unwrap_or("no stream");
        write!(
            f,
            "viewers   {} of {} joined at {}",
            sessions.joined,
            sessions.asked,
            self.relays.join(", ")
        )?;

        if let (Some(all), Some(slowest)) = (sessions.all_joined_ms, sessions.slowest_join_ms) {
            write!(f, " within {:.2} s, each within {slowest:.1} ms", all / 1e3)?;
        }

        for (why, count) in &sessions.refused {
            write!(f, "; {count} did not: {why}")?;
        }

        writeln!(
            f,
            "; {} got frames, {} joins repeated",
            sessions.served, sessions.rejoins
        )?;

        let first = &sessions.first_frame_ms;
        if let (Some(p50), Some(p99), Some(max)) = (first.p50, first.p99, first.max) {
            writeln!(
                f,
                "first     a frame {p50:.1} ms after asking (p50), {p99:.1} (p99), {max:.1} (max)"
            )?;
        }

        writeln!(f, "measured  {stream} for {:.1} s", self.measured_s)
    }

    fn tell_delivery(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let frames = &self.frames;
        let gaps = &self.gaps;
        let share = 100.0 * frames.delivered as f64 / frames.expected.max(1) as f64;
        writeln!(
            f,
            "frames    {} expected, {} delivered: {share:.2} %, to the viewer with the least {:.2} %",
            frames.expected, frames.delivered, frames.least_delivered_percent
        )?;

        let reasons = frames
            .lost
            .by_reason
            .iter()
            .filter(|(_, count)| **count > 0);

        let reasons: Vec<String> = reasons
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let reasons = if reasons.is_empty() {
            "none".to_owned()
        } else {
            reasons.join(", ")
        };

        writeln!(f, "lost      {reasons}")?;
        write!(f, "gaps      {} at {} viewers", gaps.count, gaps.viewers)?;

        if gaps.count > 0 {
            write!(
                f,
                "; the longest {} frames, {:.0} ms",
                gaps.longest_frames, gaps.longest_ms
            )?;
        }

        writeln!(f)
    }

    fn tell_ages(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FanOutAges {
            all,
            first,
            last,
            spread,
        } = &self.age_ms;

        writeln!(
            f,
            "ages in ms by {:<18} {:>8} {:>8} {:>8} {:>8}",
            self.clock, "p50", "p95", "p99", "max"
        )?;

        for (name, ages) in [
            ("over all viewers", all),
            ("at each frame's first viewer", first),
            ("at each frame's last viewer", last),
            ("from first to last viewer", spread),
        ] {
            let Percentiles { p50, p95, p99, max } = ages;
            write!(f, "  {name:<30}")?;
            for one in [p50, p95, p99, max] {
                let text = one.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1}"));
                write!(f, " {text:>8}")?;
            }
            writeln!(f)?;
        }

        Ok(())
    }
}

impl Display for Processor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }

        if let Some(cores) = self.cores {
            write!(f, " {cores:.2} cores")?;
        }

        if let Some(cost) = self.ms_per_gigabit {
            write!(f, ", {cost:.1} ms for each gigabit delivered")?;
        }

        self.unknown
            .as_ref()
            .map_or(Ok(()), |why| write!(f, " not known: {why}"))
    }
}
