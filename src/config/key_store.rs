//! `[[key_store]]`, checked.

use std::collections::BTreeSet;

use crate::config::Hsm;
use crate::config::KeyStore;
use crate::config::review::Review;
use crate::config::schema;
use crate::domain::ExternalKeyId;

/// What every `XksProxyUriPath` ends in; the number is the version of the API (XKS v1, API operations).
const URI_PATH_SUFFIX: &str = "/kms/xks/v1";
/// The longest `XksProxyUriPath` (XKS v1, API operations).
const URI_PATH_CHARS_MAX: usize = 128;

const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;

pub(super) fn uri_path(prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{slash}{prefix}{URI_PATH_SUFFIX}")
}

pub(super) fn key_stores(review: &mut Review<'_>, raw: Vec<schema::KeyStore>, hsms: &[Hsm]) -> Vec<KeyStore> {
    review.require(!raw.is_empty(), "key_store", "there must be at least one");
    let mut names = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    let mut credentials_files = BTreeSet::new();
    let checked = raw.into_iter().enumerate().map(|(index, raw)| {
        let table = review.named_table("key_store", index, &raw.name);
        review.unique(&table, "name", &mut names, raw.name.clone());
        review.unique(&table, "uri_path_prefix", &mut prefixes, raw.uri_path_prefix.clone());
        check_prefix(review, &table, &raw.uri_path_prefix);
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

fn check_prefix(review: &mut Review<'_>, table: &str, prefix: &str) {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    let reason = "`uri_path_prefix` may have only a-z A-Z 0-9 / - _";
    review.require(prefix.bytes().all(legal), table, reason);
    let is_whole = prefix.is_empty() || prefix.split('/').all(|segment| !segment.is_empty());
    let reason = "`uri_path_prefix` must have no slash at either end and no two in a row";
    review.require(is_whole, table, reason);
    let chars_max = URI_PATH_CHARS_MAX - uri_path("-").len() + 1;
    let reason = format_args!("`uri_path_prefix` must be at most {chars_max} characters long");
    review.require(prefix.len() <= chars_max, table, reason);
}

fn check_keys(review: &mut Review<'_>, table: &str, raw: &schema::KeyStore, hsms: &[Hsm]) {
    review.require(!raw.hsms.is_empty(), table, "`hsms` must name at least one hsm");
    let mut names = BTreeSet::new();
    for (place, name) in raw.hsms.iter().enumerate() {
        let hsm = hsms.iter().find(|hsm| &hsm.name == name);
        let is_known = hsm.is_some();
        review.require(is_known, table, format_args!("`hsms` entry {} is the name of no hsm", place + 1));
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
