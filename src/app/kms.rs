//! Builds the KMS API: store, key material, door and identities, and opens the root key.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::admin::{Developed, Development};
use crate::app::administration::{LocalChange, audited};
use crate::app::attestation::attestation_roots;
use crate::app::declared_change::{Declarations, declared_directory, declared_networks};
use crate::app::root_keys::RootKeyWork;
use crate::app::trail::{Audit, AuditParts};
use crate::app::{StartError, start_error};
use crate::audit::{AuditLog, Strangers};
use crate::clock::{AdvancedClock, Clock};
use crate::config;
use crate::events::Receiver;
use crate::gate::kms::{
    DeclaredVpcEndpointService, KeyStoreParts, KeyStoreSettings, Kms, KmsParts, ResourceQuotas,
};
use crate::identity::kms::{Declared, Directory, Network, Networks, Registry, administer_json};
use crate::key_manager::MemberHealth;
use crate::key_manager::backing_key::{BackingKeys, RootKeyAdmin};
use crate::key_manager::cluster::Clusters;
use crate::key_manager::pkcs11::{Hsm, WrappedKeyGroup};
use crate::key_manager::signing_key::SigningKeys;
use crate::key_manager::xks;
use crate::key_manager::xks_proxy::XksProxies;
use crate::kms::{self, EndpointPorts, QuotaClass, RequestQuotas};
use crate::logging::LogSink;
use crate::metrics::{KeyStoreMetrics, Metrics};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::sts;
use crate::tasks::kms_due_work;

/// How long it may take to read the keys of all clusters.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(30);

/// The KMS API behind its listeners.
pub(super) struct KmsFace {
    pub(super) kms: Arc<Kms>,
    pub(super) endpoint: Arc<kms::Endpoint<sts::Endpoint>>,
    pub(super) key_store_health_interval: Duration,
    /// Who is told of lifecycle events, until a task has it.
    event_receiver: Mutex<Option<(Receiver, Arc<Metrics>)>>,
    pub(super) audit: Audit,
    directory: Arc<Directory>,
    networks: Arc<Networks>,
    pub(super) registry: Registry,
    /// The identities file, and the files that it names.
    declared_files: Mutex<Vec<PathBuf>>,
    /// What the audit trail knows of what is declared.
    declarations: Mutex<Declarations>,
    pub(super) store: Arc<dyn Store>,
    pub(super) backing_keys: Arc<dyn BackingKeys>,
    pub(super) root_keys: RootKeyWork,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    development: Option<Arc<AdvancedClock>>,
    xks_proxies: Arc<xks::Proxies>,
    /// Why no key can be used, until the root key is open.
    pub(super) obstacle: Mutex<Option<String>>,
}

/// What the rest of the daemon lends.
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) request_log: Option<LogSink>,
    pub(super) clusters: Arc<dyn Clusters>,
    pub(super) hedging: config::Hedging,
    /// Standard output.
    pub(super) output: LogSink,
}

/// What everything else of the KMS API stands on.
struct Foundation {
    store: Arc<dyn Store>,
    backing_keys: Arc<dyn BackingKeys>,
    root_keys: RootKeyWork,
    audit: Audit,
}

impl Foundation {
    async fn open(
        state_dir: &Path,
        settings: &config::Kms,
        members: Vec<Arc<Hsm>>,
        surroundings: &Surroundings,
    ) -> Result<Self, StartError> {
        let store = SqliteStore::open(state_dir).map_err(start_error)?;
        let store: Arc<dyn Store> = Arc::new(store.measured(surroundings.metrics.store.clone()));
        let group = WrappedKeyGroup::new(members, &surroundings.hedging, Arc::clone(&surroundings.clock))
            .with_software(&settings.software_key_specs);
        let group = Arc::new(group);
        let parts = AuditParts {
            store: Arc::clone(&store),
            keys: Arc::clone(&group) as Arc<dyn SigningKeys>,
            clock: Arc::clone(&surroundings.clock),
            metrics: surroundings.metrics.audit.clone(),
            output: surroundings.output.clone(),
        };
        let audit = Audit::open(&settings.audit, parts).await?;
        let root_keys = RootKeyWork::new(Arc::clone(&group) as Arc<dyn RootKeyAdmin>);
        Ok(Self { store, backing_keys: group, root_keys, audit })
    }
}

