//! From a definition to a program. Every reference is resolved inside the definition; what lies
//! elsewhere is refused and never fetched.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::super::Refused;
use super::formats::Format;
use super::number::text;
use super::{Dependency, Id, Items, Node, Program, Type};

/// Most bytes that one compiled pattern takes. The engine is linear in the text it is matched to.
const PATTERN_BYTES: usize = 256 * 1024;

/// Deepest nesting of schemas, references followed.
const MAX_DEPTH: usize = 128;

type Result<T> = std::result::Result<T, Refused>;

/// The program of a definition; its first node is the root.
pub(super) fn program(root: &Value) -> Result<Program> {
    let mut compiler =
        Compiler { root, nodes: Vec::new(), known: HashMap::new(), named: Vec::new(), depth: 0 };
    compiler.name(root);
    compiler.schema(root, "(root)")?;
    let nodes = compiler.nodes;
    refuse_loops(&nodes)?;
    Ok(Program { nodes })
}

struct Compiler<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// Nodes by the address of their schema: a schema is compiled once.
    known: HashMap<usize, Id>,
    /// Each schema that has an `$id` (draft 4: `id`).
    named: Vec<(&'a str, &'a Value)>,
    /// Schemas that are being compiled.
    depth: usize,
}

impl<'a> Compiler<'a> {
    /// Notes every `$id` in `value`.
    fn name(&mut self, value: &'a Value) {
        match value {
            Value::Object(map) => {
                let id = map.get("$id").or_else(|| map.get("id")).and_then(Value::as_str);
                if let Some(id) = id {
                    self.named.push((id.trim_end_matches('#'), value));
                }
                let inside = map.iter().filter(|(key, _)| *key != "enum" && *key != "const");
                inside.for_each(|(_, inside)| self.name(inside));
            }
            Value::Array(items) => items.iter().for_each(|inside| self.name(inside)),
            _ => {}
        }
    }

    /// Compiles a schema, known to its parent as `key`.
    fn schema(&mut self, value: &'a Value, key: &str) -> Result<Id> {
        let address = std::ptr::from_ref(value).addr();
        if let Some(known) = self.known.get(&address) {
            return Ok(*known);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Refused::new(format!(
                "schema refers too deep: the limit is {MAX_DEPTH} levels"
            ));
        }
        let id = self.nodes.len();
        self.known.insert(address, id);
        self.nodes.push(Node::default());
        let node = match value {
            Value::Bool(pass) => Node { pass: Some(*pass), ..Node::default() },
            Value::Object(map) => self.object(map)?,
            _ => return must_be(key, "a valid schema"),
        };
        if let Some(place) = self.nodes.get_mut(id) {
            *place = node;
        }
        self.depth -= 1;
        Ok(id)
    }

    fn object(&mut self, map: &'a Map<String, Value>) -> Result<Node> {
        let mut node = Node::default();
        match map.get("$schema") {
            None | Some(Value::String(_)) => {}
            Some(_) => return must_be("$schema", "string"),
        }
        match map.get("$ref") {
            None => {}
            Some(Value::String(reference)) => {
                node.reference = Some(self.reference(reference)?);
                return Ok(node);
            }
            Some(_) => return must_be("$ref", "string"),
        }
        if let Some(definitions) = map.get("definitions") {
            self.named_schemas(definitions, "definitions")?;
        }
        node.types = types(map)?;
        self.objects(&mut node, map)?;
        self.lists(&mut node, map)?;
        texts(&mut node, map)?;
        numbers(&mut node, map)?;
        node.constant = map.get("const").cloned();
        node.choices = match map.get("enum") {
            None => None,
            Some(Value::Array(choices)) => Some(choices.clone()),
            Some(_) => return must_be("enum", "array"),
        };
        node.format = match map.get("format") {
            None => None,
            Some(Value::String(name)) => Format::from_name(name),
            Some(_) => return must_be("format", "string"),
        };
        node.any_of = self.alternatives(map, "anyOf")?;
        node.one_of = self.alternatives(map, "oneOf")?;
        node.all_of = self.alternatives(map, "allOf")?.unwrap_or_default();
        node.not = self.inner(map, "not")?;
        node.condition = self.inner(map, "if")?;
        node.then = self.inner(map, "then")?;
        node.otherwise = self.inner(map, "else")?;
        Ok(node)
    }

