//! Retention by age and size, with clocks that lie and a store that fails.

use proptest::prelude::*;

use super::*;
use crate::clock::Clock as _;
use crate::domain::records::UsageRecord;
use crate::domain::{DayFigures, Progress};
use crate::store::{Call, Catalog as _, Fault, MessageLog as _, StoreError};

const HOUR: Duration = Duration::from_secs(3_600);

impl World {
    /// Topic `t` keeps its messages for `age`, and at most `bytes` of them.
    async fn keep(&self, age: &str, bytes: Option<u64>) {
        let age = (!age.is_empty()).then(|| age.to_owned().try_into().unwrap());
        let caller = self.root(Route::TopicsModifyRetention);
        let retention = RetentionSettings { age, bytes };
        self.broker.set_topic_retention(&caller, &name("t"), retention).await.unwrap();
    }

    /// One message each hour.
    async fn publish_hourly(&self, hours: u32) {
        for _ in 0..hours {
            self.publish("t", &["x"]).await.unwrap();
            self.clock.advance(HOUR);
        }
    }

    fn life(&self) -> TopicId {
        self.facts("s").topic
    }

    async fn start(&self) -> u64 {
        self.store.head(self.life()).await.unwrap().unwrap().start.0
    }

    fn usage(&self) -> Vec<UsageRecord> {
        let cells = self.broker.project_cells();
        let usage = cells.iter().flat_map(|(_, cell)| {
            cell.read().index.usage.values().map(|usage| usage.as_ref().clone()).collect::<Vec<_>>()
        });
        usage.collect()
    }

    /// (day, messages) of all records, by day.
    fn days(&self) -> Vec<(u32, u64)> {
        let days = self.usage().into_iter().flat_map(|usage| usage.days);
        let mut days: Vec<_> = days.map(|day| (day.day, day.messages)).collect();
        days.sort_unstable();
        days
    }
}

#[tokio::test]
async fn what_is_too_old_goes_and_is_counted_as_lost_without_a_pull() {
    let world = World::furnished().await;
    world.keep("1d", None).await;
    world.publish_hourly(26).await;
    world.broker.retain().await;
    // The message of exactly a day ago stays.
    assert_eq!(world.start().await, 2);
    let facts = world.facts("s").facts;
    assert_eq!(facts.progress.counters.lost.retention, 2);
    assert_eq!(facts.progress.counters.lost_never_acked, 2);
    assert_eq!((facts.backlog, facts.enqueued), (24, 26));
    assert_eq!(world.offsets("s").await, (26, 2, 2));
    // What was acknowledged is not lost.
    assert_eq!(world.pull("s", 10).await.unwrap().count, 10);
    world.ack("s", 11).await.unwrap();
    world.clock.advance(3 * HOUR);
    world.broker.retain().await;
    assert_eq!(world.start().await, 5);
    assert_eq!(world.facts("s").facts.progress.counters.lost.retention, 2);
    // A restart in between changes nothing.
    let world = world.restarted().await;
    world.broker.retain().await;
    assert_eq!(world.start().await, 5);
    assert_eq!(world.facts("s").facts.progress.counters.lost.retention, 2);
}

#[tokio::test]
async fn what_retention_took_is_still_told_apart_once_the_topic_is_gone() {
    let world = World::furnished().await;
    world.keep("1d", None).await;
    world.publish_hourly(26).await;
    world.broker.retain().await;
    world.delete_topic("t").await.unwrap();
    let lost = |world: &World| world.facts("s").facts.progress.counters.lost;
    assert_eq!(lost(&world).retention, 2);
    world.topic("t").await.unwrap();
    let world = world.restarted().await;
    assert_eq!((lost(&world).retention, lost(&world).topic_deleted), (2, 24));
}

#[tokio::test]
async fn a_topic_without_a_setting_keeps_what_the_operator_says() {
    let world = World::furnished().await;
    world.publish("t", &["x"]).await.unwrap();
    world.clock.advance(7 * DAY);
    world.broker.retain().await;
    assert_eq!(world.start().await, 0);
    world.clock.advance(Duration::from_secs(1));
    world.broker.retain().await;
    assert_eq!(world.start().await, 1);
}

