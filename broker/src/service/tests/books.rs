//! The books balance: whatever is done to a subscription, whatever fails meanwhile and however
//! often the broker is killed, what it waits for is what came minus what went.

use proptest::prelude::*;

use super::*;
use crate::store::{Fault, MessageLog as _, StoreError};

#[derive(Debug, Clone)]
enum Step {
    Publish(u8),
    Pull(u8),
    Ack(u8),
    Seek(u8),
    Offsets,
    Trim(u8),
    Retain(u8),
    Recreate,
    Wait(u8),
    Restart,
    Fail(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8).prop_map(Step::Publish),
        5 => (1..6u8).prop_map(Step::Pull),
        5 => (0..8u8).prop_map(Step::Ack),
        2 => any::<u8>().prop_map(Step::Seek),
        1 => Just(Step::Offsets),
        1 => (0..4u8).prop_map(Step::Trim),
        2 => (0..9u8).prop_map(Step::Retain),
        1 => Just(Step::Recreate),
        1 => (1..15u8).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        3 => (1..5u8, 0..3u8).prop_map(|(at, fault)| Step::Fail(at, fault)),
    ]
}

/// What the broker said it did.
#[derive(Debug, Default)]
struct Told {
    delivered: u64,
    acked: u64,
}

async fn run(steps: Vec<Step>) {
    let mut world = World::furnished().await;
    let mut told = Told::default();
    for step in steps {
        let before = world.facts("s").facts.progress.position;
        match &step {
            Step::Publish(count) => {
                let texts: Vec<&str> = std::iter::repeat_n("!x", usize::from(*count)).collect();
                drop(world.publish("t", &texts).await);
            }
            Step::Pull(max) => {
                if let Ok(pulled) = world.pull("s", u64::from(*max)).await {
                    told.delivered += pulled.count;
                }
            }
            Step::Ack(ahead) => {
                let highest = before.0.saturating_sub(2) + u64::from(*ahead);
                if world.ack("s", highest).await.is_ok() {
                    told.acked += (highest + 1).saturating_sub(before.0);
                }
            }
            Step::Seek(share) => {
                let facts = world.facts("s");
                let to = facts.head.0 * u64::from(*share) / 255;
                drop(world.seek("s", to).await);
            }
            Step::Offsets => {
                let by = world.root(Route::SubscriptionsOffsets);
                drop(world.broker.offsets(&by, &name("s")).await);
            }
            Step::Trim(by) => {
                let facts = world.facts("s");
                let to = facts.facts.progress.position.plus(u64::from(*by));
                world.store.heal();
                drop(world.store.trim(facts.topic, to.min(facts.head)).await.unwrap());
                world.broker.refresh_heads().await;
            }
            Step::Retain(days) => {
                world.clock.advance(DAY * u32::from(*days));
                world.broker.retain().await;
            }
            Step::Recreate => {
                drop(world.delete_topic("t").await);
                world.store.heal();
                drop(world.topic("t").await);
            }
            Step::Wait(seconds) => world.clock.advance(Duration::from_secs((*seconds).into())),
            Step::Restart => {
                let facts = world.facts("s").facts;
                world = world.restarted().await;
                let mut after = world.facts("s").facts;
                // A restart saves the time of empty pulls, and what time did with it.
                after.progress.version = facts.progress.version;
                after.progress.clocks.last_pull = facts.progress.clocks.last_pull;
                assert_eq!(after, facts, "a restart changes nothing");
            }
            Step::Fail(at, fault) => {
                let fault = match fault {
                    0 => Fault::LoseReply,
                    1 => Fault::LoseRequest,
                    _ => Fault::Refuse(StoreError::Unavailable),
                };
                world.store.fail_any((*at).into(), fault);
            }
        }
        check(&world, &step);
    }
    world = world.restarted().await;
    check(&world, &Step::Restart);
    let counters = world.facts("s").facts.progress.counters;
    assert_eq!((counters.delivered, counters.acked), (told.delivered, told.acked));
}

fn check(world: &World, step: &Step) {
    let SubscriptionFacts { facts, head, .. } = world.facts("s");
    let progress = &facts.progress;
    let counters = &progress.counters;
    let left = facts.enqueued + counters.replayed;
    let gone = counters.acked + counters.skipped + counters.lost.total();
    assert_eq!(head.since(progress.position) + gone, left, "{step:?}: {facts:?}");
    assert_eq!(facts.backlog, head.since(progress.position));
    assert!(progress.position <= head && progress.frontier <= head, "{step:?}: {facts:?}");
    assert_eq!(counters.delivered_bytes, counters.delivered * 2);
    assert!(counters.lost_never_acked <= counters.lost.total());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_books_balance_whatever_fails(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
