//! What an example request is about, and how it can be made again and again.

#![expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "a request for every operation: one table, in which most are as most are"
)]

use holdfast::clock::{Clock, SystemClock};
use holdfast::domain::kms::ConditionKey;
use holdfast::kms::OperationName as Name;
use holdfast::kms::permissions::{Check, checks};
use serde_json::{Value, json};

use crate::support::external_key_stores::{URI_PATH, credential};
use crate::support::importing::{Parameters, base64};
use crate::support::kms::{ACCOUNT, KmsClient, KmsReply, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, alias_arn, key_arn};
use crate::support::regions::{EUROPE, HOME, arn_in};
use crate::support::site::merged;

pub(super) const CONTEXT: (&str, &str) = ("team", "blue");
/// Of every key.
pub(super) const TAG: (&str, &str) = ("scene", "walk");
/// Of a request.
pub(super) const NEW_TAG: (&str, &str) = ("colour", "red");
pub(super) const WRAPPING: (&str, &str) = ("RSAES_OAEP_SHA_256", "RSA_2048");
pub(super) const EXPIRATION_MODEL: &str = "KEY_MATERIAL_EXPIRES";
pub(super) const GRANTEE: &str = "arn:aws:iam::123456789012:user/grantee";
pub(super) const RETIRER: &str = "arn:aws:iam::123456789012:user/retirer";

pub(super) const AGREEMENT: &str = "ECDH";
pub(super) const KEM: &str = "ML_KEM";
pub(super) const MAC: &str = "HMAC_SHA_256";
pub(super) const MESSAGE_TYPE: &str = "RAW";
pub(super) const PAIR_SPEC: &str = "ECC_NIST_P256";
pub(super) const SIGNING: &str = "ECDSA_SHA_256";

/// Whom key policies let in before they name the users of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Only the administrator.
    Closed,
    /// Both accounts, which decide by their identity policies.
    Delegating,
}

pub(super) struct SceneKey {
    pub(super) id: String,
    pub(super) region: &'static str,
    /// Always there.
    pub(super) alias: String,
    /// The statements of its policy.
    pub(super) statements: Vec<Value>,
}

/// An operation with all that its example request speaks of.
pub(super) struct Scene {
    pub(super) operation: Name,
    pub(super) door: Door,
    /// In the order in which the operation looks at them; one that it does not look at if it looks at none.
    pub(super) keys: Vec<SceneKey>,
    /// Of alias operations.
    alias: String,
    blob: String,
    grant_id: String,
    store_id: String,
    token: String,
    /// In a hundred days, in seconds since the Unix epoch.
    pub(super) valid_to: u64,
    number: u32,
}

impl Scene {
    pub(super) fn new(operation: Name, door: Door, admin: &mut KmsClient<'_>) -> Self {
        let keys_looked_at = checks(operation).iter().filter(|check| matches!(check, Check::Key(_))).count();
        let unique = format!("{operation}-{door:?}");
        let mut keys: Vec<SceneKey> = Vec::new();
        for number in 0..keys_looked_at.max(1) {
            let alias = format!("alias/{unique}-{number}");
            let (id, region) = new_key(operation, &keys, admin);
            let named = json!({"AliasName": alias, "TargetKeyId": id});
            call_in(region, admin, "CreateAlias", &named).ok();
            keys.push(SceneKey { id, region, alias, statements: first_statements(door) });
        }
        let none = String::new;
        let mut scene = Self {
            operation,
            door,
            keys,
            alias: format!("alias/{unique}"),
            blob: none(),
            grant_id: none(),
            store_id: none(),
            token: none(),
            valid_to: in_a_hundred_days(),
            number: 0,
        };
        scene.prepare(admin);
        scene.renew(admin);
        scene
    }

    /// The key in this place; of operations on several keys, the places are those of the checks.
    pub(super) fn key(&self, check: usize) -> &SceneKey {
        &self.keys[self.place(check)]
    }

    /// Which key the check in this place is about.
    pub(super) fn place(&self, check: usize) -> usize {
        let before = checks(self.operation).iter().take(check);
        before.filter(|check| matches!(check, Check::Key(_))).count().min(self.keys.len() - 1)
    }

