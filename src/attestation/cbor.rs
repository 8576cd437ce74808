//! As much of CBOR (RFC 8949) as attestation documents are made of, read in place.

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

const NULL: u8 = 0xf6;
const BREAK: u8 = 0xff;

/// Another item than expected, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is not read yet.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length(BYTES)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length(TEXT)?;
        str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Malformed> {
        self.argument(UNSIGNED)?.ok_or(Malformed)
    }

    pub(super) fn integer(&mut self) -> Result<i64, Malformed> {
        let is_negative = self.0.first().is_some_and(|initial| initial >> 5 == NEGATIVE);
        let argument = self.argument(if is_negative { NEGATIVE } else { UNSIGNED })?.ok_or(Malformed)?;
        let value = i64::try_from(argument).map_err(|_| Malformed)?;
        Ok(if is_negative { -1 - value } else { value })
    }

    /// An array of exactly so many items, which are read next.
    pub(super) fn array_of(&mut self, items: u64) -> Result<(), Malformed> {
        if self.argument(ARRAY)? == Some(items) { Ok(()) } else { Err(Malformed) }
    }

    /// `read` reads one item each time.
    pub(super) fn array<E: From<Malformed>>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(ARRAY, read)
    }

    /// `read` reads one key and its value each time.
    pub(super) fn map<E: From<Malformed>>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(MAP, read)
    }

    /// Whether this byte is next; then it is read.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn skip_null(&mut self) -> bool {
        self.skip(NULL)
    }

    /// Items are read until there are no more, so their number needs no limit: each is a byte at least. The Nitro
    /// hypervisor writes maps of indefinite length, too.
    fn each<E: From<Malformed>>(
        &mut self,
        major: u8,
        mut read: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = self.argument(major)?;
        loop {
            match &mut left {
                Some(0) => return Ok(()),
                Some(left) => *left -= 1,
                None if self.skip(BREAK) => return Ok(()),
                None => {}
            }
            read(self)?;
        }
    }

    fn length(&mut self, major: u8) -> Result<usize, Malformed> {
        let length = self.argument(major)?.ok_or(Malformed)?;
        usize::try_from(length).map_err(|_| Malformed)
    }

    /// RFC 8949, section 3: the number in the head of an item; none stands for an indefinite length.
    fn argument(&mut self, major: u8) -> Result<Option<u64>, Malformed> {
        let [initial] = self.take_array()?;
        if initial >> 5 != major {
            return Err(Malformed);
        }
        match initial & 0x1f {
            short @ 0..=23 => Ok(Some(short.into())),
            24 => Ok(Some(u8::from_be_bytes(self.take_array()?).into())),
            25 => Ok(Some(u16::from_be_bytes(self.take_array()?).into())),
            26 => Ok(Some(u32::from_be_bytes(self.take_array()?).into())),
            27 => Ok(Some(u64::from_be_bytes(self.take_array()?))),
            31 => Ok(None),
            _ => Err(Malformed),
        }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Writes a byte string, its length in as few bytes as it needs: what is signed is written so (RFC 9052, section 9).
pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEAD: u8 = BYTES << 5;
    let length = bytes.len();
    if let Ok(short @ 0..=23) = u8::try_from(length) {
        out.push(HEAD | short);
    } else if let Ok(length) = u8::try_from(length) {
        out.extend_from_slice(&[HEAD | 24, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(HEAD | 25);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out.push(HEAD | 26);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Reader, push_bytes};

    #[test]
    fn numbers_of_every_width_are_read() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x17], 23),
            (&[0x18, 0xff], 255),
            (&[0x19, 0x01, 0x00], 256),
            (&[0x1a, 0, 1, 0, 0], 65_536),
            (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        ] {
            assert_eq!(Reader::new(bytes).unsigned(), Ok(value));
        }
        assert_eq!(Reader::new(&[0x38, 0x22]).integer(), Ok(-35));
        assert_eq!(
            Reader::new(&[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).integer(),
            Ok(i64::MIN)
        );
        assert_eq!(Reader::new(&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]).integer(), Err(Malformed));
    }

    #[test]
    fn what_ends_early_or_is_something_else_is_malformed() {
        for bytes in [&[][..], &[0x18], &[0x1b, 0, 0], &[0x1c], &[0x1f], &[0x40], &[0xf6]] {
            assert_eq!(Reader::new(bytes).unsigned(), Err(Malformed), "{bytes:02x?}");
        }
        for bytes in
            [&[0x42, 1][..], &[0x5f, 0x41, 0, 0xff], &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(Reader::new(bytes).bytes(), Err(Malformed), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[0x61, 0xff]).text(), Err(Malformed));
    }

    #[test]
    fn byte_strings_are_written_as_short_as_can_be() {
        for (length, head) in [
            (0, &[0x40][..]),
            (23, &[0x57]),
            (24, &[0x58, 24]),
            (255, &[0x58, 255]),
            (256, &[0x59, 1, 0]),
            (65_535, &[0x59, 255, 255]),
        ] {
            let content = vec![7; length];
            let mut out = Vec::new();
            push_bytes(&mut out, &content);
            assert_eq!(out, [head, &content].concat(), "{length}");
            assert_eq!(Reader::new(&out).bytes(), Ok(&content[..]));
        }
    }

    #[test]
    fn lists_end_by_their_number_or_by_a_break() {
        for bytes in [&[0x82, 1, 2][..], &[0x9f, 1, 2, 0xff], &[0xa1, 1, 2], &[0xbf, 1, 2, 0xff]] {
            let mut reader = Reader::new(bytes);
            let mut items = Vec::new();
            let read = |reader: &mut Reader<'_>| {
                items.push(reader.unsigned()?);
                if bytes[0] & 0x20 != 0 {
                    items.push(reader.unsigned()?);
                }
                Ok::<_, Malformed>(())
            };
            let result = if bytes[0] & 0x20 == 0 { reader.array(read) } else { reader.map(read) };
            assert_eq!((result, items, reader.is_at_end()), (Ok(()), vec![1, 2], true));
        }
        let endless = Reader::new(&[0x9f, 1]).array(|reader| reader.unsigned().map(drop));
        assert_eq!(endless, Err(Malformed));
    }
}
