//! What of each operation of the KMS API is recorded (AWS KMS Developer Guide, Examples of AWS KMS log entries).

use crate::kms::audit::parameters::{Form, Parameter, recorded};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;

/// What the record of an operation has.
#[derive(Clone, Copy, Debug)]
pub(in crate::kms) struct Row {
    /// `requestParameters`; nothing: null.
    pub(super) parameters: Option<&'static [Parameter]>,
    /// `readOnly`: also what uses a key.
    pub(in crate::kms) read_only: bool,
    pub(super) response: ResponseElements,
    pub(super) resources: Order,
    pub(super) adds: Adds,
}

/// `responseElements` of a call that was served; of every other one they are null.
#[derive(Clone, Copy, Debug)]
pub(super) enum ResponseElements {
    /// What is answered, as far as it is named here.
    Answer(&'static [Parameter]),
    /// The same, and the ARN of the key.
    AnswerAndKeyArn(&'static [Parameter]),
    /// `keyId`: the ARN of the key, whatever is answered.
    KeyArn,
    Null,
}

/// `resources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Not even the field.
    Absent,
    AliasThenKey,
    KeyThenAlias,
    /// Of ReEncrypt the source before the destination.
    Keys,
}

/// `additionalEventData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adds {
    /// Of a new key in a cluster, its key object.
    BackingKey,
    /// Of a key in a cluster, its key store and key objects.
    BackingKeys,
    /// The id of the grant.
    Grant,
    /// Name and cluster of the custom key store that the request names.
    KeyStore,
    Nothing,
    /// Of a key in a custom key store, where it is; of one that the software provider computes with, that.
    Place,
    /// The latter alone.
    Provider,
    /// The custom key store that random bytes came from.
    RandomSource,
}

const ALIAS_NAME: Parameter = Parameter::scalar("AliasName", "aliasName");
const BYPASS: Parameter =
    Parameter::scalar("BypassPolicyLockoutSafetyCheck", "bypassPolicyLockoutSafetyCheck").or("false");
/// The guide calls it so in key store records, and `cloudHsmClusterId` in the metadata of keys.
const CLUSTER_ID: Parameter = Parameter::scalar("CloudHsmClusterId", "clusterId");
const CUSTOM_KEY_STORE_ID: Parameter = Parameter::scalar("CustomKeyStoreId", "customKeyStoreId");
const CUSTOM_KEY_STORE_NAME: Parameter = Parameter::scalar("CustomKeyStoreName", "customKeyStoreName");
const DESCRIPTION: Parameter = Parameter::scalar("Description", "description");
const DRY_RUN: Parameter = Parameter::scalar("DryRun", "dryRun");
const DRY_RUN_MODIFIERS: Parameter = texts("DryRunModifiers", "dryRunModifiers");
const ENCAPSULATION_ALGORITHM: Parameter =
    Parameter::scalar("EncapsulationAlgorithm", "encapsulationAlgorithm");
const ENCRYPTION_ALGORITHM: Parameter =
    Parameter::scalar("EncryptionAlgorithm", "encryptionAlgorithm").or(SYMMETRIC_DEFAULT);
const ENCRYPTION_CONTEXT: Parameter = Parameter::new("EncryptionContext", "encryptionContext", Form::Map);
const GRANT_ID: Parameter = Parameter::scalar("GrantId", "grantId");
const GRANTEE_PRINCIPAL: Parameter = Parameter::scalar("GranteePrincipal", "granteePrincipal");
const GRANTEE_SERVICE: Parameter = Parameter::scalar("GranteeServicePrincipal", "granteeServicePrincipal");
const KEY_ID: Parameter = Parameter::scalar("KeyId", "keyId");
const KEY_MATERIAL_ID: Parameter = Parameter::scalar("KeyMaterialId", "keyMaterialId");
const KEY_PAIR_SPEC: Parameter = Parameter::scalar("KeyPairSpec", "keyPairSpec");
const KEY_SPEC: Parameter = Parameter::scalar("KeySpec", "keySpec");
const LIMIT: Parameter = Parameter::scalar("Limit", "limit");
const MAC_ALGORITHM: Parameter = Parameter::scalar("MacAlgorithm", "macAlgorithm");
const MARKER: Parameter = Parameter::scalar("Marker", "marker");
const MESSAGE_TYPE: Parameter = Parameter::scalar("MessageType", "messageType");
const NUMBER_OF_BYTES: Parameter = Parameter::scalar("NumberOfBytes", "numberOfBytes");
const POLICY: Parameter = Parameter::scalar("Policy", "policy");
const POLICY_NAME: Parameter = Parameter::scalar("PolicyName", "policyName").or("\"default\"");
const RETIRING_PRINCIPAL: Parameter = Parameter::scalar("RetiringPrincipal", "retiringPrincipal");
const RETIRING_SERVICE: Parameter = Parameter::scalar("RetiringServicePrincipal", "retiringServicePrincipal");
const SIGNING_ALGORITHM: Parameter = Parameter::scalar("SigningAlgorithm", "signingAlgorithm");
const TAG_KEYS: Parameter = texts("TagKeys", "tagKeys");
const TAGS: Parameter = Parameter::new("Tags", "tags", Form::List(&TAG));
const TARGET_KEY_ID: Parameter = Parameter::scalar("TargetKeyId", "targetKeyId");