#[tokio::test]
async fn one_sweep_takes_at_most_an_eighth_of_the_age() {
    let world = World::furnished().await;
    world.publish_hourly(100).await;
    world.keep("24h", None).await;
    let mut starts = Vec::new();
    for _ in 0..30 {
        let before = world.start().await;
        world.broker.retain().await;
        let start = world.start().await;
        assert!(start - before <= 3, "three hours of 24");
        starts.push(start);
    }
    assert_eq!(starts[..3], [3, 6, 9]);
    assert_eq!(starts[29], 76, "until all that is too old is gone");
    // However long ago that was: eight sweeps take everything.
    world.clock.advance(1_000 * HOUR);
    for _ in 0..8 {
        world.broker.retain().await;
    }
    assert_eq!(world.start().await, 100);
}

#[tokio::test]
async fn what_is_too_much_goes_oldest_first() {
    let world = World::furnished().await;
    world.publish_hourly(10).await;
    let kept = world.store.kept_bytes(world.life()).await.unwrap();
    world.keep("", Some(kept)).await;
    world.broker.retain().await;
    assert_eq!(world.start().await, 0);
    world.keep("", Some(kept / 2)).await;
    world.broker.retain().await;
    assert_eq!(world.start().await, 5);
    assert_eq!(world.store.kept_bytes(world.life()).await.unwrap(), kept / 2);
    assert_eq!(world.facts("s").facts.progress.counters.lost.retention, 5);
    world.keep("", Some(1)).await;
    world.broker.retain().await;
    assert_eq!(world.start().await, 10);
}

#[tokio::test]
async fn nothing_is_trimmed_while_the_wall_clock_was_stepped() {
    let world = World::furnished().await;
    world.keep("1h", Some(1)).await;
    world.publish_hourly(3).await;
    let steady = world.clock.steady();
    let minute = Duration::from_secs(61);
    let mut met = 0;
    for wall in [
        steady.plus(HOUR),
        steady.minus(HOUR),
        steady.plus(DAY),
        steady.minus(DAY),
        steady.plus(minute),
        steady.minus(minute),
    ] {
        world.clock.set_wall(wall);
        world.broker.retain().await;
        assert_eq!(world.start().await, 0, "{wall:?}");
        met += 1;
        assert_eq!(world.broker.store_faults().clock, met);
    }
    world.clock.set_wall(steady.plus(Duration::from_secs(60)));
    world.broker.retain().await;
    assert_eq!(world.start().await, 3);
    assert_eq!(world.broker.store_faults().clock, met, "they agree again");
}

#[tokio::test]
async fn a_stamp_of_the_future_is_a_fault_and_decides_nothing() {
    let world = World::furnished().await;
    world.keep("1h", None).await;
    world.publish("t", &["x"]).await.unwrap();
    let right = world.clock.wall();
    world.clock.set_wall(right.plus(DAY));
    world.publish("t", &["x"]).await.unwrap();
    world.clock.set_wall(right);
    world.broker.retain().await;
    assert_eq!(world.broker.store_faults().clock, 1);
    assert_eq!(world.start().await, 0, "the first is not older for it");
    world.clock.advance(2 * HOUR);
    world.broker.retain().await;
    assert_eq!(world.start().await, 1, "as old as it is");
    world.clock.advance(DAY);
    let met = world.broker.store_faults().clock;
    world.broker.retain().await;
    assert_eq!(world.start().await, 2);
    assert_eq!(world.broker.store_faults().clock, met, "in doubt no more");
}

