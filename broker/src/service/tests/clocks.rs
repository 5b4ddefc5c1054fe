//! Clocks that are set, forward and back by a month, while everything goes on (`docs/reliability.md`, F11). The
//! steady clock goes its way meanwhile; a start sets it by the wall clock anew, whatever that shows.

use super::*;
use crate::clock::Clock as _;
use crate::domain::records::AckMode;
use crate::service::AckId;
use crate::store::MessageLog as _;

const MONTH: Duration = Duration::from_secs(30 * 86_400);
const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// The topic's `publishTime`s, in order of the messages.
    async fn times(&self) -> Vec<Time> {
        let limits = crate::store::Limits { messages: 1_000, bytes: 1 << 20 };
        let topic = self.facts("s").topic;
        let entries = self.store.scan(topic, Offset(0), limits).await.unwrap();
        entries.iter().flat_map(|entry| vec![entry.time; entry.batch.len() as usize]).collect()
    }

    async fn offset_at(&self, time: Time) -> Result<Offset, Error> {
        let caller = self.root(Route::SubscriptionsTimeToOffset);
        self.broker.offset_at(&caller, &name("s"), time).await
    }

    /// Times and places of the audit log's lines, the oldest first.
    fn audited(&self) -> Vec<(Time, String)> {
        let caller = self.root(Route::AuditList);
        let page = self.broker.audit(&caller, AuditFilter::default(), PageRequest::default());
        page.items.iter().rev().map(|line| (line.time, line.resource.clone())).collect()
    }

    async fn restarted_with_clock(self, now: Time) -> Self {
        self.broker.drain();
        self.tasks.close();
        self.tasks.wait().await;
        let clock = ManualClock::at(now);
        Self::on(self.store, clock, settings()).await.unwrap()
    }
}

fn lease_ids(pulled: &Pulled) -> Vec<AckId> {
    let id = |leased: &crate::domain::Leased| AckId { life: pulled.life, lease: leased.id };
    pulled.leased.iter().map(id).collect()
}

/// What the wall clock is set to, one after the other, from what it should show.
fn jumps(right: Time) -> [Time; 6] {
    let day = Duration::from_secs(86_400);
    [right.plus(MONTH), right.minus(MONTH), right.plus(day), right, right.minus(day), right]
}

#[tokio::test]
async fn publish_times_never_go_back_and_nothing_is_lost() {
    let world = World::furnished().await;
    let mut published = 0;
    for _ in 0..2 {
        for wall in jumps(world.clock.steady()) {
            world.clock.set_wall(wall);
            assert_eq!(world.publish("t", &["a", "b"]).await.unwrap().0, published);
            published += 2;
            world.broker.retain().await;
            assert_eq!(world.offsets("s").await.1, 0, "nothing is trimmed");
        }
    }
    let times = world.times().await;
    assert_eq!(times.len() as u64, published);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(world.pull("s", 100).await.unwrap().count, published);
    world.ack("s", published - 1).await.unwrap();
    assert_eq!(world.facts("s").facts.progress.counters.lost.total(), 0);
}

#[tokio::test]
async fn acknowledgements_are_judged_by_the_time_that_passed() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b", "c", "d", "e", "f", "g"]).await.unwrap();
    for (at, wall) in jumps(world.clock.steady()).into_iter().enumerate() {
        assert_eq!(world.pull("s", 1).await.unwrap().first.0, at as u64);
        world.clock.set_wall(wall);
        world.clock.advance(9 * SECOND);
        world.ack("s", at as u64).await.unwrap();
    }
    assert_eq!(world.pull("s", 1).await.unwrap().first.0, 6);
    world.clock.set_wall(world.clock.steady().minus(MONTH));
    world.clock.advance(11 * SECOND);
    assert!(
        matches!(world.ack("s", 6).await, Err(Error::AckTimeout)),
        "10 s are over all the same"
    );
}

#[tokio::test]
async fn leases_end_after_the_time_that_passed_and_no_sooner() {
    let world = World::new().await;
    world.project("p").await;
    world.topic("t").await.unwrap();
    let wish = NewSubscription { ack_mode: AckMode::Individual, ..onto("t") };
    let caller = world.root(Route::SubscriptionsCreate);
    world.broker.create_subscription(&caller, &name("s"), wish).await.unwrap();
    world.publish("t", &["a"]).await.unwrap();
    for (at, wall) in jumps(world.clock.steady()).into_iter().enumerate() {
        let pulled = world.pull("s", 9).await.unwrap();
        assert_eq!(pulled.leased[0].attempt as usize, at + 1);
        world.clock.set_wall(wall);
        world.clock.advance(9 * SECOND);
        assert_eq!(world.pull("s", 9).await.unwrap().count, 0, "it is out");
        world.clock.advance(2 * SECOND);
    }
}

