//! `DeleteImportedKeyMaterial`: the key cannot be used until the same material is imported again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use, has_generations};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::import_key_material::material_id;

pub(super) struct DeleteImportedKeyMaterial;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    key_material_id: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for DeleteImportedKeyMaterial {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::DeleteImportedKeyMaterial, &request.key_id, Use::default()).await?;
        let named = material_id(request.key_material_id.as_deref())?;
        if named.is_some() && !has_generations(key.key()) {
            let text = format!("KeyMaterialId is not valid for the key spec {}.", key.key().spec);
            return Err(Error::UnsupportedOperation(text));
        }
        let deleted = key.delete_material(named).await?;
        let told = deleted.filter(|_| key.key().has_material_ids());
        Ok(Response { key_id: key.arn().to_owned(), key_material_id: told.map(|id| id.to_string()) })
    }
}
