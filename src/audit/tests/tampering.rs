//! Whoever changes the trail is found out, and where.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::{any, prop_assert, prop_assume, proptest};
use proptest::sample::Index;

use crate::audit::chain::{Line, ORIGIN, push_line};
use crate::audit::disk::{self, file_name};
use crate::audit::tests::{PATIENCE, REASON, Signer, expected, limits, parts, record, run, text};
use crate::audit::{
    AuditLog, Expected, Known, Limits, Link, OpenError, PublicKey, Report, Trail, TrailParts, verify,
    verify_with,
};

/// Files by their names, and what the store knows.
struct Written {
    files: Vec<(String, Vec<u8>)>,
    known: Expected,
    key: PublicKey,
}

/// Three files of a trail that is signed up to its end.
static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let small = Limits { file_bytes_max: 3000, ..limits() };
    let trail = Trail::open(parts(dir.path(), small), REASON).unwrap();
    trail.set_key(signer.public.clone());
    let mut number = 0;
    while disk::files(dir.path()).unwrap().len() < 3 || number % 9 != 5 {
        if number % 4 == 1 {
            let intent = record(number);
            run(trail.intend(intent.clone())).unwrap();
            trail.append(intent);
        } else {
            trail.append(record(number));
        }
        if number % 7 == 3 {
            signer.sign(&trail);
        }
        run(trail.sync()).unwrap();
        number += 1;
    }
    let end = signer.sign(&trail);
    let known = expected(&trail, end);
    assert!(trail.end(PATIENCE));
    let files = disk::files(dir.path()).unwrap();
    let files = files.into_iter().map(|first| {
        let name = file_name(first);
        let bytes = fs::read(dir.path().join(&name)).unwrap();
        (name, bytes)
    });
    Written { files: files.collect(), known, key: signer.public }
});

fn verify_files<'f>(files: impl IntoIterator<Item = (&'f String, Vec<u8>)>) -> Report {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    verify(dir.path(), None, Some(&WRITTEN.known)).unwrap()
}

