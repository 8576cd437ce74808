//! What a request says to policies by the parameters that it leaves out.

use std::borrow::Cow;

use crate::domain::kms::{
    AccountAction, Algorithm, ConditionKey, EncapsulationAlgorithm, EncryptionAlgorithm, KeyAction,
    KeyAgreementAlgorithm, KeySpec, KeyUsage, MessageType, MultiRegionKeyType, Origin,
};
use crate::kms::algorithm;
use crate::kms::encryption_algorithm;
use crate::kms::operations::{create_key, enable_key_rotation, schedule_key_deletion};
use crate::kms::permissions::Check;

/// The condition keys of a request that says `given` of some, and of its other parameters nothing.
pub fn default_conditions<'g>(
    check: Check,
    given: impl Fn(ConditionKey) -> Option<&'g str>,
) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    match check {
        Check::Account(action) | Check::AccountIfTagged(action) => match action {
            AccountAction::CreateKey | AccountAction::TagResource => of_new_key(given),
            AccountAction::ConnectCustomKeyStore
            | AccountAction::CreateCustomKeyStore
            | AccountAction::DeleteCustomKeyStore
            | AccountAction::DescribeCustomKeyStores
            | AccountAction::DisconnectCustomKeyStore
            | AccountAction::GenerateRandom
            | AccountAction::ListAliases
            | AccountAction::ListKeys
            | AccountAction::ListRetirableGrants
            | AccountAction::UpdateCustomKeyStore => Vec::new(),
        },
        Check::Alias(_) => Vec::new(),
        Check::Key(KeyAction::EnableKeyRotation) => {
            vec![enable_key_rotation::condition(enable_key_rotation::PERIOD_DAYS_DEFAULT)]
        }
        Check::Key(KeyAction::ScheduleKeyDeletion) => {
            vec![schedule_key_deletion::condition(schedule_key_deletion::WINDOW_DAYS_DEFAULT)]
        }
        Check::Key(KeyAction::Decapsulate | KeyAction::Encapsulate) => {
            vec![algorithm::condition(Algorithm::Encapsulation(EncapsulationAlgorithm::MlKem))]
        }
        Check::Key(KeyAction::DeriveSharedSecret) => {
            vec![algorithm::condition(Algorithm::KeyAgreement(KeyAgreementAlgorithm::Ecdh))]
        }
        Check::Key(KeyAction::Sign | KeyAction::Verify) => {
            vec![algorithm::message_type_condition(MessageType::default())]
        }
        Check::Key(action) if action.required_permission().has(ConditionKey::EncryptionAlgorithm) => {
            vec![encryption_algorithm::condition(EncryptionAlgorithm::default())]
        }
        Check::Key(_) => Vec::new(),
    }
}

/// The older names of a condition key have the same value.
fn of_new_key<'g>(
    given: impl Fn(ConditionKey) -> Option<&'g str>,
) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    let either = |key, older| given(key).or_else(|| given(older));
    let spec = either(ConditionKey::KeySpec, ConditionKey::CustomerMasterKeySpec).and_then(KeySpec::parse);
    let usage =
        either(ConditionKey::KeyUsage, ConditionKey::CustomerMasterKeyUsage).and_then(KeyUsage::parse);
    let kind = (spec.unwrap_or(create_key::SPEC_DEFAULT), usage.unwrap_or(create_key::USAGE_DEFAULT));
    let origin = given(ConditionKey::KeyOrigin).and_then(Origin::parse);
    let kind_of = given(ConditionKey::MultiRegionKeyType).and_then(MultiRegionKeyType::parse);
    let multi_region = (given(ConditionKey::MultiRegion) == Some("true"))
        .then(|| kind_of.unwrap_or(MultiRegionKeyType::Primary));
    create_key::conditions_of_kind(kind, origin.unwrap_or(create_key::ORIGIN_DEFAULT), multi_region).collect()
}
