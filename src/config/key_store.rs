//! `[[key_store]]`, checked.

use std::collections::BTreeSet;

use proxy_api::wire::URI_PATH_BASE;
use proxy_api::wire::check_uri_path_prefix;

use crate::config::Hsm;
use crate::config::KeyStore;
use crate::config::hsm;
use crate::config::review::Review;
use crate::config::schema;
use crate::domain::ExternalKeyId;

const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;

impl KeyStore {
    /// `XksProxyUriPath`: what the URI of each operation starts with (XKS v1, API operations).
    pub fn uri_path(&self) -> String {
        let slash = if self.uri_path_prefix.is_empty() { "" } else { "/" };
        format!("{slash}{}{URI_PATH_BASE}", self.uri_path_prefix)
    }
}

pub(super) fn key_stores(review: &mut Review<'_>, raw: Vec<schema::KeyStore>, hsms: &[Hsm]) -> Vec<KeyStore> {
    let mut names = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    let mut credentials_files = BTreeSet::new();
    let checked = raw.into_iter().enumerate().map(|(index, raw)| {
        let table = review.named_table("key_store", index, &raw.name);
        review.unique(&table, "name", &mut names, raw.name.clone());
        review.unique(&table, "uri_path_prefix", &mut prefixes, raw.uri_path_prefix.clone());
        if let Err(error) = check_uri_path_prefix(&raw.uri_path_prefix) {
            review.refuse(&table, format_args!("`uri_path_prefix` is wrong: {error}"));
        }
        check_keys(review, &table, &raw, hsms);
        check_regions(review, &table, &raw.regions);
        if let Some(rate) = raw.requests_per_second {
            review.within(&table, "requests_per_second", rate, 1..=REQUESTS_PER_SECOND_MAX);
        }
        let credentials_file = review.path(&table, "credentials_file", &raw.credentials_file);
        // A credential of one key store must not open another (XKS v1, API operations: prefixes isolate tenants).
        review.unique(&table, "credentials_file", &mut credentials_files, credentials_file.clone());
        KeyStore {
            name: raw.name,
            uri_path_prefix: raw.uri_path_prefix,
            hsms: raw.hsms,
            credentials_file,
            credentials: Vec::new(),
            keys: raw.keys,
            regions: raw.regions,
            requests_per_second: raw.requests_per_second,
            policy: None,
            policy_file: raw.policy_file.map(|path| review.path(&table, "policy_file", &path)),
        }
    });
    checked.collect()
}

fn check_keys(review: &mut Review<'_>, table: &str, raw: &schema::KeyStore, hsms: &[Hsm]) {
    review.require(!raw.hsms.is_empty(), table, "`hsms` must name at least one hsm");
    let mut names = BTreeSet::new();
    for (place, name) in raw.hsms.iter().enumerate() {
        let hsm = hsms.iter().find(|hsm| &hsm.name == name);
        let is_known = hsm.is_some();
        review.require(is_known, table, hsm::unknown(place, name, hsms));
        review.require(names.insert(name), table, format_args!("`hsms` entry {} is there twice", place + 1));
        let is_health_key = hsm.is_some_and(|hsm| raw.keys.contains(&hsm.health_key));
        let reason = format_args!("`keys` has the health key of hsm `{name}`, which no KMS key may use");
        review.require(!is_health_key, table, reason);
    }
    review.require(!raw.keys.is_empty(), table, "`keys` must have at least one entry; `*` allows every key");
    for (place, pattern) in raw.keys.iter().enumerate() {
        // `*` may stand for nothing or for any run of legal characters, so one legal character tells.
        let is_right = pattern == "*" || ExternalKeyId::parse(&pattern.replace('*', "-")).is_ok();
        let reason = "must be an external key id, in which `*` stands for any run of characters";
        review.require(is_right, table, format_args!("`keys` entry {} {reason}", place + 1));
    }
}

fn check_regions(review: &mut Review<'_>, table: &str, regions: &[String]) {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = |region: &String| region == "*" || (!region.is_empty() && region.bytes().all(legal));
    let is_right = !regions.is_empty() && regions.iter().all(is_region);
    review.require(is_right, table, "`regions` must be a list of names such as `us-east-1`, or `*` for any");
}
