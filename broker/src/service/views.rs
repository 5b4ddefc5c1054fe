//! What doors may show: resolved names instead of ids, nothing secret unless asked for.

use std::sync::Arc;

use super::Share;
use crate::domain::records::{AckMode, DeadLetters, RegistrationStatus};
use crate::domain::roles::{ProjectRole, ServiceRole};
use crate::domain::{
    AlertSettings, Entry, Leased, Offset, ProjectName, PushRequest, RegistrationId,
    RetentionSettings, SchemaId, SchemaName, SnapshotName, SubscriptionName, Time, TopicName,
    UserId, UserName,
};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectView {
    /// Its name.
    pub name: ProjectName,
    /// When it was made.
    pub created: Time,
    /// When it was last changed.
    pub modified: Time,
    /// Who made it, while that user exists.
    pub created_by: Option<UserName>,
    /// May be empty.
    pub description: String,
    /// May be empty.
    pub alert: AlertSettings,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Its project's present name.
    pub project: ProjectName,
    /// Its name.
    pub name: TopicName,
    /// Its schema's present name.
    pub schema: Option<SchemaName>,
    /// When it was made.
    pub created: Time,
    /// May be empty.
    pub alert: AlertSettings,
    /// May be empty.
    pub retention: RetentionSettings,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaView {
    /// Shown as `uuid`.
    pub id: SchemaId,
    /// Its project's present name.
    pub project: ProjectName,
    /// Its name.
    pub name: SchemaName,
    /// `json` or `avro`.
    pub language: String,
    /// The definition, compact JSON.
    pub definition: String,
}

/// What a schema is to become; `None` = as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaEdit {
    /// A new name.
    pub name: Option<SchemaName>,
    /// `json` or `avro`, in any case.
    pub language: Option<String>,
    /// The definition, as JSON text.
    pub definition: Option<String>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its project's present name.
    pub project: ProjectName,
    /// Its name.
    pub name: SubscriptionName,
    /// Its topic's name, also when that was deleted.
    pub topic: TopicName,
    /// Where it is pushed to.
    pub push: PushView,
    /// Seconds.
    pub ack_deadline_seconds: i64,
    /// How it acknowledges.
    pub ack_mode: AckMode,
    /// Where goes what is handed out in vain.
    pub dead_letters: Option<DeadLetters>,
    /// When it was made.
    pub created: Time,
    /// May be empty.
    pub alert: AlertSettings,
}

/// Where a subscription is pushed to, secrets included: for whoever may see the subscription
/// (`ams-contract.md` 12.7). The default is that of one that is pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushView {
    /// `http_endpoint` or `mattermost`; empty = it is pulled.
    pub kind: &'static str,
    /// Of an `http_endpoint`.
    pub endpoint: String,
    /// Most messages of one push.
    pub max_messages: i64,
    /// Of an `http_endpoint`: `autogen` or `disabled`.
    pub authorization: &'static str,
    /// The endpoint is sent this as `Authorization`; may be empty.
    pub authorization_value: String,
    /// `linear` or `slowstart`.
    pub retry: &'static str,
    /// Milliseconds; 0 under `slowstart`.
    pub period_ms: u64,
    /// Of an `http_endpoint`.
    pub verification_hash: String,
    /// Whether messages may be pushed.
    pub verified: bool,
    /// Of a `mattermost`.
    pub mattermost_url: String,
    /// May be empty.
    pub mattermost_username: String,
    /// May be empty.
    pub mattermost_channel: String,
    /// Whether the data is pushed decoded.
    pub base64_decode: bool,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    /// Its project's present name.
    pub project: ProjectName,
    /// Its name.
    pub name: SnapshotName,
    /// The subscription it was taken of.
    pub subscription: SubscriptionName,
    /// Its topic then.
    pub topic: TopicName,
    /// The position.
    pub position: Offset,
    /// When it was taken.
    pub created: Time,
}

/// A user, as the caller may see it: what is `None` or empty is not to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Shown as `uuid`.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// May be empty.
    pub email: String,
    /// May be empty.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// May be empty.
    pub organization: String,
    /// May be empty.
    pub description: String,
    /// The token's text (or its prefix and `...` where tokens are not revealed).
    pub token: Option<String>,
    /// Memberships, in the order given.
    pub projects: Vec<MembershipView>,
    /// Roles in the service.
    pub service_roles: Vec<ServiceRole>,
    /// When it was made.
    pub created: Time,
    /// When it was last changed.
    pub modified: Time,
    /// Who made it, while that user exists.
    pub created_by: Option<UserName>,
}

