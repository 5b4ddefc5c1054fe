//! How often somebody may ask, and how much publish.

use super::*;

const NONE: Rates = Rates {
    requests_per_user: 0,
    requests_per_project: 0,
    published_bytes_per_user: 0,
    published_bytes_per_project: 0,
};

async fn bounded(rates: Rates) -> (World, String, String) {
    let world = World::with(Settings { rates, ..settings() }).await;
    world.furnish().await;
    let one = world.user("one", &["project_admin"], &[]).await;
    let other = world.user("other", &["project_admin"], &[]).await;
    (world, one, other)
}

/// How many of `asks` requests are let in, and what the first refusal says.
fn asked(world: &World, token: &str, asks: u32) -> (u32, Option<(Bounded, u32)>) {
    let (mut through, mut refused) = (0, None);
    for _ in 0..asks {
        match world.admit(Route::TopicsList, token) {
            Ok(_) => through += 1,
            Err(Error::Rate(rate, seconds)) => refused = refused.or(Some((rate, seconds))),
            Err(error) => panic!("{error}"),
        }
    }
    (through, refused)
}

#[tokio::test]
async fn a_user_is_bound_by_itself_and_comes_again_when_it_was_told() {
    let (world, one, other) = bounded(Rates { requests_per_user: 2, ..NONE }).await;
    assert_eq!(asked(&world, &one, 25), (20, Some((Bounded::UserRequests, 1))));
    assert_eq!(asked(&world, &other, 20), (20, None));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(asked(&world, &one, 25), (2, Some((Bounded::UserRequests, 1))));
    // Long silence makes one burst and no more.
    world.clock.advance(DAY);
    world.broker.0.quotas.forget();
    assert_eq!(asked(&world, &one, 25).0, 20);
    // Who has no right is told so first, and takes nothing.
    let denied = world.admit(Route::ProjectsCreate, &one);
    assert!(matches!(denied, Err(Error::Forbidden)));
    // Admins mend what runs away.
    let admin = world.admin.clone();
    assert_eq!(asked(&world, &admin, 100), (100, None));
}

#[tokio::test]
async fn a_project_is_bound_over_all_its_users() {
    let (world, one, other) = bounded(Rates { requests_per_project: 1, ..NONE }).await;
    assert_eq!(asked(&world, &one, 8), (8, None));
    assert_eq!(asked(&world, &other, 8), (2, Some((Bounded::ProjectRequests, 1))));
}

#[tokio::test]
async fn publishes_are_bound_by_their_bytes() {
    for (rates, rate, others) in [
        (Rates { published_bytes_per_user: 100, ..NONE }, Bounded::UserBytes, true),
        (Rates { published_bytes_per_project: 100, ..NONE }, Bounded::ProjectBytes, false),
    ] {
        let (world, one, other) = bounded(rates).await;
        let publish = async |token: &str, size: usize| {
            let caller = world.admit(Route::TopicsPublish, token).unwrap();
            let text = "!".repeat(size);
            let publisher = world.broker.publisher(&caller, &name("t")).unwrap();
            publisher.publish(batch(&[&text]), None).await
        };
        // One that is larger than any burst passes, and uses all of it up.
        publish(&one, 5_000).await.unwrap();
        let refused = publish(&one, 150).await;
        assert!(matches!(refused, Err(Error::Rate(r, 2)) if r == rate), "{refused:?}");
        assert_eq!(publish(&other, 100).await.is_ok(), others, "{rate:?}");
        world.clock.advance(Duration::from_secs(2));
        publish(&one, 150).await.unwrap();
        world.publish("t", &["!"; 10]).await.unwrap();
        let caller = world.admit(Route::SubscriptionsPull, &one).unwrap();
        let pulled = world.broker.puller(&caller, &name("s")).unwrap().pull(99, None).await;
        assert_eq!(pulled.unwrap().count, if others { 13 } else { 12 });
    }
}
