//! Clusters over PKCS#11: HSMs that are logged in only while a key store is connected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::config::Hedging;
use crate::key_manager::backing_key::DataKey;
use crate::key_manager::cluster::{Cluster, ClusterError, ClusterKey, ClusterSealed, Clusters, Managed};
use crate::key_manager::pkcs11::at_once::gather;
use crate::key_manager::pkcs11::backing_task::{BackingTask, RANDOM_BYTES_MAX};
use crate::key_manager::pkcs11::class::Class;
use crate::key_manager::pkcs11::cluster_keys;
use crate::key_manager::pkcs11::failover::{Candidate, refused};
use crate::key_manager::pkcs11::group::HsmGroup;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::searches::Searches;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{
    Answer, BoundAad, Decrypt, Done, Encrypt, Encrypted, HealthState, HsmError, KeyManager, MemberHealth,
};
use crate::secret::SecretBytes;

/// A token that is there says so at once.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Reading ten thousand keys of a slow HSM takes its time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// With another HSM still to be asked; the last one has all the time that there is.
const LOG_IN_TIMEOUT: Duration = Duration::from_secs(2);
/// Who is slower may still be found well by the periodic probes, as long as another HSM is well.
const BRIEF_PROBE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Nobody waits for a hanging HSM to log out: nothing uses its sessions any more.
const LOG_OUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Every cluster of the configuration.
#[derive(Default)]
pub struct HsmClusters(BTreeMap<String, Arc<HsmCluster>>);

/// What is needed to serve a cluster.
pub struct ClusterParts {
    pub id: String,
    pub trust_anchor: String,
    /// Goes before the password in the PIN.
    pub crypto_user: Option<String>,
    /// At least two, started without a PIN.
    pub members: Vec<Arc<Hsm>>,
    pub hedging: Hedging,
    pub clock: Arc<dyn Clock>,
}

pub struct HsmCluster {
    id: String,
    trust_anchor: String,
    crypto_user: Option<String>,
    pub(super) members: Vec<Arc<Hsm>>,
    pub(super) group: HsmGroup,
    pub(super) searches: Searches,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether the last login was refused, until somebody logs in or out.
    is_login_refused: AtomicBool,
    /// Held by whoever logs in or out, or changes the password.
    connecting: Mutex<()>,
}

/// What came of trying passwords.
struct Opened<'a> {
    /// It is logged in.
    first: &'a Arc<Hsm>,
    place: usize,
    /// The members that answered, this one among them.
    responsive: Vec<&'a Arc<Hsm>>,
}

impl HsmClusters {
    pub fn new(clusters: Vec<HsmCluster>) -> Self {
        Self(clusters.into_iter().map(|cluster| (cluster.id.clone(), Arc::new(cluster))).collect())
    }

    pub fn members(&self) -> impl Iterator<Item = &Arc<Hsm>> {
        self.0.values().flat_map(|cluster| &cluster.members)
    }
}

impl Clusters for HsmClusters {
    fn find(&self, cluster_id: &str) -> Option<Arc<dyn Cluster>> {
        self.0.get(cluster_id).map(|cluster| Arc::clone(cluster) as Arc<dyn Cluster>)
    }
}

impl HsmCluster {
    pub fn new(parts: ClusterParts) -> Self {
        let ClusterParts { id, trust_anchor, crypto_user, members, hedging, clock } = parts;
        let group = HsmGroup::of_cluster(&id, members.clone(), &hedging, Arc::clone(&clock));
        let searches = Searches::new(Arc::clone(&clock));
        Self {
            id,
            trust_anchor,
            crypto_user,
            members,
            group,
            searches,
            clock,
            is_login_refused: AtomicBool::new(false),
            connecting: Mutex::new(()),
        }
    }

    /// AWS CloudHSM wants the name of the crypto user in the PIN.
    fn pin(&self, password: &SecretBytes) -> SecretBytes {
        let Some(user) = &self.crypto_user else { return password.clone() };
        let mut pin = Vec::with_capacity(user.len() + 1 + password.len());
        for part in [user.as_bytes(), b":", password.expose()] {
            pin.extend_from_slice(part);
        }
        SecretBytes::new(pin)
    }

