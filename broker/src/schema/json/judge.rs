//! Judges a value by a program, in the order of gojsonschema and with its words.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::found::{Found, MAX_VIOLATIONS, Path};
use super::number::{canonical, is_multiple, same, text};
use super::{Dependency, Id, Items, Node, Program, Type, Violation};

/// Deepest nesting of schemas at work on one value, those of its parents included: the stack of a
/// worker is much deeper.
const MAX_DEPTH: usize = 300;
/// Steps that any payload may take; a step is a schema met by a value, a comparison, a key.
const BASE_STEPS: u64 = 100_000;
/// Steps more for each byte of the payload: a schema whose work doubles with each level of it ends
/// here. A step takes less than a tenth of a microsecond.
const STEPS_PER_BYTE: u64 = 8;
/// Longest text of them all, in bytes; those that have no room are left out.
const MAX_TEXT: usize = 64 * 1024;
/// Told when not even the first has room.
const TOO_LONG: &str = "Is not valid for a reason that is too long to tell";

/// What `program` objects to in `value`, read from `bytes` bytes; nothing = it is valid.
pub(super) fn judge(program: &Program, value: &Value, bytes: usize) -> Vec<Violation> {
    let steps = BASE_STEPS.saturating_add(STEPS_PER_BYTE.saturating_mul(bytes as u64));
    let mut judge = Judge { nodes: &program.nodes, steps, depth: 0, gave_up: None };
    let mut found = Found::default();
    judge.value(0, value, Path::ROOT, &mut found);
    if let Some(why) = judge.gave_up {
        return vec![Violation { field: Path::ROOT.text(), description: why.to_owned() }];
    }
    let found_nothing = found.is_valid();
    let mut room = MAX_TEXT;
    let mut told = found.violations;
    told.retain(|one| {
        let size = one.field.len() + one.description.len();
        let fits = size <= room;
        room = if fits { room - size } else { 0 };
        fits
    });
    if told.is_empty() && !found_nothing {
        told.push(Violation { field: Path::ROOT.text(), description: TOO_LONG.to_owned() });
    }
    told
}

struct Judge<'a> {
    nodes: &'a [Node],
    steps: u64,
    depth: usize,
    /// Why the value cannot be judged.
    gave_up: Option<&'static str>,
}

