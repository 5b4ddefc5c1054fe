//! Pulling, acknowledging, seeking, waiting.

use super::*;
use crate::store::{Call, Fault, MessageLog as _, ProgressLog as _, StoreError};

#[tokio::test]
async fn a_pull_repeats_until_an_ack_moves_the_position() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    assert_eq!(texts(&world.pull("s", 2).await.unwrap()), ["a", "b"]);
    assert_eq!(texts(&world.pull("s", 2).await.unwrap()), ["a", "b"]);
    world.ack("s", 0).await.unwrap();
    world.ack("s", 1).await.unwrap();
    world.ack("s", 0).await.unwrap();
    assert_eq!(texts(&world.pull("s", 9).await.unwrap()), ["c"]);
    world.ack("s", 2).await.unwrap();
    assert_eq!(world.pull("s", 9).await.unwrap().count, 0);
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.delivered, counters.redelivered, counters.acked), (5, 2, 3));
    assert_eq!((counters.delivered_bytes, counters.acked_bytes), (5, 3));
    let pulls = world.facts("s").pulls;
    assert_eq!((pulls.messages, pulls.empty, pulls.denied, pulls.error), (3, 1, 0, 0));
}

#[tokio::test]
async fn acks_are_refused_as_ams_refuses_them_and_the_refusals_are_counted() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    assert!(matches!(world.ack("s", 0).await, Err(Error::NoAckPending)));
    world.pull("s", 3).await.unwrap();
    world.pull("s", 1).await.unwrap();
    assert!(matches!(world.ack("s", 2).await, Err(Error::WrongAck)));
    world.clock.advance(Duration::from_secs(11));
    assert!(matches!(world.ack("s", 0).await, Err(Error::AckTimeout)));
    let by = world.root(Route::SubscriptionsModifyAckDeadline);
    world.broker.set_ack_deadline(&by, &name("s"), 11).await.unwrap();
    world.ack("s", 0).await.unwrap();
    let world = world.restarted().await;
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.refused_acks, counters.late_acks, counters.acked), (2, 1, 1));
    assert_eq!(counters.expired, 1, "folded in by the late ack");
}

#[tokio::test]
async fn a_window_that_ran_out_stays_counted_when_the_deadline_is_raised() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    world.pull("s", 1).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    let expired = || world.facts("s").facts.progress.counters.expired;
    assert_eq!(expired(), 1);
    let by = world.root(Route::SubscriptionsModifyAckDeadline);
    world.broker.set_ack_deadline(&by, &name("s"), 600).await.unwrap();
    assert_eq!(expired(), 1, "a counter never goes down");
    world.ack("s", 0).await.unwrap();
    assert_eq!(expired(), 1);
}

#[tokio::test]
async fn a_pull_hands_out_at_most_what_the_operator_allows_but_at_least_one() {
    let limits = Settings { pull_messages: 3, pull_bytes: 8, ..settings() };
    let world = World::with(limits).await;
    world.furnish().await;
    world.publish("t", &["!2345", "!2", "!3", "!4", "!5", "!6"]).await.unwrap();
    assert_eq!(texts(&world.pull("s", 100).await.unwrap()), ["!2345", "!2"]);
    world.ack("s", 0).await.unwrap();
    assert_eq!(texts(&world.pull("s", 100).await.unwrap()), ["!2", "!3", "!4"]);
    world.publish("t", &["!23456789abcdef"]).await.unwrap();
    world.seek("s", 6).await.unwrap();
    let pulled = world.pull("s", 0).await.unwrap();
    assert_eq!(texts(&pulled), ["!23456789abcdef"]);
}

#[tokio::test]
async fn an_empty_pull_writes_nothing_and_its_time_is_saved_at_the_end() {
    let world = World::furnished().await;
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.pull("s", 1).await.unwrap().count, 0);
    assert_eq!(world.store.calls(Call::Save), 0);
    let at = world.clock.steady();
    assert_eq!(world.facts("s").last_pull, at);
    let world = world.restarted().await;
    assert_eq!(world.facts("s").last_pull, at);
    assert_eq!(world.facts("s").facts.progress.clocks.last_pull, at);
}