/// What a user is in one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipView {
    /// The project's name; `None` when it was deleted.
    pub project: Option<ProjectName>,
    /// Roles.
    pub roles: Vec<ProjectRole>,
    /// Topics of the project whose ACL names the user, in creation order.
    pub topics: Vec<TopicName>,
    /// Subscriptions of the project whose ACL names the user, in creation order.
    pub subscriptions: Vec<SubscriptionName>,
}

/// What a new user brings. Roles and projects are texts still: their errors have an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// May be empty.
    pub email: String,
    /// May be empty.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// May be empty.
    pub organization: String,
    /// May be empty.
    pub description: String,
    /// Project name and role names. Entries with an empty project are skipped.
    pub projects: Vec<(String, Vec<String>)>,
    /// Role names.
    pub service_roles: Vec<String>,
}

/// What is to become of a user: what is `None` or an empty text stays. The new name, projects and
/// roles are texts still: their errors have an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// A new name; empty = as it is.
    pub name: String,
    /// Empty = as it is.
    pub email: String,
    /// Empty = as it is.
    pub first_name: String,
    /// Empty = as it is.
    pub last_name: String,
    /// Empty = as it is.
    pub organization: String,
    /// Empty = as it is.
    pub description: String,
    /// Project name and role names, in place of all memberships. Entries with an empty project are
    /// skipped.
    pub projects: Option<Vec<(String, Vec<String>)>>,
    /// Role names, in place of all.
    pub service_roles: Option<Vec<String>>,
}

/// Somebody who asks to become a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRegistration {
    /// The name the user is to have.
    pub name: UserName,
    /// May be empty.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// May be empty.
    pub organization: String,
    /// May be empty.
    pub description: String,
    /// May be empty.
    pub email: String,
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationView {
    /// Shown as `uuid`.
    pub id: RegistrationId,
    /// What it asks for.
    pub wish: NewRegistration,
    /// How far it has come.
    pub status: RegistrationStatus,
    /// May be empty.
    pub decline_comment: String,
    /// While it is pending: the token's text (or its prefix and `...` where tokens are not revealed).
    pub activation_token: Option<String>,
    /// When it was filed.
    pub registered: Time,
    /// When it was decided.
    pub modified: Option<Time>,
    /// Who decided, while that user exists.
    pub modified_by: Option<UserName>,
}

/// Which registrations are asked for: those that have all that is given, exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationFilter {
    /// `pending`, `accepted` or `declined`; nothing has another one.
    pub status: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Organization.
    pub organization: Option<String>,
    /// Text of the token.
    pub activation_token: Option<String>,
}

/// What a new subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Looked up in the caller's project.
    pub topic: TopicName,
    /// Seconds, as given; the door has put 10 for none.
    pub ack_deadline_seconds: i64,
    /// For as long as it lives.
    pub ack_mode: AckMode,
    /// Another topic of the project; only under `AckMode::Individual`.
    pub dead_letters: Option<DeadLetters>,
    /// Where to push; `None` = it is pulled.
    pub push: Option<PushRequest>,
    /// May be empty.
    pub alert: AlertSettings,
}

/// Which page of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// `None` = everything.
    pub size: Option<u64>,
    /// Place in creation order of the first element ([`Page::next`] of the page before).
    pub from: Option<u64>,
}

/// One page, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The elements.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<u64>,
    /// How many there are on all pages.
    pub total: u64,
}

/// A subscription's place in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// End of the topic.
    pub max: Offset,
    /// Oldest kept.
    pub min: Offset,
    /// The position.
    pub current: Offset,
}

/// What a pull hands out: the `count` messages from `first` on, which lie in `entries`.
#[derive(Debug, Clone, Default)]
pub struct Pulled {
    /// Whole entries; the first may begin before `first`, the last may end behind.
    pub entries: Vec<Arc<Entry>>,
    /// First offset handed out.
    pub first: Offset,
    /// How many; 0 = nothing was there.
    pub count: u64,
    /// Under `ackMode: individual` the lease of each message handed out, ascending: these are the
    /// messages then, and there may be others between them.
    pub leased: Vec<Leased>,
    /// What their [`super::AckId`]s begin with.
    pub life: u32,
    /// The room it takes; to be kept until it is sent.
    pub share: Option<Arc<Share>>,
}