impl KmsFace {
    pub(super) async fn build(
        config: &config::Config,
        settings: &config::Kms,
        members: Vec<Arc<Hsm>>,
        surroundings: Surroundings,
    ) -> Result<Self, StartError> {
        let Foundation { store, backing_keys, root_keys, audit } =
            Foundation::open(&config.state_dir, settings, members, &surroundings).await?;
        let Surroundings { clock, metrics, request_log, clusters, hedging: _, output: _ } = surroundings;
        let development = config.dev.clock_control.then(|| Arc::new(AdvancedClock::default()));
        let trust = xks::Trust::load(&settings.external_key_stores.tls).map_err(StartError)?;
        let xks_proxies = Arc::new(xks::Proxies::new(trust, Arc::clone(&clock), Arc::clone(&metrics)));
        let parts = KmsParts {
            store: Arc::clone(&store),
            backing_keys: Arc::clone(&backing_keys),
            key_stores: KeyStoreParts {
                proxies: Arc::clone(&xks_proxies) as Arc<dyn XksProxies>,
                clusters,
                metrics: KeyStoreMetrics::new(&metrics),
            },
            key_store_settings: key_store_settings(&settings.external_key_stores),
            clock: kms_clock(development.as_ref(), &clock),
            quotas: resource_quotas(&settings.resource_quotas),
            audit: audit.log(),
            metrics: Arc::clone(&metrics),
            are_events_told: settings.events.is_some(),
            known_keys_max: NonZeroU64::new(settings.known_keys_max).unwrap_or(NonZeroU64::MIN),
            known_grants_max: usize::try_from(settings.known_grants_max).unwrap_or(usize::MAX),
        };
        let kms = Arc::new(Kms::new(parts));
        kms.trust_attestations(attestation_roots(settings).map_err(StartError)?);
        let event_receiver = Mutex::new(event_receiver(settings, &metrics)?);
        let (directory, declared_files, declarations) = declared_directory(settings).map_err(StartError)?;
        let networks = declared_networks(settings).map_err(StartError)?;
        let endpoint = endpoint(
            settings,
            (&kms, &directory, &networks),
            (&clock, &metrics),
            (audit.log(), request_log),
        )?;
        Ok(Self {
            audit,
            registry: registry(&directory, &store, &backing_keys, &clock),
            key_store_health_interval: settings.external_key_stores.health_interval,
            event_receiver,
            declarations,
            declared_files,
            endpoint: Arc::new(endpoint),
            kms,
            directory,
            networks,
            store,
            backing_keys,
            root_keys,
            clock,
            metrics,
            development,
            xks_proxies,
            obstacle: Mutex::new(Some("the root key is not open yet".to_owned())),
        })
    }

    /// Who is to be told of lifecycle events, once.
    pub(super) fn take_event_receiver(&self) -> Option<(Receiver, Arc<Metrics>)> {
        self.event_receiver.lock().take()
    }

    /// Puts another reading of the identities file in force, and from where requests come. If anything is different,
    /// the audit trail says so.
    pub(super) async fn declare(
        &self,
        declared: Option<Declared>,
        settings: &config::Kms,
        networks: BTreeMap<String, Network>,
    ) -> Result<(), String> {
        let declared = declared.unwrap_or_default();
        let after = Declarations::new(declared.files(), &settings.networks);
        let change = self.declarations.lock().change_to(&after);
        let put_in_force = async {
            let files = declared.files().to_vec();
            self.directory.declare(declared)?;
            *self.declared_files.lock() = files;
            self.networks.declare(networks);
            Ok(())
        };
        match change {
            Some(change) => {
                let audit = self.audit.log();
                change.recorded((&*audit, &*self.clock), put_in_force, |()| None).await?;
            }
            None => put_in_force.await?,
        }
        *self.declarations.lock() = after;
        Ok(())
    }

    pub(super) fn declared_files(&self) -> Vec<PathBuf> {
        self.declared_files.lock().clone()
    }

    /// Reaches proxies by these TLS settings from now on.
    pub(super) fn trust_proxies(&self, trust: xks::Trust) {
        self.xks_proxies.set_trust(trust);
    }

    pub(super) fn for_simulation(&self) -> (&Kms, &Directory, &dyn Clock) {
        (&self.kms, &self.directory, &*self.clock)
    }

