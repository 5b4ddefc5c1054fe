//! JSON Schema as gojsonschema does it: drafts 4, 6 and 7 at once.

mod compile;
mod formats;
mod found;
mod judge;
mod number;
mod syntax;

use regex::Regex;
use serde_json::Value;

use super::{Invalid, Refused, Violation};

/// The place of a node in its program.
type Id = usize;

/// A compiled schema: nodes that name each other by place, so that a recursive schema is finite.
#[derive(Debug)]
pub(super) struct Program {
    nodes: Vec<Node>,
}

/// One schema of a program. What is absent asks for nothing.
#[derive(Debug, Default)]
struct Node {
    /// `true` or `false` instead of an object.
    pass: Option<bool>,
    /// `$ref`: all else is ignored beside it.
    reference: Option<Id>,
    types: Vec<Type>,
    any_of: Option<Vec<Id>>,
    one_of: Option<Vec<Id>>,
    all_of: Vec<Id>,
    not: Option<Id>,
    condition: Option<Id>,
    then: Option<Id>,
    otherwise: Option<Id>,
    dependencies: Vec<(String, Dependency)>,
    constant: Option<Value>,
    choices: Option<Vec<Value>>,
    format: Option<formats::Format>,
    items: Option<Items>,
    additional_items: Option<Id>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    unique_items: bool,
    contains: Option<Id>,
    properties: Vec<(String, Id)>,
    pattern_properties: Vec<(Regex, Id)>,
    additional_properties: Option<Id>,
    property_names: Option<Id>,
    required: Vec<String>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    multiple_of: Option<f64>,
    minimum: Option<f64>,
    exclusive_minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<Regex>,
}

#[derive(Debug)]
enum Items {
    /// One schema for all.
    All(Id),
    /// One per place.
    Each(Vec<Id>),
}

#[derive(Debug)]
enum Dependency {
    Keys(Vec<String>),
    Schema(Id),
}

/// The types of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Null,
    Object,
    String,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::Array,
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::Null,
        Self::Object,
        Self::String,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Null => "null",
            Self::Object => "object",
            Self::String => "string",
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number::is_integer(number) => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

impl Program {
    /// Compiles a definition.
    pub(super) fn compile(definition: &Value) -> Result<Self, Refused> {
        compile::program(definition)
    }

    /// Judges one payload: the first JSON value of it, as Go's decoder reads.
    pub(super) fn validate(&self, payload: &[u8]) -> Result<(), Invalid> {
        let value = syntax::first_value(payload).map_err(Invalid::NotJson)?;
        let violations = judge::judge(self, &value, payload.len());
        if violations.is_empty() { Ok(()) } else { Err(Invalid::Violations(violations)) }
    }
}