    /// Members that can be used, the healthiest and least loaded first.
    pub(super) fn in_service(&self) -> Vec<&Arc<Hsm>> {
        let is_well =
            |member: &&Arc<Hsm>| member.is_connected() && member.health().state != HealthState::Unavailable;
        let mut members: Vec<_> = self.members.iter().filter(is_well).collect();
        let now = self.clock.instant();
        members.sort_by_cached_key(|member| member.standing(Class::KeyManagement, now));
        members
    }

    /// What to say if no member, or only this many, can be used.
    pub(super) fn too_few(&self, active: usize) -> ClusterError {
        if self.members.iter().any(|member| member.is_connected()) {
            ClusterError::TooFewHsms { active }
        } else {
            ClusterError::NotLoggedIn
        }
    }

    async fn active(&self, deadline: Instant) -> Vec<&Arc<Hsm>> {
        let deadline = deadline.min(self.clock.instant() + LOOK_TIMEOUT);
        let looks: Vec<_> = self.members.iter().map(|member| (member, member.order(Order::Look))).collect();
        let mut active = Vec::new();
        for (member, look) in looks {
            // SoftHSM goes on showing a token that is gone; a probe knows better.
            let is_out = member.is_connected() && member.health().state == HealthState::Unavailable;
            if look.answer(deadline).await.is_ok() && !is_out {
                active.push(member);
            }
        }
        active
    }

    async fn connecting(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>, ClusterError> {
        let alone = tokio::time::timeout_at(deadline.into(), self.connecting.lock()).await;
        alone.map_err(|_| HsmError::DeadlineExceeded.into())
    }

    /// From here on nothing uses a session; the first error of those who were to end them.
    async fn disconnect(&self, deadline: Instant) -> Result<(), ClusterError> {
        let deadline = deadline.min(self.clock.instant() + LOG_OUT_TIMEOUT);
        self.members.iter().for_each(|member| member.disconnect());
        let orders: Vec<_> = self.members.iter().map(|member| member.order(Order::LogOut)).collect();
        let mut result = Ok(());
        for order in orders {
            result = result.and(order.answer(deadline).await);
        }
        result
    }

    /// Tries each password on one member; on another one only where that does not answer.
    async fn try_passwords(
        &self,
        passwords: &[SecretBytes],
        deadline: Instant,
    ) -> Result<Opened<'_>, ClusterError> {
        let mut responsive = self.active(deadline).await;
        let mut untried = responsive.clone().into_iter();
        let mut member = untried.next().ok_or(ClusterError::TooFewHsms { active: 0 })?;
        for (place, password) in passwords.iter().enumerate() {
            loop {
                let pin = self.pin(password);
                let is_last = untried.len() == 0;
                let limit = if is_last { deadline } else { self.clock.instant() + LOG_IN_TIMEOUT };
                let order = member.order(|reply| Order::LogIn { pin, reply });
                match order.answer(deadline.min(limit)).await {
                    Ok(()) => return Ok(Opened { first: member, place, responsive }),
                    Err(ClusterError::InvalidCredentials) => break,
                    Err(error) if is_last || !self.is_fault_of_member(&error, deadline) => return Err(error),
                    Err(ClusterError::Hsm(HsmError::DeadlineExceeded)) => {
                        responsive.retain(|other| !Arc::ptr_eq(other, member));
                        member = untried.next().unwrap_or(member);
                    }
                    Err(_) => member = untried.next().unwrap_or(member),
                }
            }
        }
        Err(ClusterError::InvalidCredentials)
    }

    /// Whether it was not the password, and there is time to ask another member.
    fn is_fault_of_member(&self, error: &ClusterError, deadline: Instant) -> bool {
        let is_of_member = matches!(
            error,
            ClusterError::Hsm(HsmError::Busy | HsmError::DeadlineExceeded | HsmError::Device(_))
        );
        is_of_member && self.clock.instant() < deadline
    }

