//! `[hedging]`: how many requests may be asked of a second HSM because the first takes long.

use serde::Deserialize;

use crate::config::review::Review;

const TABLE: &str = "hedging";
const SHARE_MAX_PERCENT: u8 = 100;

/// `[hedging]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hedging {
    /// Of the requests of a key store, a cluster or the KMS API; none with zero.
    pub share_max_percent: u8,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    share_max_percent: u8,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { share_max_percent: 5 }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self { share_max_percent: Hedging::default().share_max_percent }
    }
}

pub(super) fn hedging(review: &mut Review<'_>, raw: &Raw) -> Hedging {
    let share = review.within(TABLE, "share_max_percent", raw.share_max_percent, 0..=SHARE_MAX_PERCENT);
    Hedging { share_max_percent: share }
}
