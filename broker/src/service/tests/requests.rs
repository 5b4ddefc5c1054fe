//! A publish under a key is done once, whatever happens to its answer.

use super::*;
use crate::store::{Call, Fault, Gate, Limits, MessageLog as _, StoreError};

impl World {
    async fn keyed(&self, key: &str, texts: &[&str]) -> Result<Offset, Error> {
        let caller = self.root(Route::TopicsPublish);
        let publisher = self.broker.publisher(&caller, &name("t"))?;
        publisher.publish(batch(texts), Some(key.as_bytes())).await
    }

    /// How many messages topic `t` ever had.
    async fn count(&self) -> u64 {
        self.store.head(self.facts("s").topic).await.unwrap().unwrap().next.0
    }
}

#[tokio::test]
async fn a_key_means_one_publish_for_ten_minutes_and_through_restarts() {
    let mut world = World::furnished().await;
    world.publish("t", &["x"]).await.unwrap();
    assert_eq!(world.keyed("k", &["a", "b"]).await.unwrap(), Offset(1));
    for _ in 0..3 {
        assert_eq!(world.keyed("k", &["a", "b"]).await.unwrap(), Offset(1));
        assert!(matches!(world.keyed("k", &["a"]).await, Err(Error::KeyReused)));
        world.publish("t", &["y"]).await.unwrap();
        world = world.restarted().await;
        world.clock.advance(Duration::from_secs(190));
    }
    assert_eq!(world.keyed("other", &["a", "b"]).await.unwrap(), Offset(6));
    assert_eq!(world.keyed("k", &["a", "b"]).await.unwrap(), Offset(1));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.keyed("k", &["a"]).await.unwrap(), Offset(8));
    assert_eq!(world.keyed("other", &["a", "b"]).await.unwrap(), Offset(6));
    // What the clock says once is not taken back with the clock.
    world.clock.set_wall(Time::from_secs(1_000_000));
    assert_eq!(world.keyed("k", &["a"]).await.unwrap(), Offset(8));
    assert_eq!(world.restarted().await.keyed("k", &["a"]).await.unwrap(), Offset(8));
}

#[tokio::test]
async fn a_key_belongs_to_a_user_and_a_topic() {
    let world = World::furnished().await;
    world.topic("u").await.unwrap();
    let token = world.user("somebody", &["project_admin"], &[]).await;
    assert_eq!(world.keyed("k", &["a"]).await.unwrap(), Offset(0));
    let somebody = world.admit(Route::TopicsPublish, &token).unwrap();
    let publisher = world.broker.publisher(&somebody, &name("t")).unwrap();
    assert_eq!(publisher.publish(batch(&["b"]), Some(b"k")).await.unwrap(), Offset(1));
    let publisher = world.broker.publisher(&somebody, &name("u")).unwrap();
    assert_eq!(publisher.publish(batch(&["c"]), Some(b"k")).await.unwrap(), Offset(0));
    // A topic made again has seen nothing.
    world.delete_topic("t").await.unwrap();
    world.topic("t").await.unwrap();
    assert_eq!(world.keyed("k", &["z"]).await.unwrap(), Offset(0));
    // An empty batch is none.
    assert_eq!(world.keyed("e", &[]).await.unwrap(), Offset(1));
    assert_eq!(world.keyed("e", &["a"]).await.unwrap(), Offset(1));
}

#[tokio::test]
async fn those_who_ask_the_same_at_once_share_one_answer() {
    let world = World::furnished().await;
    let gate = Gate::default();
    world.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    let rest = async {
        gate.arrived(1).await;
        let (same, again) = (world.keyed("k", &["b", "c"]), world.keyed("k", &["b", "c"]));
        let (other, first) = (world.keyed("k", &["d"]), world.keyed("a", &["a"]));
        let all = async { tokio::join!(same, again, other, first, world.publish("t", &["e"])) };
        tokio::select! {
            biased;
            all = all => all,
            never = async {
                // Each found that its key is new, and waits.
                tokio::time::sleep(Duration::from_millis(100)).await;
                gate.open();
                std::future::pending().await
            } => never,
        }
    };
    let (held, (same, again, other, first, plain)) = tokio::join!(world.keyed("a", &["a"]), rest);
    assert_eq!((held.unwrap(), first.unwrap()), (Offset(0), Offset(0)));
    let place = same.unwrap();
    assert_eq!(again.unwrap(), place);
    assert!(matches!(other, Err(Error::KeyReused)));
    let mut places = [place.0, place.0 + 1, plain.unwrap().0];
    places.sort_unstable();
    assert_eq!(places, [1, 2, 3]);
    assert_eq!(world.count().await, 4);
}

