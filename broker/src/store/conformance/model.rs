//! The differential law: whatever is asked, the answers are those of the store in memory, with
//! any number of restarts in between.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::store::memory;

/// Fresh ids for each case, so that all cases share one store.
const TOPICS: usize = 3;
const SUBSCRIPTIONS: usize = 2;
const SCOPES: usize = 2;
const CASES: u32 = 48;

#[derive(Debug, Clone)]
enum Op {
    Create(usize),
    Close(usize),
    Publish { topic: usize, seconds: u64, texts: Vec<String> },
    CommitElsewhere { topic: usize, base: u64 },
    CommitAgain { topic: usize, which: prop::sample::Index },
    Trim { topic: usize, to: u64 },
    Scan { topic: usize, from: u64, messages: u64, bytes: u64 },
    FindTime { topic: usize, seconds: u64 },
    FindSize { topic: usize, bytes: u64 },
    Save { subscription: usize, version: u64, position: u64 },
    SaveNext { subscription: usize, position: u64 },
    Forget(usize),
    Change { scope: usize, changes: Vec<Change> },
    ChangeStale { scope: usize, version: u64 },
    ChangeAgain,
    ChangesSince { scope: usize, back: u64 },
    Restart(Restart),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let topic = || 0..TOPICS;
    let subscription = || 0..SUBSCRIPTIONS;
    let scope = || 0..SCOPES;
    // Over three days, so that days begin and the clock goes back.
    let seconds = || 0..200_000u64;
    let offset = || 0..40u64;
    let texts = prop::collection::vec("[a-zA-Z0-9+/]{0,8}", 1..5);
    let change = prop_oneof![
        2 => ("[a-e]", "[a-z]{0,3}").prop_map(|(key, value)| put(&key, &value)),
        1 => "[a-e]".prop_map(|key| delete(&key)),
    ];
    // Of changes to one key in one commit no order is promised: each key once.
    let changes = prop::collection::vec(change, 1..4).prop_map(|mut changes| {
        let mut seen = BTreeSet::new();
        changes.retain(|change| {
            let (Change::Put(key, _) | Change::Delete(key)) = change;
            seen.insert(key.clone())
        });
        changes
    });
    let op = prop_oneof![
        2 => topic().prop_map(Op::Create),
        1 => topic().prop_map(Op::Close),
        12 => (topic(), seconds(), texts)
            .prop_map(|(topic, seconds, texts)| Op::Publish { topic, seconds, texts }),
        2 => (topic(), offset()).prop_map(|(topic, base)| Op::CommitElsewhere { topic, base }),
        3 => (topic(), any::<prop::sample::Index>())
            .prop_map(|(topic, which)| Op::CommitAgain { topic, which }),
        3 => (topic(), offset()).prop_map(|(topic, to)| Op::Trim { topic, to }),
        6 => (topic(), offset(), 0..12u64, 0..60u64).prop_map(|(topic, from, messages, bytes)| {
            Op::Scan { topic, from, messages, bytes }
        }),
        3 => (topic(), seconds()).prop_map(|(topic, seconds)| Op::FindTime { topic, seconds }),
        3 => (topic(), 0..120u64).prop_map(|(topic, bytes)| Op::FindSize { topic, bytes }),
        2 => (subscription(), 0..6u64, offset()).prop_map(|(subscription, version, position)| {
            Op::Save { subscription, version, position }
        }),
        4 => (subscription(), offset())
            .prop_map(|(subscription, position)| Op::SaveNext { subscription, position }),
        1 => subscription().prop_map(Op::Forget),
        5 => (scope(), changes).prop_map(|(scope, changes)| Op::Change { scope, changes }),
        1 => (scope(), 0..8u64).prop_map(|(scope, version)| Op::ChangeStale { scope, version }),
        2 => Just(Op::ChangeAgain),
        2 => (scope(), 0..5u64).prop_map(|(scope, back)| Op::ChangesSince { scope, back }),
        3 => prop::sample::select(&Restart::BOTH[..]).prop_map(Op::Restart),
    ];
    prop::collection::vec(op, 1..60)
}

