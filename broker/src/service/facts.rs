//! What the broker tells metrics-svc: read from durable state only.

use std::net::IpAddr;

use crate::domain::records::Record;
use crate::domain::{
    Facts, Head, Offset, ProjectId, ProjectName, SubscriptionId, SubscriptionName, Time, TopicId,
    TopicName,
};

/// A topic and its durable head.
#[derive(Debug, Clone)]
pub struct TopicFacts {
    /// This life.
    pub id: TopicId,
    /// Its project's name.
    pub project: ProjectName,
    /// Its name.
    pub name: TopicName,
    /// When this life was made.
    pub created: Time,
    /// The durable head.
    pub head: Head,
    /// Kept messages that are damaged, as far as met since the start, and not given up.
    pub damaged: u64,
    /// Kept messages that were damaged and are given up.
    pub given_up: u64,
}

/// What the topics of a project keep together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFacts {
    /// The project.
    pub id: ProjectId,
    /// Its name.
    pub name: ProjectName,
    /// When it was made.
    pub created: Time,
    /// Bytes in the store, packed.
    pub stored: u64,
    /// Most of them before publishes are refused; 0 = no quota.
    pub quota: u64,
}

/// A subscription, its durable progress with time folded in, and its topic's durable head.
#[derive(Debug, Clone)]
pub struct SubscriptionFacts {
    /// This life.
    pub id: SubscriptionId,
    /// Its project's name.
    pub project: ProjectName,
    /// Its name.
    pub name: SubscriptionName,
    /// When it was made.
    pub created: Time,
    /// The topic life it is on.
    pub topic: TopicId,
    /// End of that topic life.
    pub head: Offset,
    /// What is true now.
    pub facts: Facts,
    /// The last admitted pull, also an empty one that is not saved yet.
    pub last_pull: Time,
    /// Pulls since the broker started.
    pub pulls: PullCounts,
    /// How often a message could not be moved to the dead-letter topic since the broker started.
    pub letters_failed: u64,
}

/// Pulls of one subscription by outcome, since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullCounts {
    /// Brought something.
    pub messages: u64,
    /// Brought nothing.
    pub empty: u64,
    /// Refused: role, ACL, or a token that is not known (any more).
    pub denied: u64,
    /// Ended in a fault of ours.
    pub error: u64,
}

/// Calls of one verb by outcome, since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Did what was asked.
    pub ok: u64,
    /// The client's mistake.
    pub refused: u64,
    /// Ours.
    pub fault: u64,
}

/// Faults of the store by what is wrong, since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFaultCounts {
    /// No room.
    pub full: u64,
    /// It has stopped.
    pub stopped: u64,
    /// What is stored is damaged.
    pub damaged: u64,
    /// Clocks in doubt, once a sweep of retention.
    pub clock: u64,
}

/// The verbs whose calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `topics:publish`
    Publish,
    /// `subscriptions:pull`
    Pull,
    /// `subscriptions:acknowledge`
    Acknowledge,
}

/// A change of a scope, or the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeChange {
    /// The version it starts from; `None`: `records` is the whole scope.
    pub from: Option<u64>,
    /// The version it leads to.
    pub to: u64,
    /// Made or changed, with what is derived from names resolved by the reporter.
    pub records: Vec<Record>,
    /// Gone.
    pub deleted: Vec<Deleted>,
}

/// Something deleted, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// `project`, `user`, `topic` or `subscription`.
    pub kind: &'static str,
    /// Its id.
    pub id: uuid::Uuid,
    /// Its name; empty for a user that did not change otherwise at the same time.
    pub name: String,
    /// The user's name, empty if it was none.
    pub by: String,
    /// When.
    pub at: Time,
}

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);