    /// What policies call the resource of a check: of an alias, for a caller of this account.
    pub(super) fn resource(&self, check: usize, account: &str) -> String {
        match checks(self.operation)[check] {
            Check::Account(_) | Check::AccountIfTagged(_) => "*".to_owned(),
            Check::Alias(_) => alias_arn(&self.alias).replace(ACCOUNT.id, account),
            Check::Key(_) => arn_in(self.key(check).region, &self.key(check).id),
        }
    }

    /// Where the check is made: what is done to a replica, in its Region.
    pub(super) fn region(&self, check: usize) -> &'static str {
        match checks(self.operation)[check] {
            Check::Key(_) => self.key(check).region,
            Check::Account(_) | Check::AccountIfTagged(_) | Check::Alias(_) => {
                if self.operation == Name::ReplicateKey { EUROPE } else { HOME }
            }
        }
    }

    /// What a refusal of a check calls the resource: a key of another account as the request does.
    pub(super) fn shown_resource(&self, check: usize, account: &str) -> String {
        match checks(self.operation)[check] {
            Check::Key(_) if account != ACCOUNT.id && self.takes_aliases() => {
                alias_arn(&self.key(check).alias)
            }
            Check::Account(_) | Check::AccountIfTagged(_) | Check::Alias(_) | Check::Key(_) => {
                self.resource(check, account)
            }
        }
    }

    fn takes_aliases(&self) -> bool {
        checks(self.operation).iter().any(|check| check.permission().has(ConditionKey::RequestAlias))
    }

    /// How the request names the key in this place: by alias where it can.
    fn named(&self, place: usize) -> String {
        let key = &self.keys[place];
        if self.takes_aliases() { alias_arn(&key.alias) } else { key_arn(&key.id) }
    }

    pub(super) fn policy_text(&self, place: usize) -> String {
        crate::support::kms_stories::policy(&json!(self.keys[place].statements)).to_string()
    }

    /// Puts the policies on the keys.
    pub(super) fn close_doors(&self, admin: &mut KmsClient<'_>) {
        for (place, key) in self.keys.iter().enumerate() {
            let put = json!({"KeyId": key.id, "Policy": self.policy_text(place)});
            call_in(key.region, admin, "PutKeyPolicy", &put).ok();
        }
    }

    /// The request, with a value for every condition key that it can have.
    pub(super) fn request(&self) -> Value {
        let key = json!({"KeyId": self.named(0)});
        let context = json!({CONTEXT.0: CONTEXT.1});
        let more = match self.operation.as_str() {
            "CreateAlias" => return json!({"AliasName": self.alias, "TargetKeyId": self.named(0)}),
            "CreateCustomKeyStore" => return new_store(&format!("new {}", self.number), 'f'),
            "CreateGrant" => json!({
                "GranteePrincipal": GRANTEE, "RetiringPrincipal": RETIRER, "Operations": ["Encrypt"],
                "Constraints": {"EncryptionContextEquals": context},
            }),
            "CreateKey" => {
                let tags = json!([{"TagKey": NEW_TAG.0, "TagValue": NEW_TAG.1}]);
                return json!({"Tags": tags, "BypassPolicyLockoutSafetyCheck": true});
            }
            "Decrypt" => json!({"CiphertextBlob": self.blob, "EncryptionContext": context}),
            "DeleteAlias" => return json!({"AliasName": self.alias}),
            "DescribeCustomKeyStores" | "ListAliases" | "ListKeys" => return json!({}),
            "ConnectCustomKeyStore" | "DeleteCustomKeyStore" | "DisconnectCustomKeyStore" => {
                return json!({"CustomKeyStoreId": self.store_id});
            }
            "Decapsulate" => {
                json!({"EncapsulationAlgorithm": KEM, "SharedSecretCiphertextBlob": self.blob})
            }
            "DeriveSharedSecret" => json!({"KeyAgreementAlgorithm": AGREEMENT, "PublicKey": self.blob}),
            "Encapsulate" => json!({"EncapsulationAlgorithm": KEM}),
            "Encrypt" => json!({"Plaintext": PLAINTEXT, "EncryptionContext": context}),
            "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext" => {
                json!({"KeyPairSpec": PAIR_SPEC, "EncryptionContext": context})
            }
            "GenerateMac" => mac(),
            "Sign" => signed(),
            "Verify" => merged(signed(), json!({"Signature": self.blob})),
            "VerifyMac" => merged(mac(), json!({"Mac": self.blob})),
            "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
                json!({"KeySpec": "AES_256", "EncryptionContext": context})
            }
            "GenerateRandom" => return json!({"NumberOfBytes": 1}),
            "ListRetirableGrants" => return json!({"RetiringPrincipal": RETIRER}),
            "PutKeyPolicy" => {
                json!({"Policy": self.policy_text(0), "BypassPolicyLockoutSafetyCheck": true})
            }
            "ReEncrypt" => {
                return json!({
                    "CiphertextBlob": self.blob, "SourceKeyId": self.named(0),
                    "SourceEncryptionContext": context, "DestinationKeyId": self.named(1),
                    "DestinationEncryptionContext": context,
                });
            }
            "ReplicateKey" => json!({
                "ReplicaRegion": EUROPE, "Tags": [{"TagKey": NEW_TAG.0, "TagValue": NEW_TAG.1}],
                "BypassPolicyLockoutSafetyCheck": true,
            }),
            "RetireGrant" | "RevokeGrant" => json!({"GrantId": self.grant_id}),
            "TagResource" => json!({"Tags": [{"TagKey": NEW_TAG.0, "TagValue": NEW_TAG.1}]}),
            "UntagResource" => json!({"TagKeys": [NEW_TAG.0]}),
            "UpdateAlias" => return json!({"AliasName": self.alias, "TargetKeyId": self.named(1)}),
            "UpdateCustomKeyStore" => {
                let name = format!("update {}", self.number);
                return json!({"CustomKeyStoreId": self.store_id, "NewCustomKeyStoreName": name});
            }
            "GetParametersForImport" => {
                json!({"WrappingAlgorithm": WRAPPING.0, "WrappingKeySpec": WRAPPING.1})
            }
            "ImportKeyMaterial" => json!({
                "ImportToken": self.token, "EncryptedKeyMaterial": self.blob,
                "ExpirationModel": EXPIRATION_MODEL, "ValidTo": self.valid_to,
            }),
            "UpdateKeyDescription" => json!({"Description": "seen"}),
            "UpdatePrimaryRegion" => json!({"PrimaryRegion": EUROPE}),
            _ => json!({}),
        };
        merged(key, more)
    }

    /// What has to be there before the first request.
    fn prepare(&mut self, admin: &mut KmsClient<'_>) {
        let id = self.keys[0].id.clone();
        let context = json!({CONTEXT.0: CONTEXT.1});
        match self.operation.as_str() {
            "Decrypt" | "ReEncrypt" => {
                let encrypt = json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": context});
                self.blob = admin.call("Encrypt", &encrypt).unwrap().text("CiphertextBlob");
            }
            "Decapsulate" => {
                let encapsulate = json!({"KeyId": id, "EncapsulationAlgorithm": KEM});
                let encapsulated = admin.call("Encapsulate", &encapsulate).unwrap();
                self.blob = encapsulated.text("SharedSecretCiphertextBlob");
            }
            "DeriveSharedSecret" => {
                let asked = admin.call("GetPublicKey", &json!({"KeyId": id})).unwrap();
                self.blob = asked.text("PublicKey");
            }
            "ImportKeyMaterial" => {
                let of = json!({"KeyId": id, "WrappingAlgorithm": WRAPPING.0, "WrappingKeySpec": WRAPPING.1});
                let answer = admin.call("GetParametersForImport", &of).unwrap().ok();
                let parameters = Parameters::from(&answer, WRAPPING.0);
                self.blob = base64(&parameters.wrap(&[7; 32]));
                self.token = parameters.token;
            }
            "Verify" => {
                let sign = merged(json!({"KeyId": id}), signed());
                self.blob = admin.call("Sign", &sign).unwrap().text("Signature");
            }
            "VerifyMac" => {
                let tag = merged(json!({"KeyId": id}), mac());
                self.blob = admin.call("GenerateMac", &tag).unwrap().text("Mac");
            }
            "ConnectCustomKeyStore" => self.make_store('a', admin),
            "DisconnectCustomKeyStore" => self.make_store('b', admin),
            "UpdateCustomKeyStore" => self.make_store('c', admin),
            "ReplicateKey" => {
                admin.call("ReplicateKey", &json!({"KeyId": id, "ReplicaRegion": EUROPE})).unwrap().ok();
            }
            "UpdateAlias" => {
                let create = json!({"AliasName": self.alias, "TargetKeyId": id});
                admin.call("CreateAlias", &create).unwrap().ok();
            }
            _ => {}
        }
    }

    /// Undoes what a request may have done, so that the next one succeeds too.
    pub(super) fn renew(&mut self, admin: &mut KmsClient<'_>) {
        self.number += 1;
        let id = self.keys[0].id.clone();
        let key = json!({"KeyId": id});
        let named = json!({"AliasName": self.alias, "TargetKeyId": id});
        let mut undo = |operation: &str, request: &Value| drop(admin.call(operation, request).unwrap());
        match self.operation.as_str() {
            "CancelKeyDeletion" => undo("ScheduleKeyDeletion", &key),
            "ScheduleKeyDeletion" => {
                undo("CancelKeyDeletion", &key);
                undo("EnableKey", &key);
            }
            "CreateAlias" => undo("DeleteAlias", &json!({"AliasName": self.alias})),
            "DeleteAlias" => undo("CreateAlias", &named),
            "UpdateAlias" => undo("UpdateAlias", &named),
            "DisableKey" => undo("EnableKey", &key),
            "UpdatePrimaryRegion" => {
                let back = json!({"KeyId": id, "PrimaryRegion": HOME});
                drop(call_in(EUROPE, admin, "UpdatePrimaryRegion", &back));
            }
            "CreateCustomKeyStore" => delete_store(&format!("new {}", self.number - 1), admin),
            "DeleteCustomKeyStore" => self.make_store('d', admin),
            "ConnectCustomKeyStore" => disconnect(&self.store_id, admin),
            "DisconnectCustomKeyStore" => connect(&self.store_id, admin),
            "RetireGrant" | "RevokeGrant" => {
                let retirer = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
                let grant = json!({"KeyId": id, "GranteePrincipal": GRANTEE, "RetiringPrincipal": retirer,
                    "Operations": ["Decrypt"], "Name": format!("{}", self.number)});
                self.grant_id = admin.call("CreateGrant", &grant).unwrap().text("GrantId");
            }
            _ => {}
        }
    }

    fn make_store(&mut self, letter: char, admin: &mut KmsClient<'_>) {
        let new = new_store(&format!("store {letter}"), letter);
        self.store_id = admin.call("CreateCustomKeyStore", &new).unwrap().text("CustomKeyStoreId");
    }
}

