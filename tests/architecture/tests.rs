//! The architecture test finds what it is there to find.

use crate::LINES_MAX;
use crate::faults;

const TABLE: &str = "
# Words before, and a table that is another one
| Name | Value |
| --- | --- |
| `x` | 1 |

| Module | Does | May use |
| --- | --- | --- |
| `base` | is used | |
| `user` | uses `other` words | `base` `proxy-api` |
| `app` | wires | everything |

| `after` | is no row | |
";

/// The faults of a tree of three modules, with these files instead of or beside its own.
fn faults_with(changes: &[(&str, &str)]) -> Vec<String> {
    faults_under(TABLE, changes)
}

fn faults_under(table: &str, changes: &[(&str, &str)]) -> Vec<String> {
    let sound = [
        ("src/lib.rs", "pub mod base; use crate::anything;"),
        ("src/base.rs", "use std::fmt; use crate::base::X;"),
        ("src/user/mod.rs", "use crate::base::X; use proxy_api::Y; fn f() { holdfast::base::g() }"),
        ("src/user/deep/file.rs", "use crate::user::Z; pub(crate) struct S; pub(super) fn f() {}"),
        ("src/app.rs", "use crate::{base, user::X};"),
        ("proxy-api/src/lib.rs", "use crate::wire::X;"),
    ];
    let replaced = |path: &str| changes.iter().any(|(changed, _)| *changed == path);
    let files = sound.iter().filter(|(path, _)| !replaced(path)).chain(changes);
    let files: Vec<_> = files.map(|(path, text)| (path.to_string(), format!("//! Words.\n{text}"))).collect();
    faults(table, &files)
}

#[test]
fn a_tree_that_keeps_to_its_table_has_no_faults() {
    assert_eq!(faults_with(&[]), [""; 0]);
}

#[test]
fn a_use_outside_the_row_is_found_in_any_form() {
    for code in [
        "use crate::user::X;",
        "use crate::user;",
        "use holdfast::user::X;",
        "use crate::{base::Y, user::{A, B}};",
        "use crate::{\n    base::{A, B},\n    user,\n};",
        "fn f() { crate::user::f(1) }",
        "fn f() -> Result<u8, crate::user::Error> { Ok(1) }",
        "pub use crate :: user :: X;",
        "impl<'a> crate::user::T for X<'a> {}",
        "const C: char = '\"'; use crate::user; const D: char = '\"';",
        r#"const C: &str = "\""; use crate::user; const D: &str = "";"#,
        "#[cfg(not(test))] use crate::user;",
        "#[cfg(test)] use crate::app; use crate::user;",
        "#[cfg(test)] #[path = \"x\"] mod tests { use crate::app; } use crate::user;",
        "#[cfg(test)] fn f(a: [u8; 2]) { g(); } use crate::user;",
    ] {
        let faults = faults_with(&[("src/base.rs", code)]);
        let expected = "src/base.rs: `base` may not use `user`";
        assert_eq!(faults.first().map(String::as_str), Some(expected), "{code}");
    }
    let crate_use = [("src/base.rs", "fn f() { proxy_api::wire::f() }")];
    assert_eq!(faults_with(&crate_use), ["src/base.rs: `base` may not use `proxy_api`"]);
}

#[test]
fn words_that_are_no_use_are_not_taken_for_one() {
    for code in [
        "// use crate::user;",
        "/* use /* crate:: */ crate::user; */",
        "/// As `crate::user` does.",
        r#"const C: &str = "crate::user";"#,
        r##"const C: &str = r#"a " crate::user"#;"##,
        r#"const C: &[u8] = b"\\"; const D: &str = "crate::user";"#,
        "use other::crate_::user; use other::holdfast::user; use other::proxy_api::x;",
        "#[cfg(test)] mod tests { use crate::user; use super::*; mod inner { use super::super::*; } }",
        "#[cfg(test)] use crate::user::X;",
        "#[cfg(test)] #[derive(Debug)] struct S { x: crate::user::X }",
        "#[cfg(test)] impl S { fn f() { crate::user::f(); } }",
        "use crate::base::user; use self::inner::user;",
    ] {
        assert_eq!(faults_with(&[("src/base.rs", code)]), [""; 0], "{code}");
    }
}

#[test]
fn files_of_test_modules_may_use_more() {
    let declared = [
        ("src/base.rs", "#[cfg(test)] mod tests;"),
        ("src/base/tests.rs", "mod deep; use crate::app;"),
        ("src/base/tests/deep.rs", "use crate::app; use super::X;"),
        ("src/user/mod.rs", "#[cfg(test)] mod model;"),
        ("src/user/model/mod.rs", "use crate::app;"),
    ];
    assert_eq!(faults_with(&declared), [""; 0]);
    let undeclared =
        [("src/base.rs", "#[cfg(test)] mod tests;"), ("src/base/tests_too.rs", "use crate::app;")];
    assert_eq!(
        faults_with(&undeclared),
        ["src/base/tests_too.rs: `base` may not use `app`", "these use each other: app → base → app"]
    );
}

#[test]
fn modules_and_rows_belong_together() {
    let stray = [("src/stray/mod.rs", "use crate::app;")];
    assert_eq!(faults_with(&stray), ["ARCHITECTURE.md has no row for `stray`"]);
    let table = TABLE.replace("| `app`", "| `ghost` | haunts | |\n| `app`");
    assert_eq!(faults_under(&table, &[]), ["ARCHITECTURE.md has a row for `ghost`, which does not exist"]);
    let unknown = [("src/app.rs", "crate::nowhere::f()")];
    assert_eq!(faults_with(&unknown), ["src/app.rs: `crate::nowhere` is not a module"]);
}

#[test]
fn a_cycle_is_found_in_the_table_and_in_the_code() {
    let table = TABLE.replace("| is used | |", "| is used | `user` |");
    assert_eq!(faults_under(&table, &[]), ["these use each other: base → user → base"]);
    let table = TABLE.replace("`base` `proxy-api`", "everything");
    let code = [("src/user/mod.rs", "use crate::app;")];
    assert_eq!(faults_under(&table, &code), ["these use each other: app → user → app"]);
}

#[test]
fn paths_do_not_start_at_the_parent() {
    let code = [("src/user/deep/file.rs", "use super::super::X;")];
    assert_eq!(faults_with(&code), ["src/user/deep/file.rs: paths start at `crate::`, not at `super::`"]);
}

#[test]
fn a_file_says_what_it_is_for_and_is_not_too_long() {
    let file = |text: String| vec![("src/base.rs".to_owned(), text)];
    let table = "| Module | Does | May use |\n| --- | --- | --- |\n| `base` | | |";
    let long = |lines: usize| file("//! Words.\n".repeat(lines));
    assert_eq!(faults(table, &long(LINES_MAX)), [""; 0]);
    assert_eq!(faults(table, &long(LINES_MAX + 1)), ["src/base.rs: 501 lines, more than 500"]);
    let silent = ["src/base.rs: the first line does not say what the file is for (`//! …`)"];
    assert_eq!(faults(table, &file("use std::fmt;".to_owned())), silent);
    assert_eq!(faults(table, &file(String::new())), silent);
}