pub(crate) async fn any_sequence_answers_as_in_memory<F: Fixture>(fixture: &F) {
    let mut runner = TestRunner::new(ProptestConfig::default());
    let mut store = fixture.open().await;
    for _ in 0..CASES {
        let mut tree = ops().new_tree(&mut runner).unwrap();
        let (after, verdict) = run(fixture, store, &tree.current()).await;
        store = after;
        let Err(mut difference) = verdict else { continue };
        // Shrunk by hand: proptest itself cannot wait.
        let mut smallest = tree.current();
        let mut more = tree.simplify();
        while more {
            let candidate = tree.current();
            let (after, verdict) = run(fixture, store, &candidate).await;
            store = after;
            more = if let Err(smaller) = verdict {
                (difference, smallest) = (smaller, candidate);
                tree.simplify()
            } else {
                tree.complicate()
            };
        }
        panic!("{difference}\nafter {smallest:#?}");
    }
}

/// Both stores and what was asked of them.
struct Pair {
    model: Arc<dyn Store>,
    store: Arc<dyn Store>,
    topics: [TopicId; TOPICS],
    subscriptions: [SubscriptionId; SUBSCRIPTIONS],
    scopes: [Scope; SCOPES],
    /// What was committed to each topic.
    entries: [Vec<Arc<Entry>>; TOPICS],
    /// The last applied commit to a scope since the process started.
    last_change: Option<(Scope, u64, Vec<Change>, By)>,
    step: usize,
}

/// Asks both the same and compares the answers.
macro_rules! both {
    ($pair:ident, |$store:ident| $question:expr) => {{
        let $store = &*$pair.model;
        let expected = $question;
        let $store = &*$pair.store;
        same(stringify!($question), &expected, &$question)?;
        expected
    }};
}

/// The same, where only a difference matters.
macro_rules! compare {
    ($pair:ident, |$store:ident| $question:expr) => {
        drop(both!($pair, |$store| $question))
    };
}

fn same<T: std::fmt::Debug>(question: &str, expected: &T, found: &T) -> Result<(), String> {
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    if expected == found {
        Ok(())
    } else {
        Err(format!("{question}\n  in memory: {expected}\n  here:      {found}"))
    }
}

async fn run<F: Fixture>(
    fixture: &F,
    store: Arc<dyn Store>,
    ops: &[Op],
) -> (Arc<dyn Store>, Result<(), String>) {
    let mut pair = Pair {
        model: memory(),
        store,
        topics: std::array::from_fn(|_| TopicId::random()),
        subscriptions: std::array::from_fn(|_| SubscriptionId::random()),
        scopes: std::array::from_fn(|_| new_scope()),
        entries: Default::default(),
        last_change: None,
        step: 0,
    };
    let mut verdict = async {
        // Two of the lives exist from the start, or most of a sequence would meet none.
        compare!(pair, |s| s.create(pair.topics[0]).await);
        compare!(pair, |s| s.create(pair.topics[1]).await);
        Ok(())
    }
    .await;
    for op in ops {
        if verdict.is_ok() {
            verdict = if let Op::Restart(how) = op {
                pair.store = how.of(fixture, pair.store).await;
                pair.last_change = None;
                pair.compare().await
            } else {
                pair.step(op).await
            };
        }
    }
    if verdict.is_ok() {
        verdict = pair.compare().await;
    }
    (pair.store, verdict)
}

