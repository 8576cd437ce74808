//! KMS keys in several HSMs that hold the same root key: each can unwrap every key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Hedging;
use crate::domain::kms::{KeptKey, KeyKind, KeySpec, MaterialId, WrappingKeySpec};
use crate::key_manager::backing_key::{
    BackingKey, BackingKeys, ComputeUnder, DataKey, DataKeyUnder, DecryptUnder, EncryptUnder, ImportedKey,
    KeyOrder, KeyPair, MadeKey, RootKeyId, RootKeys, ToImport, ToRewrap, WrappingKey,
};
use crate::key_manager::pkcs11::at_once::gather;
use crate::key_manager::pkcs11::backing_task::{BackingTask, RANDOM_BYTES_MAX, Sealed, ToSeal};
use crate::key_manager::pkcs11::failover::{Candidate, Failover, refused};
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::key_form::KeyForm;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::signing_key::{SignDigest, SigningKey, SigningKeys};
use crate::key_manager::software;
use crate::key_manager::{Answer, Done, Encrypted, HsmError, MemberHealth};
use crate::secret::SecretBytes;

/// The name by which these requests take turns with those of key stores.
const FLOW: &str = "kms";

/// The HSMs behind the KMS API, at least one.
pub struct WrappedKeyGroup {
    pub(super) members: Vec<Arc<Hsm>>,
    /// Specs whose keys the software provider has, because no HSM here can do all that they can.
    in_software: Vec<KeySpec>,
    /// RSA key pairs take long to make: they leave a session to other requests.
    lengthy: Semaphore,
    failover: Failover,
}

impl WrappedKeyGroup {
    pub fn new(members: Vec<Arc<Hsm>>, hedging: &Hedging, clock: Arc<dyn Clock>) -> Self {
        let sessions: usize =
            members.iter().map(|member| member.sessions().saturating_sub(1)).min().unwrap_or_default();
        let failover = Failover::new(FLOW, hedging.share_max_percent, clock);
        Self { members, in_software: Vec::new(), lengthy: Semaphore::new(sessions.max(1)), failover }
    }

    /// Keys of these specs are made by the software provider, sealed by the HSM.
    #[must_use]
    pub fn with_software(mut self, specs: &[KeySpec]) -> Self {
        self.in_software = specs.iter().copied().filter(|spec| software::has(*spec)).collect();
        self
    }

    fn is_software(&self, kind: KeyKind) -> bool {
        self.in_software.contains(&kind.spec)
    }

    /// Puts a task to the members that shall serve the root key.
    async fn run(&self, task: BackingTask, deadline: Instant) -> Done<Output> {
        let members = self.members.iter().filter(|member| member.engine().is_root_key_wanted());
        let candidates = members.map(|member| {
            // An HSM that lacks the root key has nothing else to do, and would be asked first.
            let is_behind = !member.engine().is_root_key_open();
            Candidate::new(member, Task::Backing(task.clone())).behind(is_behind)
        });
        let none = HsmError::Unavailable("the root key has not been opened".to_owned());
        self.failover.run(candidates.collect(), none, deadline).await
    }

    /// What keeps the members from making keys of this form; nothing if one of them can.
    fn lacks(&self, form: KeyForm) -> Option<String> {
        let mut reasons = Vec::new();
        for member in &self.members {
            let mechanism = member.engine().capabilities().lacks(form)?;
            reasons.push(format!("HSM {} lacks {mechanism}", member.name()));
        }
        Some(reasons.join("; "))
    }

    /// Puts a task that makes a key of this spec to them.
    async fn make(&self, spec: KeySpec, task: BackingTask, deadline: Instant) -> Done<Output> {
        if spec.rsa_bits().is_none() {
            return self.run(task, deadline).await;
        }
        match tokio::time::timeout_at(deadline.into(), self.lengthy.acquire()).await {
            Ok(Ok(_permit)) => self.run(task, deadline).await,
            Ok(Err(_)) | Err(_) => refused(HsmError::DeadlineExceeded),
        }
    }

