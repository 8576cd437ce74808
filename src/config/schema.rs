//! The configuration file as TOML: which members exist, and the default of each that may be absent.

mod limits;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::Isolation;
use crate::config::hedging;
use crate::config::traces;
use crate::domain::kms::KeySpec;

pub(super) use limits::Health;
pub(super) use limits::Limits;
pub(super) use limits::Log;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state_dir: PathBuf,
    #[serde(default)]
    pub(super) admin: Admin,
    #[serde(default)]
    pub(super) listener: Vec<Listener>,
    #[serde(default)]
    pub(super) hsm: Vec<Hsm>,
    #[serde(default)]
    pub(super) cluster: Vec<Cluster>,
    #[serde(default)]
    pub(super) key_store: Vec<KeyStore>,
    pub(super) kms: Option<Kms>,
    #[serde(default)]
    pub(super) dev: Dev,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) health: Health,
    #[serde(default)]
    pub(super) hedging: hedging::Raw,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) traces: Option<traces::Raw>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: String,
    pub(super) probe_listen: Option<String>,
    pub(super) metrics_listen: Option<String>,
    pub(super) control_socket: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: crate::config::ADMIN_LISTEN.into(),
            probe_listen: None,
            metrics_listen: None,
            control_socket: None,
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) certificate_file: PathBuf,
    pub(super) private_key_file: PathBuf,
    pub(super) client_auth: Option<ClientAuth>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct ClientAuth {
    pub(super) ca_file: PathBuf,
    pub(super) subjects: Vec<String>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Hsm {
    pub(super) name: String,
    pub(super) module: PathBuf,
    pub(super) token_label: String,
    pub(super) token_serial: Option<String>,
    pub(super) pin_file: PathBuf,
    pub(super) initialize_parameters: Option<String>,
    #[serde(default = "default_sessions")]
    pub(super) sessions: usize,
    #[serde(default = "default_queue_length_max")]
    pub(super) queue_length_max: usize,
    #[serde(default = "default_cached_keys_max")]
    pub(super) cached_keys_max: usize,
    #[serde(default)]
    pub(super) session_copies: bool,
    #[serde(default)]
    pub(super) iv_mode: IvMode,
    #[serde(default)]
    pub(super) check_encryptions: bool,
    #[serde(default = "default_health_key")]
    pub(super) health_key: String,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) isolation: Isolation,
    pub(super) worker_memory_max_mb: Option<u64>,
}

impl Hsm {
    /// What an HSM has in common with a member of a cluster, besides the name of its module.
    pub(super) fn into_member(self) -> Member {
        let Self { name, module, token_label, token_serial, pin_file: _, sessions, queue_length_max, .. } =
            self;
        Member {
            name,
            module: Some(module),
            token_label,
            token_serial,
            sessions,
            queue_length_max,
            cached_keys_max: self.cached_keys_max,
            session_copies: self.session_copies,
            iv_mode: self.iv_mode,
            check_encryptions: self.check_encryptions,
            health_key: self.health_key,
            environment: self.environment,
            isolation: self.isolation,
            worker_memory_max_mb: self.worker_memory_max_mb,
            initialize_parameters: self.initialize_parameters,
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) id: String,
    pub(super) trust_anchor_file: PathBuf,
    pub(super) module: PathBuf,
    pub(super) crypto_user: Option<String>,
    #[serde(default)]
    pub(super) member: Vec<Member>,
}

/// Written out like [`Hsm`]: `flatten` of serde does not refuse unknown members.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) module: Option<PathBuf>,
    pub(super) token_label: String,
    pub(super) token_serial: Option<String>,
    pub(super) initialize_parameters: Option<String>,
    #[serde(default = "default_sessions")]
    pub(super) sessions: usize,
    #[serde(default = "default_queue_length_max")]
    pub(super) queue_length_max: usize,
    #[serde(default = "default_cached_keys_max")]
    pub(super) cached_keys_max: usize,
    #[serde(default)]
    pub(super) session_copies: bool,
    #[serde(default)]
    pub(super) iv_mode: IvMode,
    #[serde(default)]
    pub(super) check_encryptions: bool,
    #[serde(default = "default_health_key")]
    pub(super) health_key: String,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) isolation: Isolation,
    pub(super) worker_memory_max_mb: Option<u64>,
}

fn default_sessions() -> usize {
    4
}

fn default_queue_length_max() -> usize {
    256
}

fn default_cached_keys_max() -> usize {
    10_000
}

fn default_health_key() -> String {
    "holdfast-health".into()
}

