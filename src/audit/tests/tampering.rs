//! Whoever changes the trail is found out, and where.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::{any, prop_assert, prop_assume, proptest};
use proptest::sample::Index;

use crate::audit::disk::{self, file_name};
use crate::audit::tests::{PATIENCE, REASON, Signer, expected, limits, parts, record, run};
use crate::audit::{AuditLog, Expected, Limits, Report, Trail, verify};

/// Files by their names, and what the store knows.
struct Written {
    files: Vec<(String, Vec<u8>)>,
    known: Expected,
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
    Written { files: files.collect(), known }
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
fn a_missing_file_is_found_unless_it_is_the_oldest() {
    for missing in 0..3 {
        let files = WRITTEN.files.iter().enumerate().filter(|(place, _)| *place != missing);
        let report = verify_files(files.map(|(_, (name, bytes))| (name, bytes.clone())));
        // What is behind the oldest file was removed for its age, perhaps.
        assert_eq!(report.is_whole(), missing == 0, "{missing} {report:#?}");
    }
}

#[test]
fn a_chain_that_was_made_anew_is_found_by_its_signatures() {
    use crate::audit::chain::{Line, ORIGIN, push_line};
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

#[test]
fn nothing_is_written_to_what_is_verified() {
    assert!(verify(Path::new("/nowhere"), None, None).is_err());
}
