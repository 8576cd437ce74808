//! The module table of ARCHITECTURE.md is true: who uses whom, without cycles, in files of a readable length.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LINES_MAX: usize = 500;
/// Crates of this workspace that a module uses only if its row says so.
const CRATES: [&str; 1] = ["proxy_api"];

#[test]
fn the_code_keeps_to_the_module_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    ["src", "proxy-api/src"].iter().for_each(|folder| read_rust_files(root, &root.join(folder), &mut files));
    let faults = faults(&table, &files);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// A source file: its path from the root of the repository, and its text.
type SourceFile = (String, String);

fn read_rust_files(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_rust_files(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Everything that is wrong, a line each.
fn faults(table: &str, files: &[SourceFile]) -> Vec<String> {
    let rows = rows(table);
    let mut faults: Vec<_> = files.iter().flat_map(|(path, text)| file_faults(path, text)).collect();
    let uses = uses(files);
    let modules: BTreeSet<_> = files.iter().filter_map(|(path, _)| module(path)).collect();
    for module in modules.iter().filter(|module| !rows.contains_key(**module)) {
        faults.push(format!("ARCHITECTURE.md has no row for `{module}`"));
    }
    for module in rows.keys().filter(|module| !modules.contains(module.as_str())) {
        faults.push(format!("ARCHITECTURE.md has a row for `{module}`, which does not exist"));
    }
    for Use { path, module, used } in &uses {
        let known = modules.contains(used.as_str()) || CRATES.contains(&used.as_str());
        let may_use = rows.get(*module).is_none_or(|row| row.allows(used));
        if used == "super" {
            faults.push(format!("{path}: paths start at `crate::`, not at `super::`"));
        } else if !known {
            faults.push(format!("{path}: `crate::{used}` is not a module"));
        } else if !may_use && used != module {
            faults.push(format!("{path}: `{module}` may not use `{used}`"));
        }
    }
    faults.extend(cycle(&rows, &uses).map(|cycle| format!("these use each other: {}", cycle.join(" → "))));
    faults
}

fn file_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//! ") {
        faults.push(format!("{path}: the first line does not say what the file is for (`//! …`)"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{path}: {lines} lines, more than {LINES_MAX}"));
    }
    faults
}

/// What a row of the table allows.
enum MayUse {
    Everything,
    Only(BTreeSet<String>),
}

impl MayUse {
    fn allows(&self, used: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(names) => names.contains(used),
        }
    }
}

fn rows(table: &str) -> BTreeMap<String, MayUse> {
    let cells = |line: &'_ str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = table.lines().skip_while(|line| cells(line) != ["Module", "Does", "May use"]).skip(2);
    let rows = std::iter::from_fn(|| lines.next().filter(|line| line.starts_with('|')));
    rows.map(|line| {
        let cells = cells(line);
        let [module, _, may_use] = cells.as_slice() else { panic!("not three cells: {line}") };
        let may_use = match may_use.as_str() {
            "everything" => MayUse::Everything,
            names => MayUse::Only(backticked(names).collect()),
        };
        (backticked(module).next().unwrap_or_else(|| panic!("no module: {line}")), may_use)
    })
    .collect()
}

fn backticked(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(|name| name.replace('-', "_"))
}

/// That a file of a module names another one.
struct Use<'a> {
    path: &'a str,
    module: &'a str,
    used: String,
}

/// The module of the daemon that a file belongs to; the roots belong to none and may use everything.
fn module(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let module = path.split('/').next()?;
    (!matches!(path, "lib" | "main")).then_some(module)
}

/// Every use outside of test code.
fn uses(files: &[SourceFile]) -> Vec<Use<'_>> {
    let sources: Vec<_> = files.iter().map(|(path, text)| (path, without_tests(&tokens(text)))).collect();
    let test_modules: Vec<_> = sources
        .iter()
        .flat_map(|(path, (_, names))| names.iter().map(|name| submodule(path, name)))
        .collect();
    let is_test = |path: &str| {
        let path = path.trim_end_matches(".rs");
        test_modules.iter().any(|module| path.strip_prefix(module.as_str()).is_some_and(is_path_end))
    };
    let mut uses = Vec::new();
    for (path, (code, _)) in &sources {
        let Some(module) = module(path).filter(|_| !is_test(path)) else { continue };
        let used: BTreeSet<_> = names_used(code).into_iter().collect();
        uses.extend(used.into_iter().map(|used| Use { path, module, used: used.to_owned() }));
    }
    uses
}

/// The path of a module that a file declares, without extension.
fn submodule(path: &str, name: &str) -> String {
    let path = path.trim_end_matches(".rs");
    let (folder, stem) = path.rsplit_once('/').unwrap_or(("", path));
    match stem {
        "lib" | "main" | "mod" => format!("{folder}/{name}"),
        _ => format!("{path}/{name}"),
    }
}

