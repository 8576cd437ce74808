//! `CancelKeyDeletion`: takes a key back from deletion; it is disabled then.

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::{NamesKey, OfKey};

pub(super) struct CancelKeyDeletion;

impl<'b> Operation<'b> for CancelKeyDeletion {
    type Request = OfKey<'b>;
    type Response = NamesKey;

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<NamesKey, Error> {
        let key = call.open(KeyAction::CancelKeyDeletion, &request.key_id, Use::default()).await?;
        let has_material = key.key().has_all_material(call.now());
        key.replace(|key| {
            key.state = if has_material { KeyState::Disabled } else { KeyState::PendingImport };
            key.deletion = None;
        })
        .await?;
        Ok(NamesKey { key_id: key.arn().to_owned() })
    }
}
