//! `ackMode: individual`: leases, acknowledgements by message, giving back, and what survives.

use super::*;
use crate::domain::records::DeadLetters;
use crate::service::AckId;
use crate::store::{Call, Fault, MessageLog as _, StoreError};

impl World {
    /// A project `p` with topic `t` and a subscription `s` whose messages are acknowledged each.
    async fn leasing() -> Self {
        let world = Self::new().await;
        world.project("p").await;
        world.topic("t").await.unwrap();
        world.leaser("s").await;
        world
    }

    async fn leaser(&self, new: &str) {
        let caller = self.root(Route::SubscriptionsCreate);
        let wish = NewSubscription { ack_mode: AckMode::Individual, ..onto("t") };
        self.broker.create_subscription(&caller, &name(new), wish).await.unwrap();
    }

    async fn ack_each(&self, ids: &[AckId]) -> Result<(), Error> {
        let caller = self.root(Route::SubscriptionsAcknowledge);
        self.broker.acker(&caller, &name("s"))?.acknowledge_each(ids.to_vec()).await
    }

    async fn extend(&self, ids: &[AckId], seconds: i64) -> Result<(), Error> {
        let caller = self.root(Route::SubscriptionsModifyAckDeadline);
        self.broker.acker(&caller, &name("s"))?.extend_each(ids.to_vec(), seconds).await
    }

    async fn pull_waiting(&self, seconds: u64) -> Result<Pulled, Error> {
        let caller = self.root(Route::SubscriptionsPull);
        let puller = self.broker.puller(&caller, &name("s"))?;
        puller.pull(9, Some(Duration::from_secs(seconds))).await
    }
}

fn ids(pulled: &Pulled) -> Vec<AckId> {
    let id = |leased: &crate::domain::Leased| AckId { life: pulled.life, lease: leased.id };
    pulled.leased.iter().map(id).collect()
}

/// Offset and attempt of each message that was handed out.
fn out(pulled: &Pulled) -> Vec<(u64, u32)> {
    pulled.leased.iter().map(|leased| (leased.id.offset.0, leased.attempt)).collect()
}

#[tokio::test]
async fn each_message_is_out_at_one_puller_and_acknowledged_in_any_order() {
    let world = World::leasing().await;
    world.publish("t", &["a", "b", "c", "d"]).await.unwrap();
    let first = world.pull("s", 2).await.unwrap();
    let second = world.pull("s", 9).await.unwrap();
    assert_eq!(out(&first), [(0, 1), (1, 1)]);
    assert_eq!(out(&second), [(2, 1), (3, 1)]);
    assert_eq!(world.pull("s", 9).await.unwrap().count, 0, "all is out");
    world.ack_each(&ids(&second)).await.unwrap();
    world.ack_each(&ids(&first)[1..]).await.unwrap();
    let facts = world.facts("s").facts;
    assert_eq!((facts.progress.position, facts.backlog), (Offset(0), 1));
    world.ack_each(&ids(&first)[..1]).await.unwrap();
    world.ack_each(&ids(&first)).await.unwrap();
    let facts = world.facts("s").facts;
    assert_eq!((facts.progress.position, facts.backlog), (Offset(4), 0));
    assert_eq!((facts.progress.counters.acked, facts.progress.counters.delivered), (4, 4));
}

#[tokio::test]
async fn what_runs_out_or_is_given_back_comes_again_with_its_attempt() {
    let world = World::leasing().await;
    world.publish("t", &["a", "b"]).await.unwrap();
    let first = ids(&world.pull("s", 9).await.unwrap());
    world.extend(&first[..1], 0).await.unwrap();
    let again = world.pull("s", 9).await.unwrap();
    assert_eq!(out(&again), [(0, 2)], "the other one is still out");
    // The lease that another one replaced says nothing any more.
    world.ack_each(&first[..1]).await.unwrap();
    assert_eq!(world.facts("s").facts.progress.counters.late_acks, 1);
    assert_eq!(world.facts("s").facts.backlog, 2);
    world.extend(&first[1..], 60).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 3)], "60 s are longer than 10");
    world.clock.advance(Duration::from_secs(50));
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 4), (1, 2)]);
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.nacks, counters.expired, counters.extensions), (1, 3, 1));
}

