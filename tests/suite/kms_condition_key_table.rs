//! The table of condition keys in the documentation is that of the code.

use std::collections::BTreeSet;

use holdfast::domain::kms::{ConditionKey, TestedBy};
use holdfast::kms::OperationName;
use holdfast::kms::permissions::{Check, checks};

/// The permissions that a cell of the documentation names.
fn documented_permissions(cell: &str) -> BTreeSet<&str> {
    let mut names: BTreeSet<_> = cell.split('`').skip(1).step_by(2).collect();
    if cell.contains("every operation on a key") {
        names.extend(permissions_with(ConditionKey::KeyOrigin, true));
    }
    names
}

/// The names of the permissions that have this key; of those on keys alone, or of all.
fn permissions_with(key: ConditionKey, on_keys_alone: bool) -> BTreeSet<&'static str> {
    let all = OperationName::ALL.iter().flat_map(|operation| checks(*operation));
    let of_keys = all.filter(|check| !on_keys_alone || matches!(check, Check::Key(_)));
    of_keys.map(|check| check.permission()).filter(|row| row.has(key)).map(|row| row.name).collect()
}

#[test]
fn the_documented_condition_keys_are_those_of_the_code() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/key-policies.md");
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| `kms:") || line.starts_with("| `aws:"));
    let documented: Vec<_> = lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            (cells[0].trim_matches('`'), documented_permissions(cells[2]), cells[3] == "identity")
        })
        .collect();
    let expected: Vec<_> = ConditionKey::ALL
        .iter()
        .map(|key| {
            let for_identities = key.tested_by() == TestedBy::IdentityPolicies;
            (key.as_str(), permissions_with(*key, false), for_identities)
        })
        .collect();
    assert_eq!(documented, expected);
}