#[tokio::test]
async fn a_waiting_pull_is_woken_by_a_publish() {
    let world = World::furnished().await;
    let by = world.root(Route::SubscriptionsPull);
    let puller = world.broker.puller(&by, &name("s")).unwrap();
    let waiting = puller.pull(5, Some(Duration::from_secs(60)));
    let (pulled, published) = tokio::join!(waiting, world.publish("t", &["a"]));
    assert_eq!(published.unwrap(), Offset(0));
    assert_eq!(texts(&pulled.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_waiting_pull_is_woken_by_a_seek_backward() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    world.pull("s", 1).await.unwrap();
    world.ack("s", 0).await.unwrap();
    let by = world.root(Route::SubscriptionsPull);
    let puller = world.broker.puller(&by, &name("s")).unwrap();
    let waiting = puller.pull(5, Some(Duration::from_secs(5)));
    let (pulled, sought) = tokio::join!(waiting, world.seek("s", 0));
    sought.unwrap();
    assert_eq!(texts(&pulled.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_waiting_pull_ends_empty_when_its_time_is_over_or_the_broker_drains() {
    let world = World::furnished().await;
    let by = world.root(Route::SubscriptionsPull);
    let puller = || world.broker.puller(&by, &name("s")).unwrap();
    assert_eq!(puller().pull(1, Some(Duration::from_millis(5))).await.unwrap().count, 0);
    let waiting = puller().pull(1, Some(Duration::from_secs(60)));
    let drained = async { world.broker.drain() };
    let (pulled, ()) = tokio::join!(waiting, drained);
    assert_eq!(pulled.unwrap().count, 0);
}

#[tokio::test]
async fn a_waiting_pull_learns_that_its_topic_or_subscription_is_gone() {
    let world = World::furnished().await;
    let by = world.root(Route::SubscriptionsPull);
    let puller = || world.broker.puller(&by, &name("s")).unwrap();
    let wait = Some(Duration::from_secs(60));
    let (pulled, deleted) = tokio::join!(puller().pull(1, wait), world.delete_topic("t"));
    deleted.unwrap();
    assert!(matches!(pulled, Err(Error::TopicGone)));
    world.topic("t").await.unwrap();
    let delete = world.root(Route::SubscriptionsDelete);
    let s = name("s");
    let deleting = world.broker.delete_subscription(&delete, &s);
    let (pulled, deleted) = tokio::join!(puller().pull(1, wait), deleting);
    deleted.unwrap();
    assert!(matches!(pulled, Err(Error::SubscriptionNotFound)));
}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_nothing_half_way() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    let gate = crate::store::Gate::default();
    world.store.fail(Call::Save, 1, Fault::Hold(gate.clone()));
    tokio::select! {
        biased;
        _ = world.pull("s", 1) => panic!("the gate is shut"),
        () = gate.arrived(1) => {}
    }
    gate.open();
    world.pull("s", 1).await.unwrap();
    let progress = world.facts("s").facts.progress;
    assert_eq!((progress.version, progress.counters.delivered), (2, 2));
    let id = world.facts("s").id;
    assert_eq!(world.store.load(id).await.unwrap().unwrap(), progress);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_pulls_and_acks_of_one_subscription_are_all_counted() {
    let world = Arc::new(World::furnished().await);
    world.publish("t", &["a", "b", "c", "d", "e", "f", "g", "h"]).await.unwrap();
    let tracker = TaskTracker::new();
    let tasks = (0..8).map(|_| {
        let world = Arc::clone(&world);
        tracker.spawn(async move {
            let pulled = world.pull("s", 3).await.unwrap();
            // Another's pull may have moved the window on; what is refused is counted too.
            let refused = pulled.count > 0
                && world.ack("s", pulled.first.0 + pulled.count - 1).await.is_err();
            (pulled.count, u64::from(refused))
        })
    });
    let (mut delivered, mut refused) = (0, 0);
    for task in tasks.collect::<Vec<_>>() {
        let (count, no) = task.await.unwrap();
        delivered += count;
        refused += no;
    }
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.delivered, counters.refused_acks), (delivered, refused));
    assert!(counters.acked > 0);
}

#[tokio::test]
async fn an_unknown_save_counts_once_whether_it_was_written_or_not() {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        let world = World::furnished().await;
        world.publish("t", &["a", "b"]).await.unwrap();
        world.store.fail(Call::Save, 1, fault.clone());
        world.store.fail(Call::Load, 1, Fault::Refuse(StoreError::Unavailable));
        assert_eq!(texts(&world.pull("s", 2).await.unwrap()), ["a", "b"]);
        world.store.fail(Call::Save, 1, fault.clone());
        world.ack("s", 0).await.unwrap();
        let counters = world.facts("s").facts.progress.counters;
        assert_eq!((counters.delivered, counters.redelivered, counters.acked), (2, 0, 1));
    }
}

#[tokio::test]
async fn a_refused_save_answers_nothing_that_is_not_durable() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    world.store.fail(Call::Save, 1, Fault::Refuse(StoreError::Full));
    assert!(matches!(world.pull("s", 1).await, Err(Error::Store(StoreError::Full))));
    assert_eq!(world.facts("s").facts.progress.counters.delivered, 0);
    assert_eq!(world.facts("s").pulls.error, 1);
    assert!(matches!(world.ack("s", 0).await, Err(Error::NoAckPending)));
}

#[tokio::test]
async fn a_seek_closes_the_window_and_stays_within_the_topic() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    world.pull("s", 3).await.unwrap();
    assert!(matches!(world.seek("s", 4).await, Err(Error::OffsetOutOfBounds)));
    assert_eq!(world.offsets("s").await, (3, 0, 0));
    world.seek("s", 3).await.unwrap();
    assert!(matches!(world.ack("s", 2).await, Err(Error::NoAckPending)));
    world.seek("s", 1).await.unwrap();
    assert_eq!(texts(&world.pull("s", 9).await.unwrap()), ["b", "c"]);
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.skipped, counters.replayed), (3, 2));
}

