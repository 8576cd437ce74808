//! Lines of an audit trail that somebody has changed.
#![no_main]

use holdfast::audit::{Line, Link, verify_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let report = verify_text(text);
    assert!(report.lines <= u64::try_from(text.len()).unwrap_or(u64::MAX));
    for line in text.split(|byte| *byte == b'\n') {
        let Some(parsed) = Line::parse(line) else { continue };
        let before = Link { sequence: parsed.sequence - 1, hash: parsed.previous };
        // What is read is what would have been written.
        assert_eq!(parsed.written_after(before), line);
    }
});
