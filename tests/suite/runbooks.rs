//! Every alert has a runbook, and every runbook an alert; both say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// `HoldfastHsmDown`: `holdfast-hsm-down`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Each alert with the lines of its rule.
fn alerts() -> BTreeMap<String, Vec<String>> {
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files("deploy/prometheus/rules", "yml") {
        let mut current = None;
        for line in std::fs::read_to_string(file).unwrap().lines() {
            if let Some(name) = line.trim().strip_prefix("- alert: ") {
                current = Some(name.to_owned());
            }
            if let Some(name) = &current {
                alerts.entry(name.clone()).or_default().push(line.trim().to_owned());
            }
        }
    }
    alerts
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let of_alerts: BTreeSet<_> = alerts().keys().map(|name| kebab(name)).collect();
    let pages = files("docs/runbooks", "md");
    let pages: BTreeSet<_> =
        pages.iter().map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(of_alerts.len() > 60);
    assert_eq!(&pages - &BTreeSet::from(["index".to_owned()]), of_alerts);
}

#[test]
fn a_page_has_its_sections_and_the_expression_of_its_rule() {
    let index = std::fs::read_to_string(root().join("docs/runbooks/index.md")).unwrap();
    for (name, rule) in alerts() {
        let page = format!("docs/runbooks/{}.md", kebab(&name));
        let text = std::fs::read_to_string(root().join(&page)).unwrap();
        for section in ["What it means", "Impact", "Find the cause", "Fix", "It is over when"] {
            assert!(text.contains(&format!("\n## {section}\n\n")), "{page}: {section}");
        }
        let is_expression = |line: &&String| !line.starts_with("for: ") && *line != "labels:";
        let start = rule.iter().position(|line| line.starts_with("expr: ")).unwrap();
        let first = rule[start].trim_start_matches("expr: ");
        let rest = rule[start + 1..].iter().take_while(is_expression).map(String::as_str);
        for line in std::iter::once(first).filter(|line| *line != "|").chain(rest) {
            assert!(text.contains(line), "{page} lacks `{line}`");
        }
        let severity = rule.iter().find_map(|line| line.strip_prefix("severity: ")).unwrap();
        assert!(text.contains(&format!("| Severity | {severity}: ")), "{page}: {severity}");
        assert!(index.contains(&format!("| [{name}]({}.md) | {severity} |", kebab(&name))), "{name}");
        let address = format!("/holdfast/runbooks/{}.html", kebab(&name));
        assert!(
            rule.iter().any(|line| line.starts_with("runbook_url: ") && line.ends_with(&address)),
            "{name}"
        );
    }
}

#[test]
fn every_alert_has_a_unit_test() {
    let tests: String = files("deploy/prometheus/tests", "yml")
        .into_iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    for name in alerts().keys() {
        assert!(tests.contains(&format!("- name: {name}\n")), "{name}");
    }
}
