//! A sweep of retention cut at each step: what each day brought is recorded before its messages go,
//! a topic is trimmed or not, and the next sweep does the rest.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const TOPICS: [&str; 2] = ["t", "d"];

impl World {
    /// Two topics that keep a day, with a message of each of the last 26 hours.
    async fn furnish_hourly(&self) {
        self.project("p").await;
        for topic in TOPICS {
            self.topic(topic).await.unwrap();
            let age = Some("1d".to_owned().try_into().unwrap());
            let keeps = RetentionSettings { age, bytes: None };
            let by = self.root(Route::TopicsModifyRetention);
            self.broker.set_topic_retention(&by, &name(topic), keeps).await.unwrap();
        }
        self.subscription("s", "t").await.unwrap();
        for _ in 0..26 {
            for topic in TOPICS {
                self.publish(topic, &["x"]).await.unwrap();
            }
            self.clock.advance(HOUR);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_is_trimmed_before_its_day_is_recorded_and_the_next_sweep_does_the_rest() {
    let base = Base::of(async |world| world.furnish_hourly().await).await;
    let run = base.run().await;
    let (before, calls) = (base.picture(&run).await, run.world.store.calls_in_all());
    run.world.broker.retain().await;
    let steps = run.world.store.calls_in_all() - calls;
    let after = base.picture(&run.restarted("retention").await).await;
    let days = |picture: &Picture, topic: &str| {
        let begin = format!("project p: usage/topic {topic}/");
        picture.parts(&begin).map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    let log = |picture: &Picture, topic: &str| {
        picture.part(&format!("log of topic {topic}")).unwrap().to_owned()
    };
    for topic in TOPICS {
        assert_eq!((days(&before, topic).len(), days(&after, topic).len()), (0, 1), "{topic}");
        assert!(log(&before, topic).starts_with("0..26"), "{}", log(&before, topic));
        assert!(log(&after, topic).starts_with("2..26"), "{}", log(&after, topic));
    }
    for cut in CUTS {
        for at in 1..=steps {
            let what = format!("retention {cut:?} at {at}");
            let run = base.run().await;
            cut.plan(&run.world.store, at);
            run.world.broker.retain().await;
            let run = run.restarted(&what).await;
            let now = base.picture(&run).await;
            for topic in TOPICS {
                let recorded = days(&now, topic) == days(&after, topic);
                assert!(recorded || days(&now, topic).is_empty(), "{what}");
                let trimmed = log(&now, topic) == log(&after, topic);
                assert!(trimmed || log(&now, topic) == log(&before, topic), "{what}");
                assert!(recorded || !trimmed, "{what}: trimmed and not recorded");
            }
            let pieces = ["log of topic ", "project p: usage/"];
            assert!(
                now.is_but(&before, &pieces, &[&after]),
                "{what}: {}",
                now.differences(&before)
            );
            run.world.broker.retain().await;
            let now = base.picture(&run.restarted(&what).await).await;
            assert_eq!(now.differences(&after), "", "{what}, again");
        }
    }
}
