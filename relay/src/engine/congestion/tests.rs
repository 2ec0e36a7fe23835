//! The control loop alone, and against a model of a narrow link that TCP shares.

use std::collections::VecDeque;

use fanlight_proto::parity::level_count;

use super::super::parity_control::ParityController;
use super::*;

const INTERVAL: Duration = Duration::from_nanos(33_333_333);
const SECOND: Duration = Duration::from_secs(1);

/// A viewer whose way does what the test says, second by second.
struct Rig {
    congestion: CongestionController,
    now: Time,
    sequence: u64,
    report: Report,
}

impl Rig {
    fn new() -> Self {
        let now = Time::from_nanos(1_000_000_000_000);
        Self {
            congestion: CongestionController::new(now),
            now,
            sequence: 0,
            report: Report::default(),
        }
    }

    /// Sends for a second at 30 fps; the frames taken.
    fn send(&mut self) -> u64 {
        let mut taken = 0;
        for _ in 0..30 {
            self.now = self.now + INTERVAL;
            self.sequence += 1;
            taken += u64::from(
                self.congestion
                    .admit_frame(self.now, self.sequence, INTERVAL),
            );
        }

        taken
    }

    /// A second, after which the viewer reports that `lost` of the frames sent were lost; how many were sent.
    fn second(&mut self, lost: impl Fn(u64) -> u64) -> u64 {
        let sent = self.send();
        let lost = lost(sent);
        self.report.frames_whole += sent - lost;
        self.report.frames_unrecovered += lost;
        self.congestion.on_keep_alive(self.now, self.sequence);
        self.congestion.on_report(self.now, &self.report);
        sent
    }
}

#[test]
fn a_clean_way_gets_every_frame_for_ever() {
    let mut rig = Rig::new();
    assert!((0..1000).all(|_| rig.second(|_| 0) == 30));
    assert_eq!(
        (rig.congestion.skipped(), rig.congestion.spread(INTERVAL)),
        (0, Duration::ZERO)
    );
}

#[test]
fn one_frame_lost_now_and_then_is_no_congestion() {
    let mut rig = Rig::new();
    for second in 0..100 {
        assert_eq!(rig.second(|_| second % 2), 30);
    }
}

#[test]
fn loss_lowers_the_rate_and_heavy_loss_lowers_it_more() {
    let mut rig = Rig::new();
    rig.second(|_| 2);
    assert!((14..=16).contains(&rig.second(|_| 0)));
    let mut rig = Rig::new();
    rig.second(|_| 15);
    assert!((10..=11).contains(&rig.second(|_| 0)));
}

#[test]
fn what_was_lost_before_parity_began_lowers_nothing_and_what_is_lost_with_it_does() {
    let mut rig = Rig::new();
    rig.send();
    rig.report.frames_whole += 15;
    rig.report.frames_unrecovered += 12;
    // Three are on their way, of which the next report tells.
    rig.congestion.on_keep_alive(rig.now, rig.sequence - 3);
    rig.congestion.ignore_until_parity(rig.now, &rig.report);
    assert_eq!(
        [rig.second(|_| 3), rig.second(|_| 0), rig.second(|_| 15)],
        [30; 3]
    );

    assert!((10..=11).contains(&rig.second(|_| 0)));
}

#[test]
fn the_least_is_one_frame_a_second_and_clean_seconds_bring_all_back_within_twenty() {
    let mut rig = Rig::new();
    for _ in 0..8 {
        rig.second(|sent| sent.div_ceil(3));
    }

    let least = rig.second(|sent| sent.div_ceil(3));
    assert!((1..=2).contains(&least), "{least}");
    let seconds = (0..100).take_while(|_| rig.second(|_| 0) < 30).count();
    assert!((10..=20).contains(&seconds), "{seconds}");
}

#[test]
fn what_is_left_out_is_left_out_evenly_and_counted() {
    let mut rig = Rig::new();
    rig.second(|_| 2);
    let (mut run, mut longest, mut skipped) = (0, 0, 0);

    for _ in 0..30 {
        rig.now = rig.now + INTERVAL;
        rig.sequence += 1;
        let taken = rig.congestion.admit_frame(rig.now, rig.sequence, INTERVAL);
        run = if taken { 0 } else { run + 1 };
        skipped += u64::from(!taken);
        longest = longest.max(run);
    }

    assert_eq!(longest, 1);
    assert_eq!(rig.congestion.skipped(), skipped);
}

