//! Reads a file of the trail line by line, in as much memory as the longest line takes.

use std::io::{self, BufRead, Read};

/// More than any record has.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    /// The file ends within a line.
    Torn,
    End,
}

pub(super) struct Lines<R> {
    reader: R,
    /// Of the last line; the first is 1.
    pub(super) number: u64,
    /// Of the whole lines that were read.
    pub(super) bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, bytes: 0 }
    }

    /// Reads a line without its newline. One that is too long is cut off there: it is no line of ours.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Next> {
        line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = Read::by_ref(&mut self.reader).take(limit).read_until(b'\n', line)?;
        if read == 0 {
            return Ok(Next::End);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read < LINE_BYTES_MAX {
            return Ok(Next::Torn);
        }
        self.bytes += u64::try_from(read).unwrap_or_default();
        Ok(Next::Line)
    }
}