    async fn connect(&self, passwords: &[SecretBytes], deadline: Instant) -> Result<usize, ClusterError> {
        let Opened { first, place, responsive } = self.try_passwords(passwords, deadline).await?;
        let pin = passwords.get(place).map(|password| self.pin(password)).unwrap_or_default();
        for other in self.members.iter().filter(|member| !Arc::ptr_eq(member, first)) {
            other.offer_pin(&pin, !first.shares_module(other));
        }
        // One after the other, since SoftHSM cannot show a token that somebody else logs in to.
        let others: Vec<_> =
            responsive.iter().filter(|member| !Arc::ptr_eq(member, first)).copied().collect();
        for members in [&[first][..], &others] {
            self.probe(members, BRIEF_PROBE_TIMEOUT, deadline, || false).await;
        }
        if self.in_service().is_empty() {
            self.probe(&responsive, PROBE_TIMEOUT, deadline, || !self.in_service().is_empty()).await;
        }
        if self.in_service().is_empty() {
            let reason = first.health().reason.unwrap_or_default();
            return Err(HsmError::Unavailable(reason).into());
        }
        // What no HSM had at the time of another login may be there.
        self.searches.forget();
        Ok(place)
    }

    /// Probes them at once. Who does not answer in time is left to the periodic probes.
    async fn probe(
        &self,
        members: &[&Arc<Hsm>],
        limit: Duration,
        deadline: Instant,
        is_enough: impl Fn() -> bool,
    ) {
        let limit = limit.min(deadline.saturating_duration_since(self.clock.instant()));
        if limit.is_zero() {
            // They are told nothing worse than that they were not asked yet.
            return;
        }
        let probes = members.iter().map(|member| tokio::time::timeout(limit, member.probe(limit)));
        gather(probes, |_| is_enough()).await;
    }

    async fn give_new_password(
        &self,
        old: &SecretBytes,
        new: &SecretBytes,
        deadline: Instant,
    ) -> Result<(), ClusterError> {
        let in_service = self.in_service();
        let first = *in_service.first().ok_or_else(|| self.too_few(0))?;
        let (old, new) = (self.pin(old), self.pin(new));
        let pins = (old, new.clone());
        let order = first.order(|reply| Order::ChangePin { old: pins.0, new: pins.1, reply });
        order.answer(deadline).await?;
        for other in self.members.iter().filter(|member| !Arc::ptr_eq(member, first)) {
            if first.shares_module(other) {
                other.engine().replace_pin(&new, false);
            } else if in_service.iter().any(|member| Arc::ptr_eq(member, other)) {
                // Its sessions go on, and it may hear of the new PIN a moment later.
                other.engine().replace_pin(&new, true);
            } else {
                other.offer_pin(&new, true);
            }
        }
        Ok(())
    }

    async fn draw(&self, bytes: usize, deadline: Instant) -> Done<SecretBytes> {
        if bytes > RANDOM_BYTES_MAX {
            return refused(HsmError::TooLong);
        }
        let task = || Task::Backing(BackingTask::Random(bytes));
        let candidates = self.members.iter().map(|member| Candidate::new(member, task())).collect();
        let none = HsmError::Unavailable("the cluster has no HSM".to_owned());
        self.group.failover().run(candidates, none, deadline).await.and_then(Output::random)
    }

    async fn seal(
        &self,
        label: &str,
        plaintext: SecretBytes,
        aad: &[u8],
        deadline: Instant,
    ) -> Done<Encrypted> {
        let Some(aad) = BoundAad::new(aad, b"") else { return refused(HsmError::TooLong) };
        match cluster_keys::find(self, label, deadline).await {
            Ok(key) => {
                let request = Encrypt { key, plaintext, aad, integrity_value: false };
                self.group.encrypt(request, deadline).await
            }
            Err(error) => refused(error),
        }
    }
}

impl Cluster for HsmCluster {
    fn id(&self) -> &str {
        &self.id
    }

    fn trust_anchor(&self) -> &str {
        &self.trust_anchor
    }

