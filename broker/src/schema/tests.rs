//! Tests of the whole room: wording, bounds, and agreement with another validator.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Definition, Invalid, Kind, Schema};

fn compiled(kind: Kind, definition: &Value) -> Result<Schema, String> {
    let definition = Definition::parse(&definition.to_string()).unwrap();
    Schema::compile(kind, &definition).map_err(|refused| refused.0)
}

fn refused(kind: Kind, definition: &Value) -> String {
    compiled(kind, definition).map_or_else(|text| text, |_| panic!("{definition} is taken"))
}

/// What a JSON schema says about a payload, one objection a line.
fn says(schema: &Value, payload: &Value) -> String {
    let schema = compiled(Kind::Json, schema).unwrap();
    match schema.validate(payload.to_string().as_bytes()) {
        Ok(()) => String::new(),
        Err(Invalid::Violations(list)) => {
            let lines = list.iter().map(|one| format!("{}: {}", one.field, one.description));
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn the_compiler_says_what_ams_says() {
    let unknown = json!({"type": "unknown"});
    assert_eq!(
        refused(Kind::Json, &unknown),
        "has a primitive type that is NOT VALID -- given: /unknown/ Expected valid values are:\
         [array boolean integer number null object string]"
    );
    assert_eq!(refused(Kind::Avro, &unknown), "unknown type name: \"unknown\"");
    for (definition, text) in [
        (json!({"type": 1}), "type must be of type string/array"),
        (json!({"type": ["string", "string"]}), "string type is duplicated"),
        (json!({"properties": []}), "properties must be of type object"),
        (json!({"properties": {"a": 1}}), "a must be of type a valid schema"),
        (json!({"minLength": -1}), "minLength must be greater than or equal to 0"),
        (json!({"minLength": 1.5}), "minLength must be of type integer"),
        (json!({"minItems": 3, "maxItems": 2}), "minItems cannot be greater than maxItems"),
        (json!({"multipleOf": 0}), "0 must be strictly greater than 0"),
        (json!({"anyOf": []}), "anyOf must be of type a non-empty array"),
        (json!({"enum": 1}), "enum must be of type array"),
        (json!({"required": [1]}), "required items must be of type string"),
        (json!({"pattern": "("}), "pattern must be a valid regex"),
        (json!({"pattern": "a(?=b)"}), "pattern must be a valid regex"),
        (json!({"patternProperties": {"(": {}}}), "Invalid regex pattern '('"),
        (json!({"exclusiveMaximum": true}), "exclusiveMaximum cannot be used without maximum"),
        (json!({"$ref": "#/definitions/x"}), "Object has no key 'definitions/x'"),
        (json!({"$ref": "#"}), "schema refers to itself without end"),
        (json!({"allOf": [{"$ref": "#"}]}), "schema refers to itself without end"),
        (
            json!({"definitions": {"a": {"not": {"$ref": "#/definitions/b"}}, "b": {"$ref": "#/definitions/a"}}}),
            "schema refers to itself without end",
        ),
    ] {
        assert_eq!(refused(Kind::Json, &definition), text, "{definition}");
    }
}

#[test]
fn nothing_is_fetched() {
    for reference in [
        "http://127.0.0.1:1/x",
        "https://example.org/schema.json#/definitions/a",
        "file:///etc/passwd",
        "other.json",
        "//host/x",
    ] {
        let text = refused(Kind::Json, &json!({"properties": {"a": {"$ref": reference}}}));
        assert_eq!(
            text,
            format!("$ref to another document is not allowed, nothing is fetched: {reference}")
        );
    }
    let own = json!({"$id": "http://example.org/s#", "definitions": {"a": {"$id": "#a", "type": "null"}},
        "items": [{"$ref": "http://example.org/s#/definitions/a"}, {"$ref": "#a"}]});
    assert_eq!(says(&own, &json!([null, null])), "");
    assert!(says(&own, &json!([null, 1])).contains("Expected: null, given: integer"));
}

#[test]
fn violations_are_told_in_order_and_in_words() {
    let user = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
            "address": {"type": "object", "required": ["town"]},
            "age": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "multipleOf": 2},
            "kind": {"enum": ["a", 1, null]},
            "when": {"format": "date-time"},
            "list": {"items": {"type": ["string", "null"]}, "minItems": 2, "maxItems": 3, "uniqueItems": true},
        },
        "required": ["name", "address"],
        "additionalProperties": false,
    });
    for (payload, text) in [
        (json!(3), "(root): Invalid type. Expected: object, given: integer"),
        (json!({}), "(root): name is required\n(root): address is required"),
        (
            json!({"name": 1, "address": {}, "x": 1}),
            "(root): Additional property x is not allowed\n\
             address: town is required\nname: Invalid type. Expected: string, given: integer",
        ),
        (
            json!({"name": "A", "address": {"town": 1}}),
            "name: String length must be greater than or equal to 2\nname: Does not match pattern '^[a-z]+$'",
        ),
        (
            json!({"name": "abcde", "address": {"town": 1}, "age": 9}),
            "age: Must be a multiple of 2\nage: Must be less than 9\nname: String length must be less than or equal to 4",
        ),
        (
            json!({"name": "ab", "address": {"town": 1}, "age": 1.5, "kind": "b", "when": "now"}),
            "age: Invalid type. Expected: integer, given: number\n\
             kind: kind must be one of the following: \"a\", 1, null\nwhen: Does not match format 'date-time'",
        ),
        (
            json!({"name": "ab", "address": {"town": 1}, "age": 0, "list": [1]}),
            "age: Must be greater than or equal to 1\n\
             list.0: Invalid type. Expected: [string,null], given: integer\nlist: Array must have at least 2 items",
        ),
        (
            json!({"name": "ab", "address": {"town": 1}, "list": ["a", "b", "a", "c"]}),
            "list: Array must have at most 3 items\nlist: array items[0,2] must be unique",
        ),
        (json!({"name": "ab", "address": {"town": 1}, "age": 4.0, "kind": 1.0}), ""),
    ] {
        assert_eq!(says(&user, &payload), text, "{payload}");
    }
}

