//! Multi-Region keys in three Regions.

use serde_json::{Value, json};

use super::kms::{ACCOUNT, KmsReply};
use super::kms_stories::PLAINTEXT;
use super::site::Site;

pub const HOME: &str = "us-east-1";
pub const EUROPE: &str = "eu-west-1";
pub const ASIA: &str = "ap-northeast-1";

/// A set of related keys, by its id.
pub struct MultiRegionKey<'s> {
    pub site: &'s Site,
    pub id: String,
}

pub fn arn_in(region: &str, id: &str) -> String {
    format!("arn:aws:kms:{region}:{}:key/{id}", ACCOUNT.id)
}

impl<'s> MultiRegionKey<'s> {
    /// A primary key at home.
    #[track_caller]
    pub fn create(site: &'s Site) -> Self {
        Self::create_with(site, &json!({"MultiRegion": true}))
    }

    #[track_caller]
    pub fn create_with(site: &'s Site, request: &Value) -> Self {
        Self { site, id: site.create_key_with(request) }
    }

    /// A primary key at home, with replicas in these Regions.
    #[track_caller]
    pub fn in_regions(site: &'s Site, replicas: &[&str]) -> Self {
        let key = Self::create(site);
        replicas.iter().for_each(|region| drop(key.replicate_to(region).ok()));
        key
    }

    pub fn replicate_to(&self, region: &str) -> KmsReply {
        self.call(HOME, "ReplicateKey", &json!({"ReplicaRegion": region}))
    }

    /// A request about the key of a Region.
    pub fn call(&self, region: &str, operation: &str, members: &Value) -> KmsReply {
        let body = super::site::merged(json!({"KeyId": self.id}), members.clone());
        self.site.kms_in(region, operation, &body)
    }

    /// The same without further members, which succeeds.
    #[track_caller]
    pub fn ok(&self, region: &str, operation: &str) -> Value {
        self.call(region, operation, &json!({})).ok()
    }

    #[track_caller]
    pub fn metadata(&self, region: &str) -> Value {
        self.ok(region, "DescribeKey")["KeyMetadata"].clone()
    }

    #[track_caller]
    pub fn state(&self, region: &str) -> String {
        self.metadata(region)["KeyState"].as_str().unwrap().to_owned()
    }

    /// Asserts that this is in none of the Regions any more, or not yet.
    #[track_caller]
    pub fn assert_absent(&self, region: &str) {
        let absent = format!("Key '{}' does not exist", self.arn(region));
        self.call(region, "DescribeKey", &json!({})).assert_error("NotFoundException", &absent);
    }

    pub fn arn(&self, region: &str) -> String {
        arn_in(region, &self.id)
    }

    #[track_caller]
    pub fn schedule_deletion(&self, region: &str, days: u32) -> Value {
        self.call(region, "ScheduleKeyDeletion", &json!({"PendingWindowInDays": days})).ok()
    }

    /// The ciphertext of [`PLAINTEXT`].
    #[track_caller]
    pub fn encrypt(&self, region: &str) -> String {
        self.call(region, "Encrypt", &json!({"Plaintext": PLAINTEXT})).text("CiphertextBlob")
    }

    #[track_caller]
    pub fn assert_decrypts(&self, region: &str, ciphertext: &str) {
        // By the id in the ciphertext, and by the one of the request.
        let unnamed = self.site.kms_in(region, "Decrypt", &json!({"CiphertextBlob": ciphertext})).ok();
        let named = self.call(region, "Decrypt", &json!({"CiphertextBlob": ciphertext})).ok();
        assert_eq!(unnamed, named);
        assert_eq!((&named["Plaintext"], &named["KeyId"]), (&json!(PLAINTEXT), &json!(self.arn(region))));
    }
}