const SYMMETRIC_DEFAULT: &str = "\"SYMMETRIC_DEFAULT\"";
const TAG: Form =
    Form::Object(&[Parameter::scalar("TagKey", "tagKey"), Parameter::scalar("TagValue", "tagValue")]);

const CONSTRAINTS: Form = Form::Object(&[
    Parameter::new("EncryptionContextSubset", "encryptionContextSubset", Form::Map),
    Parameter::new("EncryptionContextEquals", "encryptionContextEquals", Form::Map),
    Parameter::scalar("SourceArn", "sourceArn"),
]);

const CREATE_KEY: &[Parameter] = &[
    TAGS.or("[]"),
    Parameter::scalar("KeyUsage", "keyUsage").or("\"ENCRYPT_DECRYPT\""),
    DESCRIPTION.or("\"\""),
    Parameter::scalar("Origin", "origin").or("\"AWS_KMS\""),
    Parameter::scalar("MultiRegion", "multiRegion").or("false"),
    KEY_SPEC.or_member("CustomerMasterKeySpec", SYMMETRIC_DEFAULT),
    Parameter::scalar("CustomerMasterKeySpec", "customerMasterKeySpec")
        .or_member("KeySpec", SYMMETRIC_DEFAULT),
    BYPASS,
    POLICY,
    CUSTOM_KEY_STORE_ID,
    Parameter::scalar("XksKeyId", "xksKeyId"),
];

const CONNECTIVITY: Parameter = Parameter::scalar("XksProxyConnectivity", "xksProxyConnectivity");
const URI_ENDPOINT: Parameter = Parameter::scalar("XksProxyUriEndpoint", "xksProxyUriEndpoint");
const URI_PATH: Parameter = Parameter::scalar("XksProxyUriPath", "xksProxyUriPath");
const SERVICE_NAME: Parameter =
    Parameter::scalar("XksProxyVpcEndpointServiceName", "xksProxyVpcEndpointServiceName");
const SERVICE_OWNER: Parameter =
    Parameter::scalar("XksProxyVpcEndpointServiceOwner", "xksProxyVpcEndpointServiceOwner");

const MULTI_REGION_KEY: Form =
    Form::Object(&[Parameter::scalar("Arn", "arn"), Parameter::scalar("Region", "region")]);

const KEY_METADATA: Form = Form::Object(&[
    Parameter::scalar("AWSAccountId", "aWSAccountId"),
    KEY_ID,
    Parameter::scalar("Arn", "arn"),
    Parameter::new("CreationDate", "creationDate", Form::Date),
    Parameter::scalar("Enabled", "enabled"),
    DESCRIPTION,
    Parameter::scalar("KeyUsage", "keyUsage"),
    Parameter::scalar("KeyState", "keyState"),
    Parameter::new("DeletionDate", "deletionDate", Form::Date),
    Parameter::new("ValidTo", "validTo", Form::Date),
    Parameter::scalar("Origin", "origin"),
    CUSTOM_KEY_STORE_ID,
    Parameter::scalar("CloudHsmClusterId", "cloudHsmClusterId"),
    Parameter::scalar("ExpirationModel", "expirationModel"),
    Parameter::scalar("KeyManager", "keyManager"),
    Parameter::scalar("CustomerMasterKeySpec", "customerMasterKeySpec"),
    KEY_SPEC,
    texts("EncryptionAlgorithms", "encryptionAlgorithms"),
    texts("SigningAlgorithms", "signingAlgorithms"),
    texts("MacAlgorithms", "macAlgorithms"),
    texts("KeyAgreementAlgorithms", "keyAgreementAlgorithms"),
    texts("EncapsulationAlgorithms", "encapsulationAlgorithms"),
    Parameter::scalar("MultiRegion", "multiRegion"),
    Parameter::new(
        "MultiRegionConfiguration",
        "multiRegionConfiguration",
        Form::Object(&[
            Parameter::scalar("MultiRegionKeyType", "multiRegionKeyType"),
            Parameter::new("PrimaryKey", "primaryKey", MULTI_REGION_KEY),
            Parameter::new("ReplicaKeys", "replicaKeys", Form::List(&MULTI_REGION_KEY)),
        ]),
    ),
    Parameter::scalar("PendingDeletionWindowInDays", "pendingDeletionWindowInDays"),
    Parameter::new(
        "XksKeyConfiguration",
        "xksKeyConfiguration",
        Form::Object(&[Parameter::scalar("Id", "id")]),
    ),
    Parameter::scalar("CurrentKeyMaterialId", "currentKeyMaterialId"),
]);