fn mac() -> Value {
    json!({"Message": PLAINTEXT, "MacAlgorithm": MAC})
}

fn signed() -> Value {
    json!({"Message": PLAINTEXT, "MessageType": MESSAGE_TYPE, "SigningAlgorithm": SIGNING})
}

fn in_a_hundred_days() -> u64 {
    let now = SystemClock.now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs() + 100 * 24 * 60 * 60
}

/// Where the material of the keys of an operation comes from.
pub(super) fn origin(operation: Name) -> &'static str {
    match operation {
        Name::DeleteImportedKeyMaterial | Name::GetParametersForImport | Name::ImportKeyMaterial => {
            "EXTERNAL"
        }
        _ => "AWS_KMS",
    }
}

/// Which kind of key an operation is about.
pub(super) fn kind(operation: Name) -> (&'static str, &'static str) {
    match operation {
        Name::GenerateMac | Name::VerifyMac => ("HMAC_256", "GENERATE_VERIFY_MAC"),
        Name::GetPublicKey | Name::Sign | Name::Verify => ("ECC_NIST_P256", "SIGN_VERIFY"),
        Name::DeriveSharedSecret => ("ECC_NIST_P256", "KEY_AGREEMENT"),
        Name::Decapsulate | Name::Encapsulate => ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        _ => ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    }
}