    /// Every member, the healthiest first.
    fn candidates(&self, task: &BackingTask) -> Vec<Candidate<'_>> {
        let members = self.members.iter();
        let mut candidates: Vec<_> =
            members.map(|member| Candidate::new(member, Task::Backing(task.clone()))).collect();
        self.failover.sort(&mut candidates);
        candidates
    }

    /// Puts a task to this one and to no other.
    pub(super) async fn run_at(
        &self,
        member: &Arc<Hsm>,
        task: BackingTask,
        deadline: Instant,
    ) -> Done<Output> {
        let candidates = vec![Candidate::new(member, Task::Backing(task))];
        self.failover.run(candidates, HsmError::KeyMissing, deadline).await
    }

    async fn create_root_key(&self, deadline: Instant) -> Done<Output> {
        let [member] = self.members.as_slice() else {
            return refused(HsmError::Unavailable(
                "a root key can only be made with one HSM; copy it to the others with the HSM maker's tool"
                    .to_owned(),
            ));
        };
        let done = self.run_at(member, BackingTask::OpenRootKey(None), deadline).await;
        if let Ok(Output::RootKey(id)) = &done.result {
            member.engine().want_root_keys(RootKeys::only(*id));
        }
        done
    }

    /// One member that has it is enough. The others are asked again when it is their turn to serve.
    pub(super) async fn find_root_key(&self, id: RootKeyId, deadline: Instant) -> Done<Output> {
        // All at once: one that hangs must not keep the others from serving.
        let asked = self.members.iter().map(|member| async move {
            let done = self.run_at(member, BackingTask::OpenRootKey(Some(id)), deadline).await;
            if let Err(error) = &done.result {
                tracing::warn!(hsm = %member.name(), reason = %error, "the root key is not open: {error}");
            }
            done
        });
        let answers = gather(asked, |done| done.result.is_ok()).await;
        let best = answers.into_iter().reduce(|best, other| if best.result.is_ok() { best } else { other });
        best.unwrap_or_else(|| refused(HsmError::KeyMissing))
    }
}

