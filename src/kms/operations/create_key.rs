//! `CreateKey`: a key, whole or not at all.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{AccountAction, KeySpec, KeyUsage, Origin};
use crate::gate::kms::{Call, NewKey, Refused, Use};
use crate::kms::error::Error;
use crate::kms::key_policy;
use crate::kms::operations::metadata::KeyMetadata;
use crate::kms::operations::{NO_CUSTOM_KEY_STORES, Operation};
use crate::kms::tags;
use crate::kms::tags::TagEntry;
use crate::store::StoreError;

pub(super) struct CreateKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow, default)]
    policy: Option<Cow<'b, str>>,
    description: Option<String>,
    key_usage: Option<KeyUsage>,
    customer_master_key_spec: Option<KeySpec>,
    key_spec: Option<KeySpec>,
    origin: Option<Origin>,
    #[serde(borrow, default)]
    custom_key_store_id: Option<Cow<'b, str>>,
    bypass_policy_lockout_safety_check: Option<bool>,
    tags: Option<Vec<TagEntry>>,
    multi_region: Option<bool>,
    #[serde(borrow, default)]
    xks_key_id: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_metadata: KeyMetadata,
}

impl<'b> Operation<'b> for CreateKey {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let (spec, usage) = request.kind()?;
        let (origin, multi_region) = request.place()?;
        let bypass = request.bypass_policy_lockout_safety_check;
        let tags = request.tags.unwrap_or_default();
        let mut conditions = tags::conditions(&tags);
        conditions.extend([
            ("kms:KeySpec".into(), spec.as_str().into()),
            ("kms:KeyUsage".into(), usage.as_str().into()),
            ("kms:KeyOrigin".into(), origin.as_str().into()),
            ("kms:MultiRegion".into(), if multi_region { "true" } else { "false" }.into()),
        ]);
        conditions.extend(key_policy::bypass_condition(bypass));
        let wanted = Use { conditions: &conditions, ..Use::default() };
        let account = call.account(AccountAction::CreateKey, wanted)?;
        if !tags.is_empty() {
            // AWS KMS Developer Guide, Controlling access to tags: the key policy is not asked.
            call.account(AccountAction::TagResource, wanted)?;
        }
        account.supports(spec).map_err(Error::UnsupportedOperation)?;
        let policy: Arc<str> = match &request.policy {
            Some(policy) => {
                key_policy::check(call, policy, bypass.unwrap_or_default())?;
                policy.as_ref().into()
            }
            None => key_policy::default_policy(account.scope()).into(),
        };
        drop(conditions);
        let new = NewKey {
            description: request.description.unwrap_or_default(),
            spec,
            usage,
            origin,
            multi_region,
            policy,
            tags: tags::merged(&[], tags)?,
        };
        let key = account.create_key(new).await.map_err(explain)?;
        Ok(Response { key_metadata: KeyMetadata::of(&key) })
    }
}

impl Request<'_> {
    /// Spec and usage, which must go together.
    fn kind(&self) -> Result<(KeySpec, KeyUsage), Error> {
        let spec = match (self.key_spec, self.customer_master_key_spec) {
            (Some(_), Some(_)) => {
                return Err(Error::validation(
                    "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec \
                     is deprecated.",
                ));
            }
            (Some(spec), None) | (None, Some(spec)) => spec,
            (None, None) => KeySpec::SymmetricDefault,
        };
        let usage = match self.key_usage {
            Some(usage) => usage,
            None if spec == KeySpec::SymmetricDefault => KeyUsage::EncryptDecrypt,
            None => {
                return Err(Error::validation(
                    "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
                ));
            }
        };
        if spec.permits(usage) {
            Ok((spec, usage))
        } else {
            Err(Error::validation(format!("KeyUsage {usage} is not compatible with KeySpec {spec}")))
        }
    }

    /// Where the material comes from, and whether other Regions may have the key too.
    fn place(&self) -> Result<(Origin, bool), Error> {
        let origin = self.origin.unwrap_or(Origin::AwsKms);
        let is_custom = match origin {
            Origin::AwsCloudHsm | Origin::ExternalKeyStore => true,
            Origin::AwsKms | Origin::External => false,
        };
        if is_custom || self.custom_key_store_id.is_some() || self.xks_key_id.is_some() {
            return Err(Error::UnsupportedOperation(NO_CUSTOM_KEY_STORES.to_owned()));
        }
        Ok((origin, self.multi_region.unwrap_or_default()))
    }
}

fn explain(refused: Refused) -> Error {
    if refused == Refused::Store(StoreError::LimitExceeded) {
        let text = "The account has as many keys in this Region as it may have.";
        return Error::LimitExceeded(text.to_owned());
    }
    refused.into()
}
