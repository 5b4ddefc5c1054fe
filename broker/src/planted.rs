//! Bugs on purpose. The fault tests are worth what they catch: each is run against a program with
//! one of these and must fail. The feature `planted-bugs` is never in a build that anybody uses,
//! and without the environment's choice even such a build is sound.

#![allow(clippy::disallowed_methods, reason = "neither a setting nor a part of the program")]

use std::sync::OnceLock;

fn chosen() -> Option<&'static str> {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("AMS_PLANTED_BUG").ok()).as_deref()
}

/// Whether this bug was chosen.
pub(crate) fn is(bug: &str) -> bool {
    chosen() == Some(bug)
}

/// Whether a bug was chosen.
pub(crate) fn any() -> bool {
    chosen().is_some()
}
