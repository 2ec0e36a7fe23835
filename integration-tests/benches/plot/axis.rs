//! A logarithmic axis.

/// Where ticks may stand within a power of ten.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// See the module.
pub(super) struct Axis {
    pixels: f64,
    /// What is written along it, ascending; it reaches from the first to the last.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// With round ticks, from one that is not over any of `values` to one that is not under any.
    pub(super) fn round(values: impl Iterator<Item = f64>, pixels: f64) -> Self {
        let (least, most) = values.fold((f64::MAX, 1e-2_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });

        let from = steps()
            .filter(|step| *step <= least)
            .last()
            .unwrap_or(least.min(most / 10.0));

        let to = steps().find(|step| *step >= most).unwrap_or(most);
        Self {
            pixels,
            ticks: steps().filter(|step| (from..=to).contains(step)).collect(),
        }
    }

    /// With a tick at each of `values`.
    pub(super) fn at_each(values: impl Iterator<Item = f64>, pixels: f64) -> Self {
        let mut ticks: Vec<f64> = values.collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        Self { pixels, ticks }
    }

    /// Pixels from the axis' beginning; its middle when it has no length.
    pub(super) fn at(&self, value: f64) -> f64 {
        match self.ticks.as_slice() {
            [from, .., to] => (value / from).ln() / (to / from).ln() * self.pixels,
            _ => self.pixels / 2.0,
        }
    }
}

/// From a thousandth to five millions.
fn steps() -> impl Iterator<Item = f64> {
    // A quotient is the nearest number to what is written; a product with a tenth is not.
    let step = |power: i32, step: f64| {
        if power < 0 {
            step / 10_f64.powi(-power)
        } else {
            step * 10_f64.powi(power)
        }
    };

    (-3..7).flat_map(move |power| STEPS.map(|first| step(power, first)))
}