#[tokio::test]
async fn what_retention_took_is_counted_lost_and_the_position_follows() {
    let world = World::furnished().await;
    for text in ["a", "b", "c", "d"] {
        world.publish("t", &[text]).await.unwrap();
    }
    let life = world.facts("s").topic;
    drop(world.store.trim(life, Offset(2)).await.unwrap());
    assert!(matches!(world.seek("s", 1).await, Err(Error::OffsetOutOfBounds)));
    assert_eq!(world.offsets("s").await, (4, 2, 2));
    let progress = world.store.load(world.facts("s").id).await.unwrap().unwrap();
    assert_eq!((progress.position, progress.counters.lost.retention), (Offset(2), 2));
    drop(world.store.trim(life, Offset(3)).await.unwrap());
    assert_eq!(texts(&world.pull("s", 9).await.unwrap()), ["d"]);
    drop(world.store.trim(life, Offset(4)).await.unwrap());
    world.broker.refresh_heads().await;
    let facts = world.facts("s").facts;
    assert_eq!((facts.backlog, facts.progress.counters.lost.retention), (0, 4));
    assert_eq!(facts.progress.counters.lost_never_acked, 4);
}

#[tokio::test]
async fn the_offset_of_a_time_is_the_first_message_at_or_after_it() {
    let world = World::furnished().await;
    let start = world.clock.steady();
    for text in ["a", "b"] {
        world.publish("t", &[text]).await.unwrap();
        world.clock.advance(Duration::from_secs(10));
    }
    let by = world.root(Route::SubscriptionsTimeToOffset);
    let (s, none) = (name("s"), name("none"));
    let at = |seconds| world.broker.offset_at(&by, &s, start.plus(Duration::from_secs(seconds)));
    assert_eq!(at(0).await.unwrap(), Offset(0));
    assert_eq!(at(1).await.unwrap(), Offset(1));
    assert!(matches!(at(11).await, Err(Error::TimeOutOfBounds)));
    let absent = world.broker.offset_at(&by, &none, start).await;
    assert!(matches!(absent, Err(Error::SubscriptionNotFound)));
    world.delete_topic("t").await.unwrap();
    assert!(matches!(at(0).await, Err(Error::TimeOutOfBounds)));
}

#[tokio::test]
async fn a_subscription_outlives_its_topic_and_follows_the_name() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    world.pull("s", 2).await.unwrap();
    world.delete_topic("t").await.unwrap();
    assert!(matches!(world.pull("s", 1).await, Err(Error::TopicGone)));
    assert!(matches!(world.publish("t", &["x"]).await, Err(Error::TopicNotFound)));
    world.ack("s", 1).await.unwrap();
    assert_eq!(world.facts("s").facts.backlog, 1, "on its last life");
    assert_eq!(world.offsets("s").await, (3, 2, 2));
    // A life that comes and goes while nobody looks is lost as well.
    world.topic("t").await.unwrap();
    world.publish("t", &["d", "e"]).await.unwrap();
    world.delete_topic("t").await.unwrap();
    let world = world.restarted().await;
    world.topic("t").await.unwrap();
    world.publish("t", &["f"]).await.unwrap();
    let facts = world.facts("s").facts;
    assert_eq!((facts.enqueued, facts.backlog), (6, 1));
    assert_eq!(facts.progress.counters.lost.topic_deleted, 3);
    assert!(matches!(world.ack("s", 0).await, Err(Error::NoAckPending)), "an old id");
    let pulled = world.pull("s", 9).await.unwrap();
    assert_eq!((pulled.first, texts(&pulled)), (Offset(0), vec!["f".to_owned()]));
    world.ack("s", 0).await.unwrap();
    // The next deletion forgets the lives that were left behind.
    world.delete_topic("t").await.unwrap();
    let record = world.broker.target(world.project_id(), &name("s")).unwrap().1;
    assert_eq!(record.ended.values().copied().collect::<Vec<_>>(), [Offset(1)]);
    let world = world.restarted().await;
    world.topic("t").await.unwrap();
    let facts = world.facts("s").facts;
    assert_eq!((facts.enqueued, facts.backlog), (6, 0));
    assert_eq!(facts.progress.counters.lost.topic_deleted, 3);
}

impl World {
    fn project_id(&self) -> ProjectId {
        self.broker.0.service.read().index.project(&name("p")).unwrap().id
    }
}
