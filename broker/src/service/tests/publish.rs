//! Publishing: dense, whole, never twice, and nobody holds anybody up.

use super::*;
use crate::store::{Call, Fault, Gate, Limits, MessageLog as _, StoreError};

async fn everything(world: &World) -> Vec<String> {
    let life = world.facts("s").topic;
    let limits = Limits { messages: u64::MAX, bytes: u64::MAX };
    let entries = world.store.scan(life, Offset(0), limits).await.unwrap();
    let count = entries.last().map_or(0, |entry| entry.end().0);
    texts(&Pulled { entries, first: Offset(0), count, ..Pulled::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn offsets_are_dense_and_every_batch_lies_together() {
    let world = Arc::new(World::furnished().await);
    let gate = Gate::default();
    world.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    let tracker = TaskTracker::new();
    let tasks: Vec<_> = (0..64usize)
        .map(|task| {
            let world = Arc::clone(&world);
            tracker.spawn(async move {
                let mut placed = Vec::new();
                for round in 0..4 {
                    let size = 1 + (task + round) % 5;
                    let texts: Vec<String> =
                        (0..size).map(|n| format!("{task}.{round}.{n}")).collect();
                    let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
                    let base = world.publish("t", &refs).await.unwrap();
                    placed.push((base.0, texts));
                }
                placed
            })
        })
        .collect();
    gate.arrived(1).await;
    gate.open();
    let mut placed = Vec::new();
    for task in tasks {
        placed.extend(task.await.unwrap());
    }
    placed.sort();
    let expected: Vec<String> = placed.iter().flat_map(|(_, texts)| texts.clone()).collect();
    let mut next = 0;
    for (base, texts) in &placed {
        assert_eq!(*base, next);
        next += texts.len() as u64;
    }
    assert_eq!(everything(&world).await, expected);
}

/// What comes of `rest`, which begins while the gate holds a commit and waits when it opens.
async fn behind<T>(gate: &Gate, rest: impl Future<Output = T>) -> T {
    gate.arrived(1).await;
    tokio::select! {
        biased;
        rest = rest => rest,
        never = async { gate.open(); std::future::pending().await } => never,
    }
}

#[tokio::test]
async fn publishes_that_wait_together_share_an_entry() {
    let world = World::furnished().await;
    let gate = Gate::default();
    world.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    let first = world.publish("t", &["a"]);
    let rest = async { tokio::join!(world.publish("t", &["b", "c"]), world.publish("t", &["d"])) };
    let (first, (second, third)) = tokio::join!(first, behind(&gate, rest));
    assert_eq!(
        (first.unwrap(), second.unwrap(), third.unwrap()),
        (Offset(0), Offset(1), Offset(3))
    );
    assert_eq!(world.store.calls(Call::Commit), 2);
}

#[tokio::test]
async fn a_cancelled_publisher_loses_nothing_and_blocks_nobody() {
    let world = World::furnished().await;
    let gate = Gate::default();
    world.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    {
        // Both are given up while the first one's entry is on its way.
        let (first, second) = (world.publish("t", &["a"]), world.publish("t", &["b"]));
        tokio::select! {
            biased;
            _ = async { tokio::join!(first, second) } => panic!("the gate is shut"),
            () = gate.arrived(1) => {}
        }
    }
    let third = world.publish("t", &["c"]);
    gate.open();
    assert_eq!(third.await.unwrap(), Offset(2));
    assert_eq!(everything(&world).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_does_not_hang_on_the_thread_of_an_earlier_one() {
    let world = Arc::new(World::furnished().await);
    let first = Arc::clone(&world);
    // As a thread of the HTTP server does that has no connection left when the server stops.
    let short_lived = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = first.publish("t", &["a"]) => {}
                () = std::future::ready(()) => {}
            }
        });
    };
    std::thread::spawn(short_lived).join().unwrap();
    assert_eq!(world.publish("t", &["b"]).await.unwrap(), Offset(1));
    assert_eq!(everything(&world).await, ["a", "b"]);
}

#[tokio::test]
async fn a_lost_reply_is_made_definite_and_never_doubles_a_message() {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        let world = World::furnished().await;
        world.store.fail(Call::Commit, 1, fault.clone());
        world.store.fail(Call::Commit, 2, fault.clone());
        world.store.fail(Call::Commit, 3, Fault::Refuse(StoreError::Unavailable));
        assert_eq!(world.publish("t", &["a", "b"]).await.unwrap(), Offset(0), "{fault:?}");
        assert_eq!(world.publish("t", &["c"]).await.unwrap(), Offset(2));
        assert_eq!(everything(&world).await, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn a_refusal_reaches_all_who_waited_and_the_next_publish_goes_on() {
    let world = World::furnished().await;
    let gate = Gate::default();
    world.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    world.store.fail(Call::Commit, 2, Fault::Refuse(StoreError::Full));
    let rest = async { tokio::join!(world.publish("t", &["b"]), world.publish("t", &["c"])) };
    let (first, (one, two)) = tokio::join!(world.publish("t", &["a"]), behind(&gate, rest));
    assert_eq!(first.unwrap(), Offset(0));
    for refused in [one, two] {
        assert!(matches!(refused, Err(Error::Store(StoreError::Full))));
    }
    assert_eq!(world.publish("t", &["d"]).await.unwrap(), Offset(1));
    assert_eq!(world.store.calls(Call::Commit), 3);
}

#[tokio::test]
async fn an_outcome_unknown_past_the_deadline_is_told_and_pursued_without_a_duplicate() {
    let deadline = Duration::from_millis(50);
    let world = World::with(Settings { deadline, ..settings() }).await;
    world.furnish().await;
    world.store.fail_always(Call::Commit, Fault::LoseReply);
    assert!(matches!(world.publish("t", &["a"]).await, Err(Error::Unavailable)));
    world.store.heal();
    while world.publish("t", &["b"]).await.is_err() {}
    let all = everything(&world).await;
    assert_eq!(all.iter().filter(|text| *text == "a").count(), 1);
}

#[tokio::test]
async fn another_writer_of_the_topic_costs_a_conflict_and_nothing_else() {
    let world = World::furnished().await;
    let (store, clock) = (Arc::clone(&world.store), Arc::clone(&world.clock));
    let other = World::on(store, clock, settings()).await.unwrap();
    assert_eq!(world.publish("t", &["a"]).await.unwrap(), Offset(0));
    assert_eq!(other.publish("t", &["b", "c"]).await.unwrap(), Offset(1));
    assert_eq!(world.publish("t", &["d"]).await.unwrap(), Offset(3));
    assert_eq!(everything(&world).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn an_empty_batch_writes_nothing_and_answers_the_end() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    let before = world.store.calls(Call::Commit);
    assert_eq!(world.publish("t", &[]).await.unwrap(), Offset(1));
    assert_eq!(world.store.calls(Call::Commit), before);
}

#[tokio::test]
async fn publish_times_never_go_back_and_name_the_clock() {
    let world = World::furnished().await;
    world.publish("t", &["a"]).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.publish("t", &["b"]).await.unwrap();
    let pulled = world.pull("s", 10).await.unwrap();
    let times: Vec<_> = pulled.entries.iter().map(|entry| entry.time).collect();
    assert_eq!(times, [Time::from_secs(1_000_000), Time::from_secs(1_000_060)]);
}

#[tokio::test]
async fn a_draining_broker_refuses_verbs_and_its_tasks_end() {
    let world = World::furnished().await;
    let publish = world.root(Route::TopicsPublish);
    let publisher = world.broker.publisher(&publish, &name("t")).unwrap();
    let pull = world.root(Route::SubscriptionsPull);
    let puller = world.broker.puller(&pull, &name("s")).unwrap();
    let create = world.root(Route::TopicsCreate);
    world.broker.drain();
    assert!(matches!(publisher.publish(batch(&["a"]), None).await, Err(Error::Unavailable)));
    assert!(matches!(puller.pull(1, None).await, Err(Error::Unavailable)));
    let (alert, topic) = (AlertSettings::default(), name("u"));
    let made =
        world.broker.create_topic(&create, &topic, alert, RetentionSettings::default(), None).await;
    assert!(matches!(made, Err(Error::Unavailable)));
    assert!(matches!(world.admit(Route::ProjectsList, &world.admin), Err(Error::Unavailable)));
    world.tasks.close();
    world.tasks.wait().await;
}
