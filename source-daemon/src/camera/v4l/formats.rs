//! What a device offers, and which of it to take. Only [`read`] speaks to a device.

use std::collections::BTreeSet;
use std::fmt;

use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture as _;
use v4l::{Device, Fraction};

use super::{Layout, PixelChoice};

/// The size taken when none is asked for, or the one nearest to it.
const USUAL_SIZE: (u32, u32) = (1280, 720);

/// The rate taken when none is asked for, or the one nearest to it.
const USUAL_RATE: f64 = 30.0;

/// Sizes of one layout that are read: a driver that lists more has a fault.
const MAX_SIZES: usize = 256;

/// What an operator asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FormatRequest {
    /// Exactly this width and height.
    pub(super) size: Option<(u32, u32)>,
    /// Frames a second; the nearest is taken.
    pub(super) rate: Option<f64>,
    /// Which layouts will do.
    pub(super) pixels: PixelChoice,
}

/// Everything a device offers.
#[derive(Debug, Default)]
pub(super) struct SupportedFormats {
    /// What can be taken.
    pub(super) formats: Vec<SupportedFormat>,
    /// Layouts that Fanlight does not read, by their V4L2 names.
    pub(super) foreign: Vec<String>,
}

/// One layout in one size, or one range of sizes.
#[derive(Clone, Debug)]
pub(super) struct SupportedFormat {
    pub(super) layout: Layout,
    pub(super) width: SizeRange,
    pub(super) height: SizeRange,
    pub(super) rates: Rates,
}

/// The values from `min` to `max` in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeRange {
    min: u32,
    max: u32,
    step: u32,
}

/// The rates of an [`SupportedFormat`].
#[derive(Clone, Debug)]
pub(super) enum Rates {
    /// The driver does not tell.
    Unknown,
    /// These.
    Listed(Vec<Rate>),
    /// Anything from the slowest to the fastest.
    Between(Rate, Rate),
}

/// Frames a second as the fraction that drivers count in: 30000/1001 is not 29.97.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) frames: u32,
    pub(super) seconds: u32,
}

/// What is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Selection {
    pub(super) layout: Layout,
    pub(super) width: u32,
    pub(super) height: u32,
    /// None when the driver does not tell its rates.
    pub(super) rate: Option<Rate>,
}

/// Reads what `device` offers. Of a range of sizes the rates are those of the size wished for.
///
/// # Errors
/// Those of the driver.
pub(super) fn read(device: &Device, request: &FormatRequest) -> std::io::Result<SupportedFormats> {
    let mut menu = SupportedFormats::default();
    let codes: BTreeSet<[u8; 4]> = device
        .enum_formats()?
        .iter()
        .map(|f| f.fourcc.repr)
        .collect();

    for code in codes {
        let Some(layout) = Layout::of_fourcc(code) else {
            menu.foreign
                .push(String::from_utf8_lossy(&code).trim_end().to_owned());
            continue;
        };

        for size in device
            .enum_framesizes(layout.fourcc())?
            .into_iter()
            .take(MAX_SIZES)
        {
            let (width, height) = spans(size.size);
            let (w, h) = request.size.unwrap_or(USUAL_SIZE);
            let (w, h) = (width.nearest(w), height.nearest(h));
            menu.formats.push(SupportedFormat {
                layout,
                width,
                height,
                rates: rates(device, layout, w, h),
            });
        }
    }

    Ok(menu)
}

/// The offer that fits `request` best: the exact size (else the size nearest to 1280x720), a rate within a tenth of the one
/// asked for before one further off, then MJPEG before YUYV before NV12, then the nearest rate.
pub(super) fn choose(formats: &[SupportedFormat], request: &FormatRequest) -> Option<Selection> {
    let fitting = formats.iter().filter_map(|format| format.fit(request));
    fitting.min_by_key(|choice| {
        let distance = if request.size.is_some() {
            0
        } else {
            pixels(*choice).abs_diff(USUAL_SIZE.0 * USUAL_SIZE.1)
        };

        let off = choice.rate.map_or(0.0, |rate| {
            rate.distance(request.rate.unwrap_or(USUAL_RATE))
        });
        (
            (off * 10.0) as u32,
            distance,
            choice.layout,
            (off * 1e6) as u32,
        )
    })
}

