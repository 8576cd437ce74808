//! `CreateKey`: a key, whole or not at all.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    AccountAction, ConditionKey, CustomKeyStoreId, Key, KeyKind, KeyPlace, KeySpec, KeyUsage,
    MultiRegionKeyType, Origin, RelatedKeys, XksKeyId,
};
use crate::gate::kms::{Call, Created, NewKey, Refused, Use};
use crate::kms::error::Error;
use crate::kms::key_policy;
use crate::kms::operations::Operation;
use crate::kms::operations::metadata::KeyMetadata;
use crate::kms::operations::sm2::refuse_sm2;
use crate::kms::tags;
use crate::kms::tags::TagEntry;
use crate::store::StoreError;

/// Of a request that does not say what key it is to be.
pub(in crate::kms) const SPEC_DEFAULT: KeySpec = KeySpec::SymmetricDefault;
pub(in crate::kms) const USAGE_DEFAULT: KeyUsage = KeyUsage::EncryptDecrypt;
pub(in crate::kms) const ORIGIN_DEFAULT: Origin = Origin::AwsKms;

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
        let (origin, multi_region) =
            (request.origin.unwrap_or(ORIGIN_DEFAULT), request.multi_region.unwrap_or_default());
        let place = request.place(origin)?;
        refuse_import(origin, spec)?;
        refuse_in_custom_key_store(&place, spec, multi_region)?;
        let bypass = request.bypass_policy_lockout_safety_check;
        let tags = request.tags.unwrap_or_default();
        let mut conditions = tags::conditions(&tags);
        let kind = multi_region.then_some(MultiRegionKeyType::Primary);
        conditions.extend(conditions_of_kind((spec, usage), origin, kind));
        conditions.extend(key_policy::bypass_condition(bypass));
        let wanted = Use { conditions: &conditions, ..Use::default() };
        let account = call.account(AccountAction::CreateKey, wanted)?;
        if !tags.is_empty() {
            // AWS KMS Developer Guide, Controlling access to tags: the key policy is not asked.
            call.account(AccountAction::TagResource, wanted)?;
        }
        refuse_sm2("KeySpec", spec)?;
        account.supports(KeyKind { spec, usage }).map_err(Error::UnsupportedOperation)?;
        let policy: Arc<str> = match &request.policy {
            Some(policy) => {
                key_policy::check(call, None, policy, bypass)?;
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
            place,
            multi_region,
            policy,
            tags: tags::merged(&[], tags)?,
        };
        let Created { key, key_store } = account.create_key(new).await.map_err(explain)?;
        let metadata = KeyMetadata::of(&key, key.state, key_store.as_ref());
        let related = key.multi_region.map(|_| RelatedKeys::default().and(Key::clone(&key)));
        Ok(Response { key_metadata: metadata.related_to(&related.unwrap_or_default()) })
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
            (None, None) => SPEC_DEFAULT,
        };
        let usage = match self.key_usage {
            Some(usage) => usage,
            None if spec == KeySpec::SymmetricDefault => USAGE_DEFAULT,
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

    /// In which key store the key is to be.
    fn place(&self, origin: Origin) -> Result<KeyPlace, Error> {
        let store = self.custom_key_store_id.as_deref().and_then(CustomKeyStoreId::parse);
        let xks_key_id = self.xks_key_id.as_deref().and_then(XksKeyId::parse);
        match (origin, store, xks_key_id) {
            (Origin::AwsKms | Origin::External, None, None) => Ok(KeyPlace::Default),
            (Origin::AwsCloudHsm, Some(store), None) => Ok(KeyPlace::CloudHsm { store }),
            (Origin::ExternalKeyStore, Some(store), Some(xks_key_id)) => {
                Ok(KeyPlace::External { store, xks_key_id })
            }
            (Origin::AwsCloudHsm | Origin::ExternalKeyStore, None, _) => {
                Err(Error::validation(format!("CustomKeyStoreId is required when Origin is {origin}.")))
            }
            (Origin::ExternalKeyStore, Some(_), None) => {
                Err(Error::validation("XksKeyId is required when Origin is EXTERNAL_KEY_STORE."))
            }
            (Origin::AwsKms | Origin::AwsCloudHsm | Origin::External, _, Some(_)) => {
                Err(Error::validation("XksKeyId is valid only when Origin is EXTERNAL_KEY_STORE."))
            }
            (Origin::AwsKms | Origin::External, Some(_), None) => Err(Error::validation(
                "CustomKeyStoreId is valid only when Origin is AWS_CLOUDHSM or EXTERNAL_KEY_STORE.",
            )),
        }
    }
}

/// What policies can ask of the key to come. The older names are honoured too.
pub(in crate::kms) fn conditions_of_kind<'c>(
    (spec, usage): (KeySpec, KeyUsage),
    origin: Origin,
    multi_region: Option<MultiRegionKeyType>,
) -> impl Iterator<Item = (Cow<'c, str>, Cow<'c, str>)> {
    let conditions = [
        Some((ConditionKey::CustomerMasterKeySpec, spec.as_str())),
        Some((ConditionKey::CustomerMasterKeyUsage, usage.as_str())),
        Some((ConditionKey::KeyOrigin, origin.as_str())),
        Some((ConditionKey::KeySpec, spec.as_str())),
        Some((ConditionKey::KeyUsage, usage.as_str())),
        Some((ConditionKey::MultiRegion, if multi_region.is_some() { "true" } else { "false" })),
        multi_region.map(|kind| (ConditionKey::MultiRegionKeyType, kind.as_str())),
    ];
    conditions.into_iter().flatten().map(|(key, value)| (key.as_str().into(), value.into()))
}

/// AWS KMS Developer Guide, Importing key material: which kinds of keys can have it.
fn refuse_import(origin: Origin, spec: KeySpec) -> Result<(), Error> {
    if origin == Origin::External && !spec.is_importable() {
        let text = format!("Key material cannot be imported into KMS keys with the key spec {spec}.");
        return Err(Error::UnsupportedOperation(text));
    }
    Ok(())
}

/// AWS KMS Developer Guide, Custom key stores: symmetric encryption keys of one Region.
fn refuse_in_custom_key_store(place: &KeyPlace, spec: KeySpec, multi_region: bool) -> Result<(), Error> {
    if place.custom_key_store().is_none() {
        return Ok(());
    }
    if spec != KeySpec::SymmetricDefault {
        let text = format!("Custom key stores do not support KMS keys with the key spec {spec}.");
        return Err(Error::UnsupportedOperation(text));
    }
    if multi_region {
        let text = "Custom key stores do not support multi-Region keys.";
        return Err(Error::UnsupportedOperation(text.to_owned()));
    }
    Ok(())
}

pub(super) fn explain(refused: Refused) -> Error {
    if refused == Refused::Store(StoreError::LimitExceeded) {
        let text = "The account has as many keys in this Region as it may have.";
        return Error::LimitExceeded(text.to_owned());
    }
    refused.into()
}
