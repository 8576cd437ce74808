//! The reference of the configuration has every member there is, with the default that is in force.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::config::tests::members;

const BEGIN: &str = "<!-- From here on the first two columns are made by a test. -->\n";
const END: &str = "<!-- So far. -->\n";
/// The shortest that can say anything.
const WORDS_BYTES_MIN: usize = 4;

/// What people wrote: the cells of a row behind the first two, by heading and member.
type Written = BTreeMap<(String, String), String>;

fn written(page: &str) -> Written {
    let mut heading = String::new();
    let mut written = Written::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.to_owned();
        } else if let Some((member, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | "))
            && let Some((_, words)) = rest.split_once(" | ")
        {
            written.insert((heading.clone(), member.to_owned()), words.to_owned());
        }
    }
    written
}

fn tables(written: &Written) -> String {
    let mut page = String::new();
    for table in members::tables() {
        let heading =
            if table.heading.is_empty() { "No table".to_owned() } else { format!("`{}`", table.heading) };
        write!(page, "\n## {heading}\n\n| Member | Default | Live | |\n| --- | --- | --- | --- |\n").unwrap();
        for member in table.members {
            let words = written.get(&(heading.clone(), member.name.to_owned()));
            writeln!(page, "| {member} | {}", words.map_or(" | |", String::as_str)).unwrap();
        }
    }
    page.push('\n');
    page
}

/// What is before, in and behind the tables.
fn parts(page: &str) -> (&str, &str, &str) {
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    (head, found, tail)
}

/// `UPDATE_GOLDEN=1` writes the first two columns anew; the others are for people to write.
#[test]
fn the_reference_has_every_member_with_its_default_and_says_what_it_is_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, found, tail) = parts(&page);
    let tables = tables(&written(found));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, [head, BEGIN, &tables, END, tail].concat()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    let (_, found, _) = parts(&page);
    assert_eq!(found, tables, "UPDATE_GOLDEN=1 rewrites it");
    for ((heading, member), words) in written(found) {
        assert!(words.len() > WORDS_BYTES_MIN, "nobody wrote what `{member}` of {heading} is for");
    }
}