    /// Answers a request of `holdfast identity`.
    pub(super) async fn administer(&self, request: &str) -> Result<Zeroizing<String>, String> {
        if let Some(reason) = self.obstacles().first() {
            return Err(format!("identities cannot be read now: {reason}"));
        }
        // One that cannot be read must not be made a second time.
        if let unread @ 1.. = self.unread_identities() {
            return Err(format!("{unread} identities are under the former root key, which is missing"));
        }
        let trail = (&*self.audit.log(), &*self.clock);
        audited(request, trail, administer_json(&self.registry, request)).await
    }

    /// What `holdfast cluster orphans` shows, as JSON.
    pub(super) async fn compare_clusters(&self) -> Result<String, String> {
        let deadline = self.clock.instant() + CLUSTER_TIMEOUT;
        let findings = self.kms.compare_clusters(deadline).await;
        let findings = findings.map_err(|refused| format!("the clusters cannot be looked at: {refused}"))?;
        serde_json::to_string(&findings).map_err(|error| error.to_string())
    }

    /// Writes a consistent copy of the store to a new file.
    pub(super) async fn back_up(&self, to: &Path) -> Result<(), String> {
        self.store.back_up(to).await.map_err(|error| error.to_string())
    }

    /// The latest known health of each HSM that keys are used in.
    pub(super) fn health(&self) -> Vec<MemberHealth> {
        self.backing_keys.health()
    }

    /// Why keys cannot be used.
    pub(super) fn obstacles(&self) -> Vec<String> {
        self.obstacle.lock().iter().map(|reason| format!("KMS: {reason}")).collect()
    }

    pub(super) fn development(self: &Arc<Self>) -> Option<Arc<dyn Development>> {
        self.development.as_ref().map(|_| Arc::clone(self) as Arc<dyn Development>)
    }
}

fn registry(
    directory: &Arc<Directory>,
    store: &Arc<dyn Store>,
    backing_keys: &Arc<dyn BackingKeys>,
    clock: &Arc<dyn Clock>,
) -> Registry {
    Registry::new(Arc::clone(directory), Arc::clone(store), Arc::clone(backing_keys), Arc::clone(clock))
}

/// What keys go by.
fn kms_clock(development: Option<&Arc<AdvancedClock>>, clock: &Arc<dyn Clock>) -> Arc<dyn Clock> {
    match development {
        Some(advanced) => Arc::clone(advanced) as Arc<dyn Clock>,
        None => Arc::clone(clock),
    }
}

impl Development for KmsFace {
    fn unix_seconds(&self) -> u64 {
        let clock: &dyn Clock = match &self.development {
            Some(advanced) => advanced.as_ref(),
            None => self.clock.as_ref(),
        };
        clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    fn advance(&self, by: Duration) -> Developed<'_, ()> {
        let advanced = async move {
            if let Some(advanced) = &self.development {
                advanced.advance(by);
            }
            let done = kms_due_work::catch_up(&self.kms, &self.clock).await;
            // What could not be done is tried again soon, and what is due next is another thing now.
            self.kms.wake_due_work();
            done.map_err(|()| "not everything that is due could be done; the log says why".to_owned())
        };
        Box::pin(async move {
            let parameters = format!("{{\"seconds\":{}}}", by.as_secs()).into_bytes();
            let audit = self.audit.log();
            let change = development("AdvanceClock", Some(parameters));
            change.recorded((&*audit, &*self.clock), advanced, |()| None).await
        })
    }

    fn reset(&self) -> Developed<'_, ()> {
        Box::pin(async move {
            let cleared = async { self.kms.clear().await.map_err(|refused| refused.to_string()) };
            let audit = self.audit.log();
            development("Reset", None).recorded((&*audit, &*self.clock), cleared, |()| None).await
        })
    }
}

/// What development does to time and keys.
fn development(name: &'static str, parameters: Option<Vec<u8>>) -> LocalChange {
    LocalChange { source: "dev.holdfast", name, by: "admin listener", account: None, parameters }
}

fn event_receiver(
    settings: &config::Kms,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Receiver, Arc<Metrics>)>, StartError> {
    let receiver = settings.events.as_ref().map(Receiver::open).transpose().map_err(StartError)?;
    Ok(receiver.map(|receiver| (receiver, Arc::clone(metrics))))
}

