//! What the example request for an operation has for each condition key.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the kinds that it is about, and the rest is one"
)]

use holdfast::domain::kms::ConditionKey;
use holdfast::kms::OperationName;
use serde_json::{Value, json};

use crate::kms_permissions_walk::scene::{
    AGREEMENT, CONTEXT, EXPIRATION_MODEL, GRANTEE, KEM, MAC, MESSAGE_TYPE, NEW_TAG, PAIR_SPEC, RETIRER,
    SIGNING, Scene, TAG, WRAPPING, is_of_related_keys, kind, origin,
};
use crate::support::regions::EUROPE;

/// A condition key as a policy names it.
pub(super) fn name(key: ConditionKey) -> String {
    let members = [
        (ConditionKey::EncryptionContext, CONTEXT.0),
        (ConditionKey::RecipientAttestation, "PCR0"),
        (ConditionKey::RequestTag, NEW_TAG.0),
        (ConditionKey::ResourceTag, TAG.0),
    ];
    let member = members.iter().find(|(family, _)| *family == key).map_or("", |(_, member)| *member);
    format!("{key}{member}")
}

/// The value that a request has for the check in this place.
pub(super) fn value(scene: &Scene, check: usize, key: ConditionKey) -> Option<String> {
    let operation = scene.operation;
    let text = match key {
        ConditionKey::BypassPolicyLockoutSafetyCheck => "true",
        ConditionKey::CallerAccount => crate::support::kms::ACCOUNT.id,
        ConditionKey::CustomerMasterKeySpec | ConditionKey::KeySpec => kind(operation).0,
        ConditionKey::CustomerMasterKeyUsage | ConditionKey::KeyUsage => kind(operation).1,
        ConditionKey::DataKeyPairSpec => PAIR_SPEC,
        ConditionKey::EncryptionAlgorithm => match operation {
            OperationName::Decapsulate | OperationName::Encapsulate => KEM,
            _ => "SYMMETRIC_DEFAULT",
        },
        ConditionKey::KeyAgreementAlgorithm => AGREEMENT,
        ConditionKey::MacAlgorithm => MAC,
        ConditionKey::MessageType => MESSAGE_TYPE,
        ConditionKey::SigningAlgorithm => SIGNING,
        ConditionKey::EncryptionContext => CONTEXT.1,
        ConditionKey::EncryptionContextKeys => CONTEXT.0,
        ConditionKey::GrantConstraintType => "EncryptionContextEquals",
        ConditionKey::GrantIsForAwsResource | ConditionKey::ReEncryptOnSameKey => "false",
        ConditionKey::MultiRegion => ["false", "true"][usize::from(is_of_related_keys(operation))],
        // The first key is the primary, and every other one a replica.
        ConditionKey::MultiRegionKeyType if is_of_related_keys(operation) => {
            ["PRIMARY", "REPLICA"][usize::from(check > 0)]
        }
        ConditionKey::PrimaryRegion | ConditionKey::ReplicaRegion => EUROPE,
        ConditionKey::GrantOperations => "Encrypt",
        ConditionKey::GranteePrincipal => GRANTEE,
        ConditionKey::KeyOrigin => origin(operation),
        ConditionKey::ExpirationModel => EXPIRATION_MODEL,
        ConditionKey::ValidTo => return Some(scene.valid_to.to_string()),
        ConditionKey::WrappingAlgorithm => WRAPPING.0,
        ConditionKey::WrappingKeySpec => WRAPPING.1,
        ConditionKey::RequestAlias | ConditionKey::ResourceAliases => {
            return Some(scene.key(check).alias.clone());
        }
        // Says which tags, not which values.
        ConditionKey::RequestTag if operation == OperationName::UntagResource => return None,
        ConditionKey::RequestTag => NEW_TAG.1,
        ConditionKey::ResourceTag => TAG.1,
        ConditionKey::RetiringPrincipal => RETIRER,
        ConditionKey::RotationPeriodInDays => "365",
        ConditionKey::ScheduleKeyDeletionPendingWindowInDays => "30",
        ConditionKey::TagKeys => NEW_TAG.0,
        // The other examples are about single-Region keys, nobody attests anything, and users call by themselves.
        ConditionKey::MultiRegionKeyType | ConditionKey::RecipientAttestation | ConditionKey::ViaService => {
            return None;
        }
        // The grantee and who may retire are users, and no resource is demanded.
        ConditionKey::GrantConstraintSourceArn
        | ConditionKey::GranteeServicePrincipal
        | ConditionKey::RetiringServicePrincipal => return None,
    };
    Some(text.to_owned())
}

/// The value that is another one if a service passes the request on.
pub(super) fn value_by_service(scene: &Scene, check: usize, key: ConditionKey) -> Option<String> {
    let via = format!("s3.{}.amazonaws.com", scene.region(check));
    let values = [(ConditionKey::GrantIsForAwsResource, "true".to_owned()), (ConditionKey::ViaService, via)];
    values.into_iter().find(|(own, _)| *own == key).map(|(_, value)| value)
}

/// A condition that holds if the key has this value.
pub(super) fn is(key: ConditionKey, value: &str) -> Value {
    let is_number = matches!(
        key,
        ConditionKey::RotationPeriodInDays
            | ConditionKey::ScheduleKeyDeletionPendingWindowInDays
            | ConditionKey::ValidTo
    );
    let operator = if matches!(value, "true" | "false") {
        "Bool"
    } else if is_number {
        "NumericEquals"
    } else if key.is_multivalued() {
        "ForAnyValue:StringEquals"
    } else {
        "StringEquals"
    };
    json!({operator: {name(key): value}})
}

/// A condition on another value than this.
pub(super) fn is_not(key: ConditionKey, value: &str) -> Value {
    let other = match value {
        "true" => "false".to_owned(),
        "false" => "true".to_owned(),
        number if number.parse::<u32>().is_ok() => format!("1{number}"),
        text => format!("{text}2"),
    };
    is(key, &other)
}

/// A condition that holds if the key is there at all.
pub(super) fn is_any(key: ConditionKey) -> Value {
    let operator = if key.is_multivalued() { "ForAnyValue:StringLike" } else { "StringLike" };
    json!({operator: {name(key): "*"}})
}
