//! Verbs of several steps, cut at each of them: completed or absent after the next start, no
//! orphan left, and what was answered holds.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use super::*;
use crate::store::{Call, Fault, MessageLog as _, ProgressLog as _, StoreError};

/// How one run is disturbed at its n-th call of the store.
#[derive(Debug, Clone, Copy)]
enum Cut {
    LoseReply,
    LoseRequest,
    Refuse,
    /// The process dies before the call.
    KillBefore,
    /// The process dies behind the call.
    KillBehind,
}

const ALL_CALLS: [Call; 9] = [
    Call::Create,
    Call::Close,
    Call::Head,
    Call::Load,
    Call::Save,
    Call::Delete,
    Call::ChangesSince,
    Call::LoadScope,
    Call::CommitScope,
];

const CUTS: [Cut; 5] =
    [Cut::LoseReply, Cut::LoseRequest, Cut::Refuse, Cut::KillBefore, Cut::KillBehind];

impl Cut {
    fn plan(self, store: &FaultyStore, at: u64) {
        let stopped = || Fault::Refuse(StoreError::Stopped);
        let dead_from = |from: u64| {
            for call in from..from + 200 {
                store.fail_any(call, stopped());
            }
        };
        match self {
            Self::LoseReply => store.fail_any(at, Fault::LoseReply),
            Self::LoseRequest => store.fail_any(at, Fault::LoseRequest),
            Self::Refuse => store.fail_any(at, Fault::Refuse(StoreError::Unavailable)),
            Self::KillBefore => dead_from(at),
            Self::KillBehind => {
                store.fail_any(at, Fault::LoseReply);
                dead_from(at + 1);
            }
        }
    }
}

impl World {
    /// Every log and every progress has an owner, every topic a log; nothing is left to be swept.
    async fn check_owners(&self, what: &str) {
        let (mut topics, mut subscriptions) = (BTreeSet::new(), BTreeSet::new());
        for (_, cell) in self.broker.project_cells() {
            let state = cell.read();
            assert!(state.index.trash.is_empty(), "{what}: trash");
            assert!(state.index.topics.values().all(|topic| !topic.marked), "{what}: marked");
            topics.extend(state.index.topics.values().map(|topic| topic.id));
            subscriptions.extend(state.index.subscriptions.values().map(|record| record.id));
        }
        let service_trash = self.broker.0.service.read().index.trash.len();
        assert_eq!(service_trash, 0, "{what}: trash of the service");
        let logs: BTreeSet<_> = self.store.topics().await.unwrap().into_iter().collect();
        assert_eq!(logs, topics, "{what}: logs");
        let saved: BTreeSet<_> = self.store.subscriptions().await.unwrap().into_iter().collect();
        assert!(saved.is_subset(&subscriptions), "{what}: progress");
    }

    fn has_topic(&self, topic: &str) -> bool {
        let caller = self.root(Route::TopicsShow);
        self.broker.topic(&caller, &name(topic)).is_ok()
    }

    fn has_subscription(&self, subscription: &str) -> bool {
        let caller = self.root(Route::SubscriptionsShow);
        self.broker.subscription(&caller, &name(subscription)).is_ok()
    }

    fn has_project(&self, project: &str) -> bool {
        self.broker.0.service.read().index.project(&name(project)).is_some()
    }
}

type Doing<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// A verb, and whether what it makes or removes is in the wanted state.
struct Verb {
    name: &'static str,
    run: for<'a> fn(&'a World) -> Doing<'a>,
    done: fn(&World) -> bool,
}

