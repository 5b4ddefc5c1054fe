//! One workload in one round: furnish a broker, load it, and check that it lost nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::request;
use super::consume::Consumer;
use super::house::House;
use super::load::{Actor, Done, Script, Tally};
use super::probe;
use super::statistics::{as_f64, per, percentile};
use super::workloads::{
    FAN_OUT, FAN_OUT_PUBLISHERS, KIBIBYTE, Kind, PROJECT, TOPICS_CONNECTIONS, Workload,
    publish_body, script, zipf,
};
use crate::failure::Failure;

/// How large and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
    /// Topics of [`Kind::Topics`].
    pub(super) topics: u16,
    /// Divides backlogs.
    pub(super) shrink: u64,
}

/// The figures of one workload, or of a floor, in one round.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    /// Messages a second.
    pub(super) rate: f64,
    /// p50, p90, p99 and p99.9 of an operation, us.
    pub(super) latency: [f64; 4],
    /// CPU per message, us.
    pub(super) server_cpu: f64,
    /// The same by the names of threads.
    pub(super) threads: BTreeMap<String, f64>,
    pub(super) client_cpu: f64,
    /// Cores that neither used.
    pub(super) other_cores: f64,
    /// Of the server, at the end, bytes.
    pub(super) resident: u64,
    /// Per message, of the whole device.
    pub(super) disk_bytes: Option<f64>,
    pub(super) flushes: Option<f64>,
    /// What only this workload has.
    pub(super) extra: BTreeMap<&'static str, f64>,
}

impl Figures {
    /// Of a phase, by what was sent or by what was received.
    pub(super) fn of(done: &Done, tally: &Tally, server: u32) -> Self {
        let messages = as_f64(tally.messages);
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let threads = done.usage.threads.iter();
        let threads = threads.map(|(name, cpu)| (name.clone(), per(micros(*cpu), messages)));
        Self {
            rate: per(messages, done.usage.length.as_secs_f64()),
            latency: quantiles(&tally.latencies),
            server_cpu: per(micros(done.usage.server_cpu), messages),
            threads: threads.collect(),
            client_cpu: per(micros(done.usage.client_cpu), messages),
            other_cores: done.usage.other_cores,
            resident: probe::resident(server),
            disk_bytes: done.usage.disk_bytes.map(|bytes| per(as_f64(bytes), messages)),
            flushes: done.usage.flushes.map(|count| per(as_f64(count), messages)),
            extra: BTreeMap::new(),
        }
    }
}

/// p50, p90, p99, p99.9 in us.
fn quantiles(nanos: &[u64]) -> [f64; 4] {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    [0.5, 0.9, 0.99, 0.999].map(|share| as_f64(percentile(&sorted, share)) / 1e3)
}

/// Measures `workload` on `house`, whose directory is `data`.
pub(super) async fn measure(
    workload: &Workload,
    house: &mut House,
    data: &Path,
    scale: &Scale,
    trust: &std::sync::Arc<rustls::ClientConfig>,
) -> Result<Figures, Failure> {
    let times = (scale.warm_up, scale.length);
    match workload.kind {
        Kind::Publish { connections, messages, bytes, .. } => {
            let batch = (messages, bytes);
            one_topic(house).await?;
            let done = house.load(data, house.publishers(connections, "t", batch), 0.0, times);
            let done = done.await?;
            expect_published(house, "s", done.sent.all_messages).await?;
            let mut figures = Figures::of(&done, &done.sent, house.id());
            if connections == 1 {
                figures.extra.insert("fdatasync_us", fdatasync(data).await?);
            }
            Ok(figures)
        }
        Kind::Consume { connections, max, backlog } => {
            house.topic("t").await?;
            let names: Vec<String> = (0..connections).map(|i| format!("s{i}")).collect();
            for name in &names {
                house.subscription(name, "t").await?;
            }
            house.fill("t", backlog / scale.shrink).await?;
            let again = Some(house.admin.clone());
            let actors = names.iter().map(|name| {
                Actor::Consume(Box::new(Consumer {
                    max,
                    again: again.clone(),
                    ..consumer(house, name)
                }))
            });
            let done = house.load(data, actors.collect(), 0.0, times).await?;
            expect_positions(house, &done).await?;
            Ok(Figures::of(&done, &done.received, house.id()))
        }
        Kind::Latency => latency(house, data, scale).await,
        Kind::FanOut => fan_out(house, data, scale).await,
        Kind::Topics => topics(house, data, scale).await,
        Kind::Churn => {
            one_topic(house).await?;
            let publishers = house.publishers(16, "t", (1, KIBIBYTE));
            let churners = publishers.into_iter().map(|actor| match actor {
                Actor::Repeat(script) => Actor::Churn(script),
                other => other,
            });
            let plan = super::load::Plan {
                plain: house.plain,
                tls: Some((house.tls, std::sync::Arc::clone(trust))),
                actors: churners.collect(),
                pace: 0.0,
                warm_up: scale.warm_up,
                length: scale.length,
                server: house.id(),
                data: data.to_owned(),
            };
            let done = super::load::run(plan).await?;
            expect_published(house, "s", done.sent.all_messages).await?;
            Ok(Figures::of(&done, &done.sent, house.id()))
        }
    }
}

