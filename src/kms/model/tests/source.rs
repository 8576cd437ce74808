//! The description says what the service model of AWS says.

use std::path::Path;

use serde_json::Value;

use crate::kms::model::DESCRIPTION;
use crate::kms::model::shape::{Bounds, Shape, Shapes, Structure};
use crate::kms::operation::OperationName;

fn bounds(shape: &Value) -> Option<Bounds> {
    let max = shape.get("max")?.as_i64().unwrap();
    Some(Bounds { min: shape.get("min").map_or(0, |min| min.as_i64().unwrap()), max })
}

fn assert_structure(model: &Value, name: &str, ours: &Structure) {
    let theirs = &model["shapes"][name];
    let members = theirs["members"].as_object().unwrap();
    let required: Vec<_> = theirs["required"].as_array().into_iter().flatten().collect();
    assert_eq!(members.len(), ours.members.len(), "{name}");
    for member in &ours.members {
        let theirs = &members[&member.name];
        assert_eq!(member.is_required, required.iter().any(|name| **name == *member.name), "{}", member.name);
        assert_shape(model, theirs["shape"].as_str().unwrap(), &member.shape);
    }
}

fn assert_shape(model: &Value, name: &str, ours: &Shape) {
    let theirs = &model["shapes"][name];
    let of = |member: &str| theirs[member]["shape"].as_str().unwrap();
    let is_secret = theirs["sensitive"] == true;
    match (theirs["type"].as_str().unwrap(), ours) {
        ("blob", Shape::Blob { length }) => assert_eq!(*length, bounds(theirs), "{name}"),
        ("boolean", Shape::Boolean) | ("timestamp", Shape::Timestamp) => {}
        ("integer", Shape::Integer(range)) => assert_eq!(Some(*range), bounds(theirs), "{name}"),
        ("list", Shape::List { of: member, length }) => {
            assert_eq!(*length, bounds(theirs), "{name}");
            assert_shape(model, of("member"), member);
        }
        ("map", Shape::Map { key, value }) => {
            assert_shape(model, of("key"), key);
            assert_shape(model, of("value"), value);
        }
        ("string", Shape::Enum(set)) => {
            let values: Vec<_> = theirs["enum"].as_array().unwrap().iter().collect();
            assert_eq!(values, set.values.iter().collect::<Vec<_>>(), "{name}");
        }
        ("string", Shape::String { length, pattern, is_sensitive }) => {
            assert_eq!(*length, bounds(theirs), "{name}");
            assert_eq!(theirs["pattern"].as_str(), pattern.as_ref().map(|pattern| &*pattern.text), "{name}");
            assert_eq!(*is_sensitive, is_secret, "{name}");
            assert!(theirs["enum"].is_null(), "{name}");
        }
        ("structure", Shape::Structure(structure)) => assert_structure(model, name, structure),
        (theirs, ours) => panic!("{name} is a {theirs}, not {ours:?}"),
    }
}

#[test]
fn the_description_says_what_the_service_model_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/kms-service-model.json");
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let model: Value = serde_json::from_slice(&text).unwrap();
    let ours = Shapes::parse(DESCRIPTION).unwrap();
    let operations = model["operations"].as_object().unwrap();
    assert_eq!(operations.len(), OperationName::ALL.len());
    for (name, operation) in operations {
        let name = OperationName::parse(name).unwrap();
        assert_structure(&model, operation["input"]["shape"].as_str().unwrap(), ours.input(name).unwrap());
    }
}

#[test]
fn a_description_that_cannot_be_read_is_refused() {
    let all = |line: &str| format!("{DESCRIPTION}\n{line}");
    for line in [
        "strings A",
        "string",
        "integer A 1-2",
        "integer A 1..x",
        "list A Nobody",
        "string A 1..2 secret",
        "string A ~ (",
        "operation Nothing",
        "structure A b",
    ] {
        assert!(Shapes::parse(&all(line)).is_err(), "{line}");
    }
    assert!(Shapes::parse("# nothing").is_err());
    assert!(Shapes::parse(&all("string A")).is_ok());
}
