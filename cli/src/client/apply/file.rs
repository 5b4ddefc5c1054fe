//! The file: what of a project is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use broker::domain::AlertSettings;
use broker::domain::alert::DurationText;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::names::Name;
use crate::failure::Failure;

/// What is to be. A section that is absent is not looked at; a key that is absent stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// The project, unless the command line or the context says it.
    #[serde(default)]
    pub(super) project: Option<Name>,
    #[serde(default)]
    pub(super) schemas: Option<BTreeMap<Name, Schema>>,
    #[serde(default)]
    pub(super) topics: Option<BTreeMap<Name, Topic>>,
    #[serde(default)]
    pub(super) subscriptions: Option<BTreeMap<Name, Subscription>>,
}

/// A schema: its definition here, or in a file beside this one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    pub(super) language: Language,
    #[serde(default)]
    pub(super) schema: Map<String, Value>,
    #[serde(default)]
    file: Option<PathBuf>,
}

/// The language of a schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    #[default]
    Json,
    Avro,
}

impl Language {
    /// As the API has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
        }
    }
}

/// A topic.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Topic {
    /// The name of a schema of the project; an empty text is none.
    #[serde(default)]
    pub(super) schema: Option<Unless<Name>>,
    /// An empty text is what the server keeps by itself.
    #[serde(default)]
    pub(super) retention: Option<Unless<DurationText>>,
    /// 0 is what the server keeps by itself.
    #[serde(default)]
    pub(super) retention_bytes: Option<u64>,
    #[serde(default)]
    pub(super) acl: Option<BTreeSet<Name>>,
    #[serde(default)]
    pub(super) alert: Option<AlertSettings>,
}

/// A subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) topic: Name,
    /// 1 to 600.
    #[serde(default)]
    pub(super) ack_deadline_seconds: Option<u16>,
    #[serde(default)]
    pub(super) ack_mode: Option<AckMode>,
    #[serde(default)]
    pub(super) dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(default)]
    pub(super) acl: Option<BTreeSet<Name>>,
    #[serde(default)]
    pub(super) alert: Option<AlertSettings>,
}

/// Where a message goes that nobody acknowledges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeadLetterPolicy {
    /// Another topic of the project.
    pub(super) dead_letter_topic: Name,
    /// 1 to 100; without it the server's own.
    #[serde(default)]
    pub(super) max_delivery_attempts: Option<u64>,
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AckMode {
    Cumulative,
    Individual,
}

impl AckMode {
    /// As the API has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cumulative => "cumulative",
            Self::Individual => "individual",
        }
    }
}

/// A text of meaning, or an empty one, which takes away what was set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    try_from = "String",
    bound(deserialize = "T: TryFrom<String>, <T as TryFrom<String>>::Error: std::fmt::Display")
)]
pub(super) struct Unless<T>(pub(super) Option<T>);

impl<T: TryFrom<String>> TryFrom<String> for Unless<T> {
    type Error = T::Error;

    fn try_from(text: String) -> Result<Self, T::Error> {
        if text.is_empty() {
            Ok(Self(None))
        } else {
            T::try_from(text).map(|value| Self(Some(value)))
        }
    }
}

/// Reads the file at `path`, `-` is standard input: JSON if it begins with `{`, else TOML.
///
/// # Errors
/// It cannot be read, has a key that is not known, or says what no server could take.
pub(super) fn read(path: &Path) -> Result<Document, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| Failure::Usage(format!("{shown}: {error}"));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    parse(&text, beside).map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}

