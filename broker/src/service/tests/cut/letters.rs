//! Dead letters cut at each step: a message is in the dead-letter topic before it is settled, so it
//! is never lost, and once.

use super::*;
use crate::domain::LeaseId;
use crate::domain::records::DeadLetters;
use crate::service::AckId;

/// Longer than a lease holds.
const LATER: Duration = Duration::from_secs(11);

impl World {
    /// Of four messages, 1 is acknowledged and the others were handed out as often as may be.
    async fn furnish_spent(&self) {
        self.project("p").await;
        for topic in ["t", "d"] {
            self.topic(topic).await.unwrap();
        }
        let wish = NewSubscription {
            ack_mode: AckMode::Individual,
            dead_letters: Some(DeadLetters { topic: name("d"), max_attempts: 2 }),
            ..onto("t")
        };
        let by = self.root(Route::SubscriptionsCreate);
        self.broker.create_subscription(&by, &name("s"), wish).await.unwrap();
        self.publish("t", &["a", "b"]).await.unwrap();
        self.publish("t", &["c", "d"]).await.unwrap();
        for _ in 0..2 {
            let pulled = self.pull("s", 9).await.unwrap();
            let second = pulled.leased.iter().find(|leased| leased.id.offset == Offset(1));
            if let Some(second) = second {
                let LeaseId { offset, number } = second.id;
                let lease = LeaseId { offset, number };
                let by = self.root(Route::SubscriptionsAcknowledge);
                let acker = self.broker.acker(&by, &name("s")).unwrap();
                acker.acknowledge_each(vec![AckId { life: pulled.life, lease }]).await.unwrap();
            }
            self.clock.advance(LATER);
        }
    }

    /// (how many went as letters, how many are left).
    fn settled(&self) -> (u64, u64) {
        let facts = self.facts("s").facts;
        (facts.progress.counters.dead_lettered, facts.backlog)
    }
}

/// The offsets that the letters in topic `d` name, ascending.
async fn letters(base: &Base, run: &Run) -> Vec<u64> {
    let picture = base.picture(run).await;
    let log = picture.part("log of topic d").unwrap();
    let marks = log.split("\"amsDeadLetterOffset\", \"").skip(1);
    let mut offsets: Vec<u64> =
        marks.map(|behind| behind.split('"').next().unwrap().parse().unwrap()).collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test(flavor = "current_thread")]
async fn a_dead_letter_is_there_before_its_message_is_settled_and_once_whatever_is_cut() {
    let base = Base::of(async |world| world.furnish_spent().await).await;
    let run = base.run().await;
    let before = run.world.store.calls_in_all();
    assert_eq!(run.world.settled(), (0, 3));
    assert_eq!(run.world.pull("s", 9).await.unwrap().count, 0);
    let steps = run.world.store.calls_in_all() - before;
    assert!(steps > 6, "reads, letters and their settling: {steps}");
    assert_eq!(run.world.settled(), (3, 0));
    assert_eq!(letters(&base, &run).await, [0, 2, 3]);
    for cut in CUTS {
        for at in 1..=steps {
            let what = format!("dead letters {cut:?} at {at}");
            let run = base.run().await;
            cut.plan(&run.world.store, at);
            let answer = run.world.pull("s", 9).await;
            if cut.is_survived() {
                run.world.check_memory(&what).await;
            }
            let run = run.restarted(&what).await;
            let (sent, (gone, left)) = (letters(&base, &run).await, run.world.settled());
            assert_eq!(gone + left, 3, "{what}");
            assert!(sent.len() as u64 >= gone, "{what}: {sent:?} were sent, {gone} settled");
            assert!(sent.iter().all(|offset| [0, 2, 3].contains(offset)), "{what}: {sent:?}");
            if let Ok(pulled) = answer {
                // What could not be sent is handed out again; all else is settled.
                assert_eq!(pulled.count, left, "{what}");
            }
            let out = run.world.facts("s").facts.outstanding;
            assert!(out == 0 || out == left, "{what}: {out}");
            // Whatever was handed out again runs out again.
            run.world.clock.advance(LATER);
            assert_eq!(run.world.pull("s", 9).await.unwrap().count, 0, "{what}");
            assert_eq!(run.world.settled(), (3, 0), "{what}");
            assert_eq!(letters(&base, &run).await, [0, 2, 3], "{what}: each once");
            run.restarted(&what).await;
        }
    }
}
