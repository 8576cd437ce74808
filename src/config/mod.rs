//! The configuration file, read once into types that cannot be wrong; all limits.

mod audit;
mod cluster;
pub mod credentials;
mod destination;
pub mod environment;
mod events;
mod external_key_stores;
mod files;
mod hedging;
mod hsm;
pub mod identities;
mod key_store;
mod kms;
mod listener;
mod network;
pub mod private_file;
mod review;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;
mod traces;
mod validation;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

pub use audit::Audit;
pub use audit::AuditLimits;
pub use audit::AuditSinks;
pub use audit::Syslog;
pub use audit::SyslogAddress;
pub use audit::SyslogFacility;
pub use audit::WhenFull;
pub use destination::Destination;
pub use events::Events;
pub use events::Webhook;
pub use external_key_stores::ExternalKeyStores;
pub use external_key_stores::LoadBalancer;
pub use external_key_stores::ProxyTls;
pub use external_key_stores::VpcEndpointService;
pub use hedging::Hedging;
pub use network::AddressRange;
pub use network::Network;
pub use network::VpcEndpoint;
pub use review::ConfigError;
pub use review::Problem;
pub use traces::Traces;

use crate::config::private_file::FileVersion;
use crate::config::private_file::PrivateFileError;
use crate::domain::kms::KeySpec;
use crate::secret::SecretBytes;

/// A complete configuration file with every member, its default and what it is for.
pub const DEFAULT: &str = include_str!("default.toml");

/// AWS KMS gives up on a request after 250 ms (XKS v1, GetKeyMetadata).
const KMS_TIMEOUT: Duration = Duration::from_millis(250);

/// AWS KMS polls a connected key store every few minutes; a shorter idle time-out makes each poll a handshake.
const KMS_POLLING_INTERVAL: Duration = Duration::from_secs(300);

/// A whole, valid configuration. Every path in it is absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Where the daemon keeps what must survive a restart: the kill switch, GCM invocation counts.
    pub state_dir: PathBuf,
    pub admin: Admin,
    pub listeners: Vec<TlsListener>,
    pub hsms: Vec<Hsm>,
    pub clusters: Vec<Cluster>,
    pub key_stores: Vec<KeyStore>,
    /// Absent: no KMS API.
    pub kms: Option<Kms>,
    pub dev: Dev,
    pub limits: Limits,
    pub health: Health,
    pub hedging: Hedging,
    pub log: Log,
    /// Absent: no spans are made.
    pub traces: Option<Traces>,
}