impl Pair {
    async fn step(&mut self, op: &Op) -> Result<(), String> {
        self.step += 1;
        match op.clone() {
            Op::Create(n) => {
                compare!(self, |s| s.create(self.topics[n]).await);
            }
            Op::Close(n) => {
                compare!(self, |s| s.close(self.topics[n]).await);
            }
            Op::Publish { topic: n, seconds, texts } => {
                let topic = self.topics[n];
                let head = self.model.head(topic).await.unwrap().unwrap_or_default();
                let entry = entry(&head, at(seconds), &texts);
                let answer = both!(self, |s| s.commit(topic, Arc::clone(&entry)).await);
                if matches!(answer, Ok(Outcome::Applied(_))) {
                    self.entries[n].push(entry);
                }
            }
            Op::CommitElsewhere { topic: n, base } => {
                let topic = self.topics[n];
                let head = self.model.head(topic).await.unwrap().unwrap_or_default();
                if head.next != Offset(base) {
                    let mut entry = (*entry(&head, at(0), &["elsewhere"])).clone();
                    entry.base = Offset(base);
                    let entry = Arc::new(entry);
                    compare!(self, |s| s.commit(topic, Arc::clone(&entry)).await);
                }
            }
            Op::CommitAgain { topic: n, which } => {
                let topic = self.topics[n];
                let start = self.model.head(topic).await.unwrap().unwrap_or_default().start;
                // Of an entry that was trimmed away nobody need know.
                let kept: Vec<_> = self.entries[n].iter().filter(|e| e.base >= start).collect();
                if !kept.is_empty() {
                    let entry = which.get(&kept);
                    compare!(self, |s| s.commit(topic, Arc::clone(entry)).await);
                }
            }
            Op::Trim { topic: n, to } => {
                compare!(self, |s| s.trim(self.topics[n], Offset(to)).await);
            }
            Op::Scan { topic: n, from, messages, bytes } => {
                let limits = Limits { messages, bytes };
                compare!(self, |s| s.scan(self.topics[n], Offset(from), limits).await);
            }
            Op::FindTime { topic: n, seconds } => {
                compare!(self, |s| s.find_time(self.topics[n], at(seconds)).await);
            }
            Op::FindSize { topic: n, bytes } => {
                compare!(self, |s| s.find_size(self.topics[n], bytes).await);
            }
            Op::Save { subscription: n, version, position } => {
                let progress = progress(version, position);
                compare!(self, |s| s.save(self.subscriptions[n], &progress).await);
            }
            Op::SaveNext { subscription: n, position } => {
                let subscription = self.subscriptions[n];
                let stored = self.model.load(subscription).await.unwrap();
                let version = stored.map_or(0, |stored| stored.version) + 1;
                let progress = progress(version, position);
                compare!(self, |s| s.save(subscription, &progress).await);
            }
            Op::Forget(n) => {
                compare!(self, |s| s.delete(self.subscriptions[n]).await);
            }
            Op::Change { scope: n, changes } => {
                let scope = self.scopes[n];
                let version = self.model.load_scope(scope).await.unwrap().version;
                self.change(scope, version, changes).await?;
            }
            Op::ChangeStale { scope: n, version } => {
                self.change(self.scopes[n], version, vec![put("a", "stale?")]).await?;
            }
            Op::ChangeAgain => {
                if let Some((scope, version, changes, by)) = self.last_change.clone() {
                    compare!(self, |s| s
                        .commit_scope(scope, version, changes.clone(), by.clone())
                        .await);
                }
            }
            Op::ChangesSince { scope: n, back } => self.changes_since(n, back).await?,
            Op::Restart(_) => {}
        }
        Ok(())
    }

    async fn change(
        &mut self,
        scope: Scope,
        version: u64,
        changes: Vec<Change>,
    ) -> Result<(), String> {
        // Unlike any other, so that it is nobody's repeat.
        let by = by(&format!("step {}", self.step));
        let answer =
            both!(self, |s| s.commit_scope(scope, version, changes.clone(), by.clone()).await);
        if matches!(answer, Ok(Outcome::Applied(_))) {
            self.last_change = Some((scope, version, changes, by));
        }
        Ok(())
    }

    /// Changes from before the process started may be forgotten, but never in part.
    async fn changes_since(&self, n: usize, back: u64) -> Result<(), String> {
        let scope = self.scopes[n];
        let version = self.model.load_scope(scope).await.unwrap().version.saturating_sub(back);
        let expected = self.model.changes_since(scope, version).await;
        let found = self.store.changes_since(scope, version).await;
        if matches!(found, Ok(None)) { Ok(()) } else { same("changes_since", &expected, &found) }
    }

    /// Compares everything that can be read.
    async fn compare(&self) -> Result<(), String> {
        for topic in self.topics {
            compare!(self, |s| s.head(topic).await);
            compare!(self, |s| s.scan(topic, Offset(0), ALL).await);
            compare!(self, |s| s.find_time(topic, Time(0)).await);
            compare!(self, |s| s.kept_bytes(topic).await);
            both!(self, |s| s.topics().await.unwrap().contains(&topic));
        }
        for subscription in self.subscriptions {
            compare!(self, |s| s.load(subscription).await);
            both!(self, |s| s.subscriptions().await.unwrap().contains(&subscription));
        }
        for (n, scope) in self.scopes.into_iter().enumerate() {
            compare!(self, |s| s.load_scope(scope).await);
            both!(self, |s| s.scopes().await.unwrap().contains(&scope));
            self.changes_since(n, u64::MAX).await?;
        }
        Ok(())
    }
}
