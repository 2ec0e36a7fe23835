//! Families of figures, each with its help and type.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use fanlight_live::{AGE_EDGES_MS, Ages};

/// Writes one family after the other.
pub(super) struct Writer<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl<'a, 'b> Writer<'a, 'b> {
    pub(super) fn new(encoder: &'a mut DescriptorEncoder<'b>) -> Self {
        Self(encoder)
    }

    /// Counters that differ in their labels; `_total` is appended to the name and its unit.
    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl Iterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            count(&mut family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }

    /// One counter; `_total` is appended to the name.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count(
            &mut self
                .0
                .encode_descriptor(name, help, None, MetricType::Counter)?,
            &value,
        )
    }

    /// One counter of time; `_seconds_total` is appended to the name.
    pub(super) fn counter_seconds(
        &mut self,
        name: &str,
        help: &str,
        value: Duration,
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        count(&mut family, &value.as_secs_f64())
    }

    /// Gauges that differ in their labels.
    pub(super) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl Iterator<Item = ([(&'static str, String); N], f64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// One gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// Histograms of times; `_seconds` is appended to the name.
    pub(super) fn histograms<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'static str, String); N], Ages)>,
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, ages) in values {
            let edges = AGE_EDGES_MS
                .iter()
                .map(|edge| *edge as f64 / 1e3)
                .chain([f64::INFINITY]);

            let buckets: Vec<_> = edges.zip(ages.classes).collect();
            let (sum, count) = (ages.sum_us as f64 / 1e6, ages.classes.iter().sum());
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }

        Ok(())
    }

    /// Words in place of figures; `_info` is appended to the name.
    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        words: [(&'static str, &'static str); N],
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&words)
    }
}

fn count(encoder: &mut MetricEncoder<'_>, value: &impl EncodeCounterValue) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
}