    fn objects(&mut self, node: &mut Node, map: &'a Map<String, Value>) -> Result<()> {
        if let Some(properties) = map.get("properties") {
            node.properties = self.named_schemas(properties, "properties")?;
        }
        if let Some(patterns) = map.get("patternProperties") {
            for (source, id) in self.named_schemas(patterns, "patternProperties")? {
                let Ok(pattern) = pattern(&source) else {
                    return Refused::new(format!("Invalid regex pattern '{source}'"));
                };
                node.pattern_properties.push((pattern, id));
            }
        }
        node.additional_properties = self.inner(map, "additionalProperties")?;
        node.property_names = self.inner(map, "propertyNames")?;
        node.min_properties = count(map, "minProperties")?;
        node.max_properties = count(map, "maxProperties")?;
        ordered("minProperties", node.min_properties, "maxProperties", node.max_properties)?;
        if let Some(required) = map.get("required") {
            node.required = strings(required, "required")?;
        }
        match map.get("dependencies") {
            None => {}
            Some(Value::Object(dependencies)) => {
                for (key, value) in dependencies {
                    let dependency = match value {
                        Value::Array(_) => Dependency::Keys(strings(value, "dependency")?),
                        _ => Dependency::Schema(self.schema(value, "dependency")?),
                    };
                    node.dependencies.push((key.clone(), dependency));
                }
            }
            Some(_) => return must_be("dependencies", "object"),
        }
        Ok(())
    }

    fn lists(&mut self, node: &mut Node, map: &'a Map<String, Value>) -> Result<()> {
        node.items = match map.get("items") {
            None => None,
            Some(Value::Array(items)) => Some(Items::Each(self.list(items, "items")?)),
            Some(_) => self.inner(map, "items")?.map(Items::All),
        };
        node.additional_items = self.inner(map, "additionalItems")?;
        node.contains = self.inner(map, "contains")?;
        node.min_items = count(map, "minItems")?;
        node.max_items = count(map, "maxItems")?;
        ordered("minItems", node.min_items, "maxItems", node.max_items)?;
        node.unique_items = match map.get("uniqueItems") {
            None => false,
            Some(Value::Bool(unique)) => *unique,
            Some(_) => return must_be("uniqueItems", "boolean"),
        };
        Ok(())
    }

    /// The schema under `key`, if there is one.
    fn inner(&mut self, map: &'a Map<String, Value>, key: &str) -> Result<Option<Id>> {
        let Some(value) = map.get(key) else { return Ok(None) };
        Ok(Some(self.schema(value, key)?))
    }

    /// The schemas listed under `key`: at least one.
    fn alternatives(&mut self, map: &'a Map<String, Value>, key: &str) -> Result<Option<Vec<Id>>> {
        match map.get(key) {
            None => Ok(None),
            Some(Value::Array(list)) if !list.is_empty() => Ok(Some(self.list(list, key)?)),
            Some(Value::Array(_)) => must_be(key, "a non-empty array"),
            Some(_) => must_be(key, "array"),
        }
    }

    fn list(&mut self, list: &'a [Value], key: &str) -> Result<Vec<Id>> {
        list.iter().map(|value| self.schema(value, key)).collect()
    }

    fn named_schemas(&mut self, value: &'a Value, key: &str) -> Result<Vec<(String, Id)>> {
        let Value::Object(map) = value else { return must_be(key, "object") };
        let mut schemas = Vec::with_capacity(map.len());
        for (name, value) in map {
            schemas.push((name.clone(), self.schema(value, name)?));
        }
        Ok(schemas)
    }

    /// The node that a `$ref` names.
    fn reference(&mut self, reference: &str) -> Result<Id> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let named = |name: &str| {
            let found = self.named.iter().find(|(id, _)| *id == name && !name.is_empty());
            found.map(|(_, value)| *value)
        };
        let base = if document.is_empty() { Some(self.root) } else { named(document) };
        let Some(base) = base else {
            return Refused::new(format!(
                "$ref to another document is not allowed, nothing is fetched: {reference}"
            ));
        };
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            base.pointer(&decoded(fragment))
        } else {
            named(&format!("#{fragment}")).or_else(|| named(reference))
        };
        let Some(value) = found else {
            let key = fragment.trim_start_matches('/');
            return Refused::new(format!("Object has no key '{key}'"));
        };
        self.schema(value, "$ref")
    }
}

fn must_be<T>(key: &str, kind: &str) -> Result<T> {
    Refused::new(format!("{key} must be of type {kind}"))
}

fn types(map: &Map<String, Value>) -> Result<Vec<Type>> {
    let names = match map.get("type") {
        None => return Ok(Vec::new()),
        Some(Value::String(name)) => std::slice::from_ref(name).to_vec(),
        Some(list @ Value::Array(_)) => strings(list, "type")?,
        Some(_) => return must_be("type", "string/array"),
    };
    let mut types = Vec::new();
    for name in names {
        let Some(kind) = Type::ALL.into_iter().find(|kind| kind.as_str() == name) else {
            let all = Type::ALL.map(Type::as_str).join(" ");
            return Refused::new(format!(
                "has a primitive type that is NOT VALID -- given: /{name}/ Expected valid values are:[{all}]"
            ));
        };
        if types.contains(&kind) {
            return Refused::new(format!("{name} type is duplicated"));
        }
        types.push(kind);
    }
    Ok(types)
}