#[tokio::test]
async fn daily_figures_are_recorded_before_a_trim_passes_them() {
    let world = World::furnished().await;
    let day = world.clock.wall().day();
    world.publish("t", &["a", "b"]).await.unwrap();
    world.publish("t", &["c"]).await.unwrap();
    world.clock.advance(5 * DAY);
    world.publish("t", &["d"]).await.unwrap();
    world.broker.retain().await;
    assert_eq!(world.days(), [(day, 3)], "of days that are over; idle ones have none");
    world.clock.advance(DAY);
    world.broker.retain().await;
    assert_eq!(world.days(), [(day, 3), (day + 5, 1)]);
    // Again after a start, by a broker that knows nothing: the same.
    let before = world.usage();
    let world = world.restarted().await;
    world.publish("t", &["e"]).await.unwrap();
    world.broker.retain().await;
    assert_eq!(world.usage(), before);
    // While they cannot be recorded, nothing is trimmed.
    world.clock.advance(10 * DAY);
    world.store.fail_always(Call::CommitScope, Fault::Refuse(StoreError::Unavailable));
    world.broker.retain().await;
    assert_eq!(world.start().await, 0);
    world.store.heal();
    for _ in 0..3 {
        world.broker.retain().await;
    }
    assert_eq!(world.start().await, 5);
    assert_eq!(world.days(), [(day, 3), (day + 5, 1), (day + 6, 1)]);
}

#[tokio::test]
async fn daily_figures_outlive_the_topic_and_go_with_the_project() {
    let world = World::furnished().await;
    let day = world.clock.wall().day();
    world.publish("t", &["a", "b"]).await.unwrap();
    world.clock.advance(40 * DAY);
    world.publish("t", &["c"]).await.unwrap();
    world.delete_topic("t").await.unwrap();
    assert_eq!(world.days(), [(day, 2), (day + 40, 1)], "the last day, too");
    assert_eq!(world.usage().len(), 2, "one record for each month");
    let DayFigures { ams_bytes, .. } = world.usage()[0].days[0];
    assert_eq!(ams_bytes, 2);
    let world = world.restarted().await;
    assert_eq!(world.days(), [(day, 2), (day + 40, 1)]);
    // They count towards no quota and are in no list.
    assert_eq!(world.broker.project_cells()[0].1.read().index.objects(), 1);
    let caller = world.root(Route::ProjectsDelete);
    world.broker.delete_project(&caller).await.unwrap();
    world.broker.sweep().await;
    let world = world.restarted().await;
    assert_eq!(world.days(), []);
    for scope in world.store.scopes().await.unwrap() {
        let state = world.store.load_scope(scope).await.unwrap();
        assert!(!state.objects.iter().any(|(key, _)| key.starts_with("usage/")));
    }
}

async fn swept_whatever_fails(hours: u32, at: u64, fault: u8, restart: bool) {
    let mut world = World::furnished().await;
    let first = world.clock.wall();
    world.keep("1d", None).await;
    world.publish_hourly(hours).await;
    world.pull("s", 3).await.unwrap();
    world.ack("s", 1).await.unwrap();
    let fault = match fault {
        0 => Fault::LoseReply,
        1 => Fault::LoseRequest,
        _ => Fault::Refuse(StoreError::Unavailable),
    };
    world.store.fail_any(at, fault);
    world.broker.retain().await;
    if restart {
        world = world.restarted().await;
    }
    world.store.heal();
    for _ in 0..20 {
        world.broker.retain().await;
    }
    let now = world.clock.wall();
    let old = (0..hours).filter(|hour| first.plus(HOUR * *hour) < now.minus(DAY)).count() as u64;
    assert_eq!(world.start().await, old);
    let expected: u64 =
        (0..hours).filter(|hour| first.plus(HOUR * *hour).day() < now.day()).count() as u64;
    assert_eq!(world.days().iter().map(|(_, messages)| messages).sum::<u64>(), expected);
    let facts = world.facts("s").facts;
    let Progress { position, counters, .. } = &facts.progress;
    assert_eq!(counters.lost.retention, old.saturating_sub(2));
    assert_eq!(facts.enqueued, counters.acked + counters.lost.total() + facts.backlog);
    assert_eq!(position.0, old.max(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_sweep_ends_the_same_whatever_fails_in_it(
        hours in 20..60u32,
        at in 1..12u64,
        fault in 0..3u8,
        restart: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(swept_whatever_fails(hours, at, fault, restart));
    }
}
