//! Events as lines of a file. It is opened for each, so that other tools can move it away at any time.

use std::fs::OpenOptions;
use std::io;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Appends a line, which is on the disk when this returns.
pub(super) fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(path)?;
    let mut text = Vec::with_capacity(line.len() + 2);
    // What an interrupted write left is a line of its own.
    if !ends_with_line(&mut file)? {
        text.push(b'\n');
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

fn ends_with_line(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn each_event_is_a_line_also_after_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        append(&path, b"one").unwrap();
        append(&path, b"two").unwrap();
        std::fs::write(&path, "one\ntw").unwrap();
        append(&path, b"three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        append(&path, b"four").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
    }
}