#[test]
fn combinations_tell_the_alternative_that_did_best() {
    let object = json!({"type": "object", "required": ["a", "b"]});
    let any = json!({"anyOf": [{"type": "string"}, object]});
    assert_eq!(
        says(&any, &json!({"a": 1})),
        "(root): Must validate at least one schema (anyOf)\n(root): b is required"
    );
    let one = json!({"oneOf": [{"type": "string"}, {"minLength": 2}]});
    assert_eq!(says(&one, &json!("ab")), "(root): Must validate one and only one schema (oneOf)");
    assert_eq!(says(&one, &json!("a")), "");
    let all = json!({"allOf": [{"type": "integer"}, {"minimum": 3}]});
    assert_eq!(
        says(&all, &json!(2)),
        "(root): Must be greater than or equal to 3\n(root): Must validate all the schemas (allOf)"
    );
    assert_eq!(
        says(&json!({"not": {"type": "null"}}), &json!(null)),
        "(root): Must not validate the schema (not)"
    );
    let condition =
        json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"minimum": 1}});
    assert_eq!(
        says(&condition, &json!("")),
        "(root): Must validate \"then\" as \"if\" was valid\n(root): String length must be greater than or equal to 1"
    );
    assert_eq!(
        says(&condition, &json!(0)),
        "(root): Must validate \"else\" as \"if\" was not valid\n(root): Must be greater than or equal to 1"
    );
    let more = json!({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}, "propertyNames": {"maxLength": 1},
        "patternProperties": {"^x": false}, "maxProperties": 2, "const": 1});
    assert_eq!(
        says(&more, &json!({"a": 1, "c": 1, "xx": 1})),
        "(root): Has a dependency on b\n(root): d is required\n(root): Must have at most 2 properties\n\
         xx: False always fails validation\n(root): Property name of \"xx\" does not match\n\
         (root): String length must be less than or equal to 1\n(root): (root) does not match: 1"
    );
    let list = json!({"items": [{"type": "null"}], "additionalItems": false, "contains": {"type": "string"}});
    assert_eq!(
        says(&list, &json!([1, 2])),
        "0: Invalid type. Expected: null, given: integer\n(root): No additional items allowed on array\n\
         (root): At least one of the items must match\n0: Invalid type. Expected: string, given: integer"
    );
}

