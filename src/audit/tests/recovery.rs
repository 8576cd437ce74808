//! What a start makes of what a crash, or somebody else, left.

use std::fs;
use std::path::{Path, PathBuf};

use crate::audit::disk::{self, file_name};
use crate::audit::tests::{PATIENCE, REASON, assert_whole, expected, limits, parts, record, run, text};
use crate::audit::{AuditLog, OpenError, Record, Trail, TrailParts, verify};

fn open(dir: &Path) -> Trail {
    Trail::open(parts(dir, limits()), REASON).unwrap()
}

fn newest(dir: &Path) -> PathBuf {
    dir.join(file_name(*disk::files(dir).unwrap().last().unwrap()))
}

/// A trail with some records, ended.
fn written(dir: &Path) {
    let trail = open(dir);
    (0..5).for_each(|number| trail.append(record(number)));
    assert!(trail.end(PATIENCE));
}

#[test]
fn a_line_that_is_not_whole_is_cut_off_and_told() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let file = newest(dir.path());
    let whole = fs::read(&file).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [last + 1, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        let report = assert_whole(dir.path());
        assert_eq!(report.torn_bytes, u64::try_from(cut - last).unwrap());
        let trail = open(dir.path());
        assert!(trail.end(PATIENCE));
        assert!(text(dir.path()).contains(&format!(r#""tornBytes":{}"#, cut - last)));
        assert_eq!(assert_whole(dir.path()).torn_bytes, 0);
        assert!(!text(dir.path()).contains("Event4\""));
    }
}

#[test]
fn a_call_that_nobody_saw_end_gets_its_record_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, interrupted) = (record(1), record(2));
    let trail = open(dir.path());
    run(trail.intend(ended.clone())).unwrap();
    run(trail.intend(interrupted.clone())).unwrap();
    trail.append(ended);
    assert!(trail.end(PATIENCE));
    for _ in 0..2 {
        let trail = open(dir.path());
        assert!(trail.end(PATIENCE));
    }
    let text = text(dir.path());
    let id = interrupted.event_id;
    let ends: Vec<_> = text
        .lines()
        .filter(|line| line.contains(r#""errorCode":"Interrupted""#))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .collect();
    assert_eq!(ends.len(), 1, "{text}");
    assert_eq!(
        (ends[0]["eventID"].as_str(), ends[0]["eventName"].as_str()),
        (Some(id.as_str()), Some("Event2"))
    );
    assert!(text.contains(r#""interruptedCalls":1"#));
    assert_whole(dir.path());
}

#[test]
fn intents_without_an_end_are_carried_over_to_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let small = crate::audit::Limits { file_bytes_max: 2000, keep_files: 2, ..limits() };
    let trail = Trail::open(parts(dir.path(), small), REASON).unwrap();
    let begun = record(1000);
    run(trail.intend(begun.clone())).unwrap();
    for number in 0..60 {
        trail.append(record(number));
        run(trail.sync()).unwrap();
    }
    assert!(trail.end(PATIENCE));
    // The file with its intent is long gone.
    assert!(!text(dir.path()).contains(r#"{"intent""#));
    assert!(open(dir.path()).end(PATIENCE));
    let text = text(dir.path());
    let line = text.lines().find(|line| line.contains(r#""errorCode":"Interrupted""#)).unwrap();
    assert!(line.contains(begun.event_id.as_str()) && line.contains("Event1000"));
    assert_whole(dir.path());
}

#[test]
fn a_file_that_was_just_being_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let next = assert_whole(dir.path()).last_sequence + 1;
    for left in ["", "{\"trail\":{\"form"] {
        fs::write(dir.path().join(file_name(next)), left).unwrap();
        assert_whole(dir.path());
    }
    assert!(open(dir.path()).end(PATIENCE));
    let report = assert_whole(dir.path());
    assert_eq!((report.files, report.torn_bytes), (2, 0));

    let alone = tempfile::tempdir().unwrap();
    fs::write(alone.path().join(file_name(1)), "{\"tr").unwrap();
    assert!(open(alone.path()).end(PATIENCE));
    assert_eq!(assert_whole(alone.path()).first_sequence, 1);
}

#[test]
fn a_changed_file_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let file = newest(dir.path());
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("Event2", "Event7")).unwrap();
    let error = Trail::open(parts(dir.path(), limits()), REASON).err().unwrap();
    assert!(matches!(error, OpenError::Broken { line: 6, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("holdfast audit verify") && text.contains("line 6"), "{text}");
    fs::write(&file, good).unwrap();
    assert!(open(dir.path()).end(PATIENCE));
}

#[test]
fn an_end_that_was_cut_off_is_told_and_leaves_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    (0..5).for_each(|number| trail.append(record(number)));
    let known = expected(&trail, run(trail.sync()).unwrap());
    assert!(trail.end(PATIENCE));
    let file = newest(dir.path());
    let good = fs::read_to_string(&file).unwrap();
    let end = good.find("Event3").unwrap();
    fs::write(&file, &good[..good[..end].rfind('\n').unwrap() + 1]).unwrap();
    let report = verify(dir.path(), None, Some(&known)).unwrap();
    assert_eq!(report.break_count, 1);
    assert!(report.breaks[0].reason.contains("the end is missing"), "{report:?}");
    // Without the store nobody can tell.
    assert_whole(dir.path());

    let parts = TrailParts { expected: Some(known.clone()), ..parts(dir.path(), limits()) };
    assert!(Trail::open(parts, REASON).unwrap().end(PATIENCE));
    let missing = format!(r#""missingLines":{{"from":{},"to":{}}}"#, known.sequence - 1, known.sequence);
    assert!(text(dir.path()).contains(&missing), "{missing}");
    let report = verify(dir.path(), None, Some(&known)).unwrap();
    assert_eq!(report.break_count, 1, "{report:#?}");
    assert!(report.breaks[0].reason.contains("missing"), "{report:?}");
    assert_eq!(report.trail_id, Some(known.trail_id));
}

#[test]
fn another_line_than_the_store_knows_is_not_gone_on_with() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = open(dir.path());
    trail.append(record(1));
    let known = expected(&trail, run(trail.sync()).unwrap());
    written(other.path());
    let parts = TrailParts { expected: Some(known.clone()), ..parts(other.path(), limits()) };
    let error = Trail::open(parts, REASON).err().unwrap();
    assert!(error.to_string().contains("the store knows"), "{error}");
    assert!(!verify(other.path(), None, Some(&known)).unwrap().is_whole());
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    assert!(matches!(Trail::open(parts(dir.path(), limits()), REASON), Err(OpenError::Io(..))));
    assert!(trail.end(PATIENCE));
}

#[test]
fn after_the_end_nothing_is_kept_and_whoever_waits_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    assert!(trail.end(PATIENCE));
    trail.append(record(1));
    assert!(run(trail.settle()).is_err());
    assert!(run(trail.intend(Record { ..record(2) })).is_err());
    assert!(!text(dir.path()).contains(r#""eventName":"Event"#));
}
