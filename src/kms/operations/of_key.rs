//! Requests and answers that name a key and nothing else.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfKey<'b> {
    #[serde(borrow)]
    pub(super) key_id: Cow<'b, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamesKey {
    pub(super) key_id: String,
}
