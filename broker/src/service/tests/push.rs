//! Push settings that are there while push is off, and what two do to one subscription at once.

use super::*;
use crate::domain::PushRequest;

fn to(endpoint: &str) -> Option<PushRequest> {
    Some(PushRequest { endpoint: endpoint.into(), ..PushRequest::default() })
}

async fn pushing() -> World {
    let world = World::with(Settings { push_enabled: true, ..settings() }).await;
    world.furnish().await;
    world
}

impl World {
    async fn push(&self, request: Option<PushRequest>) -> Result<(), Error> {
        let by = self.root(Route::SubscriptionsModifyPushConfig);
        self.broker.set_subscription_push(&by, &name("s"), request).await
    }

    async fn answered(&self, hash: &str) -> Result<(), Error> {
        let by = self.root(Route::SubscriptionsVerifyPushEndpoint);
        self.broker.verify_push_endpoint(&by, &name("s"), hash.into()).await
    }

    fn shown(&self) -> PushView {
        let by = self.root(Route::SubscriptionsShow);
        self.broker.subscription(&by, &name("s")).unwrap().push
    }
}

#[tokio::test]
async fn settings_outlive_a_restart_and_push_that_is_turned_off() {
    let world = pushing().await;
    world.push(to("https://h")).await.unwrap();
    let shown = world.shown();
    world.answered(&shown.verification_hash).await.unwrap();
    let token = world.user("w", &[], &["push_worker"]).await;
    let pull = |world: &World| {
        let by = world.admit(Route::SubscriptionsPull, &token).unwrap();
        world.broker.puller(&by, &name("s")).map(|_| ())
    };
    pull(&world).unwrap();
    // The settings of a restart are the usual ones: push is off.
    let world = world.restarted().await;
    assert_eq!(world.shown(), PushView { verified: true, ..shown });
    assert!(matches!(pull(&world), Err(Error::PushDisabled)));
    let by = world.root(Route::SubscriptionsVerifyPushEndpoint);
    for s in ["s", "none"] {
        let told = world.broker.push_endpoint(&by, &name(s));
        assert!(matches!(told, Err(Error::PushDisabled)), "before all else");
    }
    assert!(matches!(world.push(to("nonsense")).await, Err(Error::PushDisabled)));
    world.push(None).await.unwrap();
    assert_eq!(world.shown(), PushView::default());
    pull(&world).unwrap();
}

#[tokio::test]
async fn an_answer_counts_for_the_endpoint_that_gave_it_alone() {
    let world = pushing().await;
    world.push(to("https://one")).await.unwrap();
    let hash = world.shown().verification_hash;
    // While the first is asked, another takes its place.
    world.push(to("https://two")).await.unwrap();
    assert!(matches!(world.answered(&hash).await, Err(Error::WrongVerificationHash)));
    assert!(!world.shown().verified);
    let hash = world.shown().verification_hash;
    world.answered(&hash).await.unwrap();
    assert!(matches!(world.answered(&hash).await, Err(Error::PushVerified)));
    world.push(None).await.unwrap();
    assert!(matches!(world.answered(&hash).await, Err(Error::NotHttpPush)));
}