impl BackingKeys for WrappedKeyGroup {
    fn open_root_key(&self, id: Option<RootKeyId>, deadline: Instant) -> Answer<'_, RootKeyId> {
        Box::pin(async move {
            let done = match id {
                Some(id) => {
                    let wanted = |member: &Arc<Hsm>| member.engine().want_root_keys(RootKeys::only(id));
                    self.members.iter().for_each(wanted);
                    self.find_root_key(id, deadline).await
                }
                None => self.create_root_key(deadline).await,
            };
            done.and_then(Output::root_key)
        })
    }

    fn generate(&self, order: KeyOrder, deadline: Instant) -> Answer<'_, MadeKey> {
        Box::pin(async move {
            if let Err(reason) = self.supports(order.kind) {
                return refused(HsmError::Unsupported(reason));
            }
            let is_software = self.is_software(order.kind);
            let task =
                if is_software { BackingTask::MakeSoftware(order) } else { BackingTask::Generate(order) };
            self.make(order.kind.spec, task, deadline).await.and_then(Output::made)
        })
    }

    fn compute(&self, request: ComputeUnder, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            let task = BackingTask::Compute(Arc::new(request));
            self.run(task, deadline).await.and_then(Output::computed)
        })
    }

    fn generate_key_pair(&self, spec: KeySpec, deadline: Instant) -> Answer<'_, KeyPair> {
        Box::pin(async move {
            self.make(spec, BackingTask::KeyPair(spec), deadline).await.and_then(Output::key_pair)
        })
    }

    fn generate_wrapping_key(&self, spec: WrappingKeySpec, deadline: Instant) -> Answer<'_, WrappingKey> {
        Box::pin(async move {
            let Some(spec) = spec.key_spec() else {
                return refused(HsmError::Unsupported("wrapping keys of SM2 are not made".to_owned()));
            };
            self.make(spec, BackingTask::WrappingKey(spec), deadline).await.and_then(Output::wrapping_key)
        })
    }

    fn import(&self, request: ToImport, deadline: Instant) -> Answer<'_, ImportedKey> {
        Box::pin(async move {
            if let Err(reason) = self.supports(request.order.kind) {
                return refused(HsmError::Unsupported(reason));
            }
            let is_software = self.is_software(request.order.kind);
            let request = Arc::new(request);
            let task =
                if is_software { BackingTask::ImportSoftware(request) } else { BackingTask::Import(request) };
            self.run(task, deadline).await.and_then(Output::imported)
        })
    }

    /// A token object is in the one HSM that made it.
    fn destroy(&self, key: BackingKey, deadline: Instant) -> Answer<'_, ()> {
        self.forget(&key.id);
        Box::pin(async move {
            if *key.kept != KeptKey::TokenObject {
                return Done {
                    result: Ok(()),
                    hsm: None,
                    queue_wait: Duration::ZERO,
                    hsm_time: Duration::ZERO,
                };
            }
            let mut answer = refused(HsmError::Unavailable("the root key has not been opened".to_owned()));
            for member in self.members.iter().filter(|member| member.engine().is_root_key_wanted()) {
                let done = self.run_at(member, BackingTask::Destroy(key.id), deadline).await;
                answer = done.and_then(Output::destroyed);
                if answer.result.is_err() {
                    break;
                }
            }
            answer
        })
    }

    fn encrypt(&self, request: EncryptUnder, deadline: Instant) -> Answer<'_, Encrypted> {
        Box::pin(async move {
            let task = BackingTask::Encrypt(Arc::new(request));
            self.run(task, deadline).await.and_then(Output::encrypted)
        })
    }

    fn decrypt(&self, request: DecryptUnder, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            let task = BackingTask::Decrypt(Arc::new(request));
            self.run(task, deadline).await.and_then(Output::decrypted)
        })
    }

    fn generate_data_key(&self, request: DataKeyUnder, deadline: Instant) -> Answer<'_, DataKey> {
        Box::pin(async move {
            if request.bytes > RANDOM_BYTES_MAX {
                return refused(HsmError::TooLong);
            }
            let task = BackingTask::DataKey(Arc::new(request));
            self.run(task, deadline).await.and_then(Output::data_key)
        })
    }

    fn random(&self, bytes: usize, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            if bytes > RANDOM_BYTES_MAX {
                return refused(HsmError::TooLong);
            }
            self.run(BackingTask::Random(bytes), deadline).await.and_then(Output::random)
        })
    }

    fn seal(&self, secret: SecretBytes, context: Vec<u8>, deadline: Instant) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let task = BackingTask::Seal(Arc::new(ToSeal { secret, context }));
            self.run(task, deadline).await.and_then(Output::sealed)
        })
    }

    fn unseal(&self, sealed: Vec<u8>, context: Vec<u8>, deadline: Instant) -> Answer<'_, SecretBytes> {
        Box::pin(async move {
            let task = BackingTask::Unseal(Arc::new(Sealed { sealed, context }));
            self.run(task, deadline).await.and_then(Output::decrypted)
        })
    }

    fn rewrap(&self, request: ToRewrap, deadline: Instant) -> Answer<'_, KeptKey> {
        Box::pin(async move {
            let task = BackingTask::Rewrap(Arc::new(request));
            self.run(task, deadline).await.and_then(Output::rewrapped)
        })
    }

    fn reseal(&self, sealed: Vec<u8>, context: Vec<u8>, deadline: Instant) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let task = BackingTask::Reseal(Arc::new(Sealed { sealed, context }));
            self.run(task, deadline).await.and_then(Output::sealed)
        })
    }

    fn forget(&self, material: &MaterialId) {
        self.members.iter().for_each(|member| member.engine().discard(material));
    }

    fn supports(&self, kind: KeyKind) -> Result<(), String> {
        if kind == KeyKind::SYMMETRIC || self.is_software(kind) {
            return Ok(());
        }
        self.lacks(KeyForm::of(kind)).map_or(Ok(()), Err)
    }

    fn health(&self) -> Vec<MemberHealth> {
        self.members.iter().map(|member| member.health()).collect()
    }
}

impl SigningKeys for WrappedKeyGroup {
    /// In one HSM. Others sign with it once it was copied to them with the HSM maker's tool.
    fn make_signing_key(&self, deadline: Instant) -> Answer<'_, SigningKey> {
        Box::pin(async move {
            let mut candidates = self.candidates(&BackingTask::MakeSigningKey);
            candidates.truncate(1);
            let done = self.failover.run(candidates, HsmError::KeyMissing, deadline).await;
            done.and_then(Output::signing_key)
        })
    }

    fn sign(&self, request: SignDigest, deadline: Instant) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let candidates = self.candidates(&BackingTask::Sign(Arc::new(request)));
            let done = self.failover.run(candidates, HsmError::KeyMissing, deadline).await;
            done.and_then(Output::signature)
        })
    }
}