impl SupportedFormats {
    /// Why nothing fits, with everything that is offered.
    pub(super) fn mismatch_message(&self, device: &str, request: &FormatRequest) -> String {
        let mut wanted = Vec::new();
        wanted.extend(request.pixels.only().map(|layout| layout.to_string()));
        wanted.extend(request.size.map(|(w, h)| format!("{w}x{h}")));
        if wanted.is_empty() {
            wanted.push("MJPG, YUYV or NV12".into());
        }
        format!("{device} has no {}; it offers {self}", wanted.join(" "))
    }
}

impl fmt::Display for SupportedFormats {
    /// `MJPG/YUYV 640x360@60 1280x720@30; NV12 640x360@30`: every size with its fastest rate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(String, String)> = Vec::new();
        for layout in [Layout::Mjpeg, Layout::Yuyv, Layout::Nv12] {
            let sizes: Vec<String> = self
                .formats
                .iter()
                .filter(|o| o.layout == layout)
                .map(ToString::to_string)
                .collect();

            let sizes = sizes.join(" ");
            match groups.iter_mut().find(|(_, same)| *same == sizes) {
                _ if sizes.is_empty() => {}
                Some((names, _)) => *names += &format!("/{layout}"),
                None => groups.push((layout.to_string(), sizes)),
            }
        }

        let mut parts: Vec<String> = groups
            .into_iter()
            .map(|(names, sizes)| format!("{names} {sizes}"))
            .collect();

        if parts.is_empty() {
            parts.push(if self.foreign.is_empty() {
                "nothing".into()
            } else {
                self.foreign.join(" ")
            });
        }

        f.write_str(&parts.join("; "))
    }
}

impl SupportedFormat {
    fn fit(&self, request: &FormatRequest) -> Option<Selection> {
        let (width, height) = match request.size {
            Some((w, h)) => (w, h),
            None => (
                self.width.nearest(USUAL_SIZE.0),
                self.height.nearest(USUAL_SIZE.1),
            ),
        };

        let fits = request.pixels.allows(self.layout)
            && self.width.contains(width)
            && self.height.contains(height)
            && (1..=MAX_WIDTH).contains(&width)
            && (1..=MAX_HEIGHT).contains(&height)
            && self.layout.can_have(width, height);

        let rate = self.rates.nearest(request.rate.unwrap_or(USUAL_RATE));
        fits.then_some(Selection {
            layout: self.layout,
            width,
            height,
            rate,
        })
    }
}

impl fmt::Display for SupportedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.width.min == self.width.max && self.height.min == self.height.max {
            write!(f, "{}x{}", self.width.max, self.height.max)?;
        } else {
            write!(
                f,
                "{}x{}-{}x{}",
                self.width.min, self.height.min, self.width.max, self.height.max
            )?;
        }

        match self.rates.fastest() {
            Some(rate) => write!(f, "@{rate}"),
            None => Ok(()),
        }
    }
}

impl SizeRange {
    pub(super) fn just(value: u32) -> Self {
        Self {
            min: value,
            max: value,
            step: 1,
        }
    }

    fn contains(self, value: u32) -> bool {
        (self.min..=self.max).contains(&value)
            && (value - self.min).is_multiple_of(self.step.max(1))
    }

    fn nearest(self, value: u32) -> u32 {
        if self.min > self.max {
            return self.min;
        }
        let inside = value.clamp(self.min, self.max);
        inside - (inside - self.min) % self.step.max(1)
    }
}

impl Rates {
    fn nearest(&self, wanted: f64) -> Option<Rate> {
        match self {
            Self::Unknown => None,
            Self::Listed(rates) => rates
                .iter()
                .copied()
                .min_by(|a, b| a.distance(wanted).total_cmp(&b.distance(wanted))),
            Self::Between(slowest, _) if wanted <= slowest.per_second() => Some(*slowest),
            Self::Between(_, fastest) if wanted >= fastest.per_second() => Some(*fastest),
            Self::Between(..) => Some(Rate::near(wanted)),
        }
    }

    fn fastest(&self) -> Option<Rate> {
        match self {
            Self::Unknown => None,
            Self::Listed(rates) => rates
                .iter()
                .copied()
                .max_by(|a, b| a.per_second().total_cmp(&b.per_second())),
            Self::Between(_, fastest) => Some(*fastest),
        }
    }
}

impl Rate {
    /// `frames` in `seconds`; None when either is zero.
    pub(super) fn of_interval(interval: Fraction) -> Option<Self> {
        let rate = Self {
            frames: interval.denominator,
            seconds: interval.numerator,
        };
        (rate.frames > 0 && rate.seconds > 0).then_some(rate)
    }

