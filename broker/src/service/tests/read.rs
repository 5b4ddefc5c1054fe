//! Reading without a subscription: everything that is there, and no trace.

use super::*;
use crate::service::give_up;
use crate::store::{Damage, Messages, ProgressLog as _, Store};

impl World {
    async fn read(&self, from: ReadFrom, most: u64, wait: Option<u64>) -> Result<Read, Error> {
        let (caller, wait) = (self.root(Route::TopicsRead), wait.map(Duration::from_secs));
        self.broker.read_topic(&caller, &name("t"), from, most, wait).await
    }
}

#[tokio::test]
async fn a_walk_meets_each_message_once_and_leaves_no_trace() {
    let world = World::furnished().await;
    let all: Vec<String> = (0..25).map(|at| at.to_string()).collect();
    for texts in all.chunks(7) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        world.publish("t", &texts).await.unwrap();
    }
    for most in [1, 3, 7, 100] {
        let (mut seen, mut next) = (Vec::new(), 0);
        while next < 25 {
            let read = world.read(ReadFrom::Offset(next), most, None).await.unwrap();
            assert!(read.messages.count <= most && read.messages.count > 0);
            assert_eq!((read.min.0, read.max.0), (0, 25));
            seen.extend(texts(&read.messages));
            next = read.next.0;
        }
        assert_eq!(seen, all);
    }
    let facts = world.facts("s");
    assert_eq!(facts.facts.progress.counters.delivered, 0);
    let saved = world.store.load(facts.id).await.unwrap();
    assert_eq!(saved, None, "no record was written");
}

#[tokio::test]
async fn what_was_given_up_is_passed_over_where_reading_goes_on() {
    let world = World::furnished().await;
    world.publish("t", &["x"; 8]).await.unwrap();
    let messages = Messages { topic: world.facts("s").topic, from: Offset(2), to: Offset(5) };
    let damage = Damage {
        file: String::from("e000"),
        at: 0,
        what: String::from("a flip"),
        messages: Some(messages),
    };
    let store: Arc<dyn Store> = Arc::<FaultyStore>::clone(&world.store);
    give_up(&store, &[damage], Time::from_secs(5)).await.unwrap();
    let world = world.restarted().await;
    for (from, first, count, next) in [(0, 0, 2, 5), (1, 1, 1, 5), (3, 5, 3, 8), (8, 8, 0, 8)] {
        let read = world.read(ReadFrom::Offset(from), 100, None).await.unwrap();
        let seen = (read.messages.first.0, read.messages.count, read.next.0);
        assert_eq!(seen, (first, count, next), "from {from}");
    }
}

#[tokio::test]
async fn the_end_waits_for_what_comes() {
    let world = World::furnished().await;
    let none = world.read(ReadFrom::End(5), 10, None).await.unwrap();
    assert_eq!((none.messages.count, none.next.0), (0, 0));
    let waiting = world.read(ReadFrom::Offset(0), 10, Some(60));
    let publish = async {
        tokio::task::yield_now().await;
        world.publish("t", &["late"]).await.unwrap();
    };
    let (read, ()) = tokio::join!(waiting, publish);
    assert_eq!(texts(&read.unwrap().messages), ["late"]);
    let beyond = world.read(ReadFrom::Offset(2), 10, Some(60)).await;
    assert!(matches!(beyond, Err(Error::OffsetOutOfBounds)));
}