#[tokio::test]
async fn leases_acknowledgements_and_attempts_survive_a_restart() {
    let world = World::leasing().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    let held = ids(&world.pull("s", 9).await.unwrap());
    world.ack_each(&held[1..2]).await.unwrap();
    let before = world.facts("s").facts;
    let world = world.restarted().await;
    assert_eq!(world.facts("s").facts, before);
    assert_eq!(world.pull("s", 9).await.unwrap().count, 0, "they are out still");
    world.ack_each(&held[2..]).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 2)]);
}

#[tokio::test]
async fn a_waiting_pull_is_handed_what_is_given_back_or_runs_out() {
    let world = World::leasing().await;
    world.publish("t", &["a"]).await.unwrap();
    let held = ids(&world.pull("s", 9).await.unwrap());
    let (pulled, given) = tokio::join!(world.pull_waiting(60), world.extend(&held, 0));
    given.unwrap();
    assert_eq!(out(&pulled.unwrap()), [(0, 2)]);
    // The lease has a moment left when the pull begins to wait.
    world.clock.advance(Duration::from_millis(9_950));
    let runs_out = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.clock.advance(Duration::from_millis(60));
    };
    let (pulled, ()) = tokio::join!(world.pull_waiting(60), runs_out);
    assert_eq!(out(&pulled.unwrap()), [(0, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_pullers_no_two_hold_the_same_message() {
    let world = Arc::new(World::leasing().await);
    world.publish("t", &["x"; 64]).await.unwrap();
    let tracker = TaskTracker::new();
    let tasks = (0..16).map(|_| {
        let world = Arc::clone(&world);
        tracker.spawn(async move {
            let pulled = world.pull("s", 5).await.unwrap();
            let held = ids(&pulled);
            world.ack_each(&held).await.unwrap();
            out(&pulled)
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap().into_iter().map(|(offset, _)| offset));
    }
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<u64>>(), "each once");
    let facts = world.facts("s").facts;
    assert_eq!((facts.backlog, facts.progress.counters.redelivered), (0, 0));
    assert!(facts.progress.acked_ahead.is_empty() && facts.progress.leases.is_empty());
}

#[tokio::test]
async fn a_save_that_fails_hands_out_and_settles_nothing_a_lost_answer_settles_once() {
    let world = World::leasing().await;
    world.publish("t", &["a", "b"]).await.unwrap();
    world.store.fail(Call::Save, 1, Fault::Refuse(StoreError::Full));
    assert!(matches!(world.pull("s", 9).await, Err(Error::Store(StoreError::Full))));
    let held = world.pull("s", 9).await.unwrap();
    assert_eq!(out(&held), [(0, 1), (1, 1)]);
    world.store.fail(Call::Save, 1, Fault::Refuse(StoreError::Full));
    assert!(matches!(world.ack_each(&ids(&held)).await, Err(Error::Store(StoreError::Full))));
    assert_eq!(world.facts("s").facts.backlog, 2);
    for (at, fault) in [Fault::LoseReply, Fault::LoseRequest].into_iter().enumerate() {
        world.store.fail(Call::Save, 1, fault);
        world.ack_each(&ids(&held)[at..=at]).await.unwrap();
    }
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.acked, counters.delivered), (2, 2));
}

#[tokio::test]
async fn what_was_trimmed_is_lost_whether_it_was_out_or_not() {
    let world = World::leasing().await;
    for text in ["a", "b", "c", "d"] {
        world.publish("t", &[text]).await.unwrap();
    }
    let held = ids(&world.pull("s", 2).await.unwrap());
    world.ack_each(&held[1..]).await.unwrap();
    drop(world.store.trim(world.facts("s").topic, Offset(3)).await.unwrap());
    world.broker.refresh_heads().await;
    let facts = world.facts("s").facts;
    assert_eq!((facts.backlog, facts.progress.counters.lost.retention), (1, 2));
    world.ack_each(&held[..1]).await.unwrap();
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(3, 1)]);
    assert_eq!(world.facts("s").facts.progress.counters.acked, 1);
}

