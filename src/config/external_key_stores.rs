//! `[kms.external_key_stores]`: how the KMS API reaches the proxies of external key stores, checked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::review::Review;
use crate::config::schema;

const TABLE: &str = "kms.external_key_stores";

/// Far above the default quota of AWS KMS, 1,800, which can be raised and lowered there too.
const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;

/// `[kms.external_key_stores]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalKeyStores {
    /// Endpoints may be `https://host:port`, which AWS KMS refuses.
    pub allow_ports: bool,
    pub tls: ProxyTls,
    /// Cryptographic operations with the keys of one external key store.
    pub requests_per_second: u32,
    /// By the id of the custom key store, instead of the former.
    pub requests_per_second_by_id: BTreeMap<String, u32>,
    /// Between two requests for the health of a connected key store.
    pub health_interval: Duration,
    /// If there is any, key stores with VPC connectivity must name one.
    pub vpc_endpoint_services: Vec<VpcEndpointService>,
}

/// Whom to trust as a proxy, and who we are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyTls {
    /// Absent: the certificates of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate and private key, for mTLS.
    pub client_files: Option<(PathBuf, PathBuf)>,
}

/// `[[kms.external_key_stores.vpc_endpoint_service]]`: stands for a VPC endpoint service as AWS KMS would find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpointService {
    pub name: String,
    pub private_dns_name: String,
    /// The account that it belongs to; absent: any.
    pub owner: Option<String>,
    pub acceptance_required: bool,
    pub availability_zones: u32,
    pub private_dns_verified: bool,
    pub load_balancer: LoadBalancer,
    /// `*` for any.
    pub allowed_principals: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancer {
    Gateway,
    Network,
}

impl ExternalKeyStores {
    /// Takes out what a reload can change, so that the rest can be compared.
    pub fn forget_what_can_change(&mut self) {
        self.requests_per_second = 0;
        self.requests_per_second_by_id.clear();
        self.vpc_endpoint_services.clear();
    }
}

impl ProxyTls {
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let client_files = self.client_files.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca_file.iter().chain(client_files)
    }
}

pub(super) fn external_key_stores(
    review: &mut Review<'_>,
    raw: schema::ExternalKeyStores,
) -> ExternalKeyStores {
    let rate = |review: &mut Review<'_>, table: &str, member: &str, rate| {
        review.within(table, member, rate, 1..=REQUESTS_PER_SECOND_MAX)
    };
    let requests_per_second = rate(review, TABLE, "requests_per_second", raw.requests_per_second);
    for (id, &value) in &raw.requests_per_second_by_id {
        let table = format!("{TABLE}.requests_per_second_by_id");
        let is_id = id.strip_prefix("cks-").is_some_and(|rest| {
            !rest.is_empty() && rest.len() <= 60 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let reason = format_args!("`{}` is not the id of a custom key store", id.escape_debug());
        review.require(is_id, &table, reason);
        rate(review, &table, &id.escape_debug().to_string(), value);
    }
    let interval = review.within(TABLE, "health_interval_seconds", raw.health_interval_seconds, 1..=86_400);
    ExternalKeyStores {
        allow_ports: raw.allow_ports,
        tls: proxy_tls(review, &raw),
        requests_per_second,
        health_interval: Duration::from_secs(interval),
        vpc_endpoint_services: vpc_endpoint_services(review, raw.vpc_endpoint_service),
        requests_per_second_by_id: raw.requests_per_second_by_id,
    }
}

fn proxy_tls(review: &mut Review<'_>, raw: &schema::ExternalKeyStores) -> ProxyTls {
    let client_files = match (&raw.client_certificate_file, &raw.client_private_key_file) {
        (Some(certificate), Some(key)) => Some((
            review.path(TABLE, "client_certificate_file", certificate),
            review.path(TABLE, "client_private_key_file", key),
        )),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            review.refuse(TABLE, "`client_certificate_file` and `client_private_key_file` go together");
            None
        }
    };
    let ca_file = raw.ca_file.as_ref().map(|path| review.path(TABLE, "ca_file", path));
    ProxyTls { ca_file, client_files }
}

fn vpc_endpoint_services(
    review: &mut Review<'_>,
    raw: Vec<schema::VpcEndpointService>,
) -> Vec<VpcEndpointService> {
    let mut names = BTreeSet::new();
    let checked = raw.into_iter().enumerate().map(|(index, raw)| {
        let table = format!("{TABLE}.vpc_endpoint_service {}", index + 1);
        let reason = "`name` must look like `com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0`";
        review.require(is_service_name(&raw.name), &table, reason);
        review.unique(&table, "name", &mut names, raw.name.clone());
        let reason = "`private_dns_name` must be a host name";
        review.require(is_host_name(&raw.private_dns_name), &table, reason);
        let is_account = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        let is_owner = raw.owner.as_deref().is_none_or(is_account);
        review.require(is_owner, &table, "`owner` must be an account id of 12 digits");
        VpcEndpointService {
            availability_zones: review.within(&table, "availability_zones", raw.availability_zones, 0..=100),
            name: raw.name,
            private_dns_name: raw.private_dns_name,
            owner: raw.owner,
            acceptance_required: raw.acceptance_required,
            private_dns_verified: raw.private_dns_verified,
            load_balancer: match raw.load_balancer {
                schema::LoadBalancer::Gateway => LoadBalancer::Gateway,
                schema::LoadBalancer::Network => LoadBalancer::Network,
            },
            allowed_principals: raw.allowed_principals,
        }
    });
    checked.collect()
}

fn is_service_name(name: &str) -> bool {
    let Some((region, id)) =
        name.strip_prefix("com.amazonaws.vpce.").and_then(|rest| rest.split_once(".vpce-svc-"))
    else {
        return false;
    };
    let is_word = |text: &str| {
        let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !text.is_empty() && text.bytes().all(is_legal)
    };
    region.split('-').all(is_word) && is_word(id)
}

fn is_host_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.bytes().all(is_legal)
}
