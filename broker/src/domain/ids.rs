//! Ids: which project, user, topic life or subscription is meant, whatever it is called today.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The place of a message in one life of a topic: dense, from 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// How many messages lie between `earlier` and `self`; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The offset `count` messages further on. Saturates: 2^64 messages are never reached.
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id (UUID v4); ids are never used twice.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id that is shown as exactly this text.
            pub fn shown_as(text: &str) -> Option<Self> {
                let id = Self(Uuid::try_parse(text).ok()?);
                (id.to_string() == text).then_some(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A project, through every renaming.
    ProjectId
);
id!(
    /// A user; ACLs and memberships hold it, so they die with the user.
    UserId
);
id!(
    /// A registration: somebody who asks to become a user.
    RegistrationId
);
id!(
    /// One *life* of a topic: deleting and creating the name again gives a new one. Never shown to clients.
    TopicId
);
id!(
    /// A schema, through every renaming. Shown as `uuid`.
    SchemaId
);
id!(
    /// One life of a subscription. Never shown to clients.
    SubscriptionId
);