#[test]
fn shards_that_parity_and_repair_replace_do_not_lower_the_rate_unless_they_are_very_many() {
    let mut rig = Rig::new();
    let report = |rig: &mut Rig, missed| {
        rig.report.shards_expected += 1000;
        rig.report.shards_missed += missed;
        rig.second(|_| 0)
    };

    for _ in 0..50 {
        assert_eq!(report(&mut rig, 90), 30);
    }

    for _ in 0..50 {
        report(&mut rig, 300);
    }

    // Loss that does not fall with the rate may be a radio's: it does not push the viewer down to the least.
    assert!((7..=8).contains(&report(&mut rig, 300)));
}

#[test]
fn frames_long_on_their_way_lower_the_rate_before_any_is_lost() {
    let mut rig = Rig::new();
    rig.second(|_| 0);
    let behind = |rig: &mut Rig, frames| {
        rig.send();
        rig.congestion.on_keep_alive(rig.now, rig.sequence - frames);
        rig.congestion.share()
    };

    assert!(behind(&mut rig, 7) >= 1.0);
    assert!(behind(&mut rig, 9) < 1.0);
    // Held to a floor: a TCP flow that keeps a deep queue full does not starve the viewer.
    for _ in 0..10 {
        behind(&mut rig, 29);
    }

    assert!(rig.congestion.share() >= PARAMS.min_share_by_signs);
}

#[test]
fn a_way_that_is_long_by_itself_is_no_queue() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        rig.send();
        rig.congestion.on_keep_alive(rig.now, rig.sequence - 15);
        rig.report.frames_whole += 30;
        rig.congestion.on_report(rig.now, &rig.report);
    }

    assert!(rig.congestion.share() >= 1.0);
    assert!(!rig.congestion.is_behind(rig.now));
}

#[test]
fn without_reports_nothing_is_sent_after_three_seconds_and_one_report_begins_it_again() {
    let mut rig = Rig::new();
    rig.second(|_| 0);
    let mut sent = 0;

    for _ in 0..10 {
        sent += rig.send();
        rig.congestion.on_keep_alive(rig.now, rig.sequence);
    }

    assert!((88..=90).contains(&sent), "{sent}");
    rig.report.frames_whole += sent;
    rig.congestion.on_report(rig.now, &rig.report);
    assert_eq!(rig.send(), 30);
}

#[test]
fn a_way_that_swallows_everything_lowers_the_rate_although_the_viewer_knows_of_no_loss() {
    let mut rig = Rig::new();
    rig.second(|_| 0);
    let seen = rig.sequence;

    for _ in 0..10 {
        rig.send();
        rig.congestion.on_keep_alive(rig.now, seen);
        rig.congestion.on_report(rig.now, &rig.report);
    }

    assert!(rig.send() <= 2);
}

#[test]
fn a_way_that_loses_most_at_the_least_rate_is_left_alone_for_five_seconds() {
    let mut rig = Rig::new();
    let sent: Vec<_> = (0..30).map(|_| rig.second(|sent| sent)).collect();
    let pauses = sent.iter().filter(|sent| **sent == 0).count();
    assert!((8..=14).contains(&pauses), "{sent:?}");
    assert!(sent[10..].iter().all(|sent| *sent <= 2), "{sent:?}");
    // It begins again at the least.
    let next = (0..10).map(|_| rig.second(|_| 0)).find(|sent| *sent > 0);
    assert!(next.is_some_and(|sent| sent <= 3), "{next:?}");
}

#[test]
fn a_pause_is_not_taken_for_silence() {
    let mut rig = Rig::new();
    rig.second(|_| 0);
    rig.now = rig.now + SECOND * 60;
    rig.congestion.resume(rig.now);
    assert_eq!(rig.send(), 30);
    assert!(!rig.congestion.is_behind(rig.now - INTERVAL * 25));
}

