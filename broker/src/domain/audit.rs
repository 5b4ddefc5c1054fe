//! The audit log: who changed what, when, and from where. Never a token, never a message.

use serde::{Deserialize, Serialize};

use super::ids::{ProjectId, UserId};
use clock::Time;

macro_rules! operations {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        /// What was done; the words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Operation {
            $(#[doc = concat!("`", $word, "`")] #[serde(rename = $word)] $variant,)+
        }

        impl Operation {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word on the wire and on the disk.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

operations! {
    ProjectCreate = "project.create",
    ProjectChange = "project.change",
    ProjectDelete = "project.delete",
    UserCreate = "user.create",
    UserChange = "user.change",
    UserDelete = "user.delete",
    TokenRefresh = "token.refresh",
    RolesChange = "roles.change",
    MemberAdd = "member.add",
    MemberRemove = "member.remove",
    RegistrationCreate = "registration.create",
    RegistrationAccept = "registration.accept",
    RegistrationDecline = "registration.decline",
    RegistrationDelete = "registration.delete",
    TopicCreate = "topic.create",
    TopicDelete = "topic.delete",
    RetentionChange = "retention.change",
    SubscriptionCreate = "subscription.create",
    SubscriptionDelete = "subscription.delete",
    SubscriptionRewind = "subscription.rewind",
    SubscriptionForward = "subscription.forward",
    PushChange = "push.change",
    DeadlineChange = "deadline.change",
    AclChange = "acl.change",
    AlertChange = "alert.change",
    SnapshotCreate = "snapshot.create",
    SnapshotDelete = "snapshot.delete",
    SchemaCreate = "schema.create",
    SchemaChange = "schema.change",
    SchemaDelete = "schema.delete",
    SchemaAttach = "schema.attach",
    SchemaDetach = "schema.detach",
}

/// One line of the audit log, as it was then: names are not followed through later renamings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Place among all lines of this broker, by no more than the clock's steps; no two have the
    /// same.
    pub order: u64,
    /// When.
    pub time: Time,
    /// Who; `None` = the broker itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The name of who, then; empty = the broker itself, or a user deleted meanwhile.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The peer's address; empty = the broker itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// What was done.
    pub operation: Operation,
    /// To what, in full: `/projects/P/topics/t`.
    pub resource: String,
    /// In the service's scope: whose admins may see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ProjectId>,
    /// What was before, in a few words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What is now, in a few words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// Names that came to a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Names that went from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}
