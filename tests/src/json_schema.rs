//! Whether a JSON record is what its JSON Schema says.

use serde_json::Value;
use std::collections::BTreeSet;

/// The part of JSON Schema that the schemas of the topics use: type, const, enum, properties, required,
/// additionalProperties, items, anyOf, and $ref to $defs. Patterns are left aside. Every property must be required, and
/// no other may come: a record has the fields of its schema and no field more or less.
///
/// # Errors
/// The place that differs, and how.
pub fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).ok_or(format!("{name} is not there"))?;
        return check(root, target, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return match any.iter().any(|one| check(root, one, value, at).is_ok()) {
            true => Ok(()),
            false => Err(format!("{at}: {value} fits none")),
        };
    }
    check_word(schema, value, at)?;
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let known = schema["properties"].as_object().ok_or(format!("{at}: no properties"))?;
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let found: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    let named: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    if found != named || required != named || schema["additionalProperties"] != Value::Bool(false) {
        return Err(format!("{at}: fields {found:?}, the schema has {named:?} and requires {required:?}"));
    }
    object.iter().try_for_each(|(name, value)| check(root, &known[name], value, &format!("{at}.{name}")))
}

/// type, const and enum.
fn check_word(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other} in a schema"),
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.into_iter().any(is) {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Err(format!("{at}: {value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{at}: {value} is not listed"));
    }
    Ok(())
}
