//! `ImportKeyMaterial`: takes up material that was wrapped with what GetParametersForImport gave.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{ConditionKey, ExpirationModel, ImportType, Key, KeyAction, MaterialId, UnixMillis};
use crate::gate::kms::{BroughtMaterial, Call, ImportTerms, Use, has_generations, import_type_of};
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::Operation;

/// `ValidTo` is at most so far ahead.
const VALID_DAYS_MAX: u16 = 365;

pub(super) struct ImportKeyMaterial;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    import_token: SecretBlob,
    encrypted_key_material: SecretBlob,
    /// Seconds since the Unix epoch.
    valid_to: Option<f64>,
    expiration_model: Option<ExpirationModel>,
    import_type: Option<ImportType>,
    key_material_description: Option<String>,
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

impl<'b> Operation<'b> for ImportKeyMaterial {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let conditions = request.conditions();
        let usage = Use { conditions: &conditions, ..Use::default() };
        let key = call.open(KeyAction::ImportKeyMaterial, &request.key_id, usage).await?;
        let terms = ImportTerms {
            valid_to: request.valid_to(call.now())?,
            kind: request.import_type(key.key())?,
            description: request.key_material_description.clone(),
            material_id: request.material_id()?,
        };
        let brought = BroughtMaterial {
            token: request.import_token.expose().to_vec(),
            encrypted: request.encrypted_key_material.expose().to_vec(),
            terms,
        };
        let material = key.import_material(brought).await?;
        call.due_work_changed();
        Ok(Response {
            key_id: key.arn().to_owned(),
            key_material_id: key.key().has_material_ids().then(|| material.to_string()),
        })
    }
}

impl Request<'_> {
    /// Policies see the model that is said, and a date as a number of seconds.
    fn conditions(&self) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        let model = self.expiration_model.map(|model| (ConditionKey::ExpirationModel, model.as_str().into()));
        let valid_to = self.valid_to.map(|seconds| (ConditionKey::ValidTo, seconds.to_string().into()));
        [model, valid_to].into_iter().flatten().map(|(key, value)| (key.as_str().into(), value)).collect()
    }

    fn valid_to(&self, now: UnixMillis) -> Result<Option<UnixMillis>, Error> {
        match (self.expiration_model.unwrap_or(ExpirationModel::Expires), self.valid_to) {
            (ExpirationModel::DoesNotExpire, None) => Ok(None),
            (ExpirationModel::DoesNotExpire, Some(_)) => Err(Error::validation(
                "A validTo date must not be specified if key material does not expire.",
            )),
            (ExpirationModel::Expires, None) => Err(Error::validation(
                "A validTo date must be set if the expiration model is KEY_MATERIAL_EXPIRES.",
            )),
            (ExpirationModel::Expires, Some(seconds)) => {
                let valid_to = UnixMillis::from_seconds(seconds);
                if valid_to <= now || valid_to > now.plus_days(VALID_DAYS_MAX) {
                    return Err(Error::validation(
                        "The validTo date must be in the future, and at most 365 days from now.",
                    ));
                }
                Ok(Some(valid_to))
            }
        }
    }

    /// Generations of material are of symmetric encryption keys only.
    fn import_type(&self, key: &Key) -> Result<ImportType, Error> {
        let is_of_generations = self.import_type == Some(ImportType::New) && !key.materials.is_empty()
            || self.key_material_description.is_some()
            || self.key_material_id.is_some();
        if is_of_generations && !has_generations(key) {
            return Err(Error::UnsupportedOperation(format!(
                "ImportType, KeyMaterialDescription and KeyMaterialId are only valid for symmetric encryption keys, \
                 not for the key spec {}.",
                key.spec
            )));
        }
        let import_type = self.import_type.unwrap_or_else(|| import_type_of(key));
        if import_type == ImportType::New && self.key_material_id.is_some() {
            return Err(Error::validation("KeyMaterialId is not valid when ImportType is NEW_KEY_MATERIAL."));
        }
        Ok(import_type)
    }

    fn material_id(&self) -> Result<Option<MaterialId>, Error> {
        material_id(self.key_material_id.as_deref())
    }
}

/// `KeyMaterialId` of a request, whose form was checked.
pub(super) fn material_id(text: Option<&str>) -> Result<Option<MaterialId>, Error> {
    let invalid = || Error::validation("KeyMaterialId is not valid.");
    text.map(|text| MaterialId::parse(text).ok_or_else(invalid)).transpose()
}