#[tokio::test]
async fn a_seek_forgets_what_is_out_and_hands_acknowledged_messages_out_again() {
    let world = World::leasing().await;
    world.publish("t", &["a", "b", "c"]).await.unwrap();
    let held = ids(&world.pull("s", 9).await.unwrap());
    world.ack_each(&held[1..2]).await.unwrap();
    world.seek("s", 0).await.unwrap();
    world.ack_each(&held[..1]).await.unwrap();
    assert_eq!(world.facts("s").facts.progress.counters.refused_acks, 1, "of before the seek");
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 1), (1, 1), (2, 1)]);
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.replayed, counters.redelivered), (1, 3));
}

#[tokio::test]
async fn ids_of_another_life_of_the_subscription_or_its_topic_settle_nothing() {
    let world = World::leasing().await;
    world.publish("t", &["a"]).await.unwrap();
    let held = ids(&world.pull("s", 9).await.unwrap());
    let caller = world.root(Route::SubscriptionsDelete);
    world.broker.delete_subscription(&caller, &name("s")).await.unwrap();
    world.leaser("s").await;
    world.publish("t", &["b"]).await.unwrap();
    world.seek("s", 0).await.unwrap();
    assert_eq!(world.pull("s", 9).await.unwrap().count, 2);
    world.ack_each(&held).await.unwrap();
    assert_eq!(world.facts("s").facts.backlog, 2);
    // A topic made again begins at 0 with leases of other numbers.
    let held = ids(&world.pull_all_again().await);
    world.delete_topic("t").await.unwrap();
    world.topic("t").await.unwrap();
    world.publish("t", &["c"]).await.unwrap();
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 1)]);
    world.ack_each(&held).await.unwrap();
    assert_eq!(world.facts("s").facts.backlog, 1);
}

impl World {
    async fn pull_all_again(&self) -> Pulled {
        self.clock.advance(Duration::from_secs(11));
        self.pull("s", 9).await.unwrap()
    }
}

/// A world whose subscription `s` gives a message up after `attempts`, to topic `d`, of which `l`
/// is a subscription.
async fn with_dead_letters(settings: Settings, attempts: u32) -> World {
    let world = World::with(settings).await;
    world.project("p").await;
    world.topic("t").await.unwrap();
    world.topic("d").await.unwrap();
    world.subscription("l", "d").await.unwrap();
    let dead_letters = Some(DeadLetters { topic: name("d"), max_attempts: attempts });
    let wish = NewSubscription { ack_mode: AckMode::Individual, dead_letters, ..onto("t") };
    let caller = world.root(Route::SubscriptionsCreate);
    world.broker.create_subscription(&caller, &name("s"), wish).await.unwrap();
    world
}

/// Attributes and text of each message, as one line.
fn lines(pulled: &Pulled) -> Vec<String> {
    let line = |message: Result<crate::domain::MessageRef<'_>, _>| {
        let message = message.unwrap();
        let mut text = String::new();
        message.data.write_text(&mut text);
        let attributes = message.attributes.iter().map(|(k, v)| format!("{k}={v}"));
        attributes.chain([text]).collect::<Vec<_>>().join(" ")
    };
    pulled.entries.iter().flat_map(|entry| entry.batch.messages().map(line)).collect()
}