const VERBS: [Verb; 7] = [
    Verb {
        name: "create topic",
        run: |world| Box::pin(async { world.topic("new").await.map(|_| ()) }),
        done: |world| world.has_topic("new"),
    },
    Verb {
        name: "delete topic",
        run: |world| Box::pin(world.delete_topic("t")),
        done: |world| !world.has_topic("t"),
    },
    Verb {
        name: "create subscription",
        run: |world| Box::pin(async { world.subscription("new", "t").await.map(|_| ()) }),
        done: |world| world.has_subscription("new"),
    },
    Verb {
        name: "delete subscription",
        run: |world| {
            Box::pin(async {
                let by = world.root(Route::SubscriptionsDelete);
                world.broker.delete_subscription(&by, &name("s")).await.map(|_| ())
            })
        },
        done: |world| !world.has_subscription("s"),
    },
    Verb {
        name: "create project",
        run: |world| {
            Box::pin(async {
                let by = world.root(Route::ProjectsCreate);
                let (project, alert) = (name("new"), AlertSettings::default());
                let made = world.broker.create_project(&by, &project, String::new(), alert);
                made.await.map(|_| ())
            })
        },
        done: |world| world.has_project("new"),
    },
    Verb {
        name: "delete project",
        run: |world| {
            Box::pin(async {
                world.broker.delete_project(&world.root(Route::ProjectsDelete)).await
            })
        },
        done: |world| !world.has_project("p"),
    },
    Verb {
        name: "create user",
        run: |world| {
            Box::pin(async {
                let by = world.root(Route::UsersCreate);
                let user = name("new");
                let made = world.broker.create_user(&by, &user, NewUser::default());
                made.await.map(|_| ())
            })
        },
        done: |world| world.broker.0.service.read().index.user(&name("new")).is_some(),
    },
];

impl Verb {
    /// How many calls of the store it makes, the sweep behind it included.
    async fn steps(&self) -> u64 {
        let world = World::in_use().await;
        let calls = || ALL_CALLS.iter().map(|call| world.store.calls(*call)).sum::<u64>();
        let before = calls();
        (self.run)(&world).await.unwrap();
        world.broker.sweep().await;
        calls() - before
    }
}

#[tokio::test]
async fn a_verb_cut_at_any_step_is_completed_or_absent_after_the_next_start() {
    for verb in &VERBS {
        for cut in CUTS {
            for at in 1..=verb.steps().await {
                let what = format!("{} {cut:?} at {at}", verb.name);
                let world = World::in_use().await;
                let was_done = (verb.done)(&world);
                assert!(!was_done, "{what}: there is something to do");
                cut.plan(&world.store, at);
                let answer = (verb.run)(&world).await;
                world.broker.sweep().await;
                let world = world.restarted().await;
                world.check_owners(&what).await;
                let done = (verb.done)(&world);
                match answer {
                    Ok(()) => assert!(done, "{what}: answered, and not there"),
                    // A refusal without a doubt, but a deletion may be past its mark then.
                    Err(Error::Store(_)) if verb.name.starts_with("create") => {
                        assert!(!done, "{what}: refused, and there");
                    }
                    Err(Error::Store(_) | Error::Unavailable) => {}
                    Err(error) => panic!("{what}: {error}"),
                }
                world.check_rest(verb.name, done, &what).await;
            }
        }
    }
}

impl World {
    /// A topic with two messages, one of them acknowledged in `s`, none in `other`.
    async fn in_use() -> Self {
        let world = Self::furnished().await;
        world.subscription("other", "t").await.unwrap();
        world.publish("t", &["a", "b"]).await.unwrap();
        world.pull("s", 1).await.unwrap();
        world.ack("s", 0).await.unwrap();
        world
    }

    /// What the verb does not touch is as it was, and the books are right.
    async fn check_rest(&self, verb: &str, done: bool, what: &str) {
        if verb == "delete project" && done {
            return;
        }
        if !(verb == "delete subscription" && done) {
            let facts = self.facts("s");
            let progress = &facts.facts.progress;
            assert_eq!((progress.position, facts.head), (Offset(1), Offset(2)), "{what}");
            assert_eq!(self.facts("other").facts.backlog, 2, "{what}");
        }
        if verb == "delete topic" && done {
            // The name is free again, and its subscriptions follow it.
            self.topic("t").await.unwrap();
            self.publish("t", &["z"]).await.unwrap();
            assert_eq!(texts(&self.pull("s", 9).await.unwrap()), ["z"], "{what}");
            let counters = self.facts("s").facts.progress.counters;
            assert_eq!((counters.lost.topic_deleted, counters.lost_never_acked), (1, 1), "{what}");
        }
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