fn parse(text: &str, beside: &Path) -> Result<Document, String> {
    let mut document: Document = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(text).map_err(|error| error.to_string())?
    };
    for (name, schema) in document.schemas.iter_mut().flatten() {
        if let Some(file) = schema.file.take() {
            if !schema.schema.is_empty() {
                return Err(format!("schema {name}: `schema` and `file` both define it"));
            }
            let file = beside.join(file);
            let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
            schema.schema = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        }
        // The API takes an empty one for none given.
        if schema.schema.is_empty() {
            return Err(format!("schema {name}: `schema` or `file` must define it"));
        }
    }
    for (name, subscription) in document.subscriptions.iter().flatten() {
        if subscription.ack_deadline_seconds.is_some_and(|seconds| !(1..=600).contains(&seconds)) {
            return Err(format!("subscription {name}: ackDeadlineSeconds is 1 to 600"));
        }
        let Some(policy) = &subscription.dead_letter_policy else { continue };
        if policy.max_delivery_attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
            return Err(format!("subscription {name}: maxDeliveryAttempts is 1 to 100"));
        }
        if policy.dead_letter_topic.as_str() == subscription.topic.as_str() {
            return Err(format!("subscription {name}: deadLetterTopic must be another topic"));
        }
        if subscription.ack_mode != Some(AckMode::Individual) {
            let text = "deadLetterPolicy needs `ackMode = \"individual\"`";
            return Err(format!("subscription {name}: {text}"));
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, Path::new("")).unwrap_err()
    }

    #[test]
    fn both_languages_say_the_same() {
        let toml = "project = 'P'\n[topics.t]\nretention = '2d'\nacl = ['b', 'a']\n\
                    [topics.t.alert]\nstallAfter = '15m'\n\
                    [subscriptions.s]\ntopic = 't'\nackMode = 'individual'\n";
        let json = r#"{"project": "P", "topics": {"t": {"retention": "2d", "acl": ["a", "b"],
            "alert": {"stallAfter": "15m"}}},
            "subscriptions": {"s": {"topic": "t", "ackMode": "individual"}}}"#;
        let read = |text: &str| format!("{:?}", parse(text, Path::new("")).unwrap());
        assert_eq!(read(toml), read(json));
        assert!(parse("", Path::new("")).unwrap().topics.is_none());
    }

    #[test]
    fn what_no_server_could_take_or_nobody_knows_is_refused() {
        for (text, what) in [
            ("topcs = {}", "topcs"),
            ("[topics.t]\nretentoin = '1d'", "retentoin"),
            ("[topics.t.alert]\nstall = '1d'", "stall"),
            ("[topics.t]\nretention = 'long'", "not a duration"),
            ("[topics.'a/b']", "letters"),
            ("[subscriptions.s]", "topic"),
            ("[subscriptions.s]\ntopic = 't'\nackMode = 'both'", "both"),
            ("[subscriptions.s]\ntopic = 't'\nackDeadlineSeconds = 0", "1 to 600"),
            (
                "[subscriptions.s]\ntopic = 't'\ndeadLetterPolicy = {deadLetterTopic = 'd'}",
                "needs `ackMode",
            ),
            (
                "[subscriptions.s]\ntopic = 't'\nackMode = 'individual'\n\
                 deadLetterPolicy = {deadLetterTopic = 't'}",
                "another topic",
            ),
            (
                "[subscriptions.s]\ntopic = 't'\nackMode = 'individual'\n\
                 deadLetterPolicy = {deadLetterTopic = 'd', maxDeliveryAttempts = 101}",
                "1 to 100",
            ),
            (
                "[subscriptions.s]\ntopic = 't'\ndeadLetterPolicy = {maxDeliveryAttempts = 5}",
                "deadLetterTopic",
            ),
            ("[schemas.a]\ntype = 'xml'", "xml"),
            ("[schemas.a]\ntype = 'json'", "must define"),
            ("[schemas.a]\ntype = 'json'\nfile = 'none.json'", "none.json"),
            ("[schemas.a]\ntype = 'json'\nfile = 'x'\nschema = {type = 'object'}", "both define"),
        ] {
            let error = error(text);
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn a_definition_may_lie_beside_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a.json"), r#"{"type": "object"}"#).unwrap();
        let document = parse("[schemas.a]\ntype = 'json'\nfile = 'a.json'", home.path()).unwrap();
        let schemas = document.schemas.unwrap();
        assert_eq!(schemas.values().next().unwrap().schema["type"], "object");
    }
}