#[tokio::test]
async fn what_is_handed_out_in_vain_becomes_a_dead_letter_and_holds_nobody_up() {
    let world = with_dead_letters(settings(), 2).await;
    world.publish("t", &["YQ==", "not base64"]).await.unwrap();
    for attempt in 1..=2 {
        let pulled = world.pull("s", 9).await.unwrap();
        let all: Vec<_> = if attempt == 1 { vec![(0, 1), (1, 1)] } else { vec![(0, 2)] };
        assert_eq!(out(&pulled), all);
        if attempt == 1 {
            world.ack_each(&ids(&pulled)[1..]).await.unwrap();
        }
        world.clock.advance(Duration::from_secs(11));
    }
    world.publish("t", &["c"]).await.unwrap();
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(2, 1)]);
    let facts = world.facts("s").facts;
    let counters = facts.progress.counters;
    assert_eq!((counters.dead_lettered, counters.acked, facts.backlog), (1, 1, 1));
    assert_eq!(facts.progress.position, Offset(2));
    let letter = facts.progress.last_dead_letter.unwrap();
    assert_eq!((letter.offset, letter.at), (Offset(0), world.clock.steady()));
    assert_eq!(world.facts("s").letters_failed, 0);
    let dead = world.pull("l", 9).await.unwrap();
    let [letter] = &lines(&dead)[..] else { panic!("{:?}", lines(&dead)) };
    assert_eq!(
        letter,
        "amsDeadLetterDeliveryAttempts=2 amsDeadLetterOffset=0 \
         amsDeadLetterPublishTime=1970-01-12T13:46:40Z \
         amsDeadLetterSubscription=projects/p/subscriptions/s YQ=="
    );
}

#[tokio::test]
async fn many_dead_letters_are_moved_whole_and_once_whatever_is_cut() {
    for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::Refuse(StoreError::Unavailable)] {
        for (call, place) in
            [(Call::Commit, 1), (Call::Commit, 2), (Call::Save, 1), (Call::Scan, 1)]
        {
            let mut world = with_dead_letters(settings(), 1).await;
            world.publish("t", &["x"; 250]).await.unwrap();
            assert_eq!(world.pull("s", 999).await.unwrap().count, 250);
            world.clock.advance(Duration::from_secs(11));
            world.store.fail(call, place, fault.clone());
            // Where letters cannot be written their messages come again.
            let first = world.pull("s", 999).await.map(|pulled| pulled.count);
            if !matches!(first, Ok(0)) {
                world.clock.advance(Duration::from_secs(11));
                world = world.restarted().await;
                assert_eq!(world.pull("s", 999).await.unwrap().count, 0, "{fault:?} {call:?}");
            }
            let dead = world.pull("l", 999).await.unwrap();
            assert_eq!(dead.count, 250, "{fault:?} {call:?} {place} {first:?}");
            let mut offsets: Vec<u64> = lines(&dead)
                .iter()
                .map(|line| {
                    let offset = line.split("Offset=").nth(1).unwrap();
                    offset.split(' ').next().unwrap().parse().unwrap()
                })
                .collect();
            offsets.sort_unstable();
            assert_eq!(offsets, (0..250).collect::<Vec<_>>());
            let facts = world.facts("s").facts;
            assert_eq!((facts.progress.counters.dead_lettered, facts.backlog), (250, 0));
            let last = facts.progress.last_dead_letter.map(|letter| letter.offset);
            assert_eq!(last, Some(Offset(249)), "of what is saved");
        }
    }
}

#[tokio::test]
async fn without_its_topic_or_room_a_message_is_handed_out_again() {
    let world = with_dead_letters(settings(), 1).await;
    world.publish("t", &["a"]).await.unwrap();
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 1)]);
    world.delete_topic("d").await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 2)]);
    assert_eq!(world.facts("s").letters_failed, 1);
    assert_eq!(world.facts("s").facts.progress.last_dead_letter, None);
    // It is found by its name.
    world.topic("d").await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.pull("s", 9).await.unwrap().count, 0);
    assert_eq!(world.pull("l", 9).await.unwrap().count, 1);
    let world = with_dead_letters(Settings { bytes_per_project: 4, ..settings() }, 1).await;
    world.publish("t", &["a"]).await.unwrap();
    world.pull("s", 9).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(out(&world.pull("s", 9).await.unwrap()), [(0, 2)]);
}
