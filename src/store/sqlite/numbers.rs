//! Our numbers as the 64-bit signed ones of SQLite.

use crate::store::sqlite::fault::Fault;

/// A number that has to stay what it is.
pub(super) fn stored(number: u64, column: &'static str) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Value(column))
}

pub(super) fn read<T: TryFrom<i64>>(number: i64, column: &'static str) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| Fault::Value(column))
}

/// A bound: more than can be stored is as good as none.
pub(super) fn bound(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