const CREATED_KEY: &[Parameter] = &[Parameter::new("KeyMetadata", "keyMetadata", KEY_METADATA)];

const DELETION: &[Parameter] = &[
    KEY_ID,
    Parameter::new("DeletionDate", "deletionDate", Form::Date),
    Parameter::scalar("KeyState", "keyState"),
    Parameter::scalar("PendingWindowInDays", "pendingWindowInDays"),
];

const fn texts(member: &'static str, name: &'static str) -> Parameter {
    Parameter::new(member, name, Form::List(&Form::Scalar))
}

/// Says something, and changes nothing.
const fn reads(parameters: &'static [Parameter]) -> Row {
    Row {
        parameters: Some(parameters),
        read_only: true,
        response: ResponseElements::Null,
        resources: Order::Keys,
        adds: Adds::Nothing,
    }
}

/// Uses the material of a key.
const fn uses(parameters: &'static [Parameter]) -> Row {
    Row { adds: Adds::Place, ..reads(parameters) }
}

const fn changes(parameters: &'static [Parameter], response: ResponseElements) -> Row {
    Row { read_only: false, response, ..reads(parameters) }
}

/// Of an alias, in this order.
const fn names(parameters: &'static [Parameter], resources: Order) -> Row {
    Row { resources, ..changes(parameters, ResponseElements::KeyArn) }
}

/// Of a custom key store, which is no resource.
const fn key_store(parameters: &'static [Parameter]) -> Row {
    Row { resources: Order::Absent, adds: Adds::KeyStore, ..changes(parameters, ResponseElements::Null) }
}

/// `requestParameters` of a request; nothing: null.
pub fn request_parameters(operation: OperationName, document: &Document<'_>) -> Option<Vec<u8>> {
    row(operation).parameters.map(|parameters| recorded(parameters, document))
}

