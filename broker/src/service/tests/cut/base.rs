//! The state that every run starts from: something of everything that can be stored.

use super::picture::{Labels, Picture};
use super::*;
use crate::clock::Clock as _;
use crate::domain::PushRequest;
use crate::domain::records::DeadLetters;
use crate::service::NewRegistration;
use crate::store::{MemoryStore, MessageLog as _};

/// A store that is copied for each run, and what time it is.
pub(super) struct Base {
    store: Arc<MemoryStore>,
    now: Time,
    labels: Labels,
}

/// A world on a copy, whose store can be looked at past its faults.
pub(super) struct Run {
    pub(super) world: World,
    truth: Arc<MemoryStore>,
}

/// As usual, but push can be asked for.
fn pushing() -> Settings {
    Settings { push_enabled: true, ..settings() }
}

impl Base {
    /// What `furnish` makes of an empty store.
    pub(super) async fn of(furnish: impl AsyncFnOnce(&World)) -> Self {
        let (store, clock) = (MemoryStore::open(), ManualClock::at(Time::from_secs(1_000_000)));
        let faulty = FaultyStore::over(Arc::clone(&store) as _);
        let world = World::on(faulty, Arc::clone(&clock), pushing()).await.unwrap();
        furnish(&world).await;
        world.stop().await;
        let labels = Labels::of(&store).await;
        Self { store, now: clock.wall(), labels }
    }

    pub(super) async fn run(&self) -> Run {
        let truth = self.store.copy();
        let faulty = FaultyStore::over(Arc::clone(&truth) as _);
        let world = World::on(faulty, ManualClock::at(self.now), pushing()).await.unwrap();
        Run { world, truth }
    }

    /// What a run holds now.
    pub(super) async fn picture(&self, run: &Run) -> Picture {
        Picture::of(&run.truth, &self.labels).await
    }
}

impl Run {
    /// Stops the broker in whatever state it is and starts another one on what is stored, where
    /// everything has an owner then.
    pub(super) async fn restarted(self, what: &str) -> Self {
        let world = self.world.try_restart_with(pushing()).await;
        let world = world.unwrap_or_else(|error| panic!("{what}: the start: {error}"));
        world.check_owners(what).await;
        Self { world, ..self }
    }
}

impl World {
    async fn stop(self) {
        self.broker.drain();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The admin, in project `p`.
    pub(super) fn by(&self, route: Route) -> Result<Caller, Error> {
        self.admit(route, &self.admin)
    }

    /// One of everything in project `p`; a project `q`, which nothing touches but what is said.
    pub(super) async fn furnish_all(&self) {
        let broker = &self.broker;
        self.project("p").await;
        self.furnish_other().await;
        for topic in ["t", "judged", "d", "gone"] {
            self.topic(topic).await.unwrap();
        }
        self.furnish_users().await;
        for (schema, topic) in [("x", Some("judged")), ("y", None)] {
            let (schema, by) = (name(schema), self.root(Route::SchemasCreate));
            let definition = Some(r#"{"type":"object"}"#.to_owned());
            broker.create_schema(&by, &schema, "json", definition).await.unwrap();
            if let Some(topic) = topic {
                let by = self.root(Route::TopicsAttachSchema);
                broker.set_topic_schema(&by, &name(topic), Some(schema)).await.unwrap();
            }
        }
        self.furnish_subscriptions().await;
        self.delete_topic("gone").await.unwrap();
        let acl = || vec!["u".to_owned()];
        let by = self.root(Route::TopicsModifyAcl);
        broker.set_topic_acl(&by, &name("t"), acl()).await.unwrap();
        broker.set_subscription_acl(&by, &name("s"), acl()).await.unwrap();
        self.deliver().await;
        let by = self.root(Route::SnapshotsCreate);
        broker.create_snapshot(&by, &name("n"), &name("s")).await.unwrap();
    }

    async fn furnish_other(&self) {
        self.project("q").await;
        let q = name::<ProjectName>("q");
        let by = |route| self.broker.admit(route, Some(&q), Some(&self.admin), Peer(None)).unwrap();
        let (alert, keeps) = (AlertSettings::default(), RetentionSettings::default());
        let far = name("far");
        self.broker.create_topic(&by(Route::TopicsCreate), &far, alert, keeps, None).await.unwrap();
        let by_far = by(Route::SubscriptionsCreate);
        self.broker.create_subscription(&by_far, &name("away"), onto("far")).await.unwrap();
        let publisher = self.broker.publisher(&by(Route::TopicsPublish), &far).unwrap();
        publisher.publish(batch(&["f"]), None).await.unwrap();
    }

    async fn furnish_users(&self) {
        let roles = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        let by = self.root(Route::UsersCreate);
        for (user, projects) in [
            ("u", vec![("p".to_owned(), roles(&["consumer"])), ("q".to_owned(), roles(&[]))]),
            ("m", vec![("q".to_owned(), roles(&["consumer"]))]),
        ] {
            let new = NewUser { projects, ..NewUser::default() };
            self.broker.create_user(&by, &name(user), new).await.unwrap();
        }
        let by = self.root(Route::RegistrationsNewUser);
        self.broker.register(&by, wish("newcomer")).await.unwrap();
    }

    async fn furnish_subscriptions(&self) {
        for (subscription, topic) in
            [("s", "t"), ("other", "t"), ("a", "t"), ("h", "t"), ("w", "gone")]
        {
            self.subscription(subscription, topic).await.unwrap();
        }
        let each = NewSubscription {
            ack_mode: AckMode::Individual,
            dead_letters: Some(DeadLetters { topic: name("d"), max_attempts: 5 }),
            ..onto("t")
        };
        let by = self.root(Route::SubscriptionsCreate);
        self.broker.create_subscription(&by, &name("i"), each).await.unwrap();
        let by = self.root(Route::SubscriptionsModifyPushConfig);
        let push = Some(push_to("https://h.example.org"));
        self.broker.set_subscription_push(&by, &name("h"), push).await.unwrap();
    }

    /// Of the messages 0..5 of `t` the first is gone. `s` has acknowledged two, and the deadline of
    /// its window passed; the window of `a` holds; `i` has leases; `other` lost 0 without knowing.
    async fn deliver(&self) {
        for text in ["0", "1", "2", "3", "4"] {
            self.publish("t", &[text]).await.unwrap();
        }
        self.pull("s", 3).await.unwrap();
        self.ack("s", 1).await.unwrap();
        self.clock.advance(Duration::from_secs(20));
        drop(self.store.trim(self.facts("s").topic, Offset(1)).await.unwrap());
        self.broker.refresh_heads().await;
        self.pull("a", 2).await.unwrap();
        self.pull("i", 2).await.unwrap();
    }
}

pub(super) fn push_to(endpoint: &str) -> PushRequest {
    PushRequest { endpoint: endpoint.to_owned(), ..PushRequest::default() }
}

pub(super) fn wish(user: &str) -> NewRegistration {
    NewRegistration {
        name: name(user),
        first_name: "F".to_owned(),
        last_name: "L".to_owned(),
        organization: "O".to_owned(),
        description: String::new(),
        email: "n@example.org".to_owned(),
    }
}