/// The trail with one file changed.
fn with(place: usize, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Report {
    let mut change = Some(change);
    verify_files(WRITTEN.files.iter().enumerate().map(|(at, (name, bytes))| {
        let bytes = if at == place { change.take().unwrap()(bytes) } else { bytes.clone() };
        (name, bytes)
    }))
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Whether the first break is named by this file, and by one of these lines.
fn names(report: &Report, file: usize, lines: impl IntoIterator<Item = usize>) -> bool {
    let first = report.breaks.first();
    first.is_some_and(|first| {
        let is_file = first.file == WRITTEN.files[file].0;
        is_file && lines.into_iter().any(|line| u64::try_from(line + 1).unwrap() == first.line)
    })
}

#[test]
fn the_trail_itself_is_whole() {
    let report = verify_files(WRITTEN.files.iter().map(|(name, bytes)| (name, bytes.clone())));
    assert!(report.is_whole(), "{report:#?}");
    assert_eq!((report.files, report.records_behind_last_checkpoint), (3, 0));
    assert!(report.checkpoints >= 3);
}

proptest! {
    #[test]
    fn a_changed_byte_is_found(file in 0..3_usize, at in any::<Index>(), byte in any::<u8>()) {
        let bytes = &WRITTEN.files[file].1;
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        // A newline too much or too little is a torn line at the very end.
        prop_assume!(file < 2 || at + 1 < bytes.len());
        let report = with(file, |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            bytes
        });
        prop_assert!(!report.is_whole());
        // The line, or one beside it: that it is not the line after it which is wrong only its neighbours say.
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let is_named = names(&report, file, line.saturating_sub(1)..=line + 1)
            || (line == 0 && file > 0 && report.breaks[0].file == WRITTEN.files[file - 1].0)
            || (file < 2 && report.breaks[0].file == WRITTEN.files[file + 1].0);
        prop_assert!(is_named, "{file} {line} {report:#?}");
    }

    #[test]
    fn a_removed_line_is_found(file in 0..3_usize, at in any::<Index>()) {
        let count = lines(&WRITTEN.files[file].1).len();
        let at = at.index(count);
        let report = with(file, |bytes| {
            let mut lines = lines(bytes);
            lines.remove(at);
            lines.concat()
        });
        prop_assert!(!report.is_whole());
        // Named by the line that follows it, or by the last one there is.
        let is_next = at + 1 == count && file < 2 && report.breaks[0].file == WRITTEN.files[file + 1].0;
        prop_assert!(is_next || names(&report, file, [at, at.saturating_sub(1)]), "{file} {at} {report:#?}");
    }

    #[test]
    fn swapped_lines_are_found(file in 0..3_usize, one in any::<Index>(), other in any::<Index>()) {
        let count = lines(&WRITTEN.files[file].1).len();
        let (one, other) = (one.index(count), other.index(count));
        prop_assume!(one != other);
        let report = with(file, |bytes| {
            let mut lines = lines(bytes);
            lines.swap(one, other);
            lines.concat()
        });
        prop_assert!(!report.is_whole());
        prop_assert!(names(&report, file, [one.min(other)]), "{one} {other} {report:#?}");
    }

    #[test]
    fn an_inserted_line_is_found(file in 0..3_usize, from in any::<Index>(), to in any::<Index>()) {
        let count = lines(&WRITTEN.files[file].1).len();
        let (from, to) = (from.index(count), to.index(count));
        let report = with(file, |bytes| {
            let mut lines = lines(bytes);
            lines.insert(to, lines[from]);
            lines.concat()
        });
        prop_assert!(!report.is_whole());
        prop_assert!(names(&report, file, [to, to + 1]), "{from} {to} {report:#?}");
    }
}

#[test]
fn a_missing_file_is_found_also_if_it_is_the_oldest() {
    for missing in 0..3 {
        let files = WRITTEN.files.iter().enumerate().filter(|(place, _)| *place != missing);
        let report = verify_files(files.map(|(_, (name, bytes))| (name, bytes.clone())));
        assert!(!report.is_whole(), "{missing} {report:#?}");
        let is_told = report.breaks.iter().any(|found| found.reason.contains("missing at the beginning"));
        assert_eq!(is_told, missing == 0, "{report:#?}");
    }
}

#[test]
fn files_that_were_removed_for_their_age_are_told_from_those_that_others_removed() {
    let dir = tempfile::tempdir().unwrap();
    let small = Limits { file_bytes_max: 2000, keep_files: 3, ..limits() };
    let mut number = 0;
    // Restarts know of what was removed before.
    for _ in 0..3 {
        let trail = Trail::open(parts(dir.path(), small.clone()), REASON).unwrap();
        for _ in 0..30 {
            trail.append(record(number));
            run(trail.sync()).unwrap();
            number += 1;
        }
        assert!(trail.end(PATIENCE));
        let report = verify(dir.path(), None, None).unwrap();
        assert!(report.is_whole() && report.first_sequence > 1, "{report:#?}");
    }
    assert!(text(dir.path()).contains(r#"{"removed":{"time":""#));
    let files = disk::files(dir.path()).unwrap();
    fs::remove_file(dir.path().join(file_name(files[0]))).unwrap();
    let report = verify(dir.path(), None, None).unwrap();
    assert_eq!(report.break_count, 1, "{report:#?}");
    let missing = format!("files with the lines 1 to {} are missing at the beginning", files[1] - 1);
    assert_eq!(
        (report.breaks[0].reason.as_str(), report.breaks[0].sequence),
        (missing.as_str(), Some(files[1]))
    );
    let moved = Known { key: None, end: None, must_be_signed: false, begins_at: files[1] };
    assert!(verify_with(dir.path(), &moved).unwrap().is_whole());
    // What others removed, the daemon does not say that it removed it.
    let trail = Trail::open(parts(dir.path(), small), REASON).unwrap();
    for number in 0..60 {
        trail.append(record(number));
        run(trail.sync()).unwrap();
    }
    assert!(trail.end(PATIENCE));
    assert!(!verify(dir.path(), None, None).unwrap().is_whole());
    assert!(verify_with(dir.path(), &moved).unwrap().is_whole());
}

#[test]
fn a_chain_that_was_made_anew_is_found_by_its_signatures() {
    let (mut last, mut forged) = (ORIGIN, Vec::new());
    for (name, bytes) in &WRITTEN.files {
        let mut out = Vec::new();
        for line in lines(bytes) {
            let line = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            let object = String::from_utf8(line.object()).unwrap().replace("Event2", "Event3");
            last = push_line(&mut out, object.as_bytes(), last);
        }
        forged.push((name, out));
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in &forged {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let without_store = verify(dir.path(), None, None).unwrap();
    assert!(without_store.breaks[0].reason.contains("is not the one that it signs"), "{without_store:#?}");
    assert!(!verify_files(forged).is_whole());
}

/// All lines that `keep` wants, in one file, chained anew behind a line.
fn forge(dir: &Path, behind: Link, keep: impl Fn(&str) -> bool) {
    let (mut last, mut out) = (behind, Vec::new());
    let head = lines(&WRITTEN.files[0].1)[0];
    let head = Line::parse(head.strip_suffix(b"\n").unwrap()).unwrap().object();
    let first = format!(r#""firstSequence":{}"#, behind.sequence + 1);
    let head = String::from_utf8(head).unwrap().replace(r#""firstSequence":1"#, &first);
    last = push_line(&mut out, head.as_bytes(), last);
    for (_, bytes) in &WRITTEN.files {
        for line in lines(bytes) {
            let line = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            let object = String::from_utf8(line.object()).unwrap();
            if !object.starts_with(r#"{"trail""#) && keep(&object) {
                last = push_line(&mut out, object.replace("Event2", "Event3").as_bytes(), last);
            }
        }
    }
    fs::write(dir.join(file_name(behind.sequence + 1)), out).unwrap();
}

#[test]
fn a_trail_whose_signatures_were_left_out_is_broken_for_whoever_has_the_key() {
    let dir = tempfile::tempdir().unwrap();
    forge(dir.path(), ORIGIN, |object| !object.starts_with(r#"{"checkpoint""#));
    let key = Some(WRITTEN.key.public_key.as_str());
    let report = verify(dir.path(), key, None).unwrap();
    assert_eq!((report.break_count, report.checkpoints), (1, 0), "{report:#?}");
    assert_eq!(report.breaks[0].reason, "no line is signed by this key");
    assert!(!verify(dir.path(), key, Some(&WRITTEN.known)).unwrap().is_whole());
    // A daemon that has just been started has not signed anything.
    let young = Known { key, end: None, must_be_signed: false, begins_at: 1 };
    assert!(verify_with(dir.path(), &young).unwrap().is_whole());
    let whole = tempfile::tempdir().unwrap();
    for (name, bytes) in &WRITTEN.files {
        fs::write(whole.path().join(name), bytes).unwrap();
    }
    let report = verify(whole.path(), key, Some(&WRITTEN.known)).unwrap();
    assert!(report.is_whole(), "{report:#?}");
}

#[test]
fn a_trail_that_begins_behind_the_known_end_is_broken_unless_it_is_signed_there() {
    let key = Some(WRITTEN.key.public_key.as_str());
    let known = Link { sequence: WRITTEN.known.sequence, hash: WRITTEN.known.hash };
    // Signatures of before are right, but sign nothing that is there.
    for with_checkpoints in [false, true] {
        for behind in [known, Link { sequence: known.sequence + 10, hash: known.hash }] {
            let dir = tempfile::tempdir().unwrap();
            forge(dir.path(), behind, |object| with_checkpoints || !object.starts_with(r#"{"checkpoint""#));
            for key in [key, None] {
                let report = verify(dir.path(), key, Some(&WRITTEN.known)).unwrap();
                let is_told =
                    report.breaks.iter().any(|found| found.reason.contains("which the store knows"));
                assert!(is_told, "{report:#?}");
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    forge(dir.path(), Link { hash: [7; 32], ..known }, |_| true);
    let report = verify(dir.path(), key, Some(&WRITTEN.known)).unwrap();
    assert!(report.breaks[0].reason.contains("does not follow"), "{report:#?}");
}

#[test]
fn a_start_goes_on_with_a_trail_behind_the_known_end_only_if_it_is_the_same_and_says_what_is_missing() {
    let known = Link { sequence: WRITTEN.known.sequence, hash: WRITTEN.known.hash };
    let open = |dir: &Path, known: &Expected| {
        let parts = TrailParts { expected: Some(known.clone()), ..parts(dir, limits()) };
        Trail::open(parts, REASON)
    };
    for behind in [known, Link { sequence: known.sequence + 10, hash: [7; 32] }] {
        let dir = tempfile::tempdir().unwrap();
        forge(dir.path(), behind, |object| !object.starts_with(r#"{"checkpoint""#));
        assert!(open(dir.path(), &WRITTEN.known).unwrap().end(PATIENCE));
        let missing = format!(r#""missingLines":{{"from":1,"to":{}}}"#, known.sequence);
        assert!(text(dir.path()).contains(&missing), "{missing}");
    }
    let dir = tempfile::tempdir().unwrap();
    forge(dir.path(), Link { hash: [7; 32], ..known }, |_| true);
    assert!(matches!(open(dir.path(), &WRITTEN.known), Err(OpenError::Broken { line: 1, .. })));
    let other = Expected { trail_id: "another".to_owned(), ..WRITTEN.known.clone() };
    let dir = tempfile::tempdir().unwrap();
    forge(dir.path(), ORIGIN, |_| true);
    assert!(matches!(open(dir.path(), &other), Err(OpenError::Broken { line: 1, .. })));
}

#[test]
fn a_known_line_in_an_older_file_is_looked_up_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let write = |files: &[(String, Vec<u8>)]| {
        files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    };
    let second = lines(&WRITTEN.files[1].1)[1].strip_suffix(b"\n").unwrap();
    let sequence = Line::parse(second).unwrap().sequence;
    let right = Expected { sequence, hash: crate::audit::chain::hash_of(second), ..WRITTEN.known.clone() };
    let open = |known: &Expected| {
        Trail::open(TrailParts { expected: Some(known.clone()), ..parts(dir.path(), limits()) }, REASON)
    };
    write(&WRITTEN.files);
    assert!(open(&right).unwrap().end(PATIENCE));
    assert!(!text(dir.path()).contains("missingLines"));
    let wrong = Expected { hash: [7; 32], ..right.clone() };
    assert!(matches!(open(&wrong), Err(OpenError::Broken { line: 2, .. })));
    fs::remove_file(dir.path().join(&WRITTEN.files[1].0)).unwrap();
    assert!(open(&right).unwrap().end(PATIENCE));
    assert!(text(dir.path()).contains("missingLines"));
}

#[test]
fn nothing_is_written_to_what_is_verified() {
    assert!(verify(Path::new("/nowhere"), None, None).is_err());
}