/// The worst of it: what a wrong clock wrote, read by a broker that starts with the right one.
#[tokio::test]
async fn a_start_with_another_clock_neither_frees_leases_for_ever_nor_keeps_them_a_month() {
    for (wrong, right) in [(MONTH, Duration::ZERO), (Duration::ZERO, MONTH)] {
        let world = World::new().await;
        world.project("p").await;
        world.topic("t").await.unwrap();
        let wish = NewSubscription { ack_mode: AckMode::Individual, ..onto("t") };
        let caller = world.root(Route::SubscriptionsCreate);
        world.broker.create_subscription(&caller, &name("each"), wish).await.unwrap();
        world.subscription("s", "t").await.unwrap();
        let start = world.clock.steady();
        let world = world.restarted_with_clock(start.plus(wrong)).await;
        world.publish("t", &["a", "b"]).await.unwrap();
        let held = world.pull("each", 1).await.unwrap();
        world.pull("s", 1).await.unwrap();
        let world = world.restarted_with_clock(start.plus(right)).await;
        // Ten seconds were granted, 600 are the most that can be.
        world.clock.advance(601 * SECOND);
        let again = world.pull("each", 9).await.unwrap();
        assert_eq!((again.count, again.leased[0].attempt), (2, 2), "{wrong:?}, {right:?}");
        assert_eq!(held.leased.len(), 1);
        let caller = world.root(Route::SubscriptionsAcknowledge);
        let acker = world.broker.acker(&caller, &name("each")).unwrap();
        acker.acknowledge_each(lease_ids(&again)).await.unwrap();
        assert!(matches!(world.ack("s", 0).await, Err(Error::AckTimeout)), "{wrong:?}, {right:?}");
        assert_eq!(world.pull("s", 9).await.unwrap().count, 2);
        world.ack("s", 1).await.unwrap();
        assert_eq!(world.facts("s").facts.backlog, 0);
        // Publishing goes on, and retention takes nothing of today.
        world.publish("t", &["c"]).await.unwrap();
        world.broker.retain().await;
        assert!(world.times().await.is_sorted());
        assert_eq!(world.pull("s", 9).await.unwrap().count, 1);
    }
}

#[tokio::test]
async fn the_audit_log_keeps_its_order() {
    let world = World::furnished().await;
    let mut expected: Vec<_> = world.audited().into_iter().map(|(_, what)| what).collect();
    for (at, wall) in jumps(world.clock.steady()).into_iter().enumerate() {
        world.clock.set_wall(wall);
        world.topic(&format!("t{at}")).await.unwrap();
        expected.push(format!("/projects/p/topics/t{at}"));
    }
    let lines = world.audited();
    assert_eq!(lines.iter().map(|(_, what)| what.clone()).collect::<Vec<_>>(), expected);
    let back = world.clock.steady().minus(MONTH);
    let world = world.restarted_with_clock(back).await;
    world.topic("last").await.unwrap();
    expected.push("/projects/p/topics/last".to_owned());
    let places: Vec<_> = world.audited().into_iter().map(|(_, what)| what).collect();
    assert_eq!(places, expected);
}

#[tokio::test]
async fn a_time_finds_the_first_offset_at_or_after_it() {
    let world = World::furnished().await;
    let right = world.clock.steady();
    world.publish("t", &["before"]).await.unwrap();
    for wall in jumps(right) {
        world.clock.set_wall(wall);
        world.publish("t", &["x"]).await.unwrap();
    }
    // All but nothing was published before the month that never was.
    let times = world.times().await;
    for time in [right.minus(MONTH), right, right.plus(SECOND), right.plus(MONTH)] {
        let first = times.iter().position(|at| *at >= time).unwrap() as u64;
        assert_eq!(world.offset_at(time).await.unwrap().0, first, "{time:?}");
    }
    let late = world.offset_at(right.plus(MONTH + SECOND)).await;
    assert!(matches!(late, Err(Error::TimeOutOfBounds)));
}