/// What can change about custom key stores while the daemon runs.
pub(super) fn key_store_settings(config: &config::ExternalKeyStores) -> KeyStoreSettings {
    // The configuration has them at one at least.
    let rate = |rate: u32| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
    let by_id =
        config.requests_per_second_by_id.iter().map(|(id, per_second)| (id.clone(), rate(*per_second)));
    let service = |service: &config::VpcEndpointService| DeclaredVpcEndpointService {
        name: service.name.clone(),
        private_dns_name: service.private_dns_name.clone(),
        private_dns_verified: service.private_dns_verified,
        owner: service.owner.clone(),
        acceptance_required: service.acceptance_required,
        availability_zones: service.availability_zones,
        has_network_load_balancer: service.load_balancer == config::LoadBalancer::Network,
        allowed_principals: service.allowed_principals.clone(),
    };
    KeyStoreSettings {
        requests_per_second: rate(config.requests_per_second),
        requests_per_second_by_id: by_id.collect(),
        vpc_endpoint_services: config.vpc_endpoint_services.iter().map(service).collect(),
    }
}

/// The KMS API and STS, which share the port.
fn endpoint(
    settings: &config::Kms,
    (kms, directory, networks): (&Arc<Kms>, &Arc<Directory>, &Arc<Networks>),
    (clock, metrics): (&Arc<dyn Clock>, &Arc<Metrics>),
    (audit, request_log): (Arc<dyn AuditLog>, Option<LogSink>),
) -> Result<kms::Endpoint<sts::Endpoint>, StartError> {
    let strangers = Arc::new(Strangers::new(metrics));
    let server = kms::Server::new(kms::ServerParts {
        kms: Arc::clone(kms),
        directory: Arc::clone(directory),
        networks: Arc::clone(networks),
        clock: Arc::clone(clock),
        audit: Arc::clone(&audit),
        strangers: Arc::clone(&strangers),
        metrics: Arc::clone(metrics),
        request_log: request_log.clone(),
        request_deadline: settings.request_deadline,
        key_generation_deadline: settings.key_generation_deadline,
        request_quotas: request_quotas(&settings.request_quotas).map_err(StartError)?,
        endpoint_ports: endpoint_ports(&settings.external_key_stores),
    });
    let sts_parts = sts::EndpointParts {
        networks: Arc::clone(networks),
        clock: Arc::clone(clock),
        metrics: Arc::clone(metrics),
        audit,
        strangers,
        request_log,
    };
    let query = sts::Endpoint::new(Arc::clone(directory), sts_parts);
    Ok(kms::Endpoint { kms: server.map_err(StartError)?, query })
}

pub(super) fn request_quotas(config: &config::RequestQuotas) -> Result<RequestQuotas, String> {
    if !config.enabled {
        return Ok(RequestQuotas::Off);
    }
    let class = |(name, rate): (&String, &f64)| {
        let class = QuotaClass::parse(name);
        class.map(|class| (class, *rate)).ok_or_else(|| {
            let names: Vec<_> = QuotaClass::ALL.iter().map(|class| class.as_str()).collect();
            format!(
                "kms.request_quotas.per_second: there is no quota `{name}`; there are {}",
                names.join(", ")
            )
        })
    };
    let overrides = config.per_second.iter().map(class).collect::<Result<_, _>>()?;
    Ok(RequestQuotas::Aws { overrides })
}

const fn endpoint_ports(config: &config::ExternalKeyStores) -> EndpointPorts {
    if config.allow_ports { EndpointPorts::Allowed } else { EndpointPorts::Refused }
}

/// The TLS settings for proxies, if there is a KMS API that needs them.
pub(super) fn load_proxy_trust(config: &config::Config) -> Result<Option<xks::Trust>, String> {
    config.kms.as_ref().map(|kms| xks::Trust::load(&kms.external_key_stores.tls)).transpose()
}

fn resource_quotas(config: &config::ResourceQuotas) -> ResourceQuotas {
    ResourceQuotas {
        keys: config.keys,
        aliases_per_key: config.aliases_per_key,
        grants_per_key: config.grants_per_key,
        on_demand_rotations_per_key: config.on_demand_rotations_per_key,
        custom_key_stores: config.custom_key_stores,
    }
}
