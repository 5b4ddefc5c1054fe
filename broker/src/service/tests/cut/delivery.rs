//! Verbs of subscriptions and messages, each with something to do in the state of [`Base`].

use super::base::push_to;
use super::verbs::{stalls_after, verb, words};
use super::*;
use crate::domain::LeaseId;
use crate::service::AckId;

pub(super) fn of_subscriptions() -> Vec<Verb> {
    vec![
        verb("create subscription", |world| {
            Box::pin(async { world.subscription("new", "t").await.map(drop) })
        }),
        verb("create pushed subscription", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsCreate)?;
                let push = Some(push_to("https://new.example.org"));
                let new = NewSubscription { push, ..onto("t") };
                world.broker.create_subscription(&by, &name("pushed"), new).await.map(drop)
            })
        }),
        verb("delete subscription", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsDelete)?;
                world.broker.delete_subscription(&by, &name("s")).await.map(drop)
            })
        }),
        verb("acl of subscription", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyAcl)?;
                world.broker.set_subscription_acl(&by, &name("a"), words(&["u"])).await
            })
        }),
        verb("alert of subscription", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyAlert)?;
                world.broker.set_subscription_alert(&by, &name("s"), stalls_after("4h")).await
            })
        }),
        // That the deadline passed is saved first, while it can be told.
        verb("deadline", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyAckDeadline)?;
                world.broker.set_ack_deadline(&by, &name("s"), 60).await
            })
        })
        .writes_ahead(&["progress of sub s"]),
        verb("push", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyPushConfig)?;
                let push = Some(push_to("https://s.example.org"));
                world.broker.set_subscription_push(&by, &name("s"), push).await
            })
        }),
        verb("push elsewhere", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyPushConfig)?;
                let push = Some(push_to("https://other.example.org"));
                world.broker.set_subscription_push(&by, &name("h"), push).await
            })
        }),
        verb("verify push", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsVerifyPushEndpoint)?;
                let shown = world.broker.subscription(&by, &name("h"))?.push;
                let answered = shown.verification_hash.into_bytes();
                world.broker.verify_push_endpoint(&by, &name("h"), answered).await
            })
        }),
        verb("pull instead of push", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyPushConfig)?;
                world.broker.set_subscription_push(&by, &name("h"), None).await
            })
        }),
    ]
}

/// Moves are told before anything moves.
const TOLD_AHEAD: &[&str] = &[Picture::TOLD];

pub(super) fn of_messages() -> Vec<Verb> {
    vec![
        verb("seek", |world| Box::pin(world.seek("s", 4))).writes_ahead(TOLD_AHEAD),
        verb("seek back", |world| Box::pin(world.seek("s", 1))).writes_ahead(TOLD_AHEAD),
        verb("seek to time", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsSeek)?;
                let end = Time::from_secs(2_000_000);
                world.broker.seek_to_time(&by, &name("a"), end).await
            })
        })
        .writes_ahead(TOLD_AHEAD),
        verb("seek to snapshot", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsSeek)?;
                world.broker.seek_to_snapshot(&by, &name("i"), &name("n")).await
            })
        })
        .writes_ahead(TOLD_AHEAD),
        // One that fell behind the oldest message is moved there.
        verb("offsets", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsOffsets)?;
                world.broker.offsets(&by, &name("other")).await.map(drop)
            })
        }),
        verb("pull", |world| Box::pin(async { world.pull("other", 2).await.map(drop) })).adds(),
        verb("acknowledge", |world| Box::pin(world.ack("a", 1))),
        verb("lease", |world| Box::pin(async { world.pull("i", 1).await.map(drop) })).adds(),
        verb("acknowledge each", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsAcknowledge)?;
                world.broker.acker(&by, &name("i"))?.acknowledge_each(world.leases()).await
            })
        }),
        verb("extend each", |world| {
            Box::pin(async {
                let by = world.by(Route::SubscriptionsModifyAckDeadline)?;
                world.broker.acker(&by, &name("i"))?.extend_each(world.leases(), 90).await
            })
        })
        .adds(),
        verb("publish", |world| Box::pin(async { world.publish("t", &["5"]).await.map(drop) }))
            .adds(),
        // Done a second time it is answered as the first time.
        verb("publish under a key", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsPublish)?;
                let publisher = world.broker.publisher(&by, &name("t"))?;
                let first = publisher.publish(batch(&["5", "6"]), Some(b"k")).await?;
                assert!((5..=6).contains(&first.0), "{first}");
                Ok(())
            })
        }),
    ]
}

impl World {
    /// The leases of `i`.
    fn leases(&self) -> Vec<AckId> {
        let mut found = Vec::new();
        let all = self.broker.subscription_facts(self.clock.steady());
        for facts in all.filter(|facts| facts.name.as_str() == "i") {
            let life = facts.id.0.as_fields().0;
            found.extend(facts.facts.progress.leases.iter().map(|lease| {
                let lease = LeaseId { offset: lease.offset, number: lease.number };
                AckId { life, lease }
            }));
        }
        found
    }
}
