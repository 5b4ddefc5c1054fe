//! Verbs cut at each of their calls of the store (`docs/reliability.md`, F21): done wholly or not at
//! all after the next start, whatever was answered holds, nothing is left without an owner, what
//! the verb does not touch is as it was, and the audit log tells what was done and nothing else.

mod base;
mod delivery;
mod letters;
mod many;
mod pairs;
mod picture;
mod retained;
mod starts;
mod verbs;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use self::base::{Base, Run};
use self::picture::Picture;
use self::verbs::{Verb, verbs};
use super::*;
use crate::store::{Call, Fault, StoreError};

/// How one run is disturbed at its n-th call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    LoseReply,
    LoseRequest,
    Refuse,
    /// The process dies before the call.
    KillBefore,
    /// The process dies behind the call.
    KillBehind,
}

const CUTS: [Cut; 5] =
    [Cut::LoseReply, Cut::LoseRequest, Cut::Refuse, Cut::KillBefore, Cut::KillBehind];

impl Cut {
    /// The n-th call from now on; 1 is the next one.
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

    /// Whether the broker could go on.
    fn is_survived(self) -> bool {
        !matches!(self, Self::KillBefore | Self::KillBehind)
    }
}

/// What an answer says of what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Done,
    /// It may not be done in the state there was: nothing was written.
    Refused(String),
    /// The store would not: nothing was written.
    NotWritten,
    /// The outcome is not known.
    Unknown,
}

fn told(answer: &Result<(), Error>) -> Told {
    match answer {
        Ok(()) => Told::Done,
        Err(Error::Store(_)) => Told::NotWritten,
        Err(Error::Unavailable) => Told::Unknown,
        Err(refusal) => Told::Refused(refusal.to_string()),
    }
}

type Doing<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

impl World {
    /// Every log and every progress has an owner, every topic a log; nothing is left to be swept.
    async fn check_owners(&self, what: &str) {
        use crate::store::{MessageLog as _, ProgressLog as _};

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
}

/// A verb undisturbed.
struct Undisturbed {
    before: Picture,
    after: Picture,
    /// Calls of the store, those of the sweep behind it included.
    steps: u64,
}

impl Undisturbed {
    async fn of(verb: &Verb, base: &Base) -> Self {
        let run = base.run().await.restarted(verb.name).await;
        let before = base.picture(&run).await;
        let calls = run.world.store.calls_in_all();
        (verb.run)(&run.world).await.unwrap_or_else(|error| panic!("{}: {error}", verb.name));
        run.world.broker.sweep().await;
        let steps = run.world.store.calls_in_all() - calls;
        run.world.check_memory(verb.name).await;
        let after = base.picture(&run.restarted(verb.name).await).await;
        assert_ne!(before, after, "{}: there is something to do", verb.name);
        Self { before, after, steps }
    }

    /// Whether `now` is what there is behind the verb, or before it, where what it writes ahead may
    /// be written already.
    fn is_done(&self, verb: &Verb, now: &Picture, what: &str) -> bool {
        let Self { before, after, .. } = self;
        if now == after {
            return true;
        }
        let is_before = now.is_but(before, verb.ahead, &[after]);
        assert!(is_before, "{what}: half done, before it was\n{}", now.differences(before));
        false
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_verb_cut_at_any_step_is_completed_or_absent_after_the_next_start() {
    let base = Base::of(async |world| world.furnish_all().await).await;
    let (mut runs, mut done) = (0, 0);
    for verb in &verbs() {
        let undisturbed = Undisturbed::of(verb, &base).await;
        for cut in CUTS {
            for at in 1..=undisturbed.steps {
                done += u64::from(is_done_though_cut(verb, cut, at, &undisturbed, &base).await);
                runs += 1;
            }
        }
    }
    assert!(runs > 500 && done * 4 > runs && done * 4 < runs * 3, "{done} of {runs} were done");
}

async fn is_done_though_cut(
    verb: &Verb,
    cut: Cut,
    at: u64,
    undisturbed: &Undisturbed,
    base: &Base,
) -> bool {
    let what = format!("{} {cut:?} at {at}", verb.name);
    let run = base.run().await;
    cut.plan(&run.world.store, at);
    let answer = (verb.run)(&run.world).await;
    run.world.broker.sweep().await;
    if cut.is_survived() {
        run.world.check_memory(&what).await;
    }
    let run = run.restarted(&what).await;
    let done = undisturbed.is_done(verb, &base.picture(&run).await, &what);
    match told(&answer) {
        Told::Done => assert!(done, "{what}: answered, and not there"),
        Told::NotWritten if !verb.is_marked => assert!(!done, "{what}: refused, and there"),
        Told::NotWritten | Told::Unknown => {}
        Told::Refused(text) => panic!("{what}: {text}"),
    }
    // Whoever does not know the outcome does it again.
    if !done || !verb.adds {
        let again = (verb.run)(&run.world).await;
        assert!(done || again.is_ok(), "{what}, again: {again:?}");
        run.world.broker.sweep().await;
        let (now, after) = (base.picture(&run).await, &undisturbed.after);
        // What is told ahead is told each time.
        let twice = if verb.ahead.contains(&Picture::TOLD) { &[Picture::TOLD][..] } else { &[] };
        let is_after = now.is_but(after, twice, &[&now]);
        assert!(is_after, "{what}, again:\n{}", now.differences(after));
    }
    done
}
