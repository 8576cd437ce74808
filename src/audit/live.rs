//! The file that lines go to now: what is not on the disk for sure is kept in memory, to be written again.

use std::io;

use crate::audit::chain::{self, Link};
use crate::audit::disk::LiveFile;

pub(super) struct Live {
    file: Box<dyn LiveFile>,
    /// The sequence of its first line, which names it.
    pub(super) first: u64,
    /// Bytes of the file that are on the disk for sure.
    synced_bytes: u64,
    /// Lines that follow them.
    tail: Vec<u8>,
    /// Bytes of the tail that were written; whole lines.
    written: usize,
    /// Bytes of the tail that went to other places too.
    shown: usize,
}

impl Live {
    /// Goes on behind so many bytes.
    pub(super) fn new(file: Box<dyn LiveFile>, first: u64, bytes: u64) -> Self {
        Self { file, first, synced_bytes: bytes, tail: Vec::new(), written: 0, shown: 0 }
    }

    /// Puts a line behind the last one.
    pub(super) fn push(&mut self, object: &[u8], last: Link) -> Link {
        chain::push_line(&mut self.tail, object, last)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.offset(self.tail.len())
    }

    /// Bytes that are not on the disk for sure.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.tail.len()
    }

    fn offset(&self, place: usize) -> u64 {
        self.synced_bytes.saturating_add(u64::try_from(place).unwrap_or(u64::MAX))
    }

    /// Writes what is not written. When that fails, the file ends with a whole line, and the rest is written next time.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut reached = self.written;
        let result = loop {
            let rest = self.tail.get(reached..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            let offset = self.offset(reached);
            match self.file.write_at(rest, offset) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => reached = (reached + bytes).min(self.tail.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let reached = self.tail.get(..reached).unwrap_or_default();
        let whole = reached.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.written = self.written.max(whole);
        if result.is_err() {
            // What cannot be cut off is written over: with the same bytes, next time.
            let _ = self.file.truncate(self.offset(self.written));
        }
        result
    }

    /// What was written is on the disk. When that fails, nobody knows what is there, and all of it is written again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync() {
            self.written = 0;
            return Err(error);
        }
        self.synced_bytes = self.offset(self.written);
        self.tail.drain(..self.written);
        self.shown = self.shown.saturating_sub(self.written);
        self.written = 0;
        Ok(())
    }

    /// Lines that were written since the last call.
    pub(super) fn show(&mut self) -> impl Iterator<Item = &[u8]> {
        let fresh = self.tail.get(self.shown..self.written).unwrap_or_default();
        self.shown = self.shown.max(self.written);
        fresh.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

    use super::Live;
    use crate::audit::chain::{self, ORIGIN};
    use crate::audit::disk::LiveFile;

    /// What a call to the disk does.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Good,
        /// So many bytes are written, and no more.
        Short(usize),
        /// So many bytes are written, and then there is an error.
        Full(usize),
    }

    #[derive(Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        /// What is there after a power cut.
        synced: Arc<Mutex<Vec<u8>>>,
        fates: Arc<Mutex<Vec<Fate>>>,
    }

    impl LiveFile for Disk {
        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            let fate = self.fates.lock().pop().unwrap_or(Fate::Good);
            let count = match fate {
                Fate::Good => bytes.len(),
                Fate::Short(count) => count.clamp(1, bytes.len()),
                Fate::Full(count) => count.min(bytes.len()),
            };
            let mut content = self.bytes.lock();
            let offset = usize::try_from(offset).unwrap();
            assert!(offset <= content.len(), "a hole");
            content.truncate(offset);
            content.extend_from_slice(&bytes[..count]);
            match fate {
                Fate::Full(_) => Err(io::ErrorKind::StorageFull.into()),
                Fate::Good | Fate::Short(_) => Ok(count),
            }
        }
        fn truncate(&mut self, bytes: u64) -> io::Result<()> {
            self.bytes.lock().truncate(usize::try_from(bytes).unwrap());
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            if let Some(Fate::Full(_)) = self.fates.lock().pop() {
                // What was not on the disk is lost, as after an error of fsync.
                let synced = self.synced.lock().clone();
                *self.bytes.lock() = synced;
                return Err(io::Error::other("lost"));
            }
            *self.synced.lock() = self.bytes.lock().clone();
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn whatever_the_disk_does_every_line_is_there_once_and_in_its_order(
            fates in prop::collection::vec(
                prop_oneof![
                    Just(Fate::Good),
                    any::<u8>().prop_map(|count| Fate::Short(count.into())),
                    any::<u8>().prop_map(|count| Fate::Full(count.into())),
                ],
                0..40,
            ),
            rounds in prop::collection::vec((1_usize..5, any::<bool>()), 1..20),
        ) {
            let disk = Disk::default();
            *disk.fates.lock() = fates;
            let mut live = Live::new(Box::new(disk.clone()), 1, 0);
            let (mut expected, mut last, mut shown) = (Vec::new(), ORIGIN, Vec::new());
            for (lines, syncs) in rounds {
                for _ in 0..lines {
                    let object = format!(r#"{{"n":{}}}"#, last.sequence);
                    chain::push_line(&mut expected, object.as_bytes(), last);
                    last = live.push(object.as_bytes(), last);
                }
                let written = live.write();
                // Only whole lines stay in the file.
                assert!(disk.bytes.lock().last().is_none_or(|byte| *byte == b'\n'));
                for line in live.show() {
                    shown.extend_from_slice(line);
                    shown.push(b'\n');
                }
                if written.is_ok() && syncs {
                    let _ = live.sync();
                }
            }
            disk.fates.lock().clear();
            live.write().unwrap();
            live.sync().unwrap();
            assert_eq!(*disk.synced.lock(), expected);
            assert!(expected.starts_with(&shown));
            assert_eq!((live.bytes(), live.unsynced_bytes()), (expected.len() as u64, 0));
        }
    }
}
