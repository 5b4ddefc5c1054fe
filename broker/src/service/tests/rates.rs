//! How often somebody may ask, how much publish, and how much make.

use super::*;

const NONE: Rates = Rates {
    requests_per_user: 0,
    requests_per_project: 0,
    published_bytes_per_user: 0,
    published_bytes_per_project: 0,
    created_objects_per_user: 0,
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

/// A world in which the project admins make five objects a day.
async fn frugal() -> (World, String, String) {
    bounded(Rates { created_objects_per_user: 5, ..NONE }).await
}

/// Makes a topic as whoever holds `token`.
async fn make_topic(world: &World, token: &str, topic: &str) -> Result<(), Error> {
    let by = world.admit(Route::TopicsCreate, token).unwrap();
    let (alert, retention) = (AlertSettings::default(), RetentionSettings::default());
    world.broker.create_topic(&by, &name(topic), alert, retention, None).await.map(|_| ())
}

#[tokio::test]
async fn a_user_makes_so_many_objects_a_day_of_all_kinds_together() {
    let (world, one, other) = frugal().await;
    let by = |route| world.admit(route, &one).unwrap();
    let broker = &world.broker;
    make_topic(&world, &one, "a").await.unwrap();
    let new = onto("a");
    let route = Route::SubscriptionsCreate;
    broker.create_subscription(&by(route), &name("a"), new.clone()).await.unwrap();
    let schema = Some(String::from("{}"));
    let route = Route::SchemasCreate;
    broker.create_schema(&by(route), &name("a"), "json", schema.clone()).await.unwrap();
    let route = Route::SnapshotsCreate;
    broker.create_snapshot(&by(route), &name("a"), &name("a")).await.unwrap();
    let route = Route::ProjectsCreateUser;
    broker.create_member(&by(route), &name("new"), String::new(), Vec::new()).await.unwrap();

    let refused = |made: Result<(), Error>| {
        let fifth = u32::try_from(DAY.as_secs() / 5).unwrap();
        assert!(
            matches!(made, Err(Error::Rate(Bounded::UserObjects, s)) if s == fifth),
            "{made:?}"
        );
    };
    refused(make_topic(&world, &one, "b").await);
    let route = Route::SubscriptionsCreate;
    refused(broker.create_subscription(&by(route), &name("b"), new).await.map(|_| ()));
    let route = Route::SchemasCreate;
    refused(broker.create_schema(&by(route), &name("b"), "json", schema).await.map(|_| ()));
    let route = Route::SnapshotsCreate;
    refused(broker.create_snapshot(&by(route), &name("b"), &name("a")).await.map(|_| ()));
    let route = Route::ProjectsCreateUser;
    let made = broker.create_member(&by(route), &name("newer"), String::new(), Vec::new()).await;
    refused(made.map(|_| ()));
    // Nothing of it was begun.
    assert!(broker.topic(&world.root(Route::TopicsShow), &name("b")).is_err());
    assert!(broker.user(&world.root(Route::UsersShow), &name("newer")).is_err());
    // Other users, and admins of the service, are not held up.
    make_topic(&world, &other, "c").await.unwrap();
    world.topic("d").await.unwrap();

    // They come back over the day.
    world.clock.advance(DAY / 5);
    make_topic(&world, &one, "e").await.unwrap();
    assert!(make_topic(&world, &one, "f").await.is_err());
    world.clock.advance(DAY * 9);
    world.broker.0.quotas.forget();
    for topic in ["f", "g", "h", "i", "j"] {
        make_topic(&world, &one, topic).await.unwrap();
    }
    assert!(make_topic(&world, &one, "k").await.is_err());
}

#[tokio::test]
async fn what_is_there_or_is_refused_does_not_count_as_made() {
    let (world, one, _) = frugal().await;
    let by = |route| world.admit(route, &one).unwrap();
    let broker = &world.broker;
    for _ in 0..9 {
        assert!(matches!(make_topic(&world, &one, "t").await, Err(Error::TopicExists)));
        let made = broker
            .create_subscription(&by(Route::SubscriptionsCreate), &name("s"), onto("t"))
            .await;
        assert!(matches!(made, Err(Error::SubscriptionExists)));
        let made = broker
            .create_member(&by(Route::ProjectsCreateUser), &name("one"), String::new(), Vec::new())
            .await;
        assert!(matches!(made, Err(Error::UserExists)));
    }
    for topic in ["1", "2", "3", "4", "5"] {
        make_topic(&world, &one, topic).await.unwrap();
    }
    assert!(make_topic(&world, &one, "6").await.is_err());
}
