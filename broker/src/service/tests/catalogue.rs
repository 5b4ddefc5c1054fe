//! Names, lists, quota.

use super::*;
use crate::domain::PushRequest;
use crate::store::{Call, Fault, MessageLog as _, ProgressLog as _, StoreError};

#[tokio::test]
async fn lists_come_newest_first_in_pages_and_show_publishers_their_own() {
    let world = World::new().await;
    world.project("p").await;
    for topic in ["a", "b", "c", "d", "e"] {
        world.topic(topic).await.unwrap();
    }
    world.delete_topic("c").await.unwrap();
    let token = world.user("u", &["publisher"], &[]).await;
    let by = world.root(Route::TopicsList);
    let list = |caller: &Caller, size, from| {
        let page = world.broker.topics(caller, PageRequest { size, from }).unwrap();
        let names: Vec<_> = page.items.iter().map(|topic| topic.name.to_string()).collect();
        (names.join(""), page.next, page.total)
    };
    assert_eq!(list(&by, None, None), ("edba".into(), None, 4));
    let (first, next, total) = list(&by, Some(3), None);
    assert_eq!((first.as_str(), total), ("edb", 4));
    assert_eq!(list(&by, Some(3), next), ("a".into(), None, 4));
    assert_eq!(list(&by, Some(4), None).1, None, "a full last page is the last");
    world.broker.set_topic_acl(&by, &name("b"), vec!["u".into()]).await.unwrap();
    let own = world.admit(Route::TopicsList, &token).unwrap();
    assert_eq!(list(&own, None, None), ("b".into(), None, 1));
}

#[tokio::test]
async fn a_project_holds_as_many_objects_as_its_quota_and_a_deletion_makes_room() {
    let world = World::with(Settings { objects_per_project: 2, ..settings() }).await;
    world.furnish().await;
    assert!(matches!(world.topic("t").await, Err(Error::TopicExists)), "told before the quota");
    assert!(matches!(world.topic("u").await, Err(Error::ObjectQuota)));
    assert!(matches!(world.subscription("u", "t").await, Err(Error::ObjectQuota)));
    assert_eq!(world.store.topics().await.unwrap().len(), 1, "a refusal makes no log");
    let by = world.root(Route::SubscriptionsDelete);
    world.broker.delete_subscription(&by, &name("s")).await.unwrap();
    world.topic("u").await.unwrap();
}

#[tokio::test]
async fn subscriptions_are_made_at_the_end_and_refused_in_order() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b"]).await.unwrap();
    let by = world.root(Route::SubscriptionsCreate);
    let s = name("s");
    let create = |topic, push: bool| {
        let push = push.then(PushRequest::default);
        world.broker.create_subscription(&by, &s, NewSubscription { push, ..onto(topic) })
    };
    assert!(matches!(create("none", true).await, Err(Error::TopicNotFound)));
    assert!(matches!(create("t", true).await, Err(Error::PushDisabled)));
    assert!(matches!(create("t", false).await, Err(Error::SubscriptionExists)));
    world.subscription("late", "t").await.unwrap();
    assert_eq!(world.offsets("late").await, (2, 0, 2));
    let names = world.broker.subscriptions_of(&by, &name("t")).unwrap();
    assert_eq!(names, [name::<SubscriptionName>("s"), name("late")]);
    let absent = world.broker.subscriptions_of(&by, &name("none"));
    assert!(matches!(absent, Err(Error::TopicNotFound)));
}

#[tokio::test]
async fn a_renamed_project_keeps_its_contents_and_frees_its_old_name() {
    let world = World::furnished().await;
    world.project("q").await;
    let by = world.root(Route::ProjectsUpdate);
    let taken = world.broker.update_project(&by, Some(name("q")), None).await;
    assert!(matches!(taken, Err(Error::ProjectNameTaken)));
    let own = world.broker.update_project(&by, Some(name("p")), Some("x".into())).await.unwrap();
    assert_eq!(own.description, "x");
    let view = world.broker.update_project(&by, Some(name("r")), None).await.unwrap();
    assert_eq!((view.name.as_str(), view.description.as_str()), ("r", "x"));
    let r = name("r");
    let by = world.broker.admit(Route::TopicsShow, Some(&r), Some(&world.admin), Peer(None));
    assert_eq!(world.broker.topic(&by.unwrap(), &name("t")).unwrap().project, r);
    world.project("p").await;
    assert!(matches!(world.publish("t", &["a"]).await, Err(Error::TopicNotFound)));
}

#[tokio::test]
async fn a_deleted_project_takes_its_contents_and_memberships_along() {
    let world = World::furnished().await;
    let token = world.user("u", &["consumer"], &[]).await;
    world.publish("t", &["a"]).await.unwrap();
    world.pull("s", 1).await.unwrap();
    world.broker.delete_project(&world.root(Route::ProjectsDelete)).await.unwrap();
    assert!(world.broker.profile(Some(&token)).unwrap().projects.is_empty());
    assert_eq!(world.broker.scopes().len(), 1);
    world.broker.sweep().await;
    assert!(world.store.topics().await.unwrap().is_empty());
    assert!(world.store.subscriptions().await.unwrap().is_empty());
    assert!(world.broker.0.service.read().index.trash.is_empty());
    world.project("p").await;
    assert!(matches!(world.publish("t", &["a"]).await, Err(Error::TopicNotFound)));
    world.restarted().await.furnish_again().await;
}

impl World {
    async fn furnish_again(&self) {
        self.topic("t").await.unwrap();
        assert_eq!(self.publish("t", &["new"]).await.unwrap(), Offset(0));
    }
}

#[tokio::test]
async fn a_command_runs_again_on_what_another_writer_left() {
    let world = World::furnished().await;
    // Another broker over the same store: what it writes, the first learns by a conflict.
    let (store, clock) = (Arc::clone(&world.store), Arc::clone(&world.clock));
    let other = World::on(store, clock, settings()).await.unwrap();
    other.topic("theirs").await.unwrap();
    world.topic("ours").await.unwrap();
    assert!(matches!(world.topic("theirs").await, Err(Error::TopicExists)));
    assert!(matches!(other.topic("ours").await, Err(Error::TopicExists)));
}

#[tokio::test]
async fn a_refused_catalogue_write_is_told_and_leaves_nothing() {
    let world = World::furnished().await;
    world.store.fail(Call::CommitScope, 1, Fault::Refuse(StoreError::Full));
    assert!(matches!(world.topic("u").await, Err(Error::Store(StoreError::Full))));
    assert_eq!(world.store.topics().await.unwrap().len(), 1);
    world.topic("u").await.unwrap();
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_told_in_time_and_pursued() {
    let deadline = Duration::from_millis(50);
    let world = World::with(Settings { deadline, ..settings() }).await;
    world.furnish().await;
    world.store.fail_always(Call::CommitScope, Fault::LoseRequest);
    assert!(matches!(world.topic("u").await, Err(Error::Unavailable)));
    let before = world.store.calls(Call::CommitScope);
    world.store.heal();
    // It goes on until it is definite; whoever comes next finds it done.
    while !matches!(world.topic("u").await, Err(Error::TopicExists)) {
        tokio::task::yield_now().await;
    }
    assert!(world.store.calls(Call::CommitScope) > before);
}
