//! Names, parsed once and trusted afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// A name that is not one or more of `[a-zA-Z0-9_-]` (`ams-contract.md` 1.4; no length limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Invalid {0} name")]
pub struct InvalidName(
    /// What was to be named: `project`, `topic`, `subscription`, `schema`, `snapshot` or `user`; in a path also
    /// `token` or `uuid`.
    pub &'static str,
);

/// Whether a path may say `raw` where it names a `kind` that has no names of its own: a token, a
/// uuid.
///
/// # Errors
/// It may not.
pub fn lawful<'a>(kind: &'static str, raw: &'a str) -> Result<&'a str, InvalidName> {
    if is_lawful(raw) { Ok(raw) } else { Err(InvalidName(kind)) }
}

fn is_lawful(raw: &str) -> bool {
    !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(raw: &str) -> Result<Self, InvalidName> {
                if is_lawful(raw) { Ok(Self(raw.into())) } else { Err(InvalidName($kind)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                raw.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a project.
    ProjectName,
    "project"
);
name!(
    /// The short name of a topic, without its project.
    TopicName,
    "topic"
);
name!(
    /// The short name of a subscription, without its project.
    SubscriptionName,
    "subscription"
);
name!(
    /// The short name of a snapshot, without its project.
    SnapshotName,
    "snapshot"
);
name!(
    /// The short name of a schema, without its project.
    SchemaName,
    "schema"
);
name!(
    /// The name of a user.
    UserName,
    "user"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_refused_with_its_kind() {
        for raw in ["", "a b", "a/b", "ä", "a.b", "a:b", "a\n", "a\0", "AR,GO", "s:ub1", "٣"] {
            let text = |error: InvalidName| error.to_string();
            assert_eq!(
                raw.parse::<ProjectName>().map_err(text).unwrap_err(),
                "Invalid project name"
            );
            assert_eq!(raw.parse::<TopicName>().map_err(text).unwrap_err(), "Invalid topic name");
            let error = raw.parse::<SubscriptionName>().map_err(text).unwrap_err();
            assert_eq!(error, "Invalid subscription name");
            assert_eq!(raw.parse::<UserName>().map_err(text).unwrap_err(), "Invalid user name");
            assert!(serde_json::from_value::<TopicName>(raw.into()).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_lawful_name_reads_back_as_itself(raw in "[a-zA-Z0-9_-]{1,300}") {
            let name: TopicName = raw.parse().unwrap();
            prop_assert_eq!(name.as_str(), raw.as_str());
            prop_assert_eq!(name.to_string(), raw.as_str());
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<TopicName>(&json).unwrap(), name);
        }

        #[test]
        fn one_foreign_character_spoils_a_name(
            raw in "[a-zA-Z0-9_-]{0,9}[^a-zA-Z0-9_-][a-zA-Z0-9_-]{0,9}",
        ) {
            prop_assert!(raw.parse::<UserName>().is_err());
        }
    }
}
