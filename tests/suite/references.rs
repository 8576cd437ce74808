//! `docs/reference/errors.md` has every error that a caller can be told, as the golden tables have them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = "docs/reference/errors.md";
const BEGIN: &str = "<!-- From here on the first three columns are made by a test. -->\n";
const END: &str = "<!-- So far. -->\n";

/// Golden tables by the heading of the page, and from which line of the golden file on.
const TABLES: [(&str, &str, &str); 4] = [
    ("The XKS proxy API", "errors.txt", "STATUS"),
    ("The KMS API", "kms_errors.txt", ""),
    ("The KMS API, signatures", "kms_errors.txt", "authentication"),
    ("STS", "sts_errors.txt", ""),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Status, name and message of each row, each once. A number that only shows how long one can be is none.
fn rows(golden: &str, after: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let lines =
        golden.lines().skip_while(|line| !line.starts_with(after)).skip(usize::from(!after.is_empty()));
    for line in lines.take_while(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let Some(status) = words.next().filter(|word| word.parse::<u16>().is_ok()) else { continue };
        let name = words.next().unwrap();
        let message = words.collect::<Vec<_>>().join(" ").replace(&u64::MAX.to_string(), "…");
        let message = message.replace("<text>", "…").replace('|', "\\|");
        let row = format!("| {status} | `{name}` | {message} | ");
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

/// What is before, in and behind the tables.
fn parts(page: &str) -> (&str, &str, &str) {
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    (head, found, tail)
}

/// What people wrote: the last cell of a row, by heading and the cells before it.
fn written(page: &str) -> BTreeMap<(String, String), String> {
    let mut heading = "";
    let mut written = BTreeMap::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if let Some((cells, when)) = line.strip_suffix(" |").and_then(|row| row.rsplit_once(" | ")) {
            written.insert((heading.to_owned(), format!("{cells} | ")), when.to_owned());
        }
    }
    written
}

/// `UPDATE_GOLDEN=1` writes all but the last column anew; that is for people to write.
#[test]
fn the_reference_has_every_error_and_says_when_it_comes() {
    let page = read(PAGE);
    let (head, found, tail) = parts(&page);
    let written = written(found);
    let mut tables = String::new();
    let mut unexplained = Vec::new();
    for (heading, golden, after) in TABLES {
        write!(tables, "\n## {heading}\n\n| Status | Name | Message | When |\n| --- | --- | --- | --- |\n")
            .unwrap();
        for row in rows(&read(&format!("tests/golden/{golden}")), after) {
            let when = written.get(&(heading.to_owned(), row.clone())).map_or("", String::as_str);
            if when.is_empty() {
                unexplained.push(row.clone());
            }
            writeln!(tables, "{row}{when} |").unwrap();
        }
    }
    tables.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        std::fs::write(path, [head, BEGIN, &tables, END, tail].concat()).unwrap();
    }
    assert_eq!(parts(&read(PAGE)).1, tables, "UPDATE_GOLDEN=1 rewrites it");
    assert!(unexplained.is_empty(), "nobody wrote when these come:\n{}", unexplained.join("\n"));
}
