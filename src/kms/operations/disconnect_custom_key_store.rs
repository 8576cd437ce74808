//! `DisconnectCustomKeyStore`: takes the keys of a custom key store out of use.

use crate::domain::kms::AccountAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::custom_key_store::{Nothing, OfCustomKeyStore};

pub(super) struct DisconnectCustomKeyStore;

impl<'b> Operation<'b> for DisconnectCustomKeyStore {
    type Request = OfCustomKeyStore<'b>;
    type Response = Nothing;

    async fn execute(call: &Call<'_>, request: OfCustomKeyStore<'b>) -> Result<Nothing, Error> {
        let key_stores = call.custom_key_stores(AccountAction::DisconnectCustomKeyStore)?;
        key_stores.disconnect(&request.custom_key_store_id).await?;
        Ok(Nothing {})
    }
}
