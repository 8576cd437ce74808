//! Plain data as bytes, between the daemon and its worker processes: both are one program, so there are no versions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::secret::{SecretBytes, grow};

/// What came from the other process is not what it can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message while it is written. It may hold a secret: no copy of it stays behind when the buffer grows.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

/// What is left of a message.
pub(super) struct Reader<'a>(&'a [u8]);

/// Data that can cross. Nothing that is read is trusted: no length makes room for more than what is there.
pub(super) trait Wire: Sized {
    fn put(&self, to: &mut Writer);

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Most messages fit.
const CAPACITY_BYTES: usize = 512;

impl Writer {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(CAPACITY_BYTES)))
    }

    pub(super) fn of(message: &impl Wire) -> Self {
        let mut writer = Self::new();
        message.put(&mut writer);
        writer
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            let capacity = needed.max(2 * self.0.capacity());
            grow(&mut self.0, capacity);
        }
        self.0.extend_from_slice(bytes);
    }

    /// The length, and then the bytes.
    pub(super) fn counted(&mut self, bytes: &[u8]) {
        bytes.len().put(self);
        self.bytes(bytes);
    }

    pub(super) fn list<'t, T: Wire + 't>(&mut self, items: impl ExactSizeIterator<Item = &'t T>) {
        items.len().put(self);
        items.for_each(|item| item.put(self));
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The whole of a message.
    pub(super) fn message<T: Wire>(bytes: &'a [u8]) -> Result<T, Malformed> {
        let mut reader = Self(bytes);
        let message = T::take(&mut reader)?;
        reader.end()?;
        Ok(message)
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let count = usize::take(self)?;
        self.bytes(count)
    }

    pub(super) fn list<T: Wire>(&mut self) -> Result<Vec<T>, Malformed> {
        let count = usize::take(self)?;
        // Each takes a byte at least.
        if count > self.0.len() {
            return Err(Malformed);
        }
        (0..count).map(|_| T::take(self)).collect()
    }
}