fn consumer(house: &House, subscription: &str) -> Consumer {
    Consumer {
        project: PROJECT,
        subscriptions: vec![subscription.to_owned()],
        token: house.consumer.clone(),
        max: 100,
        wait_seconds: None,
        pause: Duration::ZERO,
        again: None,
        stamped: false,
    }
}

/// A topic and the subscription that tells how much was published.
async fn one_topic(house: &mut House) -> Result<(), Failure> {
    house.topic("t").await?;
    house.subscription("s", "t").await
}

async fn latency(house: &mut House, data: &Path, scale: &Scale) -> Result<Figures, Failure> {
    one_topic(house).await?;
    let closed = house.publishers(64, "t", (1, KIBIBYTE));
    let ceiling = house.load(data, closed, 0.0, (scale.warm_up, scale.length / 2)).await?;
    let published = ceiling.sent.all_messages;
    let pace = Figures::of(&ceiling, &ceiling.sent, house.id()).rate / 2.0;
    // A topic of its own: nothing waits in it.
    house.topic("paced").await?;
    house.subscription("waiting", "paced").await?;
    let body = publish_body(1, KIBIBYTE);
    let path = format!("projects/{PROJECT}/topics/paced:publish");
    let request = request("POST", &path, &house.publisher, body.as_bytes());
    let data_at = body.find(r#""data":""#).unwrap_or_default() + r#""data":""#.len();
    let stamp = request.len() - body.len() + data_at;
    let mut actors = vec![Actor::Paced { request, stamp }; 64];
    actors.push(Actor::Consume(Box::new(Consumer {
        max: 10_000,
        wait_seconds: Some(1),
        stamped: true,
        ..consumer(house, "waiting")
    })));
    let done = house.load(data, actors, pace, (scale.warm_up, scale.length)).await?;
    expect_published(house, "s", published).await?;
    expect_published(house, "waiting", done.sent.all_messages).await?;
    expect_positions(house, &done).await?;
    let mut figures = Figures::of(&done, &done.sent, house.id());
    let [p50, _, p99, _] = quantiles(&done.received.delays);
    figures.extra.extend([("delivered_p50_us", p50), ("delivered_p99_us", p99)]);
    figures.extra.insert("ceiling_rate", pace * 2.0);
    Ok(figures)
}

async fn fan_out(house: &mut House, data: &Path, scale: &Scale) -> Result<Figures, Failure> {
    one_topic(house).await?;
    let alone = house.publishers(FAN_OUT_PUBLISHERS, "t", (100, KIBIBYTE));
    let alone = house.load(data, alone, 0.0, (scale.warm_up, scale.length / 2)).await?;
    expect_published(house, "s", alone.sent.all_messages).await?;
    house.topic("fan").await?;
    let mut actors = house.publishers(FAN_OUT_PUBLISHERS, "fan", (100, KIBIBYTE));
    for i in 0..FAN_OUT {
        let name = format!("fan{i}");
        house.subscription(&name, "fan").await?;
        actors.push(Actor::Consume(Box::new(consumer(house, &name))));
    }
    let done = house.load(data, actors, 0.0, (scale.warm_up, scale.length)).await?;
    expect_published(house, "fan0", done.sent.all_messages).await?;
    expect_positions(house, &done).await?;
    let mut figures = Figures::of(&done, &done.received, house.id());
    let published = as_f64(done.sent.messages);
    let alone_each = per(alone.usage.server_cpu.as_secs_f64() * 1e6, as_f64(alone.sent.messages));
    let added = done.usage.server_cpu.as_secs_f64() * 1e6 - published * alone_each;
    figures.extra.insert("added_cpu_us", per(added, as_f64(done.received.messages)));
    let disk = |done: &Done, messages: u64| {
        done.usage.disk_bytes.map(|bytes| per(as_f64(bytes), as_f64(messages)))
    };
    let disks = disk(&alone, alone.sent.messages).zip(disk(&done, done.sent.messages));
    if let Some((without, with)) = disks {
        figures.extra.insert("disk_bytes_per_publish_alone", without);
        figures.extra.insert("disk_bytes_per_publish", with);
    }
    figures.extra.insert("published_rate", per(published, done.usage.length.as_secs_f64()));
    Ok(figures)
}

async fn topics(house: &mut House, data: &Path, scale: &Scale) -> Result<Figures, Failure> {
    let body = publish_body(1, KIBIBYTE);
    let (mut operations, mut names) = (Vec::new(), Vec::new());
    for i in 0..scale.topics {
        let name = format!("t{i}");
        house.topic(&name).await?;
        house.bare_subscription(PROJECT, &name, &name).await?;
        let path = format!("projects/{PROJECT}/topics/{name}:publish");
        operations.push(vec![request("POST", &path, &house.publisher, body.as_bytes())]);
        names.push(name);
    }
    let draws = 64 * 1_024;
    let base = Script { order: zipf(scale.topics, draws), ..script(operations, 1) };
    let publisher = |i| Script { first: i * draws / TOPICS_CONNECTIONS, ..base.clone() };
    let mut actors: Vec<Actor> =
        (0..TOPICS_CONNECTIONS).map(|i| Actor::Repeat(publisher(i))).collect();
    for i in 0..TOPICS_CONNECTIONS.min(names.len()) {
        let of_this = names.iter().skip(i).step_by(TOPICS_CONNECTIONS).cloned().collect();
        actors.push(Actor::Consume(Box::new(Consumer {
            subscriptions: of_this,
            token: house.admin.clone(),
            max: 10_000,
            pause: Duration::from_millis(500),
            ..consumer(house, "")
        })));
    }
    let done = house.load(data, actors, 0.0, (scale.warm_up, scale.length)).await?;
    let mut published = 0;
    for name in &names {
        published += house.offsets(name).await?.0;
    }
    equal("published", published, done.sent.all_messages)?;
    expect_positions(house, &done).await?;
    let mut figures = Figures::of(&done, &done.sent, house.id());
    let received = per(as_f64(done.received.messages), done.usage.length.as_secs_f64());
    figures.extra.insert("delivered_rate", received);
    Ok(figures)
}

/// What a write and an fdatasync of one page that was written before take: the median, us.
async fn fdatasync(dir: &Path) -> Result<f64, Failure> {
    let path = dir.join("fdatasync");
    let probing = tokio::task::spawn_blocking(move || -> io::Result<f64> {
        let file = std::fs::File::create(path)?;
        let page = [1; 4_096];
        let pages = 256;
        for at in 0..pages {
            file.write_all_at(&page, at * 4_096)?;
        }
        file.sync_all()?;
        let mut took = Vec::new();
        for at in 0..pages {
            let begun = Instant::now();
            file.write_all_at(&page, at * 4_096)?;
            file.sync_data()?;
            took.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let [p50, ..] = quantiles(&took);
        Ok(p50)
    });
    let probed = probing.await.map_err(|error| Failure::Other(format!("fdatasync: {error}")))?;
    probed.map_err(|error| Failure::Other(format!("fdatasync in {}: {error}", dir.display())))
}

fn equal(what: &str, broker: u64, client: u64) -> Result<(), Failure> {
    if broker == client {
        return Ok(());
    }
    let text = format!("counts differ: the broker says {what} {broker}, the client {client}");
    Err(Failure::Other(text))
}

async fn expect_published(house: &mut House, subscription: &str, sent: u64) -> Result<(), Failure> {
    let (published, _) = house.offsets(subscription).await?;
    equal("published", published, sent)
}

async fn expect_positions(house: &mut House, done: &Done) -> Result<(), Failure> {
    for (subscription, position) in &done.positions {
        let (_, current) = house.offsets(subscription).await?;
        equal("acknowledged", current, *position)?;
    }
    Ok(())
}