impl Config {
    /// The whole configuration: the file at `path` and every file that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (config, refused) = Self::load_reviewed(path)?;
        if refused.is_empty() { Ok(config) } else { Err(ConfigError::of(refused)) }
    }

    /// The same, and what is wrong with the files that it names: what they hold is absent.
    pub fn load_reviewed(path: &Path) -> Result<(Self, Vec<Problem>), ConfigError> {
        let mut config = Self::load_without_files(path)?;
        let refused = files::read(&mut config);
        Ok((config, refused))
    }

    /// The file at `path` alone, for commands that make the files it names: credentials and policies are absent.
    pub fn load_without_files(path: &Path) -> Result<Self, ConfigError> {
        validation::load(path, environment::log_filter())
    }

    /// Where the daemon tells of itself: all that is asked of the file at `path`, since what a daemon runs with may be
    /// right although the file no longer is. With an error in the syntax, which may hide what it says.
    pub fn admin_listen(path: &Path) -> Result<(SocketAddr, Option<ConfigError>), ConfigError> {
        validation::admin_listen(path)
    }

    /// Every file whose change changes the configuration.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        let listeners = self.tls_listeners().flat_map(|listener| {
            let ca_file = listener.client_auth.as_ref().map(|auth| &auth.ca_file);
            [Some(&listener.certificate_file), Some(&listener.private_key_file), ca_file]
        });
        let hsms = self.hsms.iter().map(|hsm| hsm.pin_file.as_ref());
        let key_stores = self
            .key_stores
            .iter()
            .flat_map(|store| [Some(&store.credentials_file), store.policy_file.as_ref()]);
        let kms = self.kms.iter().flat_map(|kms| {
            let endpoint_policies =
                kms.networks.values().map(|network| network.endpoint_policy_file.as_ref());
            let roots = kms.attestation.as_ref().map(|attestation| &attestation.root_certificates_file);
            [kms.identities_file.as_ref(), roots]
                .into_iter()
                .chain(kms.external_key_stores.tls.files().map(Some))
                .chain(endpoint_policies)
        });
        let named = listeners.chain(hsms).chain(key_stores).chain(kms).flatten();
        let files: BTreeSet<_> = std::iter::once(&self.path).chain(named).cloned().collect();
        files.into_iter().collect()
    }

    /// The sockets with TLS, of the XKS proxy and of the KMS API.
    pub fn tls_listeners(&self) -> impl Iterator<Item = &TlsListener> {
        self.listeners.iter().chain(self.kms.iter().flat_map(|kms| &kms.tls_listeners))
    }

    /// The sockets for clients, with TLS and without.
    pub fn listener_count(&self) -> usize {
        let http = self.kms.iter().map(|kms| kms.http_listeners.len()).sum::<usize>();
        self.tls_listeners().count() + http
    }

    /// The environment that the PKCS#11 libraries in this process need; HSMs that disagree were refused.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let members = self.clusters.iter().flat_map(|cluster| &cluster.members);
        let hsms = self.hsms.iter().chain(members).filter(|hsm| hsm.isolation == Isolation::Thread);
        hsms.flat_map(|hsm| self.environment_of(hsm)).collect()
    }

    /// What the library of this HSM needs: its own, and what the others give theirs and agree on.
    pub fn environment_of(&self, hsm: &Hsm) -> BTreeMap<String, String> {
        let members = self.clusters.iter().flat_map(|cluster| &cluster.members);
        let (mut common, mut disputed) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in self.hsms.iter().chain(members).flat_map(|hsm| &hsm.environment) {
            if common.insert(name, value).is_some_and(|other| other != value) {
                disputed.insert(name);
            }
        }
        common.retain(|name, _| !disputed.contains(name));
        common.extend(&hsm.environment);
        common.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// What is allowed and probably not meant, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let Limits { request_deadline, idle_timeout, .. } = self.limits;
        let late = (request_deadline >= KMS_TIMEOUT).then(|| {
            format!(
                "limits: `request_deadline_ms` is {}, but AWS KMS gives up after {}",
                request_deadline.as_millis(),
                KMS_TIMEOUT.as_millis()
            )
        });
        let idle = (idle_timeout < KMS_POLLING_INTERVAL).then(|| {
            format!(
                "limits: `idle_timeout_seconds` is {}: connections close between two polls of AWS KMS, and the next \
                 request pays for a handshake",
                idle_timeout.as_secs()
            )
        });
        late.into_iter().chain(idle).collect()
    }
}

impl Hsm {
    /// The PIN, as it is now in `pin_file`, without the end of its line; nothing if there is no such file.
    pub fn read_pin(&self) -> Result<Option<SecretBytes>, PrivateFileError> {
        self.pin_file.as_deref().map(private_file::read_line).transpose()
    }

    /// Which version of `pin_file` there is, without a look at the PIN; nothing if there is no such file.
    pub fn pin_version(&self) -> Result<Option<FileVersion>, PrivateFileError> {
        self.pin_file.as_deref().map(private_file::version).transpose()
    }
}

/// Where the daemon tells of itself if the configuration does not say.
pub const ADMIN_LISTEN: &str = "127.0.0.1:8444";