fn texts(node: &mut Node, map: &Map<String, Value>) -> Result<()> {
    node.min_length = count(map, "minLength")?;
    node.max_length = count(map, "maxLength")?;
    ordered("minLength", node.min_length, "maxLength", node.max_length)?;
    node.pattern = match map.get("pattern") {
        None => None,
        Some(Value::String(source)) => match pattern(source) {
            Ok(pattern) => Some(pattern),
            Err(_) => return Refused::new("pattern must be a valid regex"),
        },
        Some(_) => return must_be("pattern", "string"),
    };
    Ok(())
}

fn numbers(node: &mut Node, map: &Map<String, Value>) -> Result<()> {
    let number = |key| match map.get(key) {
        None | Some(Value::Bool(_)) => Ok(None),
        Some(value) => value.as_f64().map_or_else(|| must_be(key, "number"), |n| Ok(Some(n))),
    };
    node.multiple_of = number("multipleOf")?;
    if let Some(multiple) = node.multiple_of.filter(|multiple| *multiple <= 0.0) {
        return Refused::new(format!("{} must be strictly greater than 0", text(multiple)));
    }
    (node.minimum, node.maximum) = (number("minimum")?, number("maximum")?);
    node.exclusive_minimum = number("exclusiveMinimum")?;
    node.exclusive_maximum = number("exclusiveMaximum")?;
    // Draft 4 says by `true` that the other bound is an exclusive one.
    if map.get("exclusiveMinimum") == Some(&Value::Bool(true)) {
        if node.minimum.is_none() {
            return Refused::new("exclusiveMinimum cannot be used without minimum");
        }
        node.exclusive_minimum = node.minimum.take();
    }
    if map.get("exclusiveMaximum") == Some(&Value::Bool(true)) {
        if node.maximum.is_none() {
            return Refused::new("exclusiveMaximum cannot be used without maximum");
        }
        node.exclusive_maximum = node.maximum.take();
    }
    if let (Some(min), Some(max)) = (node.minimum, node.maximum)
        && min > max
    {
        return Refused::new(format!("minimum cannot be greater than maximum: {min} > {max}"));
    }
    Ok(())
}

/// A whole number from 0.
fn count(map: &Map<String, Value>, key: &str) -> Result<Option<u64>> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let Some(number) = value.as_f64() else { return must_be(key, "integer") };
    if number.fract() != 0.0 {
        return must_be(key, "integer");
    }
    if number < 0.0 {
        return Refused::new(format!("{key} must be greater than or equal to 0"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and no payload has so many"
    )]
    let count = number as u64;
    Ok(Some(count))
}

fn ordered(low: &str, min: Option<u64>, high: &str, max: Option<u64>) -> Result<()> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            Refused::new(format!("{low} cannot be greater than {high}"))
        }
        _ => Ok(()),
    }
}

fn strings(value: &Value, key: &str) -> Result<Vec<String>> {
    let Value::Array(list) = value else { return must_be(key, "array") };
    let text = |item: &Value| item.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.map_or_else(|| must_be(&format!("{key} items"), "string"), Ok)
}

/// A pattern, found anywhere in a text unless it is anchored.
pub(super) fn pattern(source: &str) -> std::result::Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build()
}

/// A fragment with its percent-encoding undone.
fn decoded(fragment: &str) -> String {
    let mut out = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escape = tail.split_at_checked(2).filter(|_| *first == b'%');
        let byte = escape
            .and_then(|(digits, _)| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, escape) {
            (Some(byte), Some((_, behind))) => {
                out.push(byte);
                rest = behind;
            }
            _ => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Refuses schemas that would judge one value by themselves without end.
fn refuse_loops(nodes: &[Node]) -> Result<()> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Open,
        Done,
    }
    let mut seen = vec![Seen::Not; nodes.len()];
    // By hand, not by recursion: the chain may be as long as the definition.
    for start in 0..nodes.len() {
        let mut stack = vec![(start, false)];
        while let Some((id, leave)) = stack.pop() {
            let (Some(state), Some(node)) = (seen.get_mut(id), nodes.get(id)) else { continue };
            if leave {
                *state = Seen::Done;
                continue;
            }
            match *state {
                Seen::Done => continue,
                Seen::Open => return Refused::new("schema refers to itself without end"),
                Seen::Not => *state = Seen::Open,
            }
            stack.push((id, true));
            for next in node.in_place() {
                match seen.get(next) {
                    Some(Seen::Open) => {
                        return Refused::new("schema refers to itself without end");
                    }
                    Some(Seen::Not) => stack.push((next, false)),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

impl Node {
    /// The schemas that judge the same value.
    fn in_place(&self) -> impl Iterator<Item = Id> {
        let lists = [self.any_of.as_deref(), self.one_of.as_deref(), Some(self.all_of.as_slice())];
        let lists = lists.into_iter().flatten().flatten().copied();
        let dependencies = self.dependencies.iter().filter_map(|(_, one)| match one {
            Dependency::Schema(id) => Some(*id),
            Dependency::Keys(_) => None,
        });
        let single = [self.reference, self.not, self.condition, self.then, self.otherwise];
        single.into_iter().flatten().chain(lists).chain(dependencies)
    }
}
