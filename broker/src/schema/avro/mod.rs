//! Avro as goavro does it: a payload is one bare binary datum, written with exactly this schema.
//! Logical types are what they are written as.

mod datum;
mod parse;

use serde_json::Value;

use super::Refused;

/// The place of a type in its program.
type Id = usize;

/// A compiled schema: types that name each other by place, so that a recursive schema is finite.
#[derive(Debug)]
pub(super) struct Program {
    types: Vec<Type>,
    root: Id,
}

/// One type.
#[derive(Debug)]
enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record { name: String, fields: Vec<(String, Id)> },
    Enum { name: String, symbols: i64 },
    Fixed { name: String, size: usize },
}

impl Program {
    /// Compiles a definition.
    pub(super) fn compile(definition: &Value) -> Result<Self, Refused> {
        parse::program(definition)
    }

    /// Judges one payload; what stands behind the datum does not matter.
    pub(super) fn validate(&self, payload: &[u8]) -> Result<(), String> {
        datum::judge(self, payload)
    }
}
