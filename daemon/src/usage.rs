//! What this process costs its host: processor, memory, descriptors, and since when.

use std::fmt;
use std::fs;
use std::time::Duration;

use fanlight_proto::clock::Time;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::clock;

/// Least time between two looks at the system: what is read in between is what was read before.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// What this process cost at a moment. What the system does not tell is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Share of one core over the last interval: 1.0 is one core, and several threads may make it more.
    pub processor: f64,
    /// Memory that is in RAM, with what is shared with other processes.
    pub resident_bytes: u64,
    /// Since the process began.
    pub uptime: Duration,
}

impl fmt::Display for Usage {
    /// `cpu 12 %  mem 34 MiB  up 1:02:03`, without `mem` where the system does not tell it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MEBIBYTE: u64 = 1 << 20;
        write!(f, "cpu {:.0} %", self.processor * 100.0)?;

        if self.resident_bytes > 0 {
            write!(
                f,
                "  mem {} MiB",
                (self.resident_bytes + MEBIBYTE / 2) / MEBIBYTE
            )?;
        }

        let seconds = self.uptime.as_secs();
        write!(
            f,
            "  up {}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// Measures this process.
#[derive(Debug)]
pub struct Meter {
    began: Time,
    /// When the last interval ended, and the processor time until then.
    last: (Time, Duration),
    usage: Option<Usage>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter whose first interval began with the process.
    #[must_use]
    pub fn new() -> Self {
        let began = began(clock::now());
        Self {
            began,
            last: (began, Duration::ZERO),
            usage: None,
        }
    }

    /// The figures at `now`, on the clock of [`clock::now`]. Asks the system at most once a [`SAMPLE_INTERVAL`], so that it
    /// may be called for every frame.
    pub fn sample(&mut self, now: Time) -> Usage {
        let fresh = self
            .usage
            .filter(|_| now.saturating_since(self.last.0) < SAMPLE_INTERVAL);
        let usage = fresh.unwrap_or_else(|| self.measure(now));
        Usage {
            uptime: now.saturating_since(self.began),
            ..usage
        }
    }

    fn measure(&mut self, now: Time) -> Usage {
        let (since, before) = self.last;
        let spent = processor_time();
        let usage = Usage {
            processor: share(spent.saturating_sub(before), now.saturating_since(since)),
            resident_bytes: resident_bytes(),
            uptime: Duration::ZERO,
        };

        self.last = (now, spent);
        self.usage = Some(usage);
        usage
    }
}

/// Processor time of all threads of this process since it began, in user and kernel mode.
#[must_use]
pub fn processor_time() -> Duration {
    // To the nanosecond, which /proc/self/stat (10 ms) and schedstat (the first thread alone) are not.
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

/// Bytes of memory that are in RAM; 0 where the system does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .as_deref()
        .and_then(resident_pages);
    pages.unwrap_or(0).saturating_mul(page_size() as u64)
}

/// Files and sockets that are open; `None` where the system does not tell. Costs a look at each of them.
#[must_use]
pub fn open_descriptors() -> Option<u64> {
    // The one that the counting itself opens is not counted.
    fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| (entries.count() as u64).saturating_sub(1))
}

/// When this process began; `now` where the system does not tell.
fn began(now: Time) -> Time {
    let since_boot = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::new(
        u64::try_from(since_boot.tv_sec).unwrap_or(0),
        since_boot.tv_nsec as u32,
    );

    let stat = fs::read_to_string("/proc/self/stat").ok();
    let start = stat
        .as_deref()
        .and_then(|stat| start_time(stat, clock_ticks_per_second()));
    now - start.map_or(Duration::ZERO, |start| since_boot.saturating_sub(start))
}

/// The part of one core that `spent` is of `length`; 0 of no time at all.
fn share(spent: Duration, length: Duration) -> f64 {
    if length.is_zero() {
        0.0
    } else {
        spent.as_secs_f64() / length.as_secs_f64()
    }
}

/// The second number of /proc/PID/statm (proc_pid_statm(5)).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// How long after the boot a process began: field 22 of /proc/PID/stat (proc_pid_stat(5)), in ticks.
fn start_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // Field 2 is the program's name in parentheses, which may hold both spaces and parentheses.
    const AFTER_NAME: usize = 22 - 3;
    let ticks: u64 = stat
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(AFTER_NAME)?
        .parse()
        .ok()?;

    (ticks_per_second > 0).then(|| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "2918 (a b) c) R 2916 2916 31953 0 -1 4194304 98 0 0 0 7 8 0 0 20 0 1 0 3532316 3133440 414 1844";

    #[test]
    fn a_processs_start_is_read_past_a_name_of_parentheses() {
        assert_eq!(
            start_time(STAT, 100),
            Some(Duration::from_millis(35_323_160))
        );
        assert_eq!(start_time("2918 (cat) R 2916", 100), None);
        assert_eq!(start_time("", 100), None);
        assert_eq!(start_time(STAT, 0), None);
    }

    #[test]
    fn resident_pages_are_the_second_number_and_nothing_else() {
        assert_eq!(resident_pages("765 433 404 5 0 123 0\n"), Some(433));
        assert_eq!(resident_pages("765"), None);
        assert_eq!(resident_pages("765 many"), None);
    }

    #[test]
    fn a_share_of_no_time_is_nothing_and_two_busy_threads_are_two_cores() {
        assert_eq!(share(Duration::from_secs(1), Duration::ZERO), 0.0);
        assert_eq!(share(Duration::from_secs(2), Duration::from_secs(1)), 2.0);
    }

    #[test]
    fn usage_reads_as_people_write_it() {
        let usage = Usage {
            processor: 0.123,
            resident_bytes: 34 << 20,
            uptime: Duration::from_secs(3723),
        };

        assert_eq!(usage.to_string(), "cpu 12 %  mem 34 MiB  up 1:02:03");
        assert_eq!(
            Usage {
                resident_bytes: 0,
                ..usage
            }
            .to_string(),
            "cpu 12 %  up 1:02:03"
        );
    }

    #[test]
    fn this_process_has_memory_descriptors_and_an_age() {
        let mut meter = Meter::new();
        let now = clock::now();
        let usage = meter.sample(now);
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.uptime < Duration::from_secs(3600), "{usage:?}");
        assert!(
            open_descriptors().is_some_and(|count| count >= 3),
            "{:?}",
            open_descriptors()
        );
    }

    #[test]
    fn a_second_of_a_busy_thread_is_about_a_core_and_is_asked_for_only_once() {
        let mut meter = Meter::new();
        meter.sample(clock::now());
        let (began, before) = (clock::now(), processor_time());
        while processor_time() - before < Duration::from_millis(50) {}
        // The rest of the second is said, not waited for.
        let later = began + SAMPLE_INTERVAL;
        let usage = meter.sample(later);
        assert!(usage.processor >= 0.04, "{usage:?}");
        while processor_time() - before < Duration::from_millis(100) {}
        let within = meter.sample(later + SAMPLE_INTERVAL / 2);
        assert_eq!(
            within.processor, usage.processor,
            "nothing is read before the interval is over"
        );

        assert_eq!(within.uptime, usage.uptime + SAMPLE_INTERVAL / 2);
    }
}
