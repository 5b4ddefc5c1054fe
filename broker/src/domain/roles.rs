//! Roles: what somebody may be, in a project or in the service. The two kinds are types of their
//! own, so a project admin can never hand out a service role (`reliability.md` T7), whatever a role
//! is called.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! roles {
    ($(#[$doc:meta])* $name:ident { $($(#[$role_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$role_doc])* $variant,)+
            /// One that the operator declared. Without a row of the role table it can do nothing.
            Declared(Arc<str>),
        }

        impl $name {
            /// The roles that code knows by name.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Declared(name) => name,
                }
            }
        }

        impl From<&str> for $name {
            /// Any text is a role; whether there is such a one, a table knows.
            fn from(raw: &str) -> Self {
                match raw {
                    $($text => Self::$variant,)+
                    _ => Self::Declared(raw.into()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Self::from(std::borrow::Cow::<'_, str>::deserialize(from)?.as_ref()))
            }
        }
    };
}

roles!(
    /// A role in one project.
    ProjectRole {
        /// Everything in the project.
        ProjectAdmin = "project_admin",
        /// Publishes to topics whose ACL names the user.
        Publisher = "publisher",
        /// Pulls from subscriptions whose ACL names the user.
        Consumer = "consumer",
    }
);

roles!(
    /// A role in the whole service.
    ServiceRole {
        /// Everything.
        ServiceAdmin = "service_admin",
        /// Reads status details and release.
        AdminViewer = "admin_viewer",
        /// Reads metrics of all projects.
        MetricsViewer = "metrics_viewer",
        /// Pulls and acknowledges any subscription, for the push server.
        PushWorker = "push_worker",
        /// Files registrations.
        RegisterAdmin = "register_admin",
        /// Reads users by uuid, for the authentication service.
        ArgoApiAuthn = "argo_api_authn",
    }
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn a_role_is_stored_and_shown_by_its_name() {
        for raw in ["project_admin", "publisher", "consumer", "viewer", "service_admin"] {
            let role: ProjectRole = serde_json::from_value(raw.into()).unwrap();
            assert_eq!((role.as_str(), role.to_string()), (raw, raw.to_owned()));
            assert_eq!(serde_json::to_value(&role).unwrap(), raw);
            assert_eq!(role, ProjectRole::from(raw));
        }
        assert!(serde_json::from_value::<ServiceRole>(1.into()).is_err());
    }

    #[test]
    fn only_its_own_kind_gives_a_name_its_meaning() {
        assert_eq!(ProjectRole::from("consumer"), ProjectRole::Consumer);
        assert_eq!(ServiceRole::from("consumer"), ServiceRole::Declared("consumer".into()));
        assert_eq!(ServiceRole::from("service_admin"), ServiceRole::ServiceAdmin);
        assert_eq!(
            ProjectRole::from("service_admin"),
            ProjectRole::Declared("service_admin".into())
        );
        for known in ProjectRole::KNOWN {
            assert!(!ServiceRole::KNOWN.iter().any(|role| role.as_str() == known.as_str()));
        }
    }
}
