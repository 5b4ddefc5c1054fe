//! The verbs over a store in memory whose faults are planned, and a clock that stands still.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod audit;
mod books;
mod catalogue;
mod clocks;
mod cut;
mod deliver;
mod feed;
mod holes;
mod lease;
mod publish;
mod push;
mod quota;
mod rates;
mod read;
mod requests;
mod retention;
mod revoked;
mod rights;
mod users;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::ManualClock;
use crate::domain::records::AckMode;
use crate::domain::{
    AlertSettings, Batch, BatchBuilder, Offset, ProjectName, RetentionSettings, SubscriptionName,
    Time, TopicName, UserName,
};
use crate::store::{FaultyStore, memory};

const KEY: [u8; 32] = [7; 32];
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than any test that does not ask for a sweep.
const RETENTION: Retention =
    Retention { default: DAY.saturating_mul(7), max: DAY.saturating_mul(30), every: DAY };

fn settings() -> Settings {
    Settings {
        objects_per_project: 100,
        deadline: Duration::from_secs(5),
        reveal_tokens: true,
        roles: Roles::default(),
        pull_messages: 1_000,
        pull_bytes: 1 << 20,
        bodies_bytes: 96 << 20,
        answers_bytes: 64 << 20,
        bytes_per_project: 0,
        rates: Rates::default(),
        push_enabled: false,
        retention: RETENTION,
    }
}

/// A broker over a store that outlives it.
struct World {
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    broker: Broker,
    tasks: TaskTracker,
    admin: String,
}

impl World {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let store = FaultyStore::over(memory());
        let clock = ManualClock::at(Time::from_secs(1_000_000));
        Self::on(store, clock, settings).await.unwrap()
    }

    async fn on(
        store: Arc<FaultyStore>,
        clock: Arc<ManualClock>,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let tasks = TaskTracker::new();
        let (stored, timed) = (Arc::clone(&store), Arc::clone(&clock));
        let broker = Broker::open(stored, timed, KEY, settings, tasks.clone()).await?;
        let admin = broker.ensure_admin("").await.unwrap();
        Ok(Self { store, clock, broker, tasks, admin })
    }

    /// A project `p` with topic `t` and subscription `s`.
    async fn furnished() -> Self {
        let world = Self::new().await;
        world.furnish().await;
        world
    }

    async fn furnish(&self) {
        self.project("p").await;
        self.topic("t").await.unwrap();
        self.subscription("s", "t").await.unwrap();
    }

    /// Stops the broker in whatever state it is, heals the store, starts another on it.
    async fn restarted(self) -> Self {
        self.try_restart().await.unwrap()
    }

    async fn try_restart(self) -> Result<Self, OpenError> {
        self.try_restart_with(settings()).await
    }

    async fn try_restart_with(self, settings: Settings) -> Result<Self, OpenError> {
        self.broker.drain();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.heal();
        Self::on(self.store, self.clock, settings).await
    }

    fn root(&self, route: Route) -> Caller {
        self.admit(route, &self.admin).unwrap()
    }

    /// Admits for project `p`, if there is one.
    fn admit(&self, route: Route, token: &str) -> Result<Caller, Error> {
        let project = name::<ProjectName>("p");
        let exists = self.broker.0.service.read().index.project(&project).is_some();
        self.broker.admit(route, exists.then_some(&project), Some(token), Peer(None))
    }

    async fn project(&self, project: &str) {
        let caller = self.root(Route::ProjectsCreate);
        let (project, alert) = (name(project), AlertSettings::default());
        self.broker.create_project(&caller, &project, String::new(), alert).await.unwrap();
    }

    async fn topic(&self, topic: &str) -> Result<TopicView, Error> {
        let caller = self.root(Route::TopicsCreate);
        self.broker
            .create_topic(
                &caller,
                &name(topic),
                AlertSettings::default(),
                RetentionSettings::default(),
                None,
            )
            .await
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        self.broker.delete_topic(&self.root(Route::TopicsDelete), &name(topic)).await
    }

    async fn subscription(&self, new: &str, topic: &str) -> Result<SubscriptionView, Error> {
        let caller = self.root(Route::SubscriptionsCreate);
        self.broker.create_subscription(&caller, &name(new), onto(topic)).await
    }

    /// A user with roles in project `p` and in the service; answers its token.
    async fn user(&self, user: &str, roles: &[&str], service_roles: &[&str]) -> String {
        let texts = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        let new = NewUser {
            projects: vec![("p".to_owned(), texts(roles))],
            service_roles: texts(service_roles),
            ..NewUser::default()
        };
        let caller = self.root(Route::UsersCreate);
        let view = self.broker.create_user(&caller, &name(user), new).await.unwrap();
        view.token.unwrap()
    }

    async fn publish(&self, topic: &str, texts: &[&str]) -> Result<Offset, Error> {
        let caller = self.root(Route::TopicsPublish);
        self.broker.publisher(&caller, &name(topic))?.publish(batch(texts), None).await
    }

    async fn pull(&self, subscription: &str, max: u64) -> Result<Pulled, Error> {
        let caller = self.root(Route::SubscriptionsPull);
        self.broker.puller(&caller, &name(subscription))?.pull(max, None).await
    }

    async fn ack(&self, subscription: &str, highest: u64) -> Result<(), Error> {
        let caller = self.root(Route::SubscriptionsAcknowledge);
        self.broker.acker(&caller, &name(subscription))?.acknowledge(Offset(highest)).await
    }

    async fn seek(&self, subscription: &str, to: u64) -> Result<(), Error> {
        let caller = self.root(Route::SubscriptionsModifyOffset);
        self.broker.seek(&caller, &name(subscription), Offset(to)).await
    }

    async fn offsets(&self, subscription: &str) -> (u64, u64, u64) {
        let caller = self.root(Route::SubscriptionsOffsets);
        let Offsets { max, min, current } =
            self.broker.offsets(&caller, &name(subscription)).await.unwrap();
        (max.0, min.0, current.0)
    }

    fn facts(&self, subscription: &str) -> SubscriptionFacts {
        let mut all = self.broker.subscription_facts(self.clock.steady());
        all.find(|facts| facts.name.as_str() == subscription).unwrap()
    }
}

fn name<N: FromStr>(text: &str) -> N {
    text.parse().ok().expect("a lawful name")
}

fn onto(topic: &str) -> NewSubscription {
    NewSubscription {
        topic: name(topic),
        ack_deadline_seconds: 10,
        ack_mode: AckMode::Cumulative,
        dead_letters: None,
        push: None,
        alert: AlertSettings::default(),
    }
}

fn batch(texts: &[&str]) -> Batch {
    let mut batch = BatchBuilder::default();
    texts.iter().for_each(|text| batch.push::<&str, &str>(&[], text));
    batch.finish()
}

/// The texts that a pull handed out.
fn texts(pulled: &Pulled) -> Vec<String> {
    let (from, to) = (pulled.first.0, pulled.first.0 + pulled.count);
    let mut out = Vec::new();
    for entry in &pulled.entries {
        for (message, at) in entry.batch.messages().zip(entry.base.0..) {
            if (from..to).contains(&at) {
                let mut text = String::new();
                message.unwrap().data.write_text(&mut text);
                out.push(text);
            }
        }
    }
    out
}
