//! `ConnectCustomKeyStore`: asks for a connection, which DescribeCustomKeyStores shows when it is there.

use crate::domain::kms::AccountAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::custom_key_store::{Nothing, OfCustomKeyStore};

pub(super) struct ConnectCustomKeyStore;

impl<'b> Operation<'b> for ConnectCustomKeyStore {
    type Request = OfCustomKeyStore<'b>;
    type Response = Nothing;

    async fn execute(call: &Call<'_>, request: OfCustomKeyStore<'b>) -> Result<Nothing, Error> {
        let key_stores = call.custom_key_stores(AccountAction::ConnectCustomKeyStore)?;
        key_stores.connect(&request.custom_key_store_id).await?;
        Ok(Nothing {})
    }
}
