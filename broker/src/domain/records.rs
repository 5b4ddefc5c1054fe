//! The catalogue's records: who and what there is. Stored as JSON with kind and version; unknown
//! kinds, versions and keys are refused.

use std::collections::BTreeMap;

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};

use super::alert::AlertSettings;
use super::audit::AuditRecord;
use super::codec::Malformed;
use super::entry::DayFigures;
use super::holes::Holes;
use super::ids::{Offset, ProjectId, RegistrationId, SchemaId, SubscriptionId, TopicId, UserId};
use super::names::{ProjectName, SchemaName, SnapshotName, SubscriptionName, TopicName, UserName};
use super::push::PushSettings;
use super::retention::RetentionSettings;
use super::roles::{ProjectRole, ServiceRole};
use clock::Time;

/// Any record of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// In the service's scope, under `project/<id>`.
    Project(ProjectRecord),
    /// In the service's scope, under `user/<id>`.
    User(UserRecord),
    /// In the service's scope, under `registration/<id>`.
    Registration(RegistrationRecord),
    /// In its project's scope, under `topic/<name>`.
    Topic(TopicRecord),
    /// In its project's scope, under `sub/<name>`.
    Subscription(SubscriptionRecord),
    /// In its project's scope, under `snapshot/<name>`.
    Snapshot(SnapshotRecord),
    /// In its project's scope, under `schema/<id>`.
    Schema(SchemaRecord),
    /// To be swept: in a project's scope under `trash/<topic or subscription id>`, in the service's
    /// under `trash/<project id>`.
    Trash(TrashRecord),
    /// In its project's scope, under `usage/<topic id>/<month>`.
    Usage(UsageRecord),
    /// In any scope, under `audit/<slot>`: a ring.
    Audit(AuditRecord),
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectRecord {
    /// Its id, the name of its scope.
    pub id: ProjectId,
    /// Its name, unique.
    pub name: ProjectName,
    /// Place in creation order.
    pub order: u64,
    /// When it was made.
    pub created: Time,
    /// When it was last changed.
    pub modified: Time,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// What its owner says about it.
    pub description: String,
    /// Alarms.
    #[serde(default, skip_serializing_if = "AlertSettings::is_empty")]
    pub alert: AlertSettings,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRecord {
    /// Shown as `uuid`.
    pub id: UserId,
    /// Unique.
    pub name: UserName,
    /// Place in creation order.
    pub order: u64,
    /// SHA-256 of the token, lower-case hex: how a token is found.
    pub token_sha256: String,
    /// The token, sealed with the data directory's key, standard base64 (nonce first).
    pub token_sealed: String,
    /// Mail address, may be empty.
    pub email: String,
    /// Shown.
    pub first_name: String,
    /// Shown.
    pub last_name: String,
    /// Shown.
    pub organization: String,
    /// Shown.
    pub description: String,
    /// Roles by project, in the order given.
    pub projects: Vec<Membership>,
    /// Roles in the service.
    pub service_roles: Vec<ServiceRole>,
    /// When it was made.
    pub created: Time,
    /// When it was last changed.
    pub modified: Time,
    /// Who made it.
    pub created_by: Option<UserId>,
}

/// What a user is in one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Which project.
    pub project: ProjectId,
    /// The roles, in the order given.
    pub roles: Vec<ProjectRole>,
}

/// How far a registration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationStatus {
    /// Nobody has decided.
    Pending,
    /// A user was made of it.
    Accepted,
    /// No user was.
    Declined,
}

impl RegistrationStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
        }
    }
}

/// Somebody who asks to become a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationRecord {
    /// Shown as `uuid`.
    pub id: RegistrationId,
    /// The name the user is to have; others may ask for the same.
    pub name: UserName,
    /// Place in creation order.
    pub order: u64,
    /// Shown.
    pub first_name: String,
    /// Shown.
    pub last_name: String,
    /// Shown.
    pub organization: String,
    /// Shown.
    pub description: String,
    /// Mail address, may be empty.
    pub email: String,
    /// How far it has come.
    pub status: RegistrationStatus,
    /// Why it was declined, may be empty.
    pub decline_comment: String,
    /// While it is pending.
    pub activation: Option<SealedToken>,
    /// When it was filed.
    pub registered: Time,
    /// When it was decided.
    pub modified: Option<Time>,
    /// Who decided.
    pub modified_by: Option<UserId>,
}

/// A token as it may lie on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedToken {
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Sealed with the data directory's key, standard base64 (nonce first).
    pub sealed: String,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRecord {
    /// This life of the topic; also the id of its log.
    pub id: TopicId,
    /// Unique in the project.
    pub name: TopicName,
    /// Place in creation order.
    pub order: u64,
    /// When it was made.
    pub created: Time,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Who may publish, in the order given.
    pub acl: Vec<UserId>,
    /// Alarms.
    #[serde(default, skip_serializing_if = "AlertSettings::is_empty")]
    pub alert: AlertSettings,
    /// What it keeps.
    #[serde(default, skip_serializing_if = "RetentionSettings::is_empty")]
    pub retention: RetentionSettings,
    /// What its messages are judged by, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaId>,
    /// Its messages that were damaged on disk and given up.
    #[serde(default, skip_serializing_if = "Holes::is_empty")]
    pub holes: Holes,
    /// Deletion has begun: the name answers as absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// How a subscription acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// AMS: one window, acknowledging moves the position.
    #[default]
    Cumulative,
    /// Google: each message is leased and acknowledged by itself.
    Individual,
}

