//! What idle objects hold in memory, and how long a broker that was killed takes to serve again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use super::connection::{Connection, request};
use super::house::House;
use super::load::check;
use super::probe::resident;
use super::process::Process;
use super::statistics::{as_f64, per};
use crate::failure::Failure;
use crate::print;

/// How often resident bytes are looked at.
const LOOKS: u32 = 30;

/// Broker and metrics-svc, each in its own process, so that each one's memory is told.
struct Apart {
    house: House,
    metrics: Process,
    /// How long metrics-svc takes to learn and to judge everything.
    reported: Duration,
}

/// Resident bytes of both.
#[derive(Clone, Copy)]
struct Resident {
    broker: u64,
    metrics: u64,
}

impl Apart {
    async fn open(data: &Path, reported: Duration) -> Result<Self, Failure> {
        let metrics = Process::metrics_svc(data).await?;
        let house = House::open_alone(data, metrics.address("ingest http://")?).await?;
        Ok(Self { house, metrics, reported })
    }

    async fn topics(&mut self, names: Range<u32>) -> Result<(), Failure> {
        for i in names {
            self.house.bare_topic(&format!("idle{i}")).await?;
        }
        Ok(())
    }

    async fn subscriptions(&mut self, names: Range<u32>) -> Result<(), Failure> {
        for i in names {
            let name = format!("idle{i}");
            self.house.bare_subscription(&name, &name).await?;
        }
        Ok(())
    }

    /// What both hold once everything is known: the least of as long a time again, for reports and
    /// judgements take memory for a moment, and it is given back some time later.
    async fn settled(&self) -> Resident {
        tokio::time::sleep(self.reported).await;
        let mut least = Resident { broker: u64::MAX, metrics: u64::MAX };
        for _ in 0..LOOKS {
            tokio::time::sleep(self.reported / LOOKS).await;
            least.broker = least.broker.min(resident(self.house.id()));
            least.metrics = least.metrics.min(resident(self.metrics.id()));
        }
        least
    }
}

/// Makes `objects` topics, then as many subscriptions, each time waiting `reported` until
/// metrics-svc has judged them too; publishes `messages`, kills the broker and starts it again on
/// the same directory, with metrics-svc in its process.
pub(super) async fn measure(
    data: &Path,
    objects: u32,
    messages: u64,
    reported: Duration,
) -> Result<BTreeMap<&'static str, f64>, Failure> {
    let mut apart = Apart::open(data, reported).await?;
    // The first ones are paid by what a start has freed, and by what a request takes for a moment.
    let first = objects.div_ceil(5);
    apart.topics(0..first).await?;
    apart.subscriptions(0..first).await?;
    let empty = apart.settled().await;
    let made = first.saturating_add(objects);
    apart.topics(first..made).await?;
    let topics = apart.settled().await;
    apart.subscriptions(first..made).await?;
    let subscriptions = apart.settled().await;
    let each = |now: u64, before: u64| per(as_f64(now.saturating_sub(before)), f64::from(objects));
    let Apart { mut house, metrics, .. } = apart;
    house.topic("t").await?;
    let messages = house.fill("t", messages).await?;
    drop((house, metrics));

    let begun = Instant::now();
    let process = Process::ams(data).await?;
    let address = process.address("plain API ")?;
    let answered = async {
        let mut api = Connection::open(address).await?;
        let status = api.send(&request("GET", "status", "", b"")).await?;
        check(status, api.body())
    };
    answered.await.map_err(|error| Failure::Other(format!("after a restart: {error}")))?;
    let restart = begun.elapsed();
    print::lines(&[format!("restart after kill -9: {} ms", restart.as_millis())])?;
    Ok(BTreeMap::from([
        ("bytes per idle topic, broker", each(topics.broker, empty.broker)),
        ("bytes per idle topic, metrics-svc", each(topics.metrics, empty.metrics)),
        ("bytes per idle subscription, broker", each(subscriptions.broker, topics.broker)),
        ("bytes per idle subscription, metrics-svc", each(subscriptions.metrics, topics.metrics)),
        ("objects of each kind", f64::from(objects)),
        ("objects of each kind at the restart", f64::from(made)),
        ("messages before the kill", as_f64(messages)),
        ("first answer after kill -9, ms", restart.as_secs_f64() * 1e3),
    ]))
}
