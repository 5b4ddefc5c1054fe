//! Names as the command line takes them: one that is unlawful would change the path of a request.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A name of one or more of `[a-zA-Z0-9_-]` (`ams-contract.md` 1.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(String);

/// What is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name consists of letters, digits, `-` and `_`")]
pub(crate) struct Unlawful;

impl FromStr for Name {
    type Err = Unlawful;

    fn from_str(text: &str) -> Result<Self, Unlawful> {
        let is_lawful = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.chars().all(is_lawful) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Unlawful)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = Unlawful;

    fn try_from(text: String) -> Result<Self, Unlawful> {
        text.parse()
    }
}

/// As a key of a map.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last part of `/projects/P/topics/t`.
pub(super) fn short(full: &str) -> &str {
    full.rsplit('/').next().unwrap_or_default()
}

/// `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(String::from("wanted: KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lead_to_another_path_is_no_name() {
        assert_eq!("a-B_9".parse::<Name>().unwrap().as_str(), "a-B_9");
        for bad in ["", ".", "..", "a/b", "t:acl", "a?b", "a%2Fb", "ä", "a b"] {
            assert_eq!(bad.parse::<Name>(), Err(Unlawful), "{bad}");
        }
        assert_eq!(short("/projects/P/topics/t"), "t");
        assert_eq!(pair("k=v=w").unwrap(), (String::from("k"), String::from("v=w")));
        assert_eq!(pair("k=").unwrap().1, "");
        assert!(pair("=v").is_err() && pair("k").is_err());
    }
}