/// The row of an operation.
#[expect(clippy::too_many_lines, reason = "one table, one row an operation")]
pub(in crate::kms) const fn row(operation: OperationName) -> Row {
    use OperationName as Name;
    use ResponseElements::{Answer, AnswerAndKeyArn, KeyArn, Null};
    match operation {
        Name::CancelKeyDeletion => changes(&[KEY_ID], Answer(&[KEY_ID])),
        Name::ConnectCustomKeyStore | Name::DeleteCustomKeyStore | Name::DisconnectCustomKeyStore => {
            key_store(&[CUSTOM_KEY_STORE_ID])
        }
        Name::CreateAlias => names(&[ALIAS_NAME, TARGET_KEY_ID], Order::KeyThenAlias),
        Name::CreateCustomKeyStore => create_key_store(),
        Name::CreateGrant => changes(CREATE_GRANT, AnswerAndKeyArn(&[GRANT_ID])),
        Name::CreateKey => Row { adds: Adds::BackingKey, ..changes(CREATE_KEY, Answer(CREATED_KEY)) },
        Name::Decapsulate | Name::Encapsulate => uses(&[KEY_ID, ENCAPSULATION_ALGORITHM, DRY_RUN]),
        Name::Decrypt => {
            uses(&[ENCRYPTION_ALGORITHM, KEY_ID, ENCRYPTION_CONTEXT, DRY_RUN, DRY_RUN_MODIFIERS])
        }
        Name::DeleteAlias => names(&[ALIAS_NAME], Order::AliasThenKey),
        Name::DeleteImportedKeyMaterial => changes(&[KEY_ID, KEY_MATERIAL_ID], KeyArn),
        Name::DeriveSharedSecret => uses(&[KEY_ID, KEY_AGREEMENT_ALGORITHM, DRY_RUN]),
        Name::DescribeCustomKeyStores => {
            let members = &[CUSTOM_KEY_STORE_ID, CUSTOM_KEY_STORE_NAME, LIMIT, MARKER];
            Row { resources: Order::Absent, ..reads(members) }
        }
        Name::DescribeKey => Row { adds: Adds::Provider, ..reads(&[KEY_ID]) },
        Name::GetKeyLastUsage | Name::GetKeyRotationStatus | Name::GetPublicKey => reads(&[KEY_ID]),
        Name::DisableKey | Name::EnableKey => changes(&[KEY_ID], KeyArn),
        Name::DisableKeyRotation => changes(&[KEY_ID], Null),
        Name::EnableKeyRotation => changes(&[KEY_ID, ROTATION_PERIOD], KeyArn),
        Name::Encrypt => uses(&[ENCRYPTION_CONTEXT, KEY_ID, ENCRYPTION_ALGORITHM, DRY_RUN]),
        Name::GenerateDataKey | Name::GenerateDataKeyWithoutPlaintext => {
            uses(&[KEY_ID, KEY_SPEC, NUMBER_OF_BYTES, ENCRYPTION_CONTEXT, DRY_RUN])
        }
        Name::GenerateDataKeyPair | Name::GenerateDataKeyPairWithoutPlaintext => {
            uses(&[KEY_PAIR_SPEC, ENCRYPTION_CONTEXT, KEY_ID, DRY_RUN])
        }
        Name::GenerateMac | Name::VerifyMac => uses(&[MAC_ALGORITHM, KEY_ID, DRY_RUN]),
        Name::GenerateRandom => Row { parameters: None, adds: Adds::RandomSource, ..reads(&[]) },
        Name::GetKeyPolicy => reads(&[KEY_ID, POLICY_NAME]),
        Name::GetParametersForImport => reads(&[KEY_ID, WRAPPING_ALGORITHM, WRAPPING_KEY_SPEC]),
        Name::ImportKeyMaterial => changes(IMPORT_KEY_MATERIAL, KeyArn),
        Name::ListAliases | Name::ListKeyPolicies | Name::ListResourceTags => reads(&[KEY_ID, LIMIT, MARKER]),
        Name::ListGrants => reads(&[KEY_ID, GRANT_ID, GRANTEE_PRINCIPAL, GRANTEE_SERVICE, MARKER, LIMIT]),
        Name::ListKeyRotations => reads(&[KEY_ID, INCLUDE_KEY_MATERIAL, LIMIT, MARKER]),
        Name::ListKeys => reads(&[LIMIT, MARKER, RESOURCE_OWNERS]),
        Name::ListRetirableGrants => reads(&[RETIRING_PRINCIPAL, RETIRING_SERVICE, LIMIT, MARKER]),
        Name::PutKeyPolicy => changes(&[KEY_ID, POLICY_NAME, POLICY, BYPASS], Null),
        Name::ReEncrypt => uses(RE_ENCRYPT),
        Name::ReplicateKey => changes(REPLICATE_KEY, Answer(REPLICATED)),
        Name::RetireGrant => Row { parameters: None, adds: Adds::Grant, ..changes(&[], Null) },
        Name::RevokeGrant => changes(&[KEY_ID, GRANT_ID, DRY_RUN], Null),
        Name::RotateKeyOnDemand => changes(&[KEY_ID], Answer(&[KEY_ID])),
        Name::ScheduleKeyDeletion => {
            Row { adds: Adds::BackingKeys, ..changes(&[KEY_ID, PENDING_WINDOW], Answer(DELETION)) }
        }
        Name::Sign | Name::Verify => uses(&[MESSAGE_TYPE, KEY_ID, SIGNING_ALGORITHM, DRY_RUN]),
        Name::TagResource => changes(&[KEY_ID, TAGS], KeyArn),
        Name::UntagResource => changes(&[KEY_ID, TAG_KEYS], KeyArn),
        Name::UpdateAlias => names(&[ALIAS_NAME, TARGET_KEY_ID], Order::AliasThenKey),
        Name::UpdateCustomKeyStore => key_store(UPDATE_KEY_STORE),
        Name::UpdateKeyDescription => changes(&[KEY_ID, DESCRIPTION], Null),
        Name::UpdatePrimaryRegion => changes(&[KEY_ID, PRIMARY_REGION], KeyArn),
    }
}

const fn create_key_store() -> Row {
    Row {
        resources: Order::Absent,
        ..changes(CREATE_KEY_STORE, ResponseElements::Answer(&[CUSTOM_KEY_STORE_ID]))
    }
}