impl AckMode {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cumulative => "cumulative",
            Self::Individual => "individual",
        }
    }
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionRecord {
    /// This life of the subscription; also the id of its progress.
    pub id: SubscriptionId,
    /// Unique in the project.
    pub name: SubscriptionName,
    /// Place in creation order.
    pub order: u64,
    /// The topic, by name: it follows the name through the topic's lives.
    pub topic: TopicName,
    /// The topic life at creation.
    pub topic_id: TopicId,
    /// The durable end of that life at creation: where an absent progress starts.
    pub start: Offset,
    /// Where each later-deleted topic life ended: from there the progress follows to the next one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<TopicId, Offset>,
    /// Seconds; AMS checks no bound at creation (O18).
    pub ack_deadline_seconds: i64,
    /// How it acknowledges.
    #[serde(default)]
    pub ack_mode: AckMode,
    /// Where goes what is handed out in vain (`ackMode: individual`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// Who may pull, in the order given.
    pub acl: Vec<UserId>,
    /// When it was made.
    pub created: Time,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Alarms.
    #[serde(default, skip_serializing_if = "AlertSettings::is_empty")]
    pub alert: AlertSettings,
    /// Where it is pushed to; `None` = it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Box<PushSettings>>,
}

/// What becomes of a message that was handed out often and never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// It is published to this topic of the same project, whichever life of it there is then.
    pub topic: TopicName,
    /// After so many attempts, at least 1.
    pub max_attempts: u32,
}

/// A position of a subscription, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRecord {
    /// Unique in the project.
    pub name: SnapshotName,
    /// Place in creation order.
    pub order: u64,
    /// The subscription it was taken of.
    pub subscription: SubscriptionName,
    /// Its topic then.
    pub topic: TopicName,
    /// That topic's life: what another life holds has nothing to do with the position.
    pub topic_id: TopicId,
    /// The position.
    pub position: Offset,
    /// When it was taken.
    pub created: Time,
    /// Who took it.
    pub created_by: Option<UserId>,
}

/// A schema of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRecord {
    /// Through every renaming; what topics refer to.
    pub id: SchemaId,
    /// Unique in the project.
    pub name: SchemaName,
    /// Place in creation order.
    pub order: u64,
    /// `json` or `avro`.
    pub language: String,
    /// The definition: a JSON object, compact, keys sorted, numbers as doubles (O41).
    pub definition: String,
    /// When it was made.
    pub created: Time,
    /// Who made it.
    pub created_by: Option<UserId>,
}

/// What is left of something deleted until it is swept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrashRecord {
    /// The name it had.
    pub name: String,
    /// When it was deleted.
    pub deleted: Time,
    /// The topic life whose log may still exist.
    pub topic: Option<TopicId>,
    /// The subscription whose progress may still exist.
    pub subscription: Option<SubscriptionId>,
}

/// What one topic life was given on each day of a month. It outlives the topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageRecord {
    /// The topic life.
    pub topic: TopicId,
    /// Its name.
    pub name: TopicName,
    /// `YYYY-MM`, in UTC.
    pub month: String,
    /// Days that brought something, ascending.
    pub days: Vec<DayFigures>,
}

impl UsageRecord {
    /// Notes a day, in place of what was noted of it before.
    pub fn put(&mut self, day: DayFigures) {
        match self.days.binary_search_by_key(&day.day, |known| known.day) {
            Ok(at) => {
                if let Some(known) = self.days.get_mut(at) {
                    *known = day;
                }
            }
            Err(at) => self.days.insert(at, day),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<R> {
    v: u8,
    #[serde(flatten)]
    record: R,
}

const RECORD_VERSION: u8 = 1;

impl Record {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        // Maps with text keys and plain values: there is nothing in a record that can fail.
        let stored = serde_json::to_vec(&Stored { v: RECORD_VERSION, record: self });
        let mut stored = stored.unwrap_or_default();
        // It is kept for as long as the record is.
        stored.shrink_to_fit();
        stored
    }

    /// Reads the stored form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if let Some(record) = Self::decode_in_order(bytes) {
            return Ok(record);
        }
        let stored: Stored<Self> =
            serde_json::from_slice(bytes).map_err(|_| Malformed("catalogue record"))?;
        if stored.v == RECORD_VERSION {
            Ok(stored.record)
        } else {
            Err(Malformed("record version"))
        }
    }

    /// Reads what [`Self::encode`] wrote, version and kind first, so that nothing is put aside until
    /// the kind is known: a start reads all records. `None` for anything else.
    fn decode_in_order(bytes: &[u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let record = json.deserialize_map(InOrder).ok()?;
        json.end().is_ok().then_some(record)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record, its version and its kind first")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let unordered = || A::Error::custom("not in this order");
        if map.next_entry::<&str, u8>()? != Some(("v", RECORD_VERSION)) {
            return Err(unordered());
        }
        let kind = map.next_entry::<&str, &str>()?;
        let kind = kind.and_then(|(key, kind)| (key == "kind").then_some(kind));
        let rest = MapAccessDeserializer::new(map);
        Ok(match kind.ok_or_else(unordered)? {
            "project" => Record::Project(Deserialize::deserialize(rest)?),
            "user" => Record::User(Deserialize::deserialize(rest)?),
            "registration" => Record::Registration(Deserialize::deserialize(rest)?),
            "topic" => Record::Topic(Deserialize::deserialize(rest)?),
            "subscription" => Record::Subscription(Deserialize::deserialize(rest)?),
            "snapshot" => Record::Snapshot(Deserialize::deserialize(rest)?),
            "schema" => Record::Schema(Deserialize::deserialize(rest)?),
            "trash" => Record::Trash(Deserialize::deserialize(rest)?),
            "usage" => Record::Usage(Deserialize::deserialize(rest)?),
            "audit" => Record::Audit(Deserialize::deserialize(rest)?),
            _ => return Err(unordered()),
        })
    }
}

#[cfg(test)]
mod tests;