#[test]
fn a_viewer_whose_frames_do_not_come_through_or_whose_keep_alives_stop_is_behind() {
    let mut rig = Rig::new();
    rig.second(|_| 0);
    assert!(!rig.congestion.is_behind(rig.now));
    rig.send();
    assert!(rig.congestion.is_behind(rig.now));
    rig.congestion.on_keep_alive(rig.now, rig.sequence);
    assert!(!rig.congestion.is_behind(rig.now));
    rig.send();
    rig.congestion.on_keep_alive(rig.now, rig.sequence - 12);
    assert!(rig.congestion.is_behind(rig.now));
}

#[test]
fn a_slow_stream_is_never_thinned() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        rig.now = rig.now + SECOND;
        rig.sequence += 1;
        rig.report.frames_unrecovered += 1;
        assert!(
            rig.congestion.admit_frame(rig.now, rig.sequence, SECOND)
                || rig.now < rig.congestion.held_until
        );

        rig.congestion.on_report(rig.now, &rig.report);
    }
}

/// A link of one rate with one drop-tail queue, fed by a viewer's frames and one TCP flow (Reno), in steps of 100 us.
struct Link {
    /// Packets of 1248 bytes on the wire that a step takes.
    packets_a_step: f64,
    limit: f64,
    queue: f64,
}

impl Link {
    fn new(bits_a_second: f64, limit_bytes: f64) -> Self {
        Self {
            packets_a_step: bits_a_second / 8.0 / 1248.0 * 1e-4,
            limit: limit_bytes / 1248.0,
            queue: 0.0,
        }
    }

    fn step(&mut self) {
        self.queue = (self.queue - self.packets_a_step).max(0.0);
    }

    fn offer(&mut self) -> bool {
        let fits = self.queue + 1.0 <= self.limit;
        self.queue += f64::from(u8::from(fits));
        fits
    }

    /// How long a packet that comes now waits, in steps.
    fn wait(&self) -> u64 {
        (self.queue / self.packets_a_step) as u64
    }
}

/// Reno in congestion avoidance after a slow start, one reaction a round trip.
struct Tcp {
    window: f64,
    threshold: f64,
    credit: f64,
    deaf_until: u64,
    delivered: u64,
}

impl Tcp {
    const BASE: f64 = 100.0;

    fn step(&mut self, step: u64, link: &mut Link) {
        let round_trip = Self::BASE + link.wait() as f64;
        self.credit += self.window / round_trip;

        while self.credit >= 1.0 {
            self.credit -= 1.0;
            if link.offer() {
                self.delivered += 1;
                self.window += if self.window < self.threshold {
                    1.0
                } else {
                    1.0 / self.window
                };
            } else if step >= self.deaf_until {
                self.window = (self.window / 2.0).max(2.0);
                self.threshold = self.window;
                self.deaf_until = step + round_trip as u64;
            }
        }
    }
}

/// Seconds of a stream of 100 kB x 30 over `link`, beside TCP or not: in each second the frames that came whole, and TCP's
/// share of the link. Parity goes by need.
fn share_a_link(mut link: Link, seconds: u64, tcp: bool) -> Vec<(u64, f64)> {
    const STEPS: u64 = 10_000;
    let mut flow = Tcp {
        window: 10.0,
        threshold: 1e9,
        credit: 0.0,
        deaf_until: 0,
        delivered: 0,
    };

    let start = Time::from_nanos(1_000_000_000);
    let at = |step: u64| start + Duration::from_micros(100 * step);
    let (mut rate, mut need) = (
        CongestionController::new(start),
        ParityController::default(),
    );

    let mut report = Report::default();
    let mut sending: Option<Sending> = None;
    let mut coming: VecDeque<(u64, Sending)> = VecDeque::new();
    let (mut sequence, mut newest) = (0, 0);
    let mut result = Vec::new();

    for step in 1..=seconds * STEPS {
        link.step();
        if tcp {
            flow.step(step, &mut link);
        }

        if step.is_multiple_of(333) {
            sequence += 1;
            if rate.admit_frame(at(step), sequence, INTERVAL) {
                let parity = u32::from(level_count(87, rate.cap_parity_level(need.level())));
                let steps = (rate.spread(INTERVAL).as_secs_f64() / 1e-4).max(8.0);
                let speed = f64::from(87 + parity) / steps;
                sending = Some(Sending {
                    sequence,
                    parity,
                    left: 87 + parity,
                    lost: 0,
                    credit: 0.0,
                    speed,
                });
            }
        }

        if let Some(frame) = sending.take_if(|frame| frame.step(&mut link)) {
            coming.push_back((step + link.wait() + 50, frame));
        }

        while let Some((_, frame)) = coming.pop_front_if_before(step) {
            newest = frame.sequence;
            report.frames_whole += u64::from(frame.lost <= frame.parity);
            report.frames_unrecovered += u64::from(frame.lost > frame.parity);
            report.shards_expected += u64::from(87 + frame.parity);
            report.shards_missed += u64::from(frame.lost);
        }

        if step.is_multiple_of(2_500) {
            rate.on_keep_alive(at(step), newest);
        }

        if step.is_multiple_of(STEPS) {
            if need.on_report(at(step), &report) {
                rate.ignore_until_parity(at(step), &report);
            } else {
                rate.on_report(at(step), &report);
            }

            let capacity = link.packets_a_step * STEPS as f64;
            result.push((
                report.frames_whole,
                std::mem::take(&mut flow.delivered) as f64 / capacity,
            ));
        }
    }

    let mut before = 0;
    result
        .iter()
        .map(|(whole, tcp)| (whole - std::mem::replace(&mut before, *whole), *tcp))
        .collect()
}

