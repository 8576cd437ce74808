//! The tables in `tests/README*.md` name tests that are there, and miss no row of the inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The groups of an inventory whose rows a table answers for.
struct Answered {
    table: &'static str,
    inventory: &'static str,
    groups: &'static [u32],
}

const ANSWERED: [Answered; 12] = [
    Answered {
        table: "README.kms-1.md",
        inventory: "kms-inventory-1.md",
        groups: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    },
    Answered { table: "README.kms-2.md", inventory: "kms-inventory-2.md", groups: &[5, 8, 9, 10, 11, 30] },
    Answered {
        table: "README.kms-2.md",
        inventory: "kms-inventory-3.md",
        groups: &[31, 34, 35, 36, 39, 40, 41, 42, 43, 44, 45, 46],
    },
    Answered {
        table: "README.audit.md",
        inventory: "kms-inventory-1.md",
        groups: &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40],
    },
    Answered { table: "README.audit.md", inventory: "kms-inventory-2.md", groups: &[7] },
    Answered { table: "README.kms-3.md", inventory: "kms-inventory-2.md", groups: &[1, 2] },
    Answered {
        table: "README.kms-3.md",
        inventory: "kms-inventory-3.md",
        groups: &[20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    },
    Answered {
        table: "README.authorization.md",
        inventory: "kms-inventory-2.md",
        groups: &[12, 13, 14, 15, 16, 18, 19, 21, 22, 23, 24, 28, 31],
    },
    Answered { table: "README.kms-3.md", inventory: "kms-inventory-3.md", groups: &[15] },
    Answered {
        table: "README.kinds-of-keys.md",
        inventory: "kms-inventory-3.md",
        groups: &[1, 2, 3, 4, 5, 14, 16, 17, 18, 19, 30, 38],
    },
    Answered {
        table: "README.multi-region.md",
        inventory: "kms-inventory-3.md",
        groups: &[6, 7, 8, 9, 10, 11, 12, 13],
    },
    Answered {
        table: "README.external-key-stores.md",
        inventory: "xks-inventory.md",
        groups: &[16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32],
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// `module::name` or `module::{a, b}`: the module, and the names.
fn named_tests(text: &str) -> Option<(&str, Vec<&str>)> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let (module, names) = text.split_once("::")?;
    let names = names.strip_prefix('{').and_then(|names| names.strip_suffix('}')).unwrap_or(names);
    let names: Vec<_> = names.split(',').map(str::trim).collect();
    (is_word(module) && names.iter().all(|name| is_word(name))).then_some((module, names))
}

/// What is wrong with the references of a table.
fn broken_references(text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for reference in text.lines().filter(|line| line.starts_with('|')).flat_map(quoted) {
        if let Some((module, names)) = named_tests(reference) {
            let files = [format!("tests/suite/{module}.rs"), format!("tests/suite/{module}/mod.rs")];
            let code: String =
                files.iter().filter_map(|file| std::fs::read_to_string(root().join(file)).ok()).collect();
            let missing = names.into_iter().filter(|name| !code.contains(&format!("fn {name}()")));
            broken.extend(missing.map(|name| format!("{module}::{name}")));
        } else if reference.starts_with("src/") && !root().join(reference).exists() {
            broken.push(reference.to_owned());
        }
    }
    broken
}

/// `L12`, `L12-14`, `L12–14`: the rows that a text names, with how often.
fn rows(text: &str) -> BTreeMap<&str, usize> {
    let mut rows = BTreeMap::new();
    let is_row = |word: &&str| {
        let number = word.strip_prefix('L').map(|number| number.replacen(['-', '–'], "", 1));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    for row in text.split([',', ' ', '[', ']', '|']).filter(is_row) {
        *rows.entry(row).or_default() += 1;
    }
    rows
}

/// The lines of each section `## <number>. …` or `## G<number> …`.
fn sections(text: &str) -> BTreeMap<u32, Vec<&str>> {
    let mut sections: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("## ") {
            let (number, _) = head.split_once(['.', ' ']).unwrap_or_default();
            current = number.strip_prefix('G').unwrap_or(number).parse().ok();
        } else if let Some(number) = current {
            sections.entry(number).or_default().push(line);
        }
    }
    sections
}

/// The rows of the tables that are not in the inventory as often as here, or the other way round.
fn differences(inventory: &str, table: &str, groups: &[u32]) -> String {
    let (inventory, table) = (sections(inventory), sections(table));
    let joined = |lines: &[&str], part: fn(&str) -> Option<&str>| {
        lines.iter().filter_map(|line| part(line)).collect::<Vec<_>>().join(",")
    };
    let mut report = String::new();
    for group in groups {
        let none = Vec::new();
        let stated = joined(inventory.get(group).unwrap_or(&none), |line| {
            line.strip_prefix("- [").and_then(|rest| rest.split_once(']')).map(|(row, _)| row)
        });
        let answered = joined(table.get(group).unwrap_or(&none), |line| {
            line.strip_prefix("| L").and_then(|_| line.split('|').nth(1))
        });
        let (stated, answered) = (rows(&stated), rows(&answered));
        let all: BTreeSet<_> = stated.keys().chain(answered.keys()).copied().collect();
        for row in all.into_iter().filter(|row| stated.get(row) != answered.get(row)) {
            let count = |rows: &BTreeMap<&str, usize>| rows.get(row).copied().unwrap_or_default();
            let _infallible = writeln!(
                report,
                "group {group}: {row} is stated {} times and answered {}",
                count(&stated),
                count(&answered)
            );
        }
    }
    report
}

fn readmes() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn every_test_that_a_table_names_is_there() {
    let files = readmes();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let broken = broken_references(&std::fs::read_to_string(&file).unwrap());
        assert!(broken.is_empty(), "{}: {broken:#?}", file.display());
    }
}

#[test]
fn a_reference_to_nothing_is_noticed() {
    let text = "| 1 | `inventory::{a_reference_to_nothing_is_noticed, no_such_test}`, `src/nowhere.rs`, `nowhere::at_all` |";
    assert_eq!(broken_references(text), ["inventory::no_such_test", "src/nowhere.rs", "nowhere::at_all"]);
    assert_eq!(broken_references("not in a table: `nowhere::at_all`"), [] as [&str; 0]);
}

/// The inventories are not part of the repository; where they lie beside it, the tables are compared with them.
#[test]
fn every_row_of_the_inventory_has_a_test_or_a_reason() {
    for Answered { table, inventory, groups } in ANSWERED {
        let table = std::fs::read_to_string(root().join("tests").join(table)).unwrap();
        let answered = sections(&table);
        assert!(groups.iter().all(|group| answered.contains_key(group)), "{inventory}");
        let path = root().join("../shared/reference").join(inventory);
        if let Ok(inventory) = std::fs::read_to_string(path) {
            let report = differences(&inventory, &table, groups);
            assert!(report.is_empty(), "{report}");
        }
    }
}

#[test]
fn a_row_without_an_answer_and_an_answer_without_a_row_are_noticed() {
    let inventory = "## 1. A\n- [L1] one (L9)\n- [L2-3] two\n- [L2-3] three\n## 2. B\n- [L4] four\n";
    let table = "## 1. A\n| Row | Test |\n| L1, L2-3 | reason L7 |\n| L5 | reason |\n";
    let report = differences(inventory, table, &[1, 2]);
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(
        lines,
        [
            "group 1: L2-3 is stated 2 times and answered 1",
            "group 1: L5 is stated 0 times and answered 1",
            "group 2: L4 is stated 1 times and answered 0",
        ]
    );
}