macro_rules! numbers {
    ($($Number:ty),+) => {
        $(impl Wire for $Number {
            fn put(&self, to: &mut Writer) {
                to.bytes(&self.to_le_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes = from.bytes(size_of::<Self>())?;
                Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        })+
    };
}

numbers!(u8, u32, u64, i64, usize, i128);

impl Wire for bool {
    fn put(&self, to: &mut Writer) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Wire for () {
    fn put(&self, _: &mut Writer) {}

    fn take(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, to: &mut Writer) {
        to.bytes(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.bytes(N)?.try_into().map_err(|_| Malformed)
    }
}

impl Wire for Vec<u8> {
    fn put(&self, to: &mut Writer) {
        to.counted(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.counted().map(<[u8]>::to_vec)
    }
}

impl Wire for SecretBytes {
    fn put(&self, to: &mut Writer) {
        to.counted(self.expose());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Vec::take(from).map(Self::new)
    }
}

impl Wire for String {
    fn put(&self, to: &mut Writer) {
        to.counted(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        str::from_utf8(from.counted()?).map(str::to_owned).map_err(|_| Malformed)
    }
}

impl Wire for PathBuf {
    fn put(&self, to: &mut Writer) {
        to.counted(self.as_os_str().as_encoded_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        use std::os::unix::ffi::OsStringExt;
        Vec::take(from).map(|bytes| Self::from(std::ffi::OsString::from_vec(bytes)))
    }
}

impl Wire for Duration {
    fn put(&self, to: &mut Writer) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::take(from).map(Self::from_nanos)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, to: &mut Writer) {
        T::put(self, to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::take(from).map(Self::new)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Writer) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, to: &mut Writer) {
        self.is_ok().put(to);
        match self {
            Ok(value) => value.put(to),
            Err(error) => error.put(to),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::take(from)? { T::take(from).map(Ok) } else { E::take(from).map(Err) }
    }
}

impl<T: Wire, U: Wire> Wire for (T, U) {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((T::take(from)?, U::take(from)?))
    }
}

impl Wire for BTreeMap<String, String> {
    fn put(&self, to: &mut Writer) {
        self.len().put(to);
        for (name, value) in self {
            name.put(to);
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(from.list::<(String, String)>()?.into_iter().collect())
    }
}

/// A struct, field by field. A field that is forgotten does not compile.
macro_rules! wire_struct {
    ($Type:ty { $($field:tt),+ $(,)? }) => {
        impl $crate::key_manager::pkcs11::process::codec::Wire for $Type {
            fn put(&self, to: &mut $crate::key_manager::pkcs11::process::codec::Writer) {
                let Self { $($field),+ } = self;
                $($crate::key_manager::pkcs11::process::codec::Wire::put($field, to);)+
            }

            fn take(
                from: &mut $crate::key_manager::pkcs11::process::codec::Reader<'_>,
            ) -> Result<Self, $crate::key_manager::pkcs11::process::codec::Malformed> {
                Ok(Self { $($field: $crate::key_manager::pkcs11::process::codec::Wire::take(from)?),+ })
            }
        }
    };
}

/// An enum: the number of the variant, and what is in it.
macro_rules! wire_enum {
    ($Type:ty { $($number:literal => $Variant:ident $(($($place:ident),+))? $({$($field:ident),+})?),+ $(,)? }) => {
        impl $crate::key_manager::pkcs11::process::codec::Wire for $Type {
            fn put(&self, to: &mut $crate::key_manager::pkcs11::process::codec::Writer) {
                match self {
                    $(Self::$Variant $(($($place),+))? $({$($field),+})? => {
                        to.bytes(&[$number]);
                        $($($crate::key_manager::pkcs11::process::codec::Wire::put($place, to);)+)?
                        $($($crate::key_manager::pkcs11::process::codec::Wire::put($field, to);)+)?
                    })+
                }
            }

            fn take(
                from: &mut $crate::key_manager::pkcs11::process::codec::Reader<'_>,
            ) -> Result<Self, $crate::key_manager::pkcs11::process::codec::Malformed> {
                match <u8 as $crate::key_manager::pkcs11::process::codec::Wire>::take(from)? {
                    $($number => {
                        $($(let $place = $crate::key_manager::pkcs11::process::codec::Wire::take(from)?;)+)?
                        $($(let $field = $crate::key_manager::pkcs11::process::codec::Wire::take(from)?;)+)?
                        Ok(Self::$Variant $(($($place),+))? $({$($field),+})?)
                    })+
                    _ => Err($crate::key_manager::pkcs11::process::codec::Malformed),
                }
            }
        }
    };
}

/// Enumerations that know all their variants, by their place.
macro_rules! wire_words {
    ($($Words:ty),+ $(,)?) => {
        $(impl $crate::key_manager::pkcs11::process::codec::Wire for $Words {
            fn put(&self, to: &mut $crate::key_manager::pkcs11::process::codec::Writer) {
                let place = Self::ALL.iter().position(|word| word == self);
                to.bytes(&[place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)]);
            }

            fn take(
                from: &mut $crate::key_manager::pkcs11::process::codec::Reader<'_>,
            ) -> Result<Self, $crate::key_manager::pkcs11::process::codec::Malformed> {
                let place = <u8 as $crate::key_manager::pkcs11::process::codec::Wire>::take(from)?;
                let word = Self::ALL.get(usize::from(place)).copied();
                word.ok_or($crate::key_manager::pkcs11::process::codec::Malformed)
            }
        })+
    };
}

/// Lists of these.
macro_rules! wire_lists {
    ($($Item:ty),+ $(,)?) => {
        $(impl $crate::key_manager::pkcs11::process::codec::Wire for Vec<$Item> {
            fn put(&self, to: &mut $crate::key_manager::pkcs11::process::codec::Writer) {
                to.list(self.iter());
            }

            fn take(
                from: &mut $crate::key_manager::pkcs11::process::codec::Reader<'_>,
            ) -> Result<Self, $crate::key_manager::pkcs11::process::codec::Malformed> {
                from.list()
            }
        })+
    };
}

pub(super) use {wire_enum, wire_lists, wire_struct, wire_words};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Malformed, Reader, Wire, Writer};
    use crate::secret::SecretBytes;

    fn crossed<T: Wire>(value: &T) -> T {
        Reader::message(Writer::of(value).as_bytes()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let secret = SecretBytes::new(vec![7; 5000]);
        assert_eq!(crossed(&secret), secret);
        let map = BTreeMap::from([("A".to_owned(), "b".to_owned()), ("C".to_owned(), String::new())]);
        assert_eq!(crossed(&map), map);
        let nested: Option<Result<u64, String>> = Some(Err("no".to_owned()));
        assert_eq!(crossed(&nested), nested);
    }

    #[test]
    fn a_length_that_is_not_there_makes_no_room() {
        let mut writer = Writer::new();
        u64::MAX.put(&mut writer);
        assert_eq!(Reader::message::<Vec<u8>>(writer.as_bytes()), Err(Malformed));
        assert_eq!(Reader::message::<BTreeMap<String, String>>(writer.as_bytes()), Err(Malformed));
    }

    #[test]
    fn what_is_left_over_is_refused() {
        assert_eq!(Reader::message::<bool>(&[1, 0]), Err(Malformed));
        assert_eq!(Reader::message::<bool>(&[2]), Err(Malformed));
        assert_eq!(Reader::message::<String>(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), Err(Malformed));
    }
}
