//! What idle objects hold in memory, and how long a broker that was killed takes to serve again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::house::House;
use super::probe::resident;
use super::process::Process;
use super::statistics::{Spread, as_f64, per};
use super::workloads::PROJECT;
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
            if i % PAIRS == 0 {
                self.house.project(&project(i)).await?;
            }
            self.house.bare_topic(&project(i), &format!("idle{i}")).await?;
        }
        Ok(())
    }

    async fn subscriptions(&mut self, names: Range<u32>) -> Result<(), Failure> {
        for i in names {
            let name = format!("idle{i}");
            self.house.bare_subscription(&project(i), &name, &name).await?;
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

/// Topics, and subscriptions, of one project, which may have 50,000 of both together.
const PAIRS: u32 = 20_000;
/// How many times it is killed.
const KILLS: usize = 5;

/// The project of the topic and the subscription of this number.
fn project(of: u32) -> String {
    format!("IDLE{}", of / PAIRS)
}

/// Makes `objects` topics, then as many subscriptions, each time waiting `reported` until
/// metrics-svc has judged them too; publishes `messages`, and a few times kills the broker and
/// starts it again on the same directory, with metrics-svc in its process. The first answer says
/// that all messages are there.
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
    house.bare_topic(PROJECT, "t").await?;
    house.bare_subscription(PROJECT, "s", "t").await?;
    let messages = house.fill("t", messages).await?;
    drop(metrics);

    let mut took = Vec::with_capacity(KILLS);
    for _ in 0..KILLS {
        let (mut again, begun) = house.start_again(data).await?;
        let (published, _) = again.offsets("s").await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if published != messages {
            let text = format!("{published} of {messages} messages are there after a restart");
            return Err(Failure::Other(text));
        }
        house = again;
    }
    let shown: Vec<String> = took.iter().map(|took| format!("{took:.0}")).collect();
    print::lines(&[format!("first answers after kill -9: {} ms", shown.join(", "))])?;
    let spread = Spread::of(took.iter().copied());
    let (median, slowest) = spread.map_or((0.0, 0.0), |spread| (spread.median, spread.high));
    Ok(BTreeMap::from([
        ("bytes per idle topic, broker", each(topics.broker, empty.broker)),
        ("bytes per idle topic, metrics-svc", each(topics.metrics, empty.metrics)),
        ("bytes per idle subscription, broker", each(subscriptions.broker, topics.broker)),
        ("bytes per idle subscription, metrics-svc", each(subscriptions.metrics, topics.metrics)),
        ("topics at the restart, and as many subscriptions", f64::from(made)),
        ("messages of 1 KiB before the kill", as_f64(messages)),
        ("first answer after kill -9, ms", took.first().copied().unwrap_or_default()),
        ("first answer after kill -9, median of 5 kills, ms", median),
        ("first answer after kill -9, slowest of 5 kills, ms", slowest),
    ]))
}
