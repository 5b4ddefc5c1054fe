//! The reporter over a real broker in memory, told to a receiver that answers as planned.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod receiver;
mod rounds;
mod wire;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{Reporter, Settings};
use crate::clock::{Clock as _, ManualClock};
use crate::domain::{AlertSettings, BatchBuilder, Offset, ProjectName, RetentionSettings, Time};
use crate::service::{self, Broker, Caller, NewSubscription, NewUser, Peer, Route, UserChange};
use crate::store::memory;
use receiver::Receiver;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// A broker with project `p`, topic `t` and subscription `s`, and its reporter.
struct World {
    clock: Arc<ManualClock>,
    broker: Broker,
    admin: String,
    receiver: Receiver,
    reporter: Reporter,
    secret: tempfile::TempDir,
}

fn name<N: FromStr>(text: &str) -> N {
    text.parse().ok().unwrap()
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::at(Time::parse_rfc3339("2026-11-22T10:00:00Z").unwrap());
        let settings = service::Settings {
            objects_per_project: 100,
            deadline: Duration::from_secs(5),
            reveal_tokens: true,
            roles: service::Roles::default(),
            pull_messages: 100,
            pull_bytes: 1 << 20,
            bodies_bytes: 96 << 20,
            answers_bytes: 128 << 20,
            bytes_per_project: 0,
            rates: service::Rates::default(),
            push_enabled: false,
            retention: service::Retention { default: WEEK, max: WEEK, every: WEEK },
        };
        let time = Arc::clone(&clock);
        let broker =
            Broker::open(memory(), time, [7; 32], settings, TaskTracker::new()).await.unwrap();
        let admin = broker.ensure_admin("root@example.org").await.unwrap();
        let receiver = Receiver::listen().await;
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("secret"), "s3cret\n").unwrap();
        let reporter = reporter(&receiver, &secret, &broker);
        let world = Self { clock, broker, admin, receiver, reporter, secret };
        let caller = world.caller(Route::ProjectsCreate);
        let (project, alert) = (name("p"), AlertSettings::default());
        let create = world.broker.create_project(&caller, &project, String::new(), alert);
        create.await.unwrap();
        world.topic("t").await;
        world.subscription("s", "t").await;
        world
    }

    fn caller(&self, route: Route) -> Caller {
        let project: ProjectName = name("p");
        let of = (route != Route::ProjectsCreate).then_some(&project);
        self.broker.admit(route, of, Some(&self.admin), Peer(None)).unwrap()
    }

    async fn topic(&self, topic: &str) {
        let caller = self.caller(Route::TopicsCreate);
        let alert = AlertSettings::default();
        self.broker
            .create_topic(&caller, &name(topic), alert, RetentionSettings::default(), None)
            .await
            .unwrap();
    }

    async fn delete_topic(&self, topic: &str) {
        let caller = self.caller(Route::TopicsDelete);
        self.broker.delete_topic(&caller, &name(topic)).await.unwrap();
    }

    async fn subscription(&self, new: &str, topic: &str) {
        let caller = self.caller(Route::SubscriptionsCreate);
        let alert = AlertSettings::default();
        let wanted = NewSubscription {
            topic: name(topic),
            ack_deadline_seconds: 10,
            ack_mode: crate::domain::records::AckMode::Cumulative,
            dead_letters: None,
            push: None,
            alert,
        };
        self.broker.create_subscription(&caller, &name(new), wanted).await.unwrap();
    }

    async fn publish(&self, topic: &str, count: usize) {
        let mut batch = BatchBuilder::default();
        (0..count).for_each(|_| batch.push::<&str, &str>(&[], "aGVsbG8="));
        let caller = self.caller(Route::TopicsPublish);
        let publisher = self.broker.publisher(&caller, &name(topic)).unwrap();
        publisher.publish(batch.finish(), None).await.unwrap();
    }

    async fn pull(&self, subscription: &str, max: u64) {
        let caller = self.caller(Route::SubscriptionsPull);
        let puller = self.broker.puller(&caller, &name(subscription)).unwrap();
        puller.pull(max, None).await.unwrap();
    }

    async fn ack(&self, subscription: &str, highest: u64) {
        let caller = self.caller(Route::SubscriptionsAcknowledge);
        let acker = self.broker.acker(&caller, &name(subscription)).unwrap();
        acker.acknowledge(Offset(highest)).await.unwrap();
    }

    /// One round; what was received in it.
    async fn round(&mut self) -> Vec<receiver::Request> {
        // Rounds are numbered by the clock: each is another one.
        self.clock.advance(Duration::from_secs(1));
        let number = self.clock.steady().secs();
        self.reporter.report(number).await;
        self.receiver.take()
    }
}

fn reporter(receiver: &Receiver, secret: &tempfile::TempDir, broker: &Broker) -> Reporter {
    let settings = Settings {
        url: receiver.url(),
        secret_file: secret.path().join("secret"),
        every: Duration::from_secs(10),
    };
    Reporter::new(&settings, "unused".into(), broker.clone()).unwrap().unwrap()
}
