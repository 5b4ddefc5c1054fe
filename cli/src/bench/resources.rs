//! What idle objects hold in memory, and how long a broker that was killed takes to serve again.

use std::collections::BTreeMap;
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

/// Makes `objects` topics and as many subscriptions, waits until metrics-svc has them too,
/// publishes `messages`, kills the broker and starts it again on the same directory.
pub(super) async fn measure(
    data: &Path,
    objects: u32,
    messages: u64,
    reported: Duration,
) -> Result<BTreeMap<&'static str, f64>, Failure> {
    let mut house = House::open(data).await?;
    let each = |now: u64, before: u64| per(as_f64(now.saturating_sub(before)), f64::from(objects));
    let empty = resident(house.id());
    for i in 0..objects {
        house.bare_topic(&format!("idle{i}")).await?;
    }
    let topics = resident(house.id());
    for i in 0..objects {
        let name = format!("idle{i}");
        house.bare_subscription(&name, &name).await?;
    }
    let subscriptions = resident(house.id());
    tokio::time::sleep(reported).await;
    let known = resident(house.id());
    house.topic("t").await?;
    let messages = house.fill("t", messages).await?;
    drop(house);

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
        ("bytes per idle topic", each(topics, empty)),
        ("bytes per idle subscription", each(subscriptions, topics)),
        ("bytes per pair in metrics-svc and its reports", each(known, subscriptions)),
        ("objects of each kind", f64::from(objects)),
        ("messages before the kill", as_f64(messages)),
        ("first answer after kill -9, ms", restart.as_secs_f64() * 1e3),
    ]))
}
