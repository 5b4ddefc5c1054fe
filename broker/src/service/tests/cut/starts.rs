//! What the next start, or the next verb, finds of what was cut.

use super::*;
use crate::store::{MessageLog as _, ProgressLog as _};

impl World {
    fn has_topic(&self, topic: &str) -> bool {
        let caller = self.root(Route::TopicsShow);
        self.broker.topic(&caller, &name(topic)).is_ok()
    }
}

#[tokio::test]
async fn a_create_finishes_a_deletion_of_the_name_that_was_cut() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    let old = world.facts("s").topic;
    world.store.fail(Call::Close, 1, Fault::Refuse(StoreError::Unavailable));
    assert!(matches!(world.delete_topic("t").await, Err(Error::Store(_))));
    assert!(!world.has_topic("t"), "from the mark on the name answers as absent");
    assert!(matches!(world.publish("t", &["b"]).await, Err(Error::TopicNotFound)));
    assert!(matches!(world.delete_topic("t").await, Err(Error::TopicNotFound)));
    world.topic("t").await.unwrap();
    assert_eq!(world.publish("t", &["c"]).await.unwrap(), Offset(0));
    assert!(!world.store.topics().await.unwrap().contains(&old));
    assert_eq!(world.facts("s").facts.progress.counters.lost.topic_deleted, 1);
}

#[tokio::test]
async fn a_start_that_cannot_finish_what_was_cut_gives_up_in_time() {
    let world = World::furnished().await;
    world.store.fail(Call::Close, 1, Fault::Refuse(StoreError::Unavailable));
    assert!(matches!(world.delete_topic("t").await, Err(Error::Store(_))));
    world.broker.drain();
    world.store.fail_always(Call::Close, Fault::LoseRequest);
    let hasty = Settings { deadline: Duration::from_millis(20), ..settings() };
    let (store, clock) = (Arc::clone(&world.store), Arc::clone(&world.clock));
    let refused = World::on(store, clock, hasty).await.err();
    assert!(matches!(refused, Some(OpenError::Store(StoreError::Unavailable))));
    world.restarted().await.check_owners("later").await;
}

#[tokio::test]
async fn a_deletion_that_was_refused_lets_publishes_in_again() {
    let world = World::furnished().await;
    world.store.fail(Call::CommitScope, 1, Fault::Refuse(StoreError::Unavailable));
    assert!(matches!(world.delete_topic("t").await, Err(Error::Store(_))));
    assert_eq!(world.publish("t", &["a"]).await.unwrap(), Offset(0));
}

#[tokio::test]
async fn a_topic_without_its_log_is_damage() {
    let world = World::furnished().await;
    let life = world.facts("s").topic;
    drop(world.store.close(life).await.unwrap());
    let Err(OpenError::Damaged(text)) = world.try_restart().await else { panic!("it must refuse") };
    assert!(text.contains("topic t"), "{text}");
}

#[tokio::test]
async fn a_subscription_past_the_end_of_its_topic_is_damage() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    world.pull("s", 1).await.unwrap();
    let id = world.facts("s").id;
    let mut progress = world.store.load(id).await.unwrap().unwrap();
    progress.version += 1;
    progress.frontier = Offset(2);
    drop(world.store.save(id, &progress).await.unwrap());
    let Err(OpenError::Damaged(text)) = world.try_restart().await else { panic!("it must refuse") };
    assert!(text.contains("at 2, the topic ends at 1"), "{text}");
}

#[tokio::test]
async fn a_log_and_a_progress_without_an_owner_are_removed_at_the_start() {
    let world = World::furnished().await;
    drop(world.store.create(TopicId::random()).await.unwrap());
    let mut progress = crate::domain::Progress::fresh(TopicId::random(), Offset(0));
    progress.version = 1;
    drop(world.store.save(SubscriptionId::random(), &progress).await.unwrap());
    world.restarted().await.check_owners("orphans").await;
}
