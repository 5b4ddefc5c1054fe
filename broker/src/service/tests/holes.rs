//! Messages that were given up: passed over, counted once, never read.

use super::*;
use crate::domain::{Hole, TopicId};
use crate::service::{give_up, losses};
use crate::store::{Damage, MessageLog as _, Messages, Outcome, Store};

impl World {
    fn damage(&self, from: u64, to: u64) -> Damage {
        let (from, to) = (Offset(from), Offset(to));
        let messages = Some(Messages { topic: self.facts("s").topic, from, to });
        Damage { file: String::from("e000"), at: 0, what: String::from("a flip"), messages }
    }

    fn shared(&self) -> Arc<dyn Store> {
        Arc::<FaultyStore>::clone(&self.store)
    }

    async fn take(&self, max: u64) -> (u64, u64) {
        let pulled = self.pull("s", max).await.unwrap();
        if pulled.count > 0 {
            self.ack("s", pulled.first.0 + pulled.count - 1).await.unwrap();
        }
        (pulled.first.0, pulled.count)
    }
}

#[tokio::test]
async fn what_was_given_up_is_passed_over_and_counted_as_damage() {
    let world = World::furnished().await;
    world.publish("t", &["x"; 12]).await.unwrap();
    assert_eq!(world.take(2).await, (0, 2));
    let damage = [world.damage(4, 6), world.damage(6, 7), world.damage(11, 12)];

    let lost = losses(&world.shared(), &damage).await.unwrap();
    let told: Vec<_> = lost.iter().map(|loss| (loss.from.0, loss.to.0)).collect();
    assert_eq!(told, [(4, 7), (11, 12)], "what touches is one hole");
    assert_eq!(lost[0].subscriptions, [(name("s"), 3)]);
    for _ in 0..2 {
        give_up(&world.shared(), &damage, Time::from_secs(5)).await.unwrap();
    }

    let world = world.restarted().await;
    assert_eq!(world.take(100).await, (2, 2), "no window reaches over a hole");
    assert_eq!(world.take(100).await, (7, 4));
    assert_eq!(world.take(100).await, (12, 0), "a hole at the end leaves nothing to wait for");
    let facts = world.facts("s").facts;
    assert_eq!((facts.backlog, facts.progress.counters.lost.damage), (0, 4));
    assert_eq!(facts.progress.counters.lost_never_acked, 4);
    world.publish("t", &["x"]).await.unwrap();
    assert_eq!(world.take(100).await, (12, 1));
    let world = world.restarted().await;
    assert_eq!(world.facts("s").facts.progress.counters.lost.damage, 4, "once");
}

#[tokio::test]
async fn damage_of_kept_messages_is_told_until_it_is_given_up_or_trimmed() {
    let world = World::furnished().await;
    world.publish("t", &["x"; 12]).await.unwrap();
    let topic = world.facts("s").topic;
    let told = |world: &World| {
        let facts = world.broker.topic_facts().last().unwrap();
        (facts.damaged, facts.given_up)
    };
    assert_eq!(told(&world), (0, 0));
    // Two that overlap, one beyond the end, one of a topic that is gone.
    for (topic, from, to) in
        [(topic, 4, 7), (topic, 6, 9), (topic, 11, 40), (TopicId::random(), 0, 5)]
    {
        world.store.say_damaged(topic, Hole { from: Offset(from), to: Offset(to) });
    }
    assert_eq!(told(&world), (6, 0), "4 to 8, and 11");
    let damage = [world.damage(4, 7), world.damage(11, 12)];
    give_up(&world.shared(), &damage, Time::from_secs(5)).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(told(&world), (2, 4), "7 and 8 are left");
    let trimmed = world.store.trim(topic, Offset(8)).await.unwrap();
    assert!(matches!(trimmed, Outcome::Applied(_)), "{trimmed:?}");
    world.broker.refresh_heads().await;
    assert_eq!(told(&world), (1, 1));
}

#[tokio::test]
async fn the_next_life_of_a_topic_has_no_holes() {
    let world = World::furnished().await;
    world.publish("t", &["x"; 4]).await.unwrap();
    give_up(&world.shared(), &[world.damage(1, 3)], Time::from_secs(5)).await.unwrap();
    let world = world.restarted().await;
    world.delete_topic("t").await.unwrap();
    world.topic("t").await.unwrap();
    world.publish("t", &["x"; 4]).await.unwrap();
    assert_eq!(world.take(100).await, (0, 4));
}