    /// `wanted` frames a second to a thousandth, or the NTSC fraction when it is that.
    fn near(wanted: f64) -> Self {
        let ntsc = Self {
            frames: (wanted * 1.001).round() as u32 * 1000,
            seconds: 1001,
        };

        let thousandths = Self {
            frames: (wanted * 1000.0).round() as u32,
            seconds: 1000,
        };

        if wanted.fract() != 0.0 && ntsc.distance(wanted) < 1e-4 {
            ntsc
        } else {
            thousandths
        }
    }

    pub(super) fn interval(self) -> Fraction {
        Fraction::new(self.seconds, self.frames)
    }

    pub(super) fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }

    /// Thousandths of a frame a second.
    pub(super) fn millihertz(self) -> u32 {
        (self.per_second() * 1000.0).round() as u32
    }

    /// How far off `wanted` it is, as a share of `wanted`.
    fn distance(self, wanted: f64) -> f64 {
        (self.per_second() - wanted).abs() / wanted
    }
}

impl fmt::Display for Rate {
    /// At most two decimals, and none that are zero: 30, 29.97, 7.5.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.per_second() * 100.0).round() / 100.0)
    }
}

fn pixels(choice: Selection) -> u32 {
    choice.width * choice.height
}

fn spans(size: FrameSizeEnum) -> (SizeRange, SizeRange) {
    match size {
        FrameSizeEnum::Discrete(one) => (SizeRange::just(one.width), SizeRange::just(one.height)),
        FrameSizeEnum::Stepwise(s) => (
            SizeRange {
                min: s.min_width,
                max: s.max_width,
                step: s.step_width,
            },
            SizeRange {
                min: s.min_height,
                max: s.max_height,
                step: s.step_height,
            },
        ),
    }
}