/// The id of a key, and its Region: of UpdatePrimaryRegion, the second is a replica of the first.
fn new_key(operation: Name, keys: &[SceneKey], admin: &mut KmsClient<'_>) -> (String, &'static str) {
    let tags = json!([{"TagKey": TAG.0, "TagValue": TAG.1}]);
    if let (Name::UpdatePrimaryRegion, Some(primary)) = (operation, keys.first()) {
        let replicate = json!({"KeyId": primary.id, "ReplicaRegion": EUROPE, "Tags": tags});
        admin.call("ReplicateKey", &replicate).unwrap().ok();
        return (primary.id.clone(), EUROPE);
    }
    let (spec, usage) = kind(operation);
    let new = json!({"Tags": tags, "KeySpec": spec, "KeyUsage": usage, "Origin": origin(operation),
        "MultiRegion": is_of_related_keys(operation)});
    let made = admin.call("CreateKey", &new).unwrap().ok();
    (made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned(), HOME)
}

pub(super) fn is_of_related_keys(operation: Name) -> bool {
    [Name::ReplicateKey, Name::UpdatePrimaryRegion].contains(&operation)
}

fn call_in(region: &str, admin: &mut KmsClient<'_>, operation: &str, body: &Value) -> KmsReply {
    let mut request = crate::support::kms::signed(&ACCOUNT, operation, body);
    region.clone_into(&mut request.region);
    admin.send(&request).unwrap()
}

