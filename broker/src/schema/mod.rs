//! Schemas of messages: a definition is compiled once, then any number of payloads are judged by
//! it (`ams-contract.md` 8.2, 8.3). Pure: no clock, no I/O, nothing is ever fetched.
//!
//! Definitions and payloads come from strangers, so every walk is bounded: in depth, in steps and
//! in memory. JSON follows gojsonschema, its order and
//! its wording included; Avro follows goavro. That is why both are our own: no crate has a budget
//! of steps, or gojsonschema's choice of the alternative that failed best.

mod avro;
mod base64;
mod definition;
mod json;

pub use base64::{NotBase64, decode};
pub use definition::Definition;

/// The languages a schema may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// JSON Schema, drafts 4, 6 and 7 together; the payload is JSON text.
    Json,
    /// Avro; the payload is one bare binary datum.
    Avro,
}

impl Kind {
    /// The name on the wire, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
        }
    }

    /// The kind of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Avro].into_iter().find(|kind| name.eq_ignore_ascii_case(kind.as_str()))
    }
}

/// Why a definition is refused: the compiler's text, for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Refused {
    fn new<R>(text: impl Into<String>) -> Result<R, Self> {
        Err(Self(text.into()))
    }
}

/// Why a payload is not what its schema wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The payload is not JSON: the parser's text.
    #[error("no JSON: {0}")]
    NotJson(String),
    /// What a JSON schema objects to: where and what, at least one, in order.
    #[error("violations: {0:?}")]
    Violations(Vec<Violation>),
    /// The Avro decoder's text.
    #[error("no datum: {0}")]
    Datum(String),
}

/// One objection of a JSON schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `(root)` or a dotted path.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A schema ready to judge payloads.
#[derive(Debug)]
pub struct Schema(Compiled);

#[derive(Debug)]
enum Compiled {
    Json(json::Program),
    Avro(avro::Program),
}

impl Schema {
    /// Compiles a definition.
    ///
    /// # Errors
    /// It is no schema of that kind, or beyond the bounds.
    pub fn compile(kind: Kind, definition: &Definition) -> Result<Self, Refused> {
        definition.is_bounded()?;
        Ok(Self(match kind {
            Kind::Json => Compiled::Json(json::Program::compile(definition.value())?),
            Kind::Avro => Compiled::Avro(avro::Program::compile(definition.value())?),
        }))
    }

    /// Judges one payload.
    ///
    /// # Errors
    /// It is not what the schema wants, or judging it would take too much.
    pub fn validate(&self, payload: &[u8]) -> Result<(), Invalid> {
        match &self.0 {
            Compiled::Json(program) => program.validate(payload),
            Compiled::Avro(program) => program.validate(payload).map_err(Invalid::Datum),
        }
    }

    /// What it is written in.
    pub const fn kind(&self) -> Kind {
        match &self.0 {
            Compiled::Json(_) => Kind::Json,
            Compiled::Avro(_) => Kind::Avro,
        }
    }
}

#[cfg(test)]
mod tests;
