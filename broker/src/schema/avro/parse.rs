//! From a definition to a program.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::Refused;
use super::{Id, Program, Type};

/// Longest full name: each one is kept with its namespace.
const MAX_NAME: usize = 1024;
/// Largest fixed type, in bytes: no message is so large.
const MAX_FIXED: f64 = 16_777_216.0;

type Result<T> = std::result::Result<T, Refused>;

/// The program of a definition.
pub(super) fn program(definition: &Value) -> Result<Program> {
    let mut parser = Parser { types: Vec::new(), known: HashMap::new() };
    let root = parser.any(definition, "")?;
    Ok(Program { types: parser.types, root })
}

struct Parser {
    types: Vec<Type>,
    /// Named types by full name, and the primitive ones once they were met.
    known: HashMap<String, Id>,
}

impl Parser {
    fn add(&mut self, kind: Type) -> Id {
        self.types.push(kind);
        self.types.len() - 1
    }

    /// The type that `schema` describes inside of `namespace`. As deep as the definition.
    fn any(&mut self, schema: &Value, namespace: &str) -> Result<Id> {
        match schema {
            Value::String(name) => self.named(name, namespace),
            Value::Array(members) => self.union(members, namespace),
            Value::Object(map) => match map.get("type") {
                Some(Value::String(name)) => self.described(name, map, namespace),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => self.any(inner, namespace),
                Some(_) => Refused::new("schema type ought to be a string, a map or a list"),
                None => Refused::new("missing type"),
            },
            _ => Refused::new("unknown schema type"),
        }
    }