/// `[admin]`: metrics and health for machines on plain HTTP, and the control socket for `holdfast` commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// A loopback address.
    pub listen: SocketAddr,
    /// Any address, for load balancers: `/livez` and `/readyz`, and nothing else.
    pub probe_listen: Option<SocketAddr>,
    /// Any address, for a Prometheus on another machine: `/metrics`, and nothing else.
    pub metrics_listen: Option<SocketAddr>,
    /// A Unix socket that only the daemon's user can open.
    pub control_socket: PathBuf,
}

/// `[kms]`: the AWS KMS API.
#[derive(Clone, Debug, PartialEq)]
pub struct Kms {
    /// Names of `[[hsm]]` entries that hold the same root key.
    pub hsms: Vec<String>,
    /// Accounts, users and roles that are declared in a file.
    pub identities_file: Option<PathBuf>,
    /// From the request head to the answer.
    pub request_deadline: Duration,
    /// So long the making of an RSA key may take.
    pub key_generation_deadline: Duration,
    /// Specs whose keys are made in software and sealed by the HSM.
    pub software_key_specs: Vec<KeySpec>,
    /// Keys whose metadata is kept in memory.
    pub known_keys_max: u64,
    /// Grants that are kept in memory, of whole keys: of the key that is used in any case.
    pub known_grants_max: u64,
    pub tls_listeners: Vec<TlsListener>,
    pub http_listeners: Vec<HttpListener>,
    /// By the name of the listener.
    pub networks: BTreeMap<String, Network>,
    pub request_quotas: RequestQuotas,
    pub resource_quotas: ResourceQuotas,
    pub external_key_stores: ExternalKeyStores,
    pub audit: Audit,
    /// Where lifecycle events go; absent: nowhere.
    pub events: Option<Events>,
    /// Absent: requests with `Recipient` are refused.
    pub attestation: Option<Attestation>,
}

/// `[kms.attestation]`: attested enclaves as recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    pub root_certificates_file: PathBuf,
    /// What is in that file: certificates as PEM.
    pub root_certificates: String,
}

/// `[[kms.listener]]` without a certificate: plain HTTP, on a loopback address only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpListener {
    pub name: String,
    pub listen: SocketAddr,
}

/// `[kms.request_quotas]`: requests a second of one account in one Region.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestQuotas {
    pub enabled: bool,
    /// By the name of an operation or of a shared quota; what is not here has the quota of AWS KMS.
    pub per_second: BTreeMap<String, f64>,
}

/// `[kms.resource_quotas]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceQuotas {
    pub keys: u64,
    pub aliases_per_key: u64,
    pub grants_per_key: u64,
    pub custom_key_stores: u64,
    pub on_demand_rotations_per_key: usize,
}

/// `[dev]`: for development and tests, never for keys that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dev {
    /// `POST /dev/clock` and `POST /dev/reset` on the admin listener.
    pub clock_control: bool,
}

/// `[[listener]]` and `[[kms.listener]]`: an HTTPS socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    pub name: String,
    pub listen: SocketAddr,
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
    /// Present: a client certificate is required.
    pub client_auth: Option<ClientAuth>,
}

/// `[listener.client_auth]`: who may connect (XKS v1, Authentication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    pub ca_file: PathBuf,
    /// Accepted subject names: the common name, or a DNS name of a certificate that has no common name.
    pub subjects: Vec<String>,
}

