//! What the reporter reads.

use super::*;
use crate::domain::records::Record;
use crate::store::Scope;

impl World {
    fn scope(&self) -> Scope {
        self.broker.scopes()[1]
    }

    async fn since(&self, scope: Scope, from: u64) -> ScopeChange {
        let change = self.broker.scope_change(scope, Some(from)).await.unwrap();
        assert_eq!(change.from, Some(from));
        assert_eq!(change.to, self.broker.scope_version(scope));
        change
    }
}

fn names(change: &ScopeChange) -> Vec<String> {
    let name = |record: &Record| match record {
        Record::Project(record) => format!("project {}", record.name),
        Record::User(record) => format!("user {}", record.name),
        Record::Topic(record) => format!("topic {}", record.name),
        Record::Subscription(record) => format!("sub {}", record.name),
        Record::Registration(_)
        | Record::Schema(_)
        | Record::Trash(_)
        | Record::Usage(_)
        | Record::Audit(_)
        | Record::Snapshot(_) => {
            panic!("{record:?} is nobody's business")
        }
    };
    let mut names: Vec<_> = change.records.iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_scope_is_told_whole_or_by_what_changed() {
    let world = World::furnished().await;
    let scope = world.scope();
    let whole = world.broker.scope_change(scope, None).await.unwrap();
    assert_eq!((whole.from, whole.to), (None, 2));
    assert_eq!(names(&whole), ["sub s", "topic t"]);
    assert_eq!(names(&world.since(scope, 1).await), ["sub s"]);
    assert!(world.since(scope, 2).await.records.is_empty());
    let ahead = world.broker.scope_change(scope, Some(9)).await.unwrap();
    assert_eq!(ahead.from, None, "a version this store never had");
    let service = world.broker.scope_change(Scope::Service, None).await.unwrap();
    assert_eq!(names(&service), ["project p", "user admin"]);
}

#[tokio::test]
async fn a_deletion_names_who_did_it_and_sends_the_topics_subscriptions_again() {
    let world = World::furnished().await;
    let scope = world.scope();
    let before = world.broker.scope_version(scope);
    let (topic, subscription) = (world.facts("s").topic, world.facts("s").id);
    world.clock.advance(Duration::from_secs(7));
    world.delete_topic("t").await.unwrap();
    let change = world.since(scope, before).await;
    assert_eq!(names(&change), ["sub s"]);
    let expected = Deleted {
        kind: "topic",
        id: topic.0,
        name: "t".into(),
        by: "admin".into(),
        at: world.clock.wall(),
    };
    assert_eq!(change.deleted, [expected]);
    assert_eq!(world.broker.topic_life(scope, &name("t")), None);

    let before = world.broker.scope_version(scope);
    world.topic("t").await.unwrap();
    let change = world.since(scope, before).await;
    assert_eq!(names(&change), ["sub s", "topic t"], "its return is told the same way");
    assert!(world.broker.topic_life(scope, &name("t")).is_some_and(|life| life != topic));

    let before = world.broker.scope_version(scope);
    let by = world.root(Route::SubscriptionsDelete);
    world.broker.delete_subscription(&by, &name("s")).await.unwrap();
    world.broker.sweep().await;
    let change = world.since(scope, before).await;
    assert!(change.records.is_empty());
    let [deleted] = change.deleted.as_slice() else { panic!("one") };
    assert_eq!((deleted.kind, deleted.id), ("subscription", subscription.0));
}

#[tokio::test]
async fn a_deleted_project_is_told_in_the_services_scope_with_the_changed_users() {
    let world = World::furnished().await;
    world.user("u", &["consumer"], &[]).await;
    let before = world.broker.scope_version(Scope::Service);
    world.broker.delete_project(&world.root(Route::ProjectsDelete)).await.unwrap();
    let change = world.since(Scope::Service, before).await;
    assert_eq!(names(&change), ["user u"]);
    let [deleted] = change.deleted.as_slice() else { panic!("one") };
    assert_eq!(
        (deleted.kind, deleted.name.as_str(), deleted.by.as_str()),
        ("project", "p", "admin")
    );
}

#[tokio::test]
async fn facts_are_those_of_durable_state_and_the_front_has_its_publish_time() {
    let world = World::furnished().await;
    assert!(world.broker.front_time(&world.facts("s")).await.is_none(), "nothing waits");
    world.publish("t", &["aGk=", "x"]).await.unwrap();
    world.clock.advance(Duration::from_secs(3));
    world.publish("t", &["y"]).await.unwrap();
    let topics: Vec<_> = world.broker.topic_facts().collect();
    let [topic] = topics.as_slice() else { panic!("one") };
    assert_eq!((topic.name.as_str(), topic.project.as_str()), ("t", "p"));
    assert_eq!((topic.head.next, topic.head.ams_bytes), (Offset(3), 6));
    let facts = world.facts("s");
    assert_eq!((facts.topic, facts.head, facts.facts.backlog), (topic.id, Offset(3), 3));
    let front = world.broker.front_time(&facts).await;
    assert_eq!(front, Some(Time::from_secs(1_000_000)));
    world.pull("s", 2).await.unwrap();
    let facts = world.facts("s");
    assert_eq!((facts.facts.outstanding, facts.facts.available), (2, 3));
    world.ack("s", 1).await.unwrap();
    let front = world.broker.front_time(&world.facts("s")).await;
    assert_eq!(front, Some(Time::from_secs(1_000_003)));
}

#[tokio::test]
async fn calls_are_counted_by_verb_and_outcome() {
    let world = World::new().await;
    world.broker.count_call(Verb::Publish, Ok(()));
    world.broker.count_call(Verb::Publish, Err(Error::Forbidden.is_fault()));
    world.broker.count_call(Verb::Pull, Err(Error::Unavailable.is_fault()));
    assert_eq!(world.broker.calls(Verb::Publish), CallCounts { ok: 1, refused: 1, fault: 0 });
    assert_eq!(world.broker.calls(Verb::Pull), CallCounts { ok: 0, refused: 0, fault: 1 });
    assert_eq!(world.broker.calls(Verb::Acknowledge), CallCounts::default());
}

#[tokio::test]
async fn what_becomes_of_a_user_is_told() {
    let world = World::furnished().await;
    let old = world.user("u", &["consumer"], &[]).await;
    let broker = &world.broker;
    let id = broker.profile(Some(&old)).unwrap().id;
    let told = |change: &ScopeChange| match change.records.as_slice() {
        [Record::User(user)] => user.clone(),
        other => panic!("one user: {other:?}"),
    };

    let before = broker.scope_version(Scope::Service);
    let change = UserChange { name: "v".into(), email: "v@x.org".into(), ..UserChange::default() };
    broker.update_user(&world.root(Route::UsersUpdate), &name("u"), change).await.unwrap();
    let user = told(&world.since(Scope::Service, before).await);
    assert_eq!((user.id, user.name.as_str(), user.email.as_str()), (id, "v", "v@x.org"));
    assert_eq!(user.token_sha256, tokens::hash(&old));

    let before = broker.scope_version(Scope::Service);
    let caller = world.root(Route::UsersRefreshToken);
    let new = broker.refresh_token(&caller, &name("v")).await.unwrap().token.unwrap();
    let user = told(&world.since(Scope::Service, before).await);
    assert_eq!(user.token_sha256, tokens::hash(&new));

    let before = broker.scope_version(Scope::Service);
    world.clock.advance(Duration::from_secs(7));
    broker.delete_user(&world.root(Route::UsersDelete), &name("v")).await.unwrap();
    let change = world.since(Scope::Service, before).await;
    assert!(change.records.is_empty());
    let at = world.clock.wall();
    let expected = Deleted { kind: "user", id: id.0, name: String::new(), by: "admin".into(), at };
    assert_eq!(change.deleted, [expected]);
}
