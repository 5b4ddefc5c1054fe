//! Many at once: of all who make one name one does, and nobody who uses what is new loses anything.

use std::collections::BTreeMap;

use super::*;
use crate::service::ReadFrom;
use crate::store::{Gate, MessageLog as _};

const MANY: usize = 64;
const ROUNDS: u64 = 6;
const KINDS: usize = 6;

impl World {
    async fn make(&self, kind: usize, new: &str) -> Result<(), Error> {
        let (broker, nothing) = (&self.broker, String::new);
        match kind {
            0 => self.topic(new).await.map(drop),
            1 => self.subscription(new, "t").await.map(drop),
            2 => {
                let (by, alert) = (self.by(Route::ProjectsCreate)?, AlertSettings::default());
                broker.create_project(&by, &name(new), nothing(), alert).await.map(drop)
            }
            3 => {
                let by = self.by(Route::UsersCreate)?;
                broker.create_user(&by, &name(new), NewUser::default()).await.map(drop)
            }
            4 => {
                let (by, any) = (self.by(Route::SchemasCreate)?, Some("{}".to_owned()));
                broker.create_schema(&by, &name(new), "json", any).await.map(drop)
            }
            _ => {
                let by = self.by(Route::SnapshotsCreate)?;
                broker.create_snapshot(&by, &name(new), &name("s")).await.map(drop)
            }
        }
    }

    /// Where all who make one of this kind wait for each other, behind their first look at whether
    /// it exists; `None` where they come one by one.
    fn hold_all(&self, kind: usize) -> Option<Gate> {
        let (gate, call) = (Gate::default(), [Call::Create, Call::Head].get(kind).copied()?);
        (1..=MANY as u64).for_each(|nth| self.store.fail(call, nth, Fault::Hold(gate.clone())));
        Some(gate)
    }

    /// Every fifth call from now on, up to some hundreds, has no answer.
    fn lose_answers(&self) {
        for call in (5..1_000).step_by(10) {
            self.store.fail_any(call, Fault::LoseReply);
            self.store.fail_any(call + 5, Fault::LoseRequest);
        }
    }
}

fn exists(kind: usize, error: &Error) -> bool {
    matches!(
        (kind, error),
        (0, Error::TopicExists)
            | (1, Error::SubscriptionExists)
            | (2, Error::ProjectExists)
            | (3, Error::UserExists)
            | (4, Error::SchemaExists)
            | (5, Error::SnapshotExists)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_make_one_name_at_once_one_does_and_63_are_told_that_it_exists() {
    let world = Arc::new(World::furnished().await);
    let tracker = TaskTracker::new();
    for round in 0..ROUNDS {
        if round % 2 == 1 {
            world.lose_answers();
        }
        for kind in 0..KINDS {
            let held = if round % 2 == 0 { world.hold_all(kind) } else { None };
            let tasks = (0..MANY).map(|_| {
                let (world, new) = (Arc::clone(&world), format!("race{round}"));
                tracker.spawn(async move { world.make(kind, &new).await })
            });
            let tasks: Vec<_> = tasks.collect();
            if let Some(gate) = held {
                gate.arrived(MANY as u64).await;
                gate.open();
            }
            let mut made = 0;
            for task in tasks {
                match task.await.unwrap() {
                    Ok(()) => made += 1,
                    Err(error) if exists(kind, &error) => {}
                    // A read of the store that had no answer.
                    Err(Error::Store(StoreError::Unavailable)) if round % 2 == 1 => {}
                    Err(error) => panic!("{kind}: {error}"),
                }
            }
            assert_eq!(made, 1, "kind {kind}, round {round}");
        }
        world.store.heal();
    }
    let topics = world.store.topics().await.unwrap().len() as u64;
    assert_eq!(topics, 1 + ROUNDS, "losers leave no log");
    let world = Arc::into_inner(world).unwrap().restarted().await;
    world.check_owners("many").await;
    for round in 0..ROUNDS {
        let told = |kind| matches!(kind, Err(error) if exists(0, &error));
        assert!(told(world.topic(&format!("race{round}")).await), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_64_creators_and_64_publishers_on_new_topics_loses_nothing() {
    const NAMES: usize = 16;

    for lossy in [false, true] {
        let world = Arc::new(World::furnished().await);
        if lossy {
            world.lose_answers();
        }
        let tracker = TaskTracker::new();
        let tasks = (0..2 * MANY).map(|n| {
            let (world, topic) = (Arc::clone(&world), format!("storm{}", n / 2 % NAMES));
            let text = n.to_string();
            let task = async move {
                if n % 2 == 0 {
                    let made = world.make(0, &topic).await;
                    return (topic, text, made);
                }
                loop {
                    match world.publish(&topic, &[&text]).await {
                        Err(Error::TopicNotFound) => tokio::task::yield_now().await,
                        answer => return (topic, text, answer.map(drop)),
                    }
                }
            };
            (n, tracker.spawn(task))
        });
        let (mut made, mut sent) = (0, BTreeMap::<String, Vec<String>>::new());
        for (n, task) in tasks.collect::<Vec<_>>() {
            let (topic, text, answer) = task.await.unwrap();
            match (n % 2, answer) {
                (0, Ok(())) => made += 1,
                (0, Err(Error::TopicExists)) => {}
                (1, Ok(())) => sent.entry(topic).or_default().push(text),
                (_, Err(error)) => panic!("{n}: {error}"),
                (_, Ok(())) => unreachable!("even or odd"),
            }
        }
        assert_eq!((made, sent.len()), (NAMES, NAMES), "lossy: {lossy}");
        world.store.heal();
        let world = Arc::into_inner(world).unwrap().restarted().await;
        world.check_owners("storm").await;
        for (topic, mut sent) in sent {
            let by = world.root(Route::TopicsRead);
            let (all, topic) = (ReadFrom::Offset(0), name(&topic));
            let read = world.broker.read_topic(&by, &topic, all, 1_000, None).await.unwrap();
            let mut kept = texts(&read.messages);
            sent.sort_unstable();
            kept.sort_unstable();
            assert_eq!(kept, sent, "{topic}: each once, lossy: {lossy}");
        }
    }
}