/// `[[hsm]]` or `[[cluster.member]]`: one PKCS#11 token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsm {
    pub name: String,
    pub module: PathBuf,
    pub token_label: String,
    pub token_serial: Option<String>,
    /// Absent in a cluster: its PIN is the password of the key store.
    pub pin_file: Option<PathBuf>,
    /// Where it is written down which version of that file the token refused; absent if nobody shall.
    pub refused_pin_file: Option<PathBuf>,
    /// For libraries that take them in `C_Initialize` (`pReserved`), as NSS does.
    pub initialize_parameters: Option<String>,
    /// Worker threads, each with one session; the ceiling on what the HSM sees from us, plus one
    /// that watches and one that keeps the login.
    pub sessions: usize,
    /// Requests that may wait for a session before the next is refused with ThrottlingException.
    pub queue_length_max: usize,
    /// Unwrapped KMS keys that the HSM holds as session objects.
    pub cached_keys_max: usize,
    /// Compute with copies of token keys that are session objects.
    pub session_copies: bool,
    pub iv_mode: IvMode,
    /// Whatever it encrypts is decrypted and compared before it leaves.
    pub check_encryptions: bool,
    /// Label of the key that health probes use; never one that backs a KMS key.
    pub health_key: String,
    /// Environment variables that the PKCS#11 library reads, for example `SOFTHSM2_CONF`.
    pub environment: BTreeMap<String, String>,
    pub isolation: Isolation,
    /// A worker process that takes more memory is replaced.
    pub worker_memory_max_bytes: u64,
}

/// Where the PKCS#11 library is.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// `process`: in a worker process of this HSM alone.
    Process,
    /// `thread`: in the daemon, whatever becomes of it.
    #[default]
    Thread,
}

/// Who makes the GCM IV, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IvMode {
    /// `host`: 12 bytes from the operating system's CSPRNG, passed in (SoftHSM).
    Host,
    /// `hsm`: 12 zero bytes in, the token writes its IV over them (AWS CloudHSM, nShield).
    Hsm,
    /// `appended`: no IV in, the token appends its own after the tag (Luna).
    Appended,
}

/// `[[cluster]]`: HSMs that keep their keys and users in step, for key stores of the type `AWS_CLOUDHSM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub id: String,
    pub trust_anchor_file: PathBuf,
    /// What is in that file: one certificate as PEM.
    pub trust_anchor: String,
    /// Goes before the password in the PIN, with a colon.
    pub crypto_user: Option<String>,
    /// At least two.
    pub members: Vec<Hsm>,
}

/// `[[key_store]]`: one external key store, found by its path prefix.
#[derive(Clone, Debug)]
pub struct KeyStore {
    pub name: String,
    /// The path before `/kms/xks/v1`, without slashes at either end; may be empty.
    pub uri_path_prefix: String,
    /// Names of `[[hsm]]` entries that hold the same keys.
    pub hsms: Vec<String>,
    pub credentials_file: PathBuf,
    pub credentials: Vec<Credential>,
    /// External key ids this store may use; `*` stands for any run of characters.
    pub keys: Vec<String>,
    /// Regions from which requests are taken; `*` for any.
    pub regions: Vec<String>,
    /// Steady rate of requests; more gets ThrottlingException. Absent: no quota.
    pub requests_per_second: Option<u32>,
    /// The IAM policy for secondary authorization, as text; absent: everything the credential allows.
    pub policy: Option<String>,
    pub policy_file: Option<PathBuf>,
}

/// One SigV4 credential (XKS v1, XKS proxy configuration).
#[derive(Clone, Debug)]
pub struct Credential {
    pub access_key_id: String,
    pub secret_access_key: SecretBytes,
    /// When it was made, in seconds since the Unix epoch.
    pub created_unix_seconds: u64,
}

/// `[limits]`: what is bounded, each with its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the request head to the answer; AWS KMS gives up at 250 ms.
    pub request_deadline: Duration,
    pub plaintext_bytes_max: usize,
    pub aad_bytes_max: usize,
    pub connections_max: usize,
    pub tls_handshake_timeout: Duration,
    pub header_read_timeout: Duration,
    pub body_read_timeout: Duration,
    pub idle_timeout: Duration,
    /// How long SIGTERM waits for requests in flight.
    pub shutdown_timeout: Duration,
}

/// `[health]`: how the HSMs are probed, and what GetHealthStatus says of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    /// `xksProxyFleetSize`: how many proxies stand behind the endpoint.
    pub fleet_size: u32,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter such as `info` or `holdfast=debug`.
    pub filter: String,
    /// One JSON line a request.
    pub requests: bool,
}