/// All three drafts at once: `$schema` takes nothing away.
#[test]
fn drafts_are_mixed() {
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "maximum": 3, "exclusiveMaximum": true});
    assert_eq!(says(&four, &json!(3)), "(root): Must be less than 3");
    let six = json!({"$schema": "http://json-schema.org/draft-06/schema#", "exclusiveMaximum": 3, "const": 2});
    assert_eq!(
        says(&six, &json!(3)),
        "(root): Must be less than 3\n(root): (root) does not match: 2"
    );
    let none = json!({"minimum": 1, "exclusiveMinimum": true, "if": true, "then": {"const": 5}});
    assert_eq!(says(&none, &json!(5)), "");
}

/// Run where a worker's stack would be a quarter of what it is.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn hostile_schemas_and_payloads_end_soon() {
    on_a_small_stack(|| {
        let tree = json!({"anyOf": [
            {"properties": {"a": {"$ref": "#"}}, "type": "object"},
            {"properties": {"a": {"$ref": "#"}}, "type": "object"},
        ]});
        let deep = format!("{}1{}", r#"{"a":"#.repeat(60), "}".repeat(60));
        let told = says(&tree, &serde_json::from_str(&deep).unwrap());
        assert_eq!(told, "(root): Takes too many steps to validate");

        let nest = |definition: &str| {
            let mut text = String::from("true");
            for _ in 0..30 {
                text = definition.replace('X', &text);
            }
            serde_json::from_str::<Value>(&format!(r#"{{"items": {text}}}"#)).unwrap()
        };
        assert_eq!(says(&nest(r#"{"allOf": [X]}"#), &json!([1])), "");

        let list = json!({"items": {"allOf": [{"allOf": [{"allOf": [{"$ref": "#"}]}]}]}});
        let deep: Value =
            serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
        assert_eq!(says(&list, &deep), "(root): Is nested too deep to validate");

        // Each reference is one deeper, and each doubles the work.
        let doubling: serde_json::Map<String, Value> = (0..100)
            .map(|i| {
                let next = json!({"$ref": format!("#/definitions/d{}", i + 1)});
                (format!("d{i}"), json!({"allOf": [next, next]}))
            })
            .chain([(String::from("d100"), json!(true))])
            .collect();
        let refused = refused(Kind::Json, &json!({"definitions": doubling}));
        assert_eq!(refused, "schema refers too deep: the limit is 128 levels");

        let wide: serde_json::Map<String, Value> =
            (0..60).map(|i| (format!("d{i:02}"), json!({"allOf": [{"$ref": format!("#/definitions/d{:02}", i + 1)}, {"$ref": format!("#/definitions/d{:02}", i + 1)}]})))
            .chain([(String::from("d60"), json!(true))]).rev().collect();
        let doubling = json!({"definitions": wide, "$ref": "#/definitions/d30"});
        assert_eq!(says(&doubling, &json!(1)), "(root): Takes too many steps to validate");
    });
}

#[test]
fn long_texts_and_lists_are_cut() {
    let schema = json!({"items": {"type": "null"}});
    let told = says(&schema, &Value::from(vec![1; 5_000]));
    assert_eq!(told.lines().count(), 100);
    let told = says(&json!({"additionalProperties": false}), &json!({"x".repeat(70_000): 1}));
    assert_eq!(told, "(root): Is not valid for a reason that is too long to tell");
}

fn datum(schema: &Value, payload: &[u8]) -> String {
    let schema = compiled(Kind::Avro, schema).unwrap();
    match schema.validate(payload) {
        Ok(()) => String::new(),
        Err(Invalid::Datum(text)) => text,
        Err(other) => panic!("{other:?}"),
    }
}

fn user() -> Value {
    json!({"namespace": "user.avro", "type": "record", "name": "User", "fields": [
        {"name": "username", "type": "string"},
        {"name": "phone", "type": "int"},
    ]})
}

/// TST: a container file is no datum.
#[test]
fn a_container_is_refused_as_goavro_refuses_it() {
    assert_eq!(
        datum(&user(), b"Obj\x01\x04\x16avro.schema"),
        "cannot decode binary record \"user.avro.User\" field \"username\": cannot decode binary string: \
         cannot decode binary bytes: negative size: -40"
    );
    assert_eq!(datum(&user(), b"\x0aagelo\x82\x01"), "");
    assert_eq!(datum(&user(), b"\x0aagelo\x82\x01 and more"), "");
}

#[test]
fn each_avro_type_is_walked() {
    let short = "short buffer";
    for (schema, payload, text) in [
        (json!({"type": "null"}), &b""[..], String::new()),
        (json!({"type": "boolean"}), b"\x01", String::new()),
        (
            json!({"type": "boolean"}),
            b"\x02",
            String::from(
                "cannot decode binary boolean: expected: Go byte(0) or byte(1); received: byte(2)",
            ),
        ),
        (json!({"type": "int"}), b"\x80", format!("cannot decode binary int: {short}")),
        (json!({"type": "long"}), b"", format!("cannot decode binary long: {short}")),
        (json!({"type": "long"}), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", String::new()),
        (json!({"type": "float"}), b"abc", format!("cannot decode binary float: {short}")),
        (json!({"type": "double"}), b"12345678", String::new()),
        (json!({"type": "bytes"}), b"\x04a", format!("cannot decode binary bytes: {short}")),
        (
            json!({"type": "fixed", "name": "f", "size": 4}),
            b"abc",
            String::from(
                "cannot decode binary fixed \"f\": schema size exceeds remaining buffer size: 4 > 3 (short buffer)",
            ),
        ),
        (json!({"type": "enum", "name": "e", "symbols": ["A", "B"]}), b"\x02", String::new()),
        (
            json!({"type": "enum", "name": "e", "symbols": ["A", "B"]}),
            b"\x04",
            String::from(
                "cannot decode binary enum \"e\": index ought to be between 0 and 1; read index: 2",
            ),
        ),
        (json!({"type": "array", "items": "int"}), b"\x04\x02\x04\x00", String::new()),
        (json!({"type": "array", "items": "int"}), b"\x03\x04\x02\x04\x00", String::new()),
        (
            json!({"type": "array", "items": "int"}),
            b"\x04\x02",
            format!("cannot decode binary array item 2: cannot decode binary int: {short}"),
        ),
        (json!({"type": "map", "values": "int"}), b"\x02\x02a\x02\x00", String::new()),
        (
            json!({"type": "map", "values": "int"}),
            b"\x04\x02a\x02\x02a\x02\x00",
            String::from("cannot decode binary map: duplicate key: \"a\""),
        ),
        (json!({"type": ["null", "int"]}), b"\x02\x02", String::new()),
        (
            json!({"type": ["null", "int"]}),
            b"\x04",
            String::from(
                "cannot decode binary union: index ought to be between 0 and 1; read index: 2",
            ),
        ),
        (
            json!({"type": ["null", "int"]}),
            b"\x02",
            format!("cannot decode binary union item 2: cannot decode binary int: {short}"),
        ),
        (json!({"type": {"type": "string"}}), b"\x02a", String::new()),
    ] {
        assert_eq!(datum(&schema, payload), text, "{schema} {payload:?}");
    }
}

#[test]
fn avro_definitions_are_judged() {
    for (schema, text) in [
        (json!({}), "missing type"),
        (json!({"type": "array"}), "Array ought to have items key"),
        (json!({"type": "record", "fields": []}), "Record ought to have name key"),
        (json!({"type": "record", "name": "a"}), "Record \"a\" ought to have fields key"),
        (
            json!({"type": "record", "name": "1", "fields": []}),
            "Record ought to have valid name: \"1\"",
        ),
        (
            json!({"type": "record", "name": "a", "fields": [{"name": "f", "type": "g"}]}),
            "Record \"a\" field 1 ought to be valid Avro named type: unknown type name: \"g\"",
        ),
        (json!({"type": []}), "Union ought to have one or more members"),
        (json!({"type": ["int", "int"]}), "Union ought to have unique member types: int"),
        (
            json!({"type": "fixed", "name": "a", "size": 0}),
            "Fixed \"a\" size ought to be a whole number from 1 to 16777216",
        ),
        (
            json!({"type": "enum", "name": "a", "symbols": ["x", "x"]}),
            "Enum \"a\" symbol 2 ought to be a valid and unique name",
        ),
    ] {
        assert_eq!(refused(Kind::Avro, &schema), text, "{schema}");
    }
    // A name is found in its namespace.
    let inner = json!({"type": "record", "name": "n.A", "fields": [
        {"name": "next", "type": ["null", "A"]}, {"name": "other", "type": ["null", "n.A"]}]});
    assert_eq!(datum(&inner, b"\x02\x00\x00\x00"), "");
}

/// T21: lengths allocate nothing, items without bytes and types that hold themselves end.
#[test]
fn hostile_data_end_soon() {
    on_a_small_stack(|| {
        let most = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        let nulls = json!({"type": "array", "items": "null"});
        assert!(datum(&nulls, most).ends_with(": too many values"));
        assert!(datum(&json!({"type": "bytes"}), most).ends_with("short buffer"));
        assert!(datum(&json!({"type": "map", "values": "null"}), most).ends_with("short buffer"));
        let itself = json!({"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]});
        assert!(datum(&itself, b"").ends_with("nested too deep: the limit is 64 levels"));
        let lists = json!({"type": "record", "name": "A", "fields": [{"name": "a", "type": {"type": "array", "items": "A"}}]});
        assert!(datum(&lists, &[2; 400]).ends_with("nested too deep: the limit is 64 levels"));
    });
}

/// Schemas of what both validators know, without `$ref`.
fn a_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop_oneof![
            Just("integer"),
            Just("number"),
            Just("string"),
            Just("null"),
            Just("boolean"),
            Just("array"),
            Just("object")
        ]
        .prop_map(|kind| json!({"type": kind})),
        any::<bool>().prop_map(Value::from),
        (0..4u64, 0..4u64).prop_map(|(a, b)| json!({"minLength": a.min(b), "maxLength": a.max(b)})),
        (0..4u64, 0..4u64)
            .prop_map(|(a, b)| json!({"minimum": a.min(b), "exclusiveMaximum": a.max(b) + 1})),
        (0..3u64, 0..4u64).prop_map(
            |(a, b)| json!({"minItems": a.min(b), "maxItems": a.max(b), "uniqueItems": true})
        ),
        (0..3u64, 0..4u64)
            .prop_map(|(a, b)| json!({"minProperties": a.min(b), "maxProperties": a.max(b)})),
        a_value().prop_map(|value| json!({"const": value})),
        prop::collection::vec(a_value(), 1..3).prop_map(|values| json!({"enum": values})),
        Just(json!({"pattern": "^a"})),
        Just(json!({"multipleOf": 2})),
        Just(json!({"required": ["a"]})),
        Just(json!({"dependencies": {"a": ["b"]}})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            list().prop_map(|list| json!({"anyOf": list})),
            list().prop_map(|list| json!({"oneOf": list})),
            list().prop_map(|list| json!({"allOf": list})),
            inner.clone().prop_map(|one| json!({"not": one})),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"properties": {"a": a}, "additionalProperties": b})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"patternProperties": {"^a": a}, "properties": {"b": b}})),
            inner.clone().prop_map(|one| json!({"propertyNames": one})),
            inner.clone().prop_map(|one| json!({"items": one})),
            (list(), inner.clone())
                .prop_map(|(list, one)| json!({"items": list, "additionalItems": one})),
            inner.clone().prop_map(|one| json!({"contains": one})),
            inner.prop_map(|one| json!({"dependencies": {"b": one}})),
        ]
    })
}

fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..5i64).prop_map(Value::from),
        (-2..5i64).prop_map(|number| Value::from(number as f64 / 2.0)),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A validator of another house comes to the same verdict.
    #[test]
    fn the_verdict_is_that_of_another_validator(schema in a_schema(), payload in a_value()) {
        let schema = json!({"allOf": [schema]});
        let other = jsonschema::draft7::new(&schema).unwrap();
        prop_assert_eq!(says(&schema, &payload).is_empty(), other.is_valid(&payload), "{} {}", schema, payload);
    }

    #[test]
    fn any_object_compiles_or_is_refused(schema in a_value(), key in "type|items|\\$ref|properties|enum|required|fields|name|symbols") {
        for kind in [Kind::Json, Kind::Avro] {
            std::hint::black_box(compiled(kind, &json!({&key: schema, "name": "n"})).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_judged(payload in any::<Vec<u8>>()) {
        let json = compiled(Kind::Json, &json!({"type": "object"})).unwrap();
        std::hint::black_box(json.validate(&payload).is_ok());
        let all = json!({"type": "record", "name": "A", "fields": [
            {"name": "a", "type": {"type": "array", "items": ["null", "A", "string"]}},
            {"name": "b", "type": {"type": "map", "values": "A"}}]});
        std::hint::black_box(datum(&all, &payload));
    }
}
