//! Points in time as KMS stores and shows them.

use serde::{Serialize, Serializer};

/// Milliseconds since the Unix epoch. On the wire: seconds with a fraction (AWS JSON 1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

impl UnixMillis {
    /// To the millisecond; what no date of ours can be is the nearest that can.
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates, and of NaN gives 0")]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }

    #[must_use]
    pub const fn plus_days(self, days: u16) -> Self {
        Self(self.0.saturating_add(days as i64 * MILLIS_PER_DAY))
    }
}

impl Serialize for UnixMillis {
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 287396")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}
