//! `/metrics`: what brokers reported and what was judged of it, as Prometheus text.
//!
//! Built anew from memory for every scrape, not mirrored into registered metrics: what is gone
//! from memory is gone from the page. No sample carries a timestamp, or Prometheus would not
//! notice that.

mod family;
mod records;
mod service;

use prometheus::TextEncoder;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

use self::family::Families;
use crate::db::Queue;
use crate::series::Viewer;
use crate::watch::Watch;

/// The page for `viewer`; `queue` is `None` when the database cannot be read. `None` when it
/// cannot be encoded.
pub(super) fn page(watch: &Watch, viewer: &Viewer, queue: Option<Queue>) -> Option<String> {
    let mut families = Families::default();
    {
        let known = watch.known();
        let now = watch.now();
        records::reported(&known, viewer, now, &mut families);
        records::judged(&known, viewer, &mut families);
        records::inventory(&known, viewer, &mut families);
        if *viewer == Viewer::All {
            service::brokers(&known, &mut families);
            service::incidents(&known, &mut families);
        }
    }
    let mut all: Vec<MetricFamily>;
    if *viewer == Viewer::All {
        service::own(watch, queue, &mut families);
        all = families.finish();
        all.extend(ProcessCollector::for_self().collect());
    } else {
        all = families.finish();
    }
    all.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&all).ok()
}
