//! What the stories of the KMS API have in common: users with policies, and short ways to do the usual.

use serde_json::{Value, json};

use super::kms::{ACCOUNT, Account, KmsClient, KmsReply, REGION, signed};
use super::site::{Setup, Site};

/// A key that is in no account.
pub const ABSENT: &str = "00000000-0000-4000-8000-000000000000";
/// `plain`
pub const PLAINTEXT: &str = "cGxhaW4=";

pub fn key_arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:{}:key/{id}", ACCOUNT.id)
}

/// `name` with its prefix.
pub fn alias_arn(name: &str) -> String {
    format!("arn:aws:kms:{REGION}:{}:{name}", ACCOUNT.id)
}

/// A policy document.
pub fn policy(statements: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A key policy that leaves everything to the identity policies of the account, and further statements.
pub fn delegating_policy(further: &[Value]) -> String {
    let root = format!("arn:aws:iam::{}:root", ACCOUNT.id);
    let delegation =
        json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"});
    policy(&json!([&[delegation], further].concat())).to_string()
}

pub fn user_arn(name: &str) -> String {
    format!("arn:aws:iam::{}:user/{name}", ACCOUNT.id)
}

impl Setup {
    /// The KMS API with quotas: TOML of `[kms.resource_quotas]`.
    pub fn kms_with_resource_quotas(quotas: &str) -> Self {
        let setup = Self::kms();
        let kms = setup.kms.unwrap_or_default() + "[kms.resource_quotas]\n" + quotas + "\n";
        Self { kms: Some(kms), ..Self::default() }
    }
}

impl Site {
    /// A new user of the first account, who may do nothing yet.
    #[track_caller]
    pub fn kms_user(&self, name: &str) -> Account {
        self.holdfast_ok(&["identity", "user", "create", "--account", ACCOUNT.id, name]);
        let create = ["identity", "access-key", "create", "--account", ACCOUNT.id, "--user", name, "--json"];
        let made: Value = serde_json::from_str(&self.holdfast_ok(&create)).unwrap();
        let member = |member: &str| -> &'static str {
            let text = made["new_access_key"][member].as_str().unwrap().to_owned();
            text.leak()
        };
        Account {
            id: ACCOUNT.id,
            access_key_id: member("access_key_id"),
            secret_access_key: member("secret_access_key"),
        }
    }

    /// Gives a user the one policy that it has.
    #[track_caller]
    pub fn kms_user_may(&self, name: &str, statements: &Value) {
        std::fs::write(self.path("user-policy.json"), policy(statements).to_string()).unwrap();
        let of = ["--of", "user", name, "--policy", "p", "--document", "user-policy.json"];
        self.holdfast_ok(&[&["identity", "policy", "put", "--account", ACCOUNT.id][..], &of].concat());
    }

    #[track_caller]
    pub fn create_key_with(&self, request: &Value) -> String {
        let created = self.kms("CreateKey", request).ok();
        created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn create_alias(&self, name: &str, key_id: &str) {
        self.kms("CreateAlias", &json!({"AliasName": name, "TargetKeyId": key_id})).ok();
    }

    /// The ciphertext of [`PLAINTEXT`].
    #[track_caller]
    pub fn kms_encrypt(&self, key: &str) -> String {
        self.kms("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT})).text("CiphertextBlob")
    }

    #[track_caller]
    pub fn kms_decrypt(&self, ciphertext: &str) -> Value {
        self.kms("Decrypt", &json!({"CiphertextBlob": ciphertext})).ok()
    }

    #[track_caller]
    pub fn key_metadata_of(&self, key: &str) -> Value {
        self.kms("DescribeKey", &json!({"KeyId": key})).ok()["KeyMetadata"].clone()
    }

    /// One request of the administrator in another Region.
    #[track_caller]
    pub fn kms_in(&self, region: &str, operation: &str, body: &Value) -> KmsReply {
        let mut request = signed(&ACCOUNT, operation, body);
        region.clone_into(&mut request.region);
        let mut client = KmsClient::open(&self.runtime, self.kms_endpoint()).unwrap();
        client.send(&request).unwrap()
    }

    /// All pages of a list, each of at most `limit` entries: the entries, and how many were on each page.
    #[track_caller]
    pub fn kms_pages(&self, operation: &str, request: &Value, member: &str) -> (Vec<Value>, Vec<usize>) {
        let (mut entries, mut lengths, mut request) = (Vec::new(), Vec::new(), request.clone());
        loop {
            let page = self.kms(operation, &request).ok();
            let on_page = page[member].as_array().unwrap();
            lengths.push(on_page.len());
            entries.extend(on_page.iter().cloned());
            let is_last = page["Truncated"] == json!(false);
            assert_eq!(is_last, page.get("NextMarker").is_none(), "{page}");
            if is_last {
                return (entries, lengths);
            }
            request["Marker"] = page["NextMarker"].clone();
        }
    }

    /// What each operation that takes a key id says to this one: the name of the error, none for an answer.
    pub fn error_name(&self, account: &Account, operation: &str, request: &Value) -> Option<String> {
        let reply = self.kms_as(account, operation, request);
        if reply.0.status == 200 { None } else { Some(reply.error().0) }
    }

    /// Asserts that the request is refused for want of permission.
    #[track_caller]
    pub fn assert_denied(&self, account: &Account, operation: &str, request: &Value) {
        let denied = self.error_name(account, operation, request);
        assert_eq!(denied.as_deref(), Some("AccessDeniedException"), "{operation} {request}");
    }

    /// Asserts that the request is served.
    #[track_caller]
    pub fn assert_allowed(&self, account: &Account, operation: &str, request: &Value) {
        self.kms_as(account, operation, request).ok();
    }
}