/// What a client does that got no answer.
#[tokio::test]
async fn an_unknown_outcome_and_a_retry_are_one_publish() {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        for lost in 1..=3 {
            let deadline = Duration::from_millis(20);
            let world = World::with(Settings { deadline, ..settings() }).await;
            world.furnish().await;
            world.publish("t", &["x"]).await.unwrap();
            let gate = Gate::default();
            (1..lost).for_each(|n| world.store.fail(Call::Commit, n, fault.clone()));
            world.store.fail(Call::Commit, lost, Fault::Hold(gate.clone()));
            assert!(matches!(world.keyed("k", &["a"]).await, Err(Error::Unavailable)));
            gate.open();
            let mut told = world.keyed("k", &["a"]).await;
            while matches!(told, Err(Error::Unavailable)) {
                told = world.keyed("k", &["a"]).await;
            }
            assert_eq!(told.unwrap(), Offset(1));
            assert_eq!(world.count().await, 2, "{fault:?} {lost}");
        }
    }
}

/// As another broker on the same store does.
#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_seen_before_it_is_written_again() {
    let world = World::furnished().await;
    world.keyed("a", &["a"]).await.unwrap();
    let other = World::on(Arc::clone(&world.store), Arc::clone(&world.clock), settings());
    let other = other.await.unwrap();
    assert_eq!(other.keyed("k", &["b"]).await.unwrap(), Offset(1));
    // The first broker's head is behind: its commit meets a conflict.
    assert_eq!(world.keyed("k", &["b"]).await.unwrap(), Offset(1));
    assert!(matches!(world.keyed("k", &["c"]).await, Err(Error::KeyReused)));
    assert_eq!(other.publish("t", &["d"]).await.unwrap(), Offset(2));
    assert_eq!(world.keyed("a", &["a"]).await.unwrap(), Offset(0));
    assert_eq!(world.count().await, 3);
}

#[tokio::test]
async fn a_repeat_needs_no_room_and_a_damaged_log_answers_for_nothing() {
    let bytes_per_project = batch(&["aaaa"]).packed().len() as u64;
    let mut world = World::with(Settings { bytes_per_project, ..settings() }).await;
    world.furnish().await;
    world.keyed("k", &["aaaa"]).await.unwrap();
    assert!(matches!(world.keyed("l", &["a"]).await, Err(Error::ByteQuota)));
    assert_eq!(world.keyed("k", &["aaaa"]).await.unwrap(), Offset(0));
    world = world.restarted().await;
    world.store.fail(Call::Scan, 1, Fault::Refuse(StoreError::Corrupt("planted".into())));
    let refused = world.keyed("k", &["aaaa"]).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Corrupt(_)))));
    assert_eq!(world.keyed("k", &["aaaa"]).await.unwrap(), Offset(0));
    let limits = Limits { messages: 9, bytes: 9_000 };
    let life = world.facts("s").topic;
    assert_eq!(world.store.scan(life, Offset(0), limits).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_remembered_is_counted_and_given_back() {
    use std::sync::atomic::Ordering;

    let world = World::furnished().await;
    let remembered = || world.broker.0.requests.load(Ordering::Relaxed);
    for n in 0..20 {
        world.keyed(&format!("k{n}"), &["a"]).await.unwrap();
    }
    assert_eq!(remembered(), 20);
    world.broker.0.requests.store(1_000_000, Ordering::Relaxed);
    assert!(matches!(world.keyed("new", &["a"]).await, Err(Error::KeyQuota)));
    assert_eq!(world.keyed("k3", &["a"]).await.unwrap(), Offset(3));
    world.broker.0.requests.store(20, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(599));
    world.broker.forget_requests();
    assert_eq!(remembered(), 20);
    world.clock.advance(Duration::from_secs(1));
    world.broker.forget_requests();
    assert_eq!(remembered(), 0);
    world.keyed("k", &["a"]).await.unwrap();
    world.delete_topic("t").await.unwrap();
    assert_eq!(remembered(), 0);
}
