//! Metric families by name, with the help texts of `telemetry::names`.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use telemetry::names::{self, Kind};

/// The families of one page.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<&'static str, (Kind, Vec<Metric>)>);

impl Families {
    /// Adds a sample of `name`, which is one of `telemetry::names`.
    pub(super) fn add(
        &mut self,
        name: &'static str,
        kind: Kind,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        match kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.0.entry(name).or_insert_with(|| (kind, Vec::new())).1.push(metric);
    }

    /// Adds a sample of one of [`names::DERIVED`], which says its kind.
    pub(super) fn derived(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let known = names::DERIVED.iter().find(|(known, _, _)| *known == name);
        if let Some((name, kind, _)) = known {
            self.add(name, *kind, labels, value);
        }
    }

    /// All of them, by name.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        let family = |(name, (kind, metrics)): (&'static str, (Kind, Vec<Metric>))| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help(name).to_owned());
            family.set_field_type(match kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            family.set_metric(metrics);
            family
        };
        self.0.into_iter().map(family).collect()
    }
}

fn help(name: &str) -> &'static str {
    let reported = names::REPORTED.iter().map(|metric| (metric.prometheus, metric.help));
    let derived = names::DERIVED.iter().map(|(name, _, help)| (*name, *help));
    reported.chain(derived).find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}