impl<'a> Judge<'a> {
    /// Takes so many steps; `false` when there are not so many left.
    fn spend(&mut self, steps: usize) -> bool {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => self.steps = left,
            None => self.gave_up = Some("Takes too many steps to validate"),
        }
        self.gave_up.is_none()
    }

    /// Notes an objection. Its text is paid for: there may be many, and keys may be long.
    fn add(&mut self, found: &mut Found, path: &Path<'_>, description: impl Into<String>) {
        found.score -= 2;
        // Later ones would be cut anyhow.
        if found.violations.len() < MAX_VIOLATIONS {
            let violation = Violation { field: path.text(), description: description.into() };
            self.spend(violation.field.len() + violation.description.len());
            found.violations.push(violation);
        }
    }

    fn apart(&mut self, id: Id, value: &Value, path: Path<'_>) -> Found {
        let mut found = Found::default();
        self.value(id, value, path, &mut found);
        found
    }

    fn value(&mut self, id: Id, value: &Value, path: Path<'_>, found: &mut Found) {
        let nodes = self.nodes;
        let Some(node) = nodes.get(id).filter(|_| self.spend(1)) else { return };
        if self.depth >= MAX_DEPTH {
            self.gave_up = Some("Is nested too deep to validate");
            return;
        }
        self.depth += 1;
        self.node(node, value, path, found);
        self.depth -= 1;
    }

    fn node(&mut self, node: &'a Node, value: &Value, path: Path<'_>, found: &mut Found) {
        if let Some(pass) = node.pass {
            if !pass {
                self.add(found, &path, "False always fails validation");
            }
            return;
        }
        if let Some(target) = node.reference {
            return self.value(target, value, path, found);
        }
        if let Some(wrong) = wrong_type(&node.types, value) {
            return self.add(found, &path, wrong);
        }
        self.combined(node, value, path, found);
        match value {
            Value::Null => self.common(node, value, &path, found),
            Value::Array(items) => {
                self.list(node, items, path, found);
                self.common(node, value, &path, found);
            }
            Value::Object(map) => {
                self.object(node, map, path, found);
                self.common(node, value, &path, found);
                for (key, id) in &node.properties {
                    if let Some(value) = map.get(key) {
                        self.value(*id, value, path.key(key), found);
                    }
                }
            }
            Value::Number(number) => {
                self.numbers(node, number.as_f64().unwrap_or_default(), &path, found);
                self.common(node, value, &path, found);
            }
            Value::String(text) => {
                self.common(node, value, &path, found);
                self.text(node, text, &path, found);
            }
            Value::Bool(_) => self.common(node, value, &path, found),
        }
        found.passed();
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`, `dependencies`, `if`.
    fn combined(&mut self, node: &'a Node, value: &Value, path: Path<'_>, found: &mut Found) {
        if let Some(alternatives) = &node.any_of {
            let (mut passed, mut best) = (false, None);
            for id in alternatives {
                let tried = self.apart(*id, value, path);
                passed = tried.is_valid();
                if passed {
                    break;
                }
                Found::best(&mut best, tried);
            }
            if !passed {
                self.add(found, &path, "Must validate at least one schema (anyOf)");
                found.merge(best.unwrap_or_default());
            }
        }
        if let Some(alternatives) = &node.one_of {
            let (mut passed, mut best) = (0, None);
            for id in alternatives {
                let tried = self.apart(*id, value, path);
                if tried.is_valid() {
                    passed += 1;
                } else {
                    Found::best(&mut best, tried);
                }
            }
            if passed != 1 {
                self.add(found, &path, "Must validate one and only one schema (oneOf)");
                if passed == 0 {
                    found.merge(best.unwrap_or_default());
                }
            }
        }
        let mut failed = false;
        for id in &node.all_of {
            let tried = self.apart(*id, value, path);
            failed |= !tried.is_valid();
            found.merge(tried);
        }
        if failed {
            self.add(found, &path, "Must validate all the schemas (allOf)");
        }
        if let Some(id) = node.not
            && self.apart(id, value, path).is_valid()
        {
            self.add(found, &path, "Must not validate the schema (not)");
        }
        if let Value::Object(map) = value {
            self.dependencies(node, map, value, path, found);
        }
        self.condition(node, value, path, found);
        found.passed();
    }

    fn dependencies(
        &mut self,
        node: &'a Node,
        map: &Map<String, Value>,
        value: &Value,
        path: Path<'_>,
        found: &mut Found,
    ) {
        for (key, dependency) in &node.dependencies {
            if !self.spend(1) {
                return;
            }
            if !map.contains_key(key) {
                continue;
            }
            match dependency {
                Dependency::Keys(keys) => {
                    self.spend(keys.len());
                    for key in keys.iter().filter(|key| !map.contains_key(*key)) {
                        self.add(found, &path, format!("Has a dependency on {key}"));
                    }
                }
                Dependency::Schema(id) => self.value(*id, value, path, found),
            }
        }
    }

    fn condition(&mut self, node: &'a Node, value: &Value, path: Path<'_>, found: &mut Found) {
        let Some(condition) = node.condition else { return };
        let holds = self.apart(condition, value, path).is_valid();
        let (branch, description) = if holds {
            (node.then, "Must validate \"then\" as \"if\" was valid")
        } else {
            (node.otherwise, "Must validate \"else\" as \"if\" was not valid")
        };
        if let Some(id) = branch {
            let tried = self.apart(id, value, path);
            if !tried.is_valid() {
                self.add(found, &path, description);
                found.merge(tried);
            }
        }
    }

    /// `const`, `enum`, `format`.
    fn common(&mut self, node: &'a Node, value: &Value, path: &Path<'_>, found: &mut Found) {
        if let Some(constant) = &node.constant
            && !same(constant, value)
        {
            let mut allowed = String::new();
            canonical(constant, &mut allowed);
            self.add(found, path, format!("{} does not match: {allowed}", path.text()));
        }
        if let Some(choices) = &node.choices
            && self.spend(choices.len() / 8)
            && !choices.iter().any(|choice| same(choice, value))
        {
            let mut allowed = String::new();
            for (i, choice) in choices.iter().enumerate() {
                allowed.push_str(if i > 0 { ", " } else { "" });
                canonical(choice, &mut allowed);
            }
            let field = path.text();
            self.add(found, path, format!("{field} must be one of the following: {allowed}"));
        }
        if let (Some(format), Value::String(text)) = (&node.format, value)
            && self.spend(format.steps(text))
            && !format.fits(text)
        {
            self.add(found, path, format!("Does not match format '{}'", format.as_str()));
        }
        found.passed();
    }

    fn list(&mut self, node: &'a Node, items: &[Value], path: Path<'_>, found: &mut Found) {
        match &node.items {
            None => {}
            Some(Items::All(id)) => {
                for (i, item) in items.iter().enumerate() {
                    self.value(*id, item, path.place(i), found);
                }
            }
            Some(Items::Each(schemas)) => {
                for (i, (id, item)) in schemas.iter().zip(items).enumerate() {
                    self.value(*id, item, path.place(i), found);
                }
                self.additional_items(node, items, schemas.len(), path, found);
            }
        }
        let len = items.len() as u64;
        if let Some(min) = node.min_items.filter(|min| len < *min) {
            self.add(found, &path, format!("Array must have at least {min} items"));
        }
        if let Some(max) = node.max_items.filter(|max| len > *max) {
            self.add(found, &path, format!("Array must have at most {max} items"));
        }
        if node.unique_items {
            self.unique(items, &path, found);
        }
        if let Some(id) = node.contains {
            let (mut passed, mut best) = (false, None);
            for (i, item) in items.iter().enumerate() {
                let tried = self.apart(id, item, path.place(i));
                passed = tried.is_valid();
                if passed {
                    break;
                }
                Found::best(&mut best, tried);
            }
            if !passed {
                self.add(found, &path, "At least one of the items must match");
                found.merge(best.unwrap_or_default());
            }
        }
        found.passed();
    }

    fn additional_items(
        &mut self,
        node: &'a Node,
        items: &[Value],
        known: usize,
        path: Path<'_>,
        found: &mut Found,
    ) {
        let Some(id) = node.additional_items.filter(|_| items.len() > known) else { return };
        match self.nodes.get(id).and_then(|node| node.pass) {
            Some(true) => {}
            Some(false) => self.add(found, &path, "No additional items allowed on array"),
            None => {
                for (i, item) in items.iter().enumerate().skip(known) {
                    self.value(id, item, path.place(i), found);
                }
            }
        }
    }

    fn unique(&mut self, items: &[Value], path: &Path<'_>, found: &mut Found) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (j, item) in items.iter().enumerate() {
            let mut text = String::new();
            canonical(item, &mut text);
            // An item may hold lists that are looked at again for themselves.
            if !self.spend(text.len()) {
                return;
            }
            if let Some(i) = seen.insert(text, j) {
                self.add(found, path, format!("array items[{i},{j}] must be unique"));
            }
        }
    }

    fn object(
        &mut self,
        node: &'a Node,
        map: &Map<String, Value>,
        path: Path<'_>,
        found: &mut Found,
    ) {
        let len = map.len() as u64;
        if let Some(min) = node.min_properties.filter(|min| len < *min) {
            self.add(found, &path, format!("Must have at least {min} properties"));
        }
        if let Some(max) = node.max_properties.filter(|max| len > *max) {
            self.add(found, &path, format!("Must have at most {max} properties"));
        }
        if !self.spend(node.required.len() + node.properties.len()) {
            return;
        }
        for key in &node.required {
            if map.contains_key(key) {
                found.passed();
            } else {
                self.add(found, &path, format!("{key} is required"));
            }
        }
        if node.additional_properties.is_some() || !node.pattern_properties.is_empty() {
            for (key, value) in map {
                self.property(node, key, value, path, found);
            }
        }
        if let Some(id) = node.property_names {
            for key in map.keys() {
                let tried = self.apart(id, &Value::from(key.as_str()), path);
                if !tried.is_valid() {
                    self.add(found, &path, format!("Property name of \"{key}\" does not match"));
                    found.merge(tried);
                }
            }
        }
        found.passed();
    }

    /// `patternProperties`, and `additionalProperties` for what nothing else describes.
    fn property(
        &mut self,
        node: &'a Node,
        key: &str,
        value: &Value,
        path: Path<'_>,
        found: &mut Found,
    ) {
        // Sorted, as all keys of a definition are.
        let by_key = |(name, _): &(String, Id)| name.as_str().cmp(key);
        let mut described = node.properties.binary_search_by(by_key).is_ok();
        for (pattern, id) in &node.pattern_properties {
            if !self.spend(1 + key.len() / 16) {
                return;
            }
            if pattern.is_match(key) {
                described = true;
                self.value(*id, value, path.key(key), found);
            }
        }
        let Some(id) = node.additional_properties.filter(|_| !described && self.spend(1)) else {
            return;
        };
        match self.nodes.get(id).and_then(|node| node.pass) {
            Some(true) => {}
            Some(false) => {
                self.add(found, &path, format!("Additional property {key} is not allowed"));
            }
            None => self.value(id, value, path.key(key), found),
        }
    }

    fn text(&mut self, node: &'a Node, value: &str, path: &Path<'_>, found: &mut Found) {
        if node.min_length.is_some() || node.max_length.is_some() {
            let len = value.chars().count() as u64;
            if let Some(min) = node.min_length.filter(|min| len < *min) {
                let limit = format!("String length must be greater than or equal to {min}");
                self.add(found, path, limit);
            }
            if let Some(max) = node.max_length.filter(|max| len > *max) {
                self.add(found, path, format!("String length must be less than or equal to {max}"));
            }
        }
        if let Some(pattern) = &node.pattern
            && self.spend(value.len() / 16)
            && !pattern.is_match(value)
        {
            self.add(found, path, format!("Does not match pattern '{}'", pattern.as_str()));
        }
        found.passed();
    }

    fn numbers(&mut self, node: &'a Node, number: f64, path: &Path<'_>, found: &mut Found) {
        if let Some(of) = node.multiple_of.filter(|of| !is_multiple(number, *of)) {
            self.add(found, path, format!("Must be a multiple of {}", text(of)));
        }
        if let Some(max) = node.maximum.filter(|max| number > *max) {
            self.add(found, path, format!("Must be less than or equal to {}", text(max)));
        }
        if let Some(max) = node.exclusive_maximum.filter(|max| number >= *max) {
            self.add(found, path, format!("Must be less than {}", text(max)));
        }
        if let Some(min) = node.minimum.filter(|min| number < *min) {
            self.add(found, path, format!("Must be greater than or equal to {}", text(min)));
        }
        if let Some(min) = node.exclusive_minimum.filter(|min| number <= *min) {
            self.add(found, path, format!("Must be greater than {}", text(min)));
        }
        found.passed();
    }
}

/// What is wrong with the type of `value`.
fn wrong_type(types: &[Type], value: &Value) -> Option<String> {
    let given = Type::of(value);
    let fits = |kind: &Type| *kind == given || (*kind == Type::Number && given == Type::Integer);
    if types.is_empty() || types.iter().any(fits) {
        return None;
    }
    let names: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
    let expected = match names.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("[{}]", several.join(",")),
    };
    Some(format!("Invalid type. Expected: {expected}, given: {}", given.as_str()))
}