fn rates(device: &Device, layout: Layout, width: u32, height: u32) -> Rates {
    let intervals = device
        .enum_frameintervals(layout.fourcc(), width, height)
        .unwrap_or_default();
    let mut listed = Vec::new();
    for interval in intervals {
        match interval.interval {
            FrameIntervalEnum::Discrete(interval) => listed.extend(Rate::of_interval(interval)),
            // The longest interval is the slowest rate.
            FrameIntervalEnum::Stepwise(s) => {
                if let (Some(slowest), Some(fastest)) =
                    (Rate::of_interval(s.max), Rate::of_interval(s.min))
                {
                    return Rates::Between(slowest, fastest);
                }
            }
        }
    }

    if listed.is_empty() {
        Rates::Unknown
    } else {
        Rates::Listed(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(layout: Layout, width: u32, height: u32, rates: &[(u32, u32)]) -> SupportedFormat {
        let rates = rates
            .iter()
            .map(|&(frames, seconds)| Rate { frames, seconds })
            .collect();

        SupportedFormat {
            layout,
            width: SizeRange::just(width),
            height: SizeRange::just(height),
            rates: Rates::Listed(rates),
        }
    }

    /// A common webcam: MJPEG fast in every size, YUYV slow in the large ones, rates that are not whole.
    fn webcam() -> SupportedFormats {
        let all = [(60, 1), (30, 1), (30_000, 1001), (15, 1)];
        let formats = vec![
            format(Layout::Yuyv, 640, 360, &all),
            format(Layout::Yuyv, 1280, 720, &[(10, 1), (15, 2)]),
            format(Layout::Mjpeg, 640, 360, &all),
            format(Layout::Mjpeg, 1280, 720, &all),
            format(Layout::Mjpeg, 1920, 1080, &[(30, 1)]),
        ];

        SupportedFormats {
            formats,
            foreign: vec!["GREY".into()],
        }
    }

    fn chosen(request: FormatRequest) -> String {
        match choose(&webcam().formats, &request) {
            Some(c) => format!("{} {}x{} {}", c.layout, c.width, c.height, c.rate.unwrap()),
            None => "none".into(),
        }
    }

    #[test]
    fn without_a_wish_a_webcam_gives_mjpeg_720p30() {
        assert_eq!(chosen(FormatRequest::default()), "MJPG 1280x720 30");
    }

    #[test]
    fn the_size_is_exact_and_the_rate_the_nearest() {
        let request = |w, h, rate| FormatRequest {
            size: Some((w, h)),
            rate: Some(rate),
            pixels: PixelChoice::Auto,
        };

        assert_eq!(chosen(request(640, 360, 29.97)), "MJPG 640x360 29.97");
        assert_eq!(chosen(request(640, 360, 31.0)), "MJPG 640x360 30");
        assert_eq!(chosen(request(640, 360, 1000.0)), "MJPG 640x360 60");
        assert_eq!(chosen(request(1280, 720, 10.0)), "YUYV 1280x720 10");
        assert_eq!(chosen(request(1280, 720, 15.0)), "MJPG 1280x720 15");
        assert_eq!(chosen(request(800, 600, 30.0)), "none");
    }

    #[test]
    fn a_layout_that_is_asked_for_is_kept_to() {
        let request = |size, pixels| FormatRequest {
            size,
            rate: None,
            pixels,
        };

        assert_eq!(
            chosen(request(Some((1280, 720)), PixelChoice::Yuyv)),
            "YUYV 1280x720 10"
        );

        assert_eq!(chosen(request(None, PixelChoice::Yuyv)), "YUYV 640x360 30");
        assert_eq!(chosen(request(None, PixelChoice::Nv12)), "none");
    }

    #[test]
    fn a_refusal_lists_what_the_device_offers() {
        let request = FormatRequest {
            size: Some((800, 600)),
            ..FormatRequest::default()
        };

        assert_eq!(
            webcam().mismatch_message("/dev/video0", &request),
            "/dev/video0 has no 800x600; it offers MJPG 640x360@60 1280x720@60 1920x1080@30; YUYV 640x360@60 1280x720@10"
        );

        let grey = SupportedFormats {
            formats: vec![],
            foreign: vec!["GREY".into(), "BA81".into()],
        };

        assert_eq!(
            grey.mismatch_message("/dev/video0", &FormatRequest::default()),
            "/dev/video0 has no MJPG, YUYV or NV12; it offers GREY BA81"
        );

        let both = vec![
            format(Layout::Mjpeg, 64, 48, &[(30, 1)]),
            format(Layout::Nv12, 64, 48, &[(30, 1)]),
        ];

        assert_eq!(
            SupportedFormats {
                formats: both,
                foreign: vec![]
            }
            .to_string(),
            "MJPG/NV12 64x48@30"
        );
    }

    #[test]
    fn a_range_of_sizes_and_rates_gives_any_value_on_its_steps() {
        let between = Rates::Between(
            Rate {
                frames: 1,
                seconds: 1,
            },
            Rate {
                frames: 60,
                seconds: 1,
            },
        );

        let range = SupportedFormat {
            layout: Layout::Yuyv,
            width: SizeRange {
                min: 16,
                max: 16_392,
                step: 8,
            },
            height: SizeRange {
                min: 16,
                max: 2304,
                step: 2,
            },
            rates: between,
        };

        let request = |w, h, rate| FormatRequest {
            size: Some((w, h)),
            rate: Some(rate),
            pixels: PixelChoice::Auto,
        };

        let get = |w: FormatRequest| choose(std::slice::from_ref(&range), &w);
        assert_eq!(
            get(request(648, 482, 12.5)).unwrap().rate,
            Some(Rate {
                frames: 12_500,
                seconds: 1000
            })
        );

        assert_eq!(
            get(request(648, 482, 29.97)).unwrap().rate,
            Some(Rate {
                frames: 30_000,
                seconds: 1001
            })
        );

        assert_eq!(
            get(request(648, 482, 90.0)).unwrap().rate,
            Some(Rate {
                frames: 60,
                seconds: 1
            })
        );

        assert_eq!(
            get(request(650, 482, 30.0)),
            None,
            "650 is no multiple of 8"
        );

        assert_eq!(
            get(request(16_392, 2304, 30.0)),
            None,
            "larger than anyone decodes"
        );

        assert_eq!(
            get(FormatRequest::default()).map(|c| (c.width, c.height)),
            Some((1280, 720))
        );
    }

    #[test]
    fn a_driver_that_tells_no_rates_can_be_used() {
        let silent = SupportedFormat {
            rates: Rates::Unknown,
            ..format(Layout::Yuyv, 640, 480, &[])
        };

        assert_eq!(
            choose(&[silent], &FormatRequest::default()).unwrap().rate,
            None
        );
    }

    #[test]
    fn an_odd_size_is_never_taken_in_a_subsampled_layout() {
        assert!(
            choose(
                &[format(Layout::Yuyv, 321, 240, &[(30, 1)])],
                &FormatRequest::default()
            )
            .is_none()
        );

        assert!(
            choose(
                &[format(Layout::Nv12, 320, 241, &[(30, 1)])],
                &FormatRequest::default()
            )
            .is_none()
        );

        assert!(
            choose(
                &[format(Layout::Mjpeg, 321, 241, &[(30, 1)])],
                &FormatRequest::default()
            )
            .is_some()
        );
    }
}