    /// A primitive type, or a named one that was described before.
    fn named(&mut self, name: &str, namespace: &str) -> Result<Id> {
        let inside = format!("{namespace}.{name}");
        let known = self.known.get(&inside).or_else(|| self.known.get(name));
        if let Some(known) = known {
            return Ok(*known);
        }
        let primitive = match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => return Refused::new(format!("unknown type name: {name:?}")),
        };
        let id = self.add(primitive);
        self.known.insert(name.to_owned(), id);
        Ok(id)
    }

    fn described(&mut self, kind: &str, map: &Map<String, Value>, namespace: &str) -> Result<Id> {
        match kind {
            "array" => {
                let Some(items) = map.get("items") else {
                    return Refused::new("Array ought to have items key");
                };
                let items = self.any(items, namespace).map_err(|error| {
                    Refused(format!("Array items ought to be valid Avro type: {error}"))
                })?;
                Ok(self.add(Type::Array(items)))
            }
            "map" => {
                let Some(values) = map.get("values") else {
                    return Refused::new("Map ought to have values key");
                };
                let values = self.any(values, namespace).map_err(|error| {
                    Refused(format!("Map values ought to be valid Avro type: {error}"))
                })?;
                Ok(self.add(Type::Map(values)))
            }
            "record" | "error" => self.record(map, namespace),
            "enum" => self.enumeration(map, namespace),
            "fixed" => self.fixed(map, namespace),
            name => self.named(name, namespace),
        }
    }

    fn union(&mut self, members: &[Value], namespace: &str) -> Result<Id> {
        if members.is_empty() {
            return Refused::new("Union ought to have one or more members");
        }
        let mut ids = Vec::with_capacity(members.len());
        for (i, member) in members.iter().enumerate() {
            if member.is_array() {
                return Refused::new(format!("Union item {} ought not to be a union", i + 1));
            }
            let id = self.any(member, namespace).map_err(|error| {
                Refused(format!("Union item {} ought to be valid Avro type: {error}", i + 1))
            })?;
            ids.push(id);
        }
        let mut kinds: Vec<&str> = Vec::with_capacity(ids.len());
        for kind in ids.iter().filter_map(|id| self.types.get(*id)).map(Type::name) {
            kinds.push(kind);
        }
        kinds.sort_unstable();
        for (a, b) in kinds.iter().zip(kinds.iter().skip(1)) {
            if a == b {
                return Refused::new(format!("Union ought to have unique member types: {a}"));
            }
        }
        Ok(self.add(Type::Union(ids)))
    }

    fn record(&mut self, map: &Map<String, Value>, namespace: &str) -> Result<Id> {
        let (name, namespace) = full_name("Record", map, namespace)?;
        let Some(Value::Array(fields)) = map.get("fields") else {
            return Refused::new(format!("Record {name:?} ought to have fields key"));
        };
        // Known before its fields are, which may be of this type.
        let id = self.introduce(&name, Type::Record { name: name.clone(), fields: Vec::new() })?;
        let mut parsed: Vec<(String, Id)> = Vec::with_capacity(fields.len());
        for (i, field) in fields.iter().enumerate() {
            let wrong = |what: String| Refused(format!("Record {name:?} field {} {what}", i + 1));
            let key = field.get("name").and_then(Value::as_str).filter(|name| is_name(name));
            let Some(key) = key else {
                return Err(wrong(String::from("ought to have a valid name")));
            };
            // Looked for in a list no longer than the definition, once per field.
            if parsed.iter().any(|(known, _)| known == key) {
                return Err(wrong(format!("ought to have unique name: {key:?}")));
            }
            let Some(kind) = field.get("type") else {
                return Err(wrong(String::from("ought to have type key")));
            };
            let kind = self
                .any(kind, &namespace)
                .map_err(|error| wrong(format!("ought to be valid Avro named type: {error}")))?;
            parsed.push((key.to_owned(), kind));
        }
        if let Some(Type::Record { fields, .. }) = self.types.get_mut(id) {
            *fields = parsed;
        }
        Ok(id)
    }

    fn enumeration(&mut self, map: &Map<String, Value>, namespace: &str) -> Result<Id> {
        let (name, _) = full_name("Enum", map, namespace)?;
        let symbols = map.get("symbols").and_then(Value::as_array);
        let Some(symbols) = symbols.filter(|symbols| !symbols.is_empty()) else {
            return Refused::new(format!("Enum {name:?} ought to have symbols key"));
        };
        let mut seen = std::collections::HashSet::new();
        for (i, symbol) in symbols.iter().enumerate() {
            let symbol = symbol.as_str().filter(|symbol| is_name(symbol));
            if !symbol.is_some_and(|symbol| seen.insert(symbol)) {
                return Refused::new(format!(
                    "Enum {name:?} symbol {} ought to be a valid and unique name",
                    i + 1
                ));
            }
        }
        let symbols = i64::try_from(symbols.len()).unwrap_or(i64::MAX);
        self.introduce(&name, Type::Enum { name: name.clone(), symbols })
    }

    fn fixed(&mut self, map: &Map<String, Value>, namespace: &str) -> Result<Id> {
        let (name, _) = full_name("Fixed", map, namespace)?;
        let size = map.get("size").and_then(Value::as_f64);
        let size = size.filter(|size| *size > 0.0 && *size <= MAX_FIXED && size.fract() == 0.0);
        let Some(size) = size else {
            return Refused::new(format!(
                "Fixed {name:?} size ought to be a whole number from 1 to {MAX_FIXED}"
            ));
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number within the bound"
        )]
        let size = size as usize;
        self.introduce(&name, Type::Fixed { name: name.clone(), size })
    }

    fn introduce(&mut self, name: &str, kind: Type) -> Result<Id> {
        if self.known.contains_key(name) {
            return Refused::new(format!("type {name:?} ought to be described once"));
        }
        let id = self.add(kind);
        self.known.insert(name.to_owned(), id);
        Ok(id)
    }
}

impl Type {
    /// What may stand in a union only once: the kind, or the name.
    fn name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record { name, .. } | Self::Enum { name, .. } | Self::Fixed { name, .. } => name,
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Full name and namespace of what `map` describes.
fn full_name(kind: &str, map: &Map<String, Value>, enclosing: &str) -> Result<(String, String)> {
    let Some(name) = map.get("name").and_then(Value::as_str) else {
        return Refused::new(format!("{kind} ought to have name key"));
    };
    let namespace = map.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    let (namespace, short) = name.rsplit_once('.').unwrap_or((namespace, name));
    if !is_name(short) || !(namespace.is_empty() || namespace.split('.').all(is_name)) {
        return Refused::new(format!("{kind} ought to have valid name: {name:?}"));
    }
    let full = match namespace {
        "" => short.to_owned(),
        namespace => format!("{namespace}.{short}"),
    };
    if full.len() > MAX_NAME {
        return Refused::new(format!("{kind} name is too long: the limit is {MAX_NAME} bytes"));
    }
    Ok((full, namespace.to_owned()))
}