#[derive(Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub(super) enum IvMode {
    Appended,
    #[default]
    Host,
    Hsm,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct KeyStore {
    pub(super) name: String,
    pub(super) uri_path_prefix: String,
    pub(super) hsms: Vec<String>,
    pub(super) credentials_file: PathBuf,
    #[serde(default = "everything")]
    pub(super) keys: Vec<String>,
    #[serde(default = "everything")]
    pub(super) regions: Vec<String>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) policy_file: Option<PathBuf>,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Kms {
    pub(super) hsms: Vec<String>,
    pub(super) identities_file: Option<PathBuf>,
    #[serde(default = "default_kms_deadline_ms")]
    pub(super) request_deadline_ms: u64,
    #[serde(default = "default_key_generation_deadline_ms")]
    pub(super) key_generation_deadline_ms: u64,
    #[serde(default)]
    pub(super) software_provider: SoftwareProvider,
    #[serde(default = "default_known_keys_max")]
    pub(super) known_keys_max: u64,
    #[serde(default = "default_known_grants_max")]
    pub(super) known_grants_max: u64,
    #[serde(default)]
    pub(super) listener: Vec<KmsListener>,
    #[serde(default)]
    pub(super) request_quotas: RequestQuotas,
    #[serde(default)]
    pub(super) resource_quotas: ResourceQuotas,
    #[serde(default)]
    pub(super) external_key_stores: ExternalKeyStores,
    #[serde(default)]
    pub(super) audit: Audit,
    pub(super) events: Option<Events>,
    pub(super) attestation: Option<Attestation>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Attestation {
    pub(super) root_certificates_file: PathBuf,
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct SoftwareProvider {
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing))]
    pub(super) key_specs: Vec<KeySpec>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    pub(super) file: Option<PathBuf>,
    pub(super) webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) secret_file: PathBuf,
}

fn default_kms_deadline_ms() -> u64 {
    5000
}

fn default_key_generation_deadline_ms() -> u64 {
    30_000
}

fn default_known_keys_max() -> u64 {
    20_000
}

fn default_known_grants_max() -> u64 {
    100_000
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct KmsListener {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) private_key_file: Option<PathBuf>,
    pub(super) client_auth: Option<ClientAuth>,
    pub(super) vpc: Option<String>,
    pub(super) vpc_endpoint: Option<String>,
    pub(super) vpc_endpoint_account: Option<String>,
    pub(super) endpoint_policy_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<String>,
    #[serde(default)]
    pub(super) trusted_vpc_headers: bool,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestQuotas {
    pub(super) enabled: bool,
    pub(super) per_second: BTreeMap<String, f64>,
}

impl Default for RequestQuotas {
    fn default() -> Self {
        Self { enabled: true, per_second: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResourceQuotas {
    pub(super) keys: u64,
    pub(super) aliases_per_key: u64,
    pub(super) grants_per_key: u64,
    pub(super) on_demand_rotations_per_key: usize,
    pub(super) custom_key_stores: u64,
}

impl Default for ResourceQuotas {
    fn default() -> Self {
        Self {
            keys: 100_000,
            aliases_per_key: 50,
            grants_per_key: 50_000,
            on_demand_rotations_per_key: 25,
            custom_key_stores: 10,
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExternalKeyStores {
    pub(super) allow_ports: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_certificate_file: Option<PathBuf>,
    pub(super) client_private_key_file: Option<PathBuf>,
    pub(super) requests_per_second: u32,
    pub(super) requests_per_second_by_id: BTreeMap<String, u32>,
    pub(super) health_interval_seconds: u64,
    pub(super) vpc_endpoint_service: Vec<VpcEndpointService>,
}

impl Default for ExternalKeyStores {
    fn default() -> Self {
        Self {
            allow_ports: false,
            ca_file: None,
            client_certificate_file: None,
            client_private_key_file: None,
            requests_per_second: 1800,
            requests_per_second_by_id: BTreeMap::new(),
            health_interval_seconds: 60,
            vpc_endpoint_service: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct VpcEndpointService {
    pub(super) name: String,
    pub(super) private_dns_name: String,
    pub(super) owner: Option<String>,
    #[serde(default)]
    pub(super) acceptance_required: bool,
    #[serde(default = "default_availability_zones")]
    pub(super) availability_zones: u32,
    #[serde(default = "default_private_dns_verified")]
    pub(super) private_dns_verified: bool,
    #[serde(default)]
    pub(super) load_balancer: LoadBalancer,
    #[serde(default = "everything")]
    pub(super) allowed_principals: Vec<String>,
}

fn default_availability_zones() -> u32 {
    2
}

fn default_private_dns_verified() -> bool {
    true
}

#[derive(Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub(super) enum LoadBalancer {
    Gateway,
    #[default]
    Network,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub(super) enabled: bool,
    pub(super) dir: Option<PathBuf>,
    pub(super) sync_interval_ms: u64,
    pub(super) free_bytes_min: u64,
    pub(super) buffer_bytes_max: usize,
    pub(super) when_full: WhenFull,
    pub(super) checkpoint_interval_seconds: u64,
    pub(super) file_bytes_max: u64,
    pub(super) keep_days: u32,
    pub(super) keep_files: usize,
    pub(super) stdout: bool,
    pub(super) syslog: Option<Syslog>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            sync_interval_ms: 1000,
            free_bytes_min: 64 << 20,
            buffer_bytes_max: 16 << 20,
            when_full: WhenFull::Refuse,
            checkpoint_interval_seconds: 60,
            file_bytes_max: 64 << 20,
            keep_days: 0,
            keep_files: 0,
            stdout: false,
            syslog: None,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub(super) enum WhenFull {
    Drop,
    Refuse,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Syslog {
    pub(super) address: String,
    #[serde(default = "default_facility")]
    pub(super) facility: String,
}

fn default_facility() -> String {
    "local0".into()
}

#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dev {
    pub(super) clock_control: bool,
    pub(super) with_any_module: bool,
}
