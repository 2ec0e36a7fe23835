//! RTP packets of JPEG pictures (RFC 3550, RFC 2435), and sender reports. No socket and no clock.

use fanlight_daemon::clock::random_u64;
use fanlight_live::LiveFrame;
use fanlight_proto::message::FrameId;

use crate::jpeg::Picture;

/// Largest RTP packet, in bytes: with UDP and IPv6 headers it fits an Ethernet frame behind a tunnel.
pub(crate) const MAX_PACKET: usize = 1400;

/// The payload type of JPEG (RFC 3551).
const JPEG: u8 = 26;

/// Quantization tables come with each picture (RFC 2435, 4.2).
const TABLES_IN_BAND: u8 = 255;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What one RTP sender has to remember.
#[derive(Debug)]
pub(crate) struct RtpSender {
    pub(crate) ssrc: u32,
    /// That of the next packet.
    pub(crate) sequence: u16,
    /// That of the first picture.
    first_timestamp: u32,
    base: Option<Base>,
    packets: u32,
    bytes: u32,
}

/// Ties the source's clock to RTP time. A source that restarts has another clock.
#[derive(Clone, Copy, Debug)]
struct Base {
    epoch: u64,
    captured_ns: u64,
    timestamp: u32,
    /// The newest picture: its capture in UTC, in microseconds, and its timestamp.
    newest: (i64, u32),
}

