//! What rights and counting cost: `cargo bench --workspace --bench counting`. Targets
//! (`performance.md` 4.2): at most 100 ns a request and 5 ns a message of a batch.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for people; it may fail loudly"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use broker::clock::ManualClock;
use broker::domain::{BatchBuilder, Head, Offset, Progress, Time, TopicId};
use broker::service::{Broker, Peer, Rates, Retention, Roles, Route, Settings, Verb};
use broker::store;
use tokio_util::task::TaskTracker;

const MESSAGES: u32 = 100;

/// The fastest of several runs, ns for one turn: what the code costs when nothing disturbs it.
fn nanos(mut turn: impl FnMut()) -> f64 {
    const TURNS: u32 = 20_000;
    let runs = (0..20).map(|_| {
        let begun = Instant::now();
        (0..TURNS).for_each(|_| turn());
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
    });
    runs.fold(f64::INFINITY, f64::min)
}

fn tell(what: &str, nanos: f64, of: &str) {
    println!("{what:<58} {nanos:>8.1} ns {of}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let now = Time::from_secs(1_600_000_000);
    let week = Duration::from_secs(604_800);
    let settings = Settings {
        objects_per_project: 10,
        deadline: Duration::from_secs(1),
        reveal_tokens: true,
        roles: Roles::default(),
        pull_messages: 10_000,
        pull_bytes: 1 << 25,
        bodies_bytes: 96 << 20,
        answers_bytes: 128 << 20,
        bytes_per_project: 0,
        rates: Rates::default(),
        push_enabled: false,
        retention: Retention { default: week, max: week, every: week },
    };
    let (store, clock) = (store::memory(), ManualClock::at(now));
    let broker = Broker::open(store, clock, [7; 32], settings, TaskTracker::new()).await.unwrap();
    let token = broker.ensure_admin("").await.unwrap();
    tell(
        "count a call",
        nanos(|| broker.count_call(black_box(Verb::Publish), Ok(()))),
        "a request",
    );
    let admit = || broker.admit(Route::ProjectsList, None, Some(&token), Peer(None)).unwrap();
    tell("admit: token, user, roles", nanos(|| drop(black_box(admit()))), "a request");

    let mut batch = BatchBuilder::default();
    (0..MESSAGES).for_each(|_| batch.push::<&str, &str>(&[], "AAAA"));
    let entry = Head::default().entry(now, batch.finish(), Vec::new());
    let head = Head::default();
    let fold = nanos(|| {
        black_box(head.after(black_box(&entry)));
    });
    tell("fold an entry of 100 into its topic's head", fold, "an entry");
    tell("", fold / f64::from(MESSAGES), "a message");

    let mut progress = Progress::fresh(TopicId::random(), Offset(0));
    let hand_out = nanos(|| progress.hand_out(black_box(u64::from(MESSAGES)), 400, now));
    tell("count a pull of 100 in its subscription's progress", hand_out, "a pull");
    tell("", hand_out / f64::from(MESSAGES), "a message");
    black_box((&progress, &head));
}