/// A frame on its way into the link.
struct Sending {
    sequence: u64,
    parity: u32,
    left: u32,
    lost: u32,
    credit: f64,
    /// Shards a step.
    speed: f64,
}

impl Sending {
    /// Whether it is all sent.
    fn step(&mut self, link: &mut Link) -> bool {
        self.credit += self.speed;
        while self.credit >= 1.0 && self.left > 0 {
            self.credit -= 1.0;
            self.left -= 1;
            self.lost += u32::from(!link.offer());
        }
        self.left == 0
    }
}

trait Arrivals {
    fn pop_front_if_before(&mut self, step: u64) -> Option<(u64, Sending)>;
}

impl Arrivals for VecDeque<(u64, Sending)> {
    fn pop_front_if_before(&mut self, step: u64) -> Option<(u64, Sending)> {
        if self.front().is_some_and(|(arrival, _)| *arrival <= step) {
            self.pop_front()
        } else {
            None
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<_> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn beside_tcp_on_20_mbit_the_viewer_keeps_five_frames_a_second_and_tcp_30_percent() {
    for queue in [60_000.0, 125_000.0, 250_000.0, 500_000.0, 2e6] {
        let seconds = share_a_link(Link::new(20e6, queue), 120, true);
        let settled = &seconds[20..];
        let frames = mean(settled.iter().map(|(frames, _)| *frames as f64));
        let tcp = mean(settled.iter().map(|(_, tcp)| *tcp));
        println!("queue {queue}: {frames:.1} fps, TCP {:.0} %", 100.0 * tcp);
        assert!(
            frames >= 5.0 && tcp >= 0.3,
            "queue {queue}: {frames:.1} fps, TCP {tcp:.2}"
        );

        // It does not swing to nothing: no three seconds in a row without a picture.
        assert!(
            settled
                .windows(3)
                .all(|three| three.iter().any(|(frames, _)| *frames > 0)),
            "{settled:?}"
        );
    }
}

#[test]
fn alone_on_20_mbit_a_stream_of_24_settles_near_what_the_link_holds() {
    for queue in [125_000.0, 500_000.0, 2e6] {
        let seconds = share_a_link(Link::new(20e6, queue), 120, false);
        let frames = mean(seconds[20..].iter().map(|(frames, _)| *frames as f64));
        println!("queue {queue}: {frames:.1} fps");
        assert!(frames >= 10.0, "queue {queue}: {frames:.1} fps");
        assert!(
            seconds[20..].iter().all(|(frames, _)| *frames >= 2),
            "{seconds:?}"
        );
    }
}

#[test]
fn a_link_with_room_loses_no_frame() {
    let seconds = share_a_link(Link::new(100e6, 500_000.0), 60, false);
    assert!(
        seconds[1..].iter().all(|(frames, _)| *frames >= 29),
        "{seconds:?}"
    );
}
