//! How many bytes a project may keep.

use super::*;
use crate::store::{Call, Fault, MessageLog as _, StoreError};

impl World {
    fn stored(&self) -> u64 {
        u64::try_from(self.broker.project_cells()[0].1.stored()).unwrap()
    }

    /// What the store says of all topics together.
    async fn kept(&self) -> u64 {
        let mut kept = 0;
        for topic in self.store.topics().await.unwrap() {
            kept += self.store.kept_bytes(topic).await.unwrap();
        }
        kept
    }
}

fn with_quota(bytes_per_project: u64) -> Settings {
    Settings { bytes_per_project, ..settings() }
}

#[tokio::test]
async fn a_project_over_its_quota_publishes_nothing_and_does_all_else() {
    let one = batch(&["0123456789"]).packed().len() as u64;
    let world = World::with(with_quota(3 * one)).await;
    world.furnish().await;
    world.topic("u").await.unwrap();
    for topic in ["t", "u", "t"] {
        world.publish(topic, &["0123456789"]).await.unwrap();
    }
    for topic in ["t", "u"] {
        let refused = world.publish(topic, &["0"]).await;
        assert!(matches!(refused, Err(Error::ByteQuota)), "{refused:?}");
    }
    let told = world.broker.project_facts().map(|facts| (facts.name, facts.stored, facts.quota));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(name("p"), 3 * one, 3 * one)]);
    world.publish("t", &[]).await.unwrap();
    assert_eq!(world.pull("s", 1).await.unwrap().count, 1);
    world.ack("s", 0).await.unwrap();
    world.subscription("v", "u").await.unwrap();
    // Deleting a topic makes room at once.
    world.delete_topic("u").await.unwrap();
    assert_eq!(world.stored(), 2 * one);
    world.publish("t", &["0123456789"]).await.unwrap();
    assert!(matches!(world.publish("t", &["0"]).await, Err(Error::ByteQuota)));
    // So does retention.
    world.clock.advance(7 * DAY + Duration::from_secs(1));
    world.broker.retain().await;
    assert_eq!((world.stored(), world.kept().await), (0, 0));
    world.publish("t", &["0123456789"]).await.unwrap();
}

#[tokio::test]
async fn what_is_stored_is_counted_over_many_topics_restarts_and_failures() {
    let mut world = World::new().await;
    world.project("p").await;
    for at in 0..30 {
        world.topic(&format!("t{at}")).await.unwrap();
    }
    for round in 0..4u64 {
        for at in 0..30 {
            let fault = match (at + round) % 5 {
                0 => Some(Fault::LoseReply),
                1 => Some(Fault::LoseRequest),
                2 => Some(Fault::Refuse(StoreError::Full)),
                _ => None,
            };
            if let Some(fault) = fault {
                world.store.fail(Call::Commit, 1, fault);
            }
            let published = world.publish(&format!("t{at}"), &["x", "yy"]).await;
            let full = matches!(published, Err(Error::Store(StoreError::Full)));
            assert!(published.is_ok() || full, "{published:?}");
        }
        assert_eq!(world.stored(), world.kept().await, "exact without a sweep");
        world.delete_topic(&format!("t{}", 29 - round)).await.unwrap();
        world.topic(&format!("t{}", 29 - round)).await.unwrap();
        assert_eq!(world.stored(), world.kept().await);
        if round == 1 {
            world = world.restarted().await;
            assert_eq!(world.stored(), world.kept().await, "counted again at the start");
        }
    }
    // A sweep that cannot count leaves the figure as it is.
    world.store.fail_always(Call::KeptBytes, Fault::Refuse(StoreError::Unavailable));
    world.broker.retain().await;
    world.store.heal();
    assert_eq!(world.stored(), world.kept().await);
}

#[tokio::test]
async fn without_a_quota_nothing_is_refused() {
    let world = World::furnished().await;
    for _ in 0..100 {
        world.publish("t", &["0123456789"]).await.unwrap();
    }
    assert_eq!(world.stored(), world.kept().await);
}
