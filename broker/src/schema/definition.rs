//! The definition of a schema as clients give it and get it back: sorted keys, and numbers that
//! went through a 64-bit float (O41).

use serde_json::{Map, Number, Value};

use super::Refused;

/// Longest definition, as compact JSON: nobody writes one by hand that is longer, and everything
/// below is bounded by it.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of objects and lists in a definition.
const MAX_DEPTH: usize = 64;

/// A JSON object, normalized.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition(Value);

impl Definition {
    /// Reads one JSON value, `None` if it is not an object.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser bounds the depth, at 128.
        let value: Value = serde_json::from_str(text).ok()?;
        value.is_object().then(|| Self(normalized(value)))
    }

    /// Compact JSON.
    pub fn to_text(&self) -> String {
        self.0.to_string()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.as_object().is_none_or(Map::is_empty)
    }

    pub(super) const fn value(&self) -> &Value {
        &self.0
    }

    pub(super) fn is_bounded(&self) -> Result<(), Refused> {
        let size = self.to_text().len();
        if size > MAX_BYTES {
            return Refused::new(format!(
                "schema is too large: {size} bytes, the limit is {MAX_BYTES}"
            ));
        }
        let depth = depth(&self.0);
        if depth > MAX_DEPTH {
            return Refused::new(format!(
                "schema is too deep: {depth} levels, the limit is {MAX_DEPTH}"
            ));
        }
        Ok(())
    }
}

fn normalized(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, normalized(v))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalized).collect()),
        Value::Number(number) => Value::Number(through_float(number)),
        other => other,
    }
}

fn through_float(number: Number) -> Number {
    number.as_f64().and_then(Number::from_f64).unwrap_or(number)
}

fn depth(value: &Value) -> usize {
    let inside = match value {
        Value::Object(map) => map.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => return 0,
    };
    inside.unwrap_or_default().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::Definition;

    /// O41: keys sorted at every level, lists as they are, numbers as doubles.
    #[test]
    fn a_definition_is_normalized() {
        let text = r#"{"z": [3, {"b": 1, "a": 9007199254740993}], "a": {"y": 1e2, "x": 0.1}}"#;
        let definition = Definition::parse(text).unwrap();
        let normal = r#"{"a":{"x":0.1,"y":100.0},"z":[3.0,{"a":9007199254740992.0,"b":1.0}]}"#;
        assert_eq!(definition.to_text(), normal);
        assert_eq!(Definition::parse(normal), Some(definition));
        assert_eq!(Definition::parse("[]"), None);
        assert_eq!(Definition::parse("{"), None);
        assert_eq!(Definition::parse(&"[".repeat(200)), None);
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let deep = |levels: usize| {
            let text = format!("{}{{}}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
            Definition::parse(&text).unwrap().is_bounded().map_err(|refused| refused.0)
        };
        assert_eq!(deep(63), Ok(()));
        assert_eq!(deep(64), Err(String::from("schema is too deep: 65 levels, the limit is 64")));
        let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(65_536));
        let refused = Definition::parse(&large).unwrap().is_bounded().unwrap_err().0;
        assert_eq!(refused, "schema is too large: 65544 bytes, the limit is 65536");
    }
}
