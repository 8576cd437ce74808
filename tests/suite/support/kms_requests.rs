//! A valid request for each of the 56 operations of the KMS API.

use serde_json::{Value, json};

use super::external_key_stores::{URI_PATH, credential};
use super::importing::{Parameters, base64, lasting};
use super::site::{Site, merged};

const ADMINISTRATOR: &str = "arn:aws:iam::123456789012:user/admin";

impl Site {
    /// Requests that succeed in this order, for a new key with everything that they speak of.
    pub fn kms_requests(&self) -> Vec<(&'static str, Value)> {
        let id = self.create_kms_key();
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
        let body = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
        let blob = self.kms("Encrypt", &body).text("CiphertextBlob");
        let grant = |name: &str| {
            let body = json!({
                "KeyId": id, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Decrypt"], "Name": name,
            });
            self.kms("CreateGrant", &body).text("GrantId")
        };
        let grants = [grant("first"), grant("second")];
        let alias = format!("alias/{id}");
        let mut requests = self.of_keys(&id, &alias);
        requests.extend(of_use(&id, &blob));
        requests.extend(of_policies(&id, &arn, &grants));
        requests.extend(self.of_key_stores(&id));
        requests.extend(self.of_other_kinds(&id));
        requests.extend(self.of_imported_material());
        requests.extend(self.of_related_keys());
        // What ends the use of the key.
        let of_key = json!({"KeyId": id});
        requests.extend([
            ("DisableKey", of_key.clone()),
            ("EnableKey", of_key.clone()),
            ("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 30})),
            ("CancelKeyDeletion", of_key),
        ]);
        requests
    }

    /// Behind VPC endpoint services, which need no proxy before they are connected. `unique` goes into their names.
    fn of_key_stores(&self, unique: &str) -> Vec<(&'static str, Value)> {
        let digits = unique.replace('-', "");
        let new = |letter: &str| {
            json!({
                "CustomKeyStoreName": format!("{unique} {letter}"),
                "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
                "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
                "XksProxyVpcEndpointServiceName":
                    format!("com.amazonaws.vpce.us-east-1.vpce-svc-{}{letter}", &digits[..16]),
                "XksProxyUriEndpoint": format!("https://{letter}-{unique}.invalid"),
                "XksProxyUriPath": URI_PATH,
                "XksProxyAuthenticationCredential": credential(),
            })
        };
        let [kept, deleted] =
            ["a", "b"].map(|letter| json!({"CustomKeyStoreId": self.create_store(&new(letter))}));
        let renamed = json!({"NewCustomKeyStoreName": format!("{unique} d")});
        vec![
            ("CreateCustomKeyStore", new("c")),
            ("DescribeCustomKeyStores", json!({})),
            ("UpdateCustomKeyStore", merged(kept.clone(), renamed)),
            ("ConnectCustomKeyStore", kept.clone()),
            ("DisconnectCustomKeyStore", kept),
            ("DeleteCustomKeyStore", deleted),
        ]
    }

    /// With a key of each kind that they are about.
    fn of_other_kinds(&self, id: &str) -> Vec<(&'static str, Value)> {
        let pair = json!({"KeyId": id, "KeyPairSpec": "ECC_NIST_P256"});
        let message = "bWVzc2FnZQ==";
        let mac_key = self.create_key_of("HMAC_256", "GENERATE_VERIFY_MAC");
        let mac = json!({"KeyId": mac_key, "Message": message, "MacAlgorithm": "HMAC_SHA_256"});
        let tag = json!({"Mac": self.kms("GenerateMac", &mac).text("Mac")});
        let signing_key = self.create_key_of("ECC_NIST_P256", "SIGN_VERIFY");
        let signed = json!({"KeyId": signing_key, "Message": message, "SigningAlgorithm": "ECDSA_SHA_256"});
        let signature = json!({"Signature": self.kms("Sign", &signed).text("Signature")});
        let agreement_key = self.create_key_of("ECC_NIST_P256", "KEY_AGREEMENT");
        let public_key = self.kms("GetPublicKey", &json!({"KeyId": agreement_key})).text("PublicKey");
        let agreed =
            json!({"KeyId": agreement_key, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public_key});
        let lattice_key = self.create_key_of("ML_KEM_768", "ENCAPSULATE_DECAPSULATE");
        let encapsulated = json!({"KeyId": lattice_key, "EncapsulationAlgorithm": "ML_KEM"});
        let blob = self.kms("Encapsulate", &encapsulated).text("SharedSecretCiphertextBlob");
        vec![
            ("GenerateDataKeyPair", pair.clone()),
            ("GenerateDataKeyPairWithoutPlaintext", pair),
            ("GenerateMac", mac.clone()),
            ("VerifyMac", merged(mac, tag)),
            ("Sign", signed.clone()),
            ("Verify", merged(signed, signature)),
            ("GetPublicKey", json!({"KeyId": signing_key})),
            ("DeriveSharedSecret", agreed),
            ("Encapsulate", encapsulated.clone()),
            ("Decapsulate", merged(encapsulated, json!({"SharedSecretCiphertextBlob": blob}))),
        ]
    }

    fn of_imported_material(&self) -> Vec<(&'static str, Value)> {
        let id = self.create_key_to_import(&json!({}));
        let (algorithm, spec) = ("RSAES_OAEP_SHA_256", "RSA_2048");
        let wrapping = json!({"KeyId": id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec});
        let parameters = Parameters::of(self, &id, algorithm, spec);
        let wrapped = json!({
            "KeyId": id, "ImportToken": parameters.token,
            "EncryptedKeyMaterial": base64(&parameters.wrap(&[7; 32])),
        });
        vec![
            ("GetParametersForImport", wrapping),
            ("ImportKeyMaterial", merged(wrapped, lasting())),
            ("DeleteImportedKeyMaterial", json!({"KeyId": id})),
        ]
    }

    fn of_related_keys(&self) -> Vec<(&'static str, Value)> {
        let id = self.create_key_with(&json!({"MultiRegion": true}));
        vec![
            ("ReplicateKey", json!({"KeyId": id, "ReplicaRegion": "eu-west-1"})),
            ("UpdatePrimaryRegion", json!({"KeyId": id, "PrimaryRegion": "eu-west-1"})),
        ]
    }

    fn of_keys(&self, id: &str, alias: &str) -> Vec<(&'static str, Value)> {
        let of_key = json!({"KeyId": id});
        let named = json!({"AliasName": alias, "TargetKeyId": id});
        vec![
            ("CreateKey", json!({"Description": "made by a test"})),
            ("DescribeKey", of_key.clone()),
            ("ListKeys", json!({"Limit": 1})),
            ("UpdateKeyDescription", json!({"KeyId": id, "Description": "new"})),
            ("GetKeyLastUsage", of_key.clone()),
            ("CreateAlias", named.clone()),
            ("UpdateAlias", named),
            ("ListAliases", of_key.clone()),
            ("DeleteAlias", json!({"AliasName": alias})),
            ("TagResource", json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
            ("ListResourceTags", of_key.clone()),
            ("UntagResource", json!({"KeyId": id, "TagKeys": ["a"]})),
            ("EnableKeyRotation", json!({"KeyId": id, "RotationPeriodInDays": 365})),
            ("GetKeyRotationStatus", of_key.clone()),
            ("RotateKeyOnDemand", of_key.clone()),
            ("ListKeyRotations", of_key.clone()),
            ("DisableKeyRotation", of_key),
        ]
    }
}

fn of_use(id: &str, blob: &str) -> Vec<(&'static str, Value)> {
    let context = json!({"tenant": "blue"});
    vec![
        ("Encrypt", json!({"KeyId": id, "Plaintext": "cGxhaW4=", "EncryptionContext": context})),
        ("Decrypt", json!({"CiphertextBlob": blob})),
        ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": id})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "NumberOfBytes": 64})),
        ("GenerateRandom", json!({"NumberOfBytes": 32})),
    ]
}

fn of_policies(id: &str, arn: &str, grants: &[String; 2]) -> Vec<(&'static str, Value)> {
    let of_key = json!({"KeyId": id});
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "kms:*", "Resource": "*",
    }]});
    let grant =
        json!({"KeyId": id, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Encrypt", "DescribeKey"]});
    vec![
        ("GetKeyPolicy", of_key.clone()),
        ("PutKeyPolicy", json!({"KeyId": id, "Policy": policy.to_string()})),
        ("ListKeyPolicies", of_key.clone()),
        ("CreateGrant", grant),
        ("ListGrants", of_key),
        ("ListRetirableGrants", json!({"RetiringPrincipal": ADMINISTRATOR})),
        ("RetireGrant", json!({"KeyId": arn, "GrantId": grants[0]})),
        ("RevokeGrant", json!({"KeyId": id, "GrantId": grants[1]})),
    ]
}
