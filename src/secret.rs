//! Bytes that wipe themselves when dropped and never print.

use std::fmt;
use std::io;
use std::mem;

use zeroize::Zeroizing;

/// Secret bytes: wiped on drop, absent from `Debug`, readable only through [`SecretBytes::expose`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Each caller is a place to look at in a review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Text that may hold a secret, while it is written: no copy of it stays behind when the buffer grows.
pub struct SecretWriter(Zeroizing<Vec<u8>>);

impl SecretWriter {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for SecretWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes_needed = self.0.len() + bytes.len();
        if bytes_needed > self.0.capacity() {
            let capacity = bytes_needed.max(2 * self.0.capacity());
            grow(&mut self.0, capacity);
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Moves the bytes to a larger buffer, and wipes the one they leave behind.
pub fn grow(bytes: &mut Zeroizing<Vec<u8>>, capacity: usize) {
    let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
    larger.extend_from_slice(bytes);
    mem::swap(bytes, &mut larger);
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{SecretBytes, SecretWriter};

    #[test]
    fn what_is_written_is_there_however_often_the_buffer_grew() {
        let mut writer = SecretWriter::with_capacity(3);
        for number in 0..100_u8 {
            writer.write_all(&[number; 5]).unwrap();
        }
        let expected: Vec<_> = (0..100).flat_map(|number| [number; 5]).collect();
        assert_eq!(*writer.into_inner(), expected);
    }

    #[test]
    fn debug_shows_the_length_and_nothing_else() {
        assert_eq!(format!("{:?}", SecretBytes::new(b"hunter2".to_vec())), "SecretBytes(7 bytes)");
    }
}