    fn active_hsms(&self, deadline: Instant) -> Managed<'_, usize> {
        Box::pin(async move { Ok(self.active(deadline).await.len()) })
    }

    fn log_in(&self, passwords: Vec<SecretBytes>, deadline: Instant) -> Managed<'_, usize> {
        Box::pin(async move {
            let _alone = self.connecting(deadline).await?;
            if self.members.iter().any(|member| member.is_connected()) {
                // Else the HSMs would not look at the password.
                let _ = self.disconnect(deadline).await;
            }
            let result = self.connect(&passwords, deadline).await;
            let is_refused =
                matches!(result, Err(ClusterError::InvalidCredentials | ClusterError::UserLockedOut));
            self.is_login_refused.store(is_refused, Ordering::Release);
            if result.is_err() {
                let _ = self.disconnect(deadline).await;
            }
            result
        })
    }

    fn change_password(&self, old: SecretBytes, new: SecretBytes, deadline: Instant) -> Managed<'_, ()> {
        Box::pin(async move {
            let _alone = self.connecting(deadline).await?;
            self.give_new_password(&old, &new, deadline).await
        })
    }

    fn log_out(&self) -> Managed<'_, ()> {
        Box::pin(async move {
            let _alone = self.connecting.lock().await;
            self.is_login_refused.store(false, Ordering::Release);
            self.disconnect(self.clock.instant() + LOG_OUT_TIMEOUT).await
        })
    }

    fn create_key<'a>(&'a self, label: &'a str, deadline: Instant) -> Managed<'a, ClusterKey> {
        Box::pin(cluster_keys::create(self, label, deadline))
    }

    fn destroy_key<'a>(&'a self, label: &'a str, deadline: Instant) -> Managed<'a, Option<ClusterKey>> {
        Box::pin(cluster_keys::destroy(self, label, deadline))
    }

    fn keys(&self, deadline: Instant) -> Managed<'_, Vec<ClusterKey>> {
        Box::pin(cluster_keys::list(self, deadline))
    }

    fn encrypt<'a>(
        &'a self,
        label: &'a str,
        plaintext: SecretBytes,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, Encrypted> {
        Box::pin(self.seal(label, plaintext, aad, deadline))
    }

    fn decrypt<'a>(
        &'a self,
        label: &'a str,
        sealed: ClusterSealed<'a>,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, SecretBytes> {
        Box::pin(async move {
            let Some(aad) = BoundAad::new(aad, b"") else { return refused(HsmError::BadCiphertext) };
            match cluster_keys::find(self, label, deadline).await {
                Ok(key) => {
                    let version = key.versions().len().saturating_sub(1);
                    let (iv, ciphertext_and_tag) = (sealed.iv.to_vec(), sealed.ciphertext_and_tag.to_vec());
                    let request = Decrypt { key, version, iv, ciphertext_and_tag, aad };
                    self.group.decrypt(request, deadline).await
                }
                Err(error) => refused(error),
            }
        })
    }

    fn generate_data_key<'a>(
        &'a self,
        label: &'a str,
        bytes: usize,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, DataKey> {
        Box::pin(async move {
            let drawn = self.draw(bytes, deadline).await;
            let plaintext = match drawn.result {
                Ok(plaintext) => plaintext,
                Err(error) => return Done { result: Err(error), ..refused(HsmError::Busy) },
            };
            let mut done = self.seal(label, plaintext.clone(), aad, deadline).await;
            done.queue_wait += drawn.queue_wait;
            done.hsm_time += drawn.hsm_time;
            done.and_then(|encrypted| Ok(DataKey { plaintext, encrypted }))
        })
    }

    fn random(&self, bytes: usize, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(self.draw(bytes, deadline))
    }

    fn is_user_locked_out(&self) -> bool {
        self.is_login_refused.load(Ordering::Acquire)
            || self.members.iter().any(|member| member.engine().is_pin_rejected())
    }

    fn health(&self) -> Vec<MemberHealth> {
        self.group.health()
    }
}
