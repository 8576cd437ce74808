//! `DeleteCustomKeyStore`: forgets a custom key store that is disconnected and empty.

use crate::domain::kms::AccountAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::custom_key_store::{Nothing, OfCustomKeyStore};

pub(super) struct DeleteCustomKeyStore;

impl<'b> Operation<'b> for DeleteCustomKeyStore {
    type Request = OfCustomKeyStore<'b>;
    type Response = Nothing;

    async fn execute(call: &Call<'_>, request: OfCustomKeyStore<'b>) -> Result<Nothing, Error> {
        let key_stores = call.custom_key_stores(AccountAction::DeleteCustomKeyStore)?;
        key_stores.delete(&request.custom_key_store_id).await?;
        Ok(Nothing {})
    }
}