fn is_path_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// The modules and crates that paths in the code start with, and `super` where a path starts there.
fn names_used<'a>(code: &[&'a str]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, window) in code.windows(3).enumerate() {
        let [root, "::", first] = window else { continue };
        let is_start = at == 0 || code[at - 1] != "::";
        match *root {
            "crate" | "holdfast" if is_start && *first == "{" => names.extend(group_heads(&code[at + 3..])),
            "crate" | "holdfast" if is_start => names.push(first),
            "super" => names.push(root),
            name if is_start && CRATES.contains(&name) => names.push(name),
            _ => {}
        }
    }
    names
}

/// The first names in a group `{a::b, c::{d, e}}` whose opening brace has just passed.
fn group_heads<'a>(code: &[&'a str]) -> Vec<&'a str> {
    let mut heads = Vec::new();
    let mut depth = 1;
    let mut is_head = true;
    for token in code {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => is_head = true,
            name if is_head => {
                heads.push(name);
                is_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// The code without items under `#[cfg(test)]`, and the names of modules declared so whose files are elsewhere.
fn without_tests<'a>(tokens: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut code = Vec::new();
    let mut modules = Vec::new();
    let mut rest = tokens;
    while let [first, after @ ..] = rest {
        let Some(mut item) = rest.strip_prefix(&TEST) else {
            code.push(*first);
            rest = after;
            continue;
        };
        while item.starts_with(&["#", "["]) {
            item = &item[1 + balanced_len(&item[1..])..];
        }
        if let ["mod", name, ";", ..] = item {
            modules.push(*name);
        }
        rest = &item[item_len(item)..];
    }
    (code, modules)
}

/// How many tokens up to and with the bracket that closes the first one.
fn balanced_len(tokens: &[&str]) -> usize {
    let mut depth = 0;
    let closing = tokens.iter().position(|token| {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    closing.map_or(tokens.len(), |at| at + 1)
}

/// How many tokens an item has: up to its `;` or the end of its block.
fn item_len(tokens: &[&str]) -> usize {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match *token {
            ";" => return at + 1,
            "{" => return at + balanced_len(&tokens[at..]),
            "(" | "[" => at += balanced_len(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

/// The tokens of Rust code: words, `::` and single characters; no comments, strings or characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let skipped = skipped_len(rest, word);
        let len = if skipped > 0 {
            skipped
        } else if !word.is_empty() {
            word.len()
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if skipped == 0 && !first.is_whitespace() {
            tokens.push(&rest[..len]);
        }
        rest = &rest[len..];
    }
    tokens
}

/// The length of the comment, string or character that the text starts with, or zero.
fn skipped_len(text: &str, word: &str) -> usize {
    let up_to =
        |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return up_to("\n", 0);
    }
    if text.starts_with("/*") {
        return block_comment_len(text);
    }
    if matches!(word, "r" | "br" | "cr") {
        let hashes = text[word.len()..].bytes().take_while(|byte| *byte == b'#').count();
        let quote = word.len() + hashes;
        return if text[quote..].starts_with('"') {
            up_to(&format!("\"{}", "#".repeat(hashes)), quote + 1)
        } else {
            0
        };
    }
    if text.starts_with('"') {
        return quoted_len(text, '"');
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => quoted_len(text, '\''),
        _ => 0,
    }
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => depth += 1,
            (false, true) => depth -= 1,
            (false, false) => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

/// A way from a module back to itself, over what the table allows by name and what the code does.
fn cycle(rows: &BTreeMap<String, MayUse>, uses: &[Use<'_>]) -> Option<Vec<String>> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, may_use) in rows {
        if let MayUse::Only(names) = may_use {
            edges.entry(module).or_default().extend(names.iter().map(String::as_str));
        }
    }
    for Use { module, used, .. } in uses.iter().filter(|edge| edge.module != edge.used) {
        edges.entry(module).or_default().insert(used);
    }
    let mut finished = BTreeSet::new();
    edges.keys().find_map(|module| cycle_through(module, &edges, &mut Vec::new(), &mut finished))
}

fn cycle_through<'a>(
    module: &'a str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    way: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|passed| *passed == module) {
        return Some(way[start..].iter().chain([&module]).map(ToString::to_string).collect());
    }
    if finished.contains(module) {
        return None;
    }
    way.push(module);
    let found =
        edges.get(module).into_iter().flatten().find_map(|next| cycle_through(next, edges, way, finished));
    way.pop();
    finished.insert(module);
    found
}

#[path = "architecture/tests.rs"]
mod tests;
