//! Roles: what somebody may be, in a project or in the service. The two sets are disjoint, so a
//! project admin can never hand out a service role (`reliability.md` T7).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that names no role of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid role: {0}")]
pub struct InvalidRole(
    /// The text.
    pub String,
);

macro_rules! roles {
    ($(#[$doc:meta])* $name:ident { $($(#[$role_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$role_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl FromStr for $name {
            type Err = InvalidRole;

            fn from_str(raw: &str) -> Result<Self, InvalidRole> {
                match raw {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(InvalidRole(raw.to_owned())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
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

    const PROJECT: [&str; 3] = ["project_admin", "publisher", "consumer"];
    const SERVICE: [&str; 6] = [
        "service_admin",
        "admin_viewer",
        "metrics_viewer",
        "push_worker",
        "register_admin",
        "argo_api_authn",
    ];

    #[test]
    fn no_role_is_of_both_kinds() {
        for raw in PROJECT {
            assert_eq!(raw.parse::<ProjectRole>().unwrap().to_string(), raw);
            assert!(raw.parse::<ServiceRole>().is_err());
            assert!(serde_json::from_value::<ServiceRole>(raw.into()).is_err());
        }
        for raw in SERVICE {
            assert_eq!(raw.parse::<ServiceRole>().unwrap().to_string(), raw);
            assert!(raw.parse::<ProjectRole>().is_err());
            assert!(serde_json::from_value::<ProjectRole>(raw.into()).is_err());
        }
    }

    #[test]
    fn what_names_no_role_is_refused_by_name() {
        for raw in ["", "Consumer", "consumer ", "admin", "owner"] {
            let error = raw.parse::<ProjectRole>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid role: {raw}"));
        }
    }
}