const INCLUDE_KEY_MATERIAL: Parameter = Parameter::scalar("IncludeKeyMaterial", "includeKeyMaterial");
const KEY_AGREEMENT_ALGORITHM: Parameter =
    Parameter::scalar("KeyAgreementAlgorithm", "keyAgreementAlgorithm");
const PENDING_WINDOW: Parameter = Parameter::scalar("PendingWindowInDays", "pendingWindowInDays");
const PRIMARY_REGION: Parameter = Parameter::scalar("PrimaryRegion", "primaryRegion");
const RESOURCE_OWNERS: Parameter = texts("ResourceOwners", "resourceOwners");
const ROTATION_PERIOD: Parameter = Parameter::scalar("RotationPeriodInDays", "rotationPeriodInDays");
const WRAPPING_ALGORITHM: Parameter = Parameter::scalar("WrappingAlgorithm", "wrappingAlgorithm");
const WRAPPING_KEY_SPEC: Parameter = Parameter::scalar("WrappingKeySpec", "wrappingKeySpec");

/// Never a password, a credential or the trust anchor.
const CREATE_KEY_STORE: &[Parameter] = &[
    CUSTOM_KEY_STORE_NAME,
    Parameter::scalar("CustomKeyStoreType", "customKeyStoreType"),
    CLUSTER_ID,
    CONNECTIVITY,
    URI_ENDPOINT,
    URI_PATH,
    SERVICE_NAME,
    SERVICE_OWNER,
];

const UPDATE_KEY_STORE: &[Parameter] = &[
    CUSTOM_KEY_STORE_ID,
    Parameter::scalar("NewCustomKeyStoreName", "newCustomKeyStoreName"),
    CLUSTER_ID,
    CONNECTIVITY,
    URI_ENDPOINT,
    URI_PATH,
    SERVICE_NAME,
    SERVICE_OWNER,
];

const CREATE_GRANT: &[Parameter] = &[
    KEY_ID,
    Parameter::new("Constraints", "constraints", CONSTRAINTS),
    texts("Operations", "operations"),
    GRANTEE_PRINCIPAL,
    GRANTEE_SERVICE,
    RETIRING_PRINCIPAL,
    RETIRING_SERVICE,
    Parameter::scalar("Name", "name"),
    DRY_RUN,
];

const IMPORT_KEY_MATERIAL: &[Parameter] = &[
    KEY_ID,
    Parameter::new("ValidTo", "validTo", Form::Date),
    Parameter::scalar("ExpirationModel", "expirationModel"),
    Parameter::scalar("ImportType", "importType"),
    Parameter::scalar("KeyMaterialDescription", "keyMaterialDescription"),
    KEY_MATERIAL_ID,
];

const RE_ENCRYPT: &[Parameter] = &[
    Parameter::scalar("SourceEncryptionAlgorithm", "sourceEncryptionAlgorithm").or(SYMMETRIC_DEFAULT),
    Parameter::new("SourceEncryptionContext", "sourceEncryptionContext", Form::Map),
    Parameter::scalar("SourceKeyId", "sourceKeyId"),
    Parameter::scalar("DestinationKeyId", "destinationKeyId"),
    Parameter::scalar("DestinationEncryptionAlgorithm", "destinationEncryptionAlgorithm")
        .or(SYMMETRIC_DEFAULT),
    Parameter::new("DestinationEncryptionContext", "destinationEncryptionContext", Form::Map),
    DRY_RUN,
    DRY_RUN_MODIFIERS,
];

const REPLICATE_KEY: &[Parameter] = &[
    KEY_ID,
    Parameter::scalar("ReplicaRegion", "replicaRegion"),
    BYPASS,
    DESCRIPTION.or("\"\""),
    POLICY,
    TAGS.or("[]"),
];

/// Of the CreateKey that ReplicateKey has done in the Region of the replica; the rest is its primary's.
pub(super) const REPLICA_PARAMETERS: &[Parameter] = &[TAGS.or("[]"), DESCRIPTION.or("\"\""), BYPASS, POLICY];

pub(super) const CREATED_REPLICA: &[Parameter] =
    &[Parameter::new("ReplicaKeyMetadata", "keyMetadata", KEY_METADATA)];

const REPLICATED: &[Parameter] = &[
    Parameter::new("ReplicaKeyMetadata", "replicaKeyMetadata", KEY_METADATA),
    Parameter::scalar("ReplicaPolicy", "replicaPolicy"),
    Parameter::new("ReplicaTags", "replicaTags", Form::List(&TAG)),
];