fn first_statements(door: Door) -> Vec<Value> {
    let whom = match door {
        Door::Closed => json!({"AWS": format!("arn:aws:iam::{}:user/admin", ACCOUNT.id)}),
        Door::Delegating => json!({"AWS": [ACCOUNT.id, OTHER_ACCOUNT.id]}),
    };
    vec![json!({"Effect": "Allow", "Principal": whom, "Action": "kms:*", "Resource": "*"})]
}

/// Behind a VPC endpoint service, which needs no proxy before it is connected.
fn new_store(name: &str, letter: char) -> Value {
    json!({
        "CustomKeyStoreName": name,
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
        "XksProxyVpcEndpointServiceName": format!("com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcde{letter}"),
        "XksProxyUriEndpoint": format!("https://{letter}-walk.invalid"),
        "XksProxyUriPath": URI_PATH,
        "XksProxyAuthenticationCredential": credential(),
    })
}

fn delete_store(name: &str, admin: &mut KmsClient<'_>) {
    let described = admin.call("DescribeCustomKeyStores", &json!({"CustomKeyStoreName": name})).unwrap();
    if described.0.status == 200 {
        let id = described.ok()["CustomKeyStores"][0]["CustomKeyStoreId"].clone();
        admin.call("DeleteCustomKeyStore", &json!({"CustomKeyStoreId": id})).unwrap().ok();
    }
}

/// Waits until nobody works on the connection.
fn settled(id: &str, admin: &mut KmsClient<'_>) -> String {
    loop {
        let described = admin.call("DescribeCustomKeyStores", &json!({"CustomKeyStoreId": id})).unwrap().ok();
        let state = described["CustomKeyStores"][0]["ConnectionState"].as_str().unwrap().to_owned();
        if !state.ends_with("ING") {
            return state;
        }
        std::thread::yield_now();
    }
}

fn disconnect(id: &str, admin: &mut KmsClient<'_>) {
    if settled(id, admin) != "DISCONNECTED" {
        admin.call("DisconnectCustomKeyStore", &json!({"CustomKeyStoreId": id})).unwrap().ok();
        settled(id, admin);
    }
}

/// It fails, which is a state to disconnect from.
fn connect(id: &str, admin: &mut KmsClient<'_>) {
    disconnect(id, admin);
    admin.call("ConnectCustomKeyStore", &json!({"CustomKeyStoreId": id})).unwrap().ok();
    settled(id, admin);
}