impl RtpSender {
    /// One that begins at random numbers (RFC 3550, 5.1).
    pub(crate) fn new() -> Self {
        let random = random_u64().to_be_bytes();
        let [a, b, c, d, ..] = random;
        Self {
            ssrc: u32::from_be_bytes([a, b, c, d]),
            sequence: u16::from_be_bytes([random[4], random[5]]),
            first_timestamp: u32::from_be_bytes([random[6], random[7], a, c]),
            base: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// The timestamp of the first picture, while none has been sent.
    pub(crate) fn first_timestamp(&self) -> Option<u32> {
        self.base.is_none().then_some(self.first_timestamp)
    }

    /// The timestamp of `frame`: its capture by the source's clock in units of 1/90000 s.
    pub(crate) fn timestamp(&mut self, frame: &LiveFrame) -> u32 {
        let FrameId { epoch, .. } = frame.id;
        let captured_ns = frame.header.captured_ns;
        let utc_us = frame.captured_utc_us();

        let base = match self.base {
            Some(base) if base.epoch == epoch => base,
            former => Base {
                epoch,
                captured_ns,
                timestamp: former.map_or(self.first_timestamp, |former| {
                    let (newest_us, newest) = former.newest;
                    let between = u64::try_from(utc_us.saturating_sub(newest_us)).unwrap_or(0);
                    newest.wrapping_add(ticks(between.saturating_mul(1000)).max(1))
                }),
                newest: (0, 0),
            },
        };

        let since = captured_ns.saturating_sub(base.captured_ns);
        let timestamp = base.timestamp.wrapping_add(ticks(since));
        self.base = Some(Base {
            newest: (utc_us, timestamp),
            ..base
        });
        timestamp
    }

    /// Appends the packet of `picture` that begins at `offset` of its scan; gives the offset of the next one.
    pub(crate) fn packet(
        &mut self,
        picture: &Picture,
        timestamp: u32,
        offset: usize,
        packet: &mut Vec<u8>,
    ) -> usize {
        let start = packet.len();
        packet.extend([0x80, JPEG]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());

        let [_, place @ ..] = (offset as u32).to_be_bytes();
        packet.push(0);
        packet.extend(place);
        packet.extend([picture.kind, TABLES_IN_BAND, picture.width, picture.height]);

        if picture.restart_interval > 0 {
            // Restart intervals are not aligned to packets: F, L and a count of all ones (RFC 2435, 3.1.7).
            packet.extend(picture.restart_interval.to_be_bytes());
            packet.extend([0xff, 0xff]);
        }
        if offset == 0 {
            packet.extend([0, 0, 0, 128]);
            packet.extend(picture.quantization.as_flattened());
        }

        let room = MAX_PACKET - (packet.len() - start);
        let end = picture.scan.len().min(offset + room);
        packet.extend_from_slice(&picture.scan[offset..end]);
        if end == picture.scan.len() {
            packet[start + 1] |= 0x80;
        }

        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((packet.len() - start - 12) as u32);
        end
    }

    /// A sender report with the name `cname` (RFC 3550, 6.4.1 and 6.5): at `utc_us`, microseconds since 1970 by the
    /// source's wall clock, RTP time was that of the newest picture. None before the first one.
    pub(crate) fn report(&self, cname: &str, bye: bool) -> Option<Vec<u8>> {
        let (utc_us, timestamp) = self.base?.newest;
        let utc_us = u64::try_from(utc_us).unwrap_or(0);
        let seconds = (utc_us / 1_000_000 + NTP_OFFSET) as u32;
        let fraction = ((utc_us % 1_000_000) << 32) / 1_000_000;

        let mut report = vec![0x80, 200, 0, 6];
        for word in [
            self.ssrc,
            seconds,
            fraction as u32,
            timestamp,
            self.packets,
            self.bytes,
        ] {
            report.extend(word.to_be_bytes());
        }

        let name = &cname.as_bytes()[..cname.len().min(255)];
        let words = (4 + 2 + name.len() + 1).div_ceil(4);
        let end = report.len() + 4 + 4 * words;
        report.extend([0x81, 202, 0, words as u8]);
        report.extend(self.ssrc.to_be_bytes());
        report.extend([1, name.len() as u8]);
        report.extend(name);
        report.resize(end, 0);

        if bye {
            report.extend([0x81, 203, 0, 1]);
            report.extend(self.ssrc.to_be_bytes());
        }
        Some(report)
    }
}

/// Nanoseconds in units of 1/90000 s.
fn ticks(nanos: u64) -> u32 {
    (u128::from(nanos) * 9 / 100_000) as u32
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanlight_daemon::clock;

    use super::*;
    use crate::fuzz::{PICTURE, frame};

    /// 2027-01-15 08:00:00 UTC, in seconds since 1970.
    const UTC: u64 = 1_800_000_000;

    /// A frame that a source captured `captured_ms` after it was started, at `utc_ms` after [`UTC`].
    fn captured(epoch: u64, captured_ms: u64, utc_ms: u64) -> LiveFrame {
        let id = FrameId { epoch, number: 0 };
        let nanos = |ms: u64| ms * 1_000_000;
        let offset = UTC * 1_000_000_000 + nanos(utc_ms) - nanos(captured_ms);
        let frame = frame(id, nanos(captured_ms), offset as i64, PICTURE);
        LiveFrame::new(0, frame, Bytes::new(), clock::now())
    }

    /// Seconds since 1970, their fraction, and RTP time of a sender report.
    fn reported(sender: &RtpSender) -> (u64, f64, u32) {
        let report = sender.report("fanlight", false).unwrap();
        assert_eq!(report[..4], [0x80, 200, 0, 6]);
        let word = |at: usize| u32::from_be_bytes(report[at..at + 4].try_into().unwrap());
        let fraction = f64::from(word(12)) / 2_f64.powi(32);
        (u64::from(word(8)) - 2_208_988_800, fraction, word(16))
    }

    #[test]
    fn a_sender_report_says_when_the_newest_picture_was_captured_in_utc() {
        let mut sender = RtpSender::new();
        assert!(sender.report("fanlight", false).is_none());
        for (ms, second, part) in [(0, 0, 0.0), (250, 0, 0.25), (61_500, 61, 0.5)] {
            let timestamp = sender.timestamp(&captured(1, 70_000 + ms, ms));
            let (seconds, fraction, rtp) = reported(&sender);
            assert_eq!((seconds, rtp), (UTC + second, timestamp));
            assert!((fraction - part).abs() < 1e-5, "{fraction}");
        }
    }

    #[test]
    fn rtp_time_goes_on_as_utc_does_when_a_source_has_started_again() {
        let mut sender = RtpSender::new();
        let before = sender.timestamp(&captured(1, 90_000, 0));
        let after = sender.timestamp(&captured(2, 10, 3_000));
        assert_eq!(after.wrapping_sub(before), 3 * 90_000);
        assert_eq!(reported(&sender), (UTC + 3, 0.0, after));

        let later = sender.timestamp(&captured(2, 510, 3_500));
        assert_eq!(later.wrapping_sub(after), 45_000);
    }
}
