//! KMS keys in one token: the root keys, the session that holds unwrapped keys, and which those are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use cryptoki::object::AttributeType;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::domain::kms::{KeptKey, MaterialId, WrappedKey};
use crate::key_manager::backing_key::{BackingKey, RootKeyId, RootKeys};
use crate::key_manager::external_key::{Handle, KeyObject};
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::object_handle;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::key_cache::{KeyCache, UnwrappedKey};
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves};
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Library};
use crate::key_manager::pkcs11::root_key::{self, RootKey};
use crate::key_manager::pkcs11::thread_session::{Ready, ThreadSession};
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::token_object;
use crate::key_manager::pkcs11::worker::Busy;
use crate::key_manager::pkcs11::wrapping::Wrapping;
use crate::metrics::HsmMetrics;

/// A root key that is not there is not searched for by every request.
const SEARCH_INTERVAL_MIN: Duration = Duration::from_secs(5);

pub(super) struct Vault {
    token: Arc<Token>,
    /// Asked for, but perhaps not in the token yet.
    wanted: ArcSwapOption<RootKeys>,
    /// Those that have proven themselves.
    roots: ArcSwap<Vec<Arc<RootKey>>>,
    /// Absent before a root key was opened.
    capabilities: ArcSwapOption<Capabilities>,
    /// When, and in which login: a token that is back is asked at once.
    missed: Mutex<Vec<(RootKeyId, Instant, u64)>>,
    holder: Mutex<Holder>,
    holder_busy: Busy,
    cache: KeyCache,
    metrics: Arc<HsmMetrics>,
    clock: Arc<dyn Clock>,
}

/// Unwrapped keys belong to this session, which never computes: a worker that loses its session loses none of them.
struct Holder {
    session: ThreadSession,
    /// The login of the unwrapped keys; zero before the first.
    login: u64,
}

/// Which root key is meant.
#[derive(Clone, Copy)]
pub(super) enum RootOf {
    /// The one that this is under; what names none was made before there was a second one.
    Kept(Option<RootKeyId>),
    /// The one that new things come under.
    New,
}

/// What a call into the token needs besides a session.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) library: &'a Library,
    pub(super) deadline: Instant,
}

impl Vault {
    pub(super) fn new(token: Arc<Token>, metrics: Arc<HsmMetrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            wanted: ArcSwapOption::empty(),
            roots: ArcSwap::default(),
            capabilities: ArcSwapOption::empty(),
            missed: Mutex::default(),
            holder: Mutex::new(Holder { session: ThreadSession::new(Arc::clone(&token), None), login: 0 }),
            holder_busy: Busy::new(clock.instant()),
            cache: KeyCache::new(token.config.cached_keys_max),
            token,
            metrics,
            clock,
        }
    }

    /// Whether a root key was asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load().is_some()
    }

    /// Whether the current root key has proven itself.
    pub(super) fn is_open(&self) -> bool {
        self.open_id().is_some()
    }

    /// One that serves, if it has proven itself.
    fn root(&self, id: &RootKeyId) -> Option<Arc<RootKey>> {
        let is_wanted = self.wanted.load().as_deref().is_some_and(|wanted| wanted.contains(id));
        self.roots.load().iter().find(|root| is_wanted && root.id == *id).cloned()
    }

    /// From now on these root keys serve, as soon as the token has them. Keys that are unwrapped stay what they are.
    pub(super) fn want(&self, keys: RootKeys) {
        let former = self.wanted.swap(Some(Arc::new(keys)));
        if former.is_some_and(|former| former.all().all(|id| !keys.contains(&id))) {
            self.cache.discard_all();
        }
        self.missed.lock().clear();
    }

    /// The same, if it was others so far.
    pub(super) fn ensure_wanted(&self, keys: RootKeys) {
        if self.wanted.load().as_deref() != Some(&keys) {
            self.want(keys);
        }
    }

    /// The current root key, if it is open.
    pub(super) fn open_id(&self) -> Option<RootKeyId> {
        let current = self.wanted.load().as_deref().map(|wanted| wanted.current)?;
        self.root(&current).map(|root| root.id)
    }

    /// One that proved itself just now stands for what it was before.
    fn keep_root(&self, root: RootKey) {
        let root = Arc::new(root);
        self.roots.rcu(|roots| {
            let others = roots.iter().filter(|other| other.id != root.id && self.is_wanted_root(&other.id));
            others.cloned().chain([Arc::clone(&root)]).collect::<Vec<_>>()
        });
    }

    /// Whether root keys are wanted, and this is none of them.
    pub(super) fn is_foreign(&self, id: &RootKeyId) -> bool {
        self.wanted.load().as_deref().is_some_and(|wanted| !wanted.contains(id))
    }

    fn is_wanted_root(&self, id: &RootKeyId) -> bool {
        self.wanted.load().as_deref().is_some_and(|wanted| wanted.contains(id))
    }

    /// What is known of the token's capabilities, if anything.
    pub(super) fn known_capabilities(&self) -> Option<Arc<Capabilities>> {
        self.capabilities.load_full()
    }

    /// Makes a root key, which serves as soon as it is wanted: if its id is lost on the way, nothing may be wrapped
    /// by it.
    pub(super) fn create_root(&self, ready: Ready<'_>, means: Means<'_>) -> Result<RootKeyId, Fault> {
        let root = RootKey::create(&self.token, ready, means)?;
        self.learn(ready, means);
        let id = root.id;
        if self.wanted.load().is_none() {
            self.keep_root(root);
        }
        Ok(id)
    }

    /// Finds a root key and lets it prove itself. One that is not wanted yet is only looked at.
    pub(super) fn open_root(&self, id: RootKeyId, ready: Ready<'_>, means: Means<'_>) -> Result<(), Fault> {
        let open = || RootKey::open(&id, &self.token, means.library, ready);
        if !self.is_wanted_root(&id) {
            let told = |fault: Fault| match fault.blame == Blame::Missing {
                true => root_key::missing(&id, &self.token),
                false => fault,
            };
            return open().map(drop).map_err(told);
        }
        let root = self.search(&id, ready.login, open)?;
        self.learn(ready, means);
        self.keep_root(root);
        Ok(())
    }

    /// Asks the token once what it can do. One that does not tell is tried.
    fn learn(&self, ready: Ready<'_>, means: Means<'_>) {
        if self.capabilities.load().is_some() {
            return;
        }
        let mechanisms = ready
            .session
            .get_session_info()
            .ok()
            .and_then(|session| means.library.functions.mechanisms(session.slot_id()).ok());
        let capabilities = Capabilities::new(mechanisms);
        let (hsm, lacking) = (&self.token.config.name, capabilities.summary());
        tracing::info!(%hsm, %lacking, "key specs that HSM {hsm} has no mechanism for: {lacking}");
        self.capabilities.store(Some(Arc::new(capabilities)));
    }

    /// What the token can do; before a root key was opened, perhaps everything.
    pub(super) fn capabilities(&self) -> Arc<Capabilities> {
        self.capabilities.load_full().unwrap_or_default()
    }

    /// Opens a root key if that was not possible before; which one is meant, if it is not named.
    pub(super) fn ensure_open(
        &self,
        named: RootOf,
        ready: Ready<'_>,
        means: Means<'_>,
    ) -> Result<RootKeyId, Fault> {
        let wanted = self.wanted()?;
        let id = match named {
            RootOf::New => wanted.current,
            RootOf::Kept(named) => wanted.resolve(named),
        };
        if !wanted.contains(&id) {
            return Err(root_key::retired(&id));
        }
        if self.root(&id).is_none() {
            self.open_root(id, ready, means)?;
        }
        Ok(id)
    }

    /// A root key, and the handle that one of its two keys has in this login.
    pub(super) fn root_handle(
        &self,
        id: &RootKeyId,
        ready: Ready<'_>,
        key: fn(&RootKey) -> &KeyObject,
    ) -> Result<(Arc<RootKey>, u64), Fault> {
        let root = self.root(id).ok_or_else(not_opened)?;
        let handle = match key(&root).handle(ready.login) {
            Some(Handle::Known(handle)) => handle,
            Some(Handle::Missing) | None => {
                self.search(id, ready.login, || inventory::handle_of(key(&root), ready))?
            }
        };
        Ok((root, handle))
    }

    fn search<T>(
        &self,
        id: &RootKeyId,
        login: u64,
        search: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let now = self.clock.instant();
        let is_recent = |(missed, at, of): &(RootKeyId, Instant, u64)| {
            missed == id && *of == login && now.saturating_duration_since(*at) < SEARCH_INTERVAL_MIN
        };
        if self.missed.lock().iter().any(is_recent) {
            return Err(root_key::missing(id, &self.token));
        }
        search().map_err(|fault| {
            if fault.blame != Blame::Missing {
                return fault;
            }
            let mut missed = self.missed.lock();
            missed.retain(|(other, ..)| other != id);
            missed.push((*id, now, login));
            root_key::missing(id, &self.token)
        })
    }

    fn wanted(&self) -> Result<RootKeys, Fault> {
        self.wanted.load().as_deref().copied().ok_or_else(not_opened)
    }

    /// The key as a session object, unwrapped if it is not one yet. Who misses waits for the one who unwraps.
    pub(super) fn unwrapped(
        &self,
        key: &BackingKey,
        ready: Ready<'_>,
        means: Means<'_>,
    ) -> Result<Arc<UnwrappedKey>, Fault> {
        if let Some(found) = self.cache.find(&key.id, ready.login) {
            return Ok(found);
        }
        // Here, not in the session that holds the keys: it takes encryptions.
        let root = match &*key.kept {
            KeptKey::Wrapped(wrapped) => RootOf::Kept(wrapped.root_key),
            KeptKey::Software { .. } | KeptKey::TokenObject => RootOf::New,
        };
        self.ensure_open(root, ready, means)?;
        if *key.kept == KeptKey::TokenObject {
            let handle = token_object::find(&key.id, ready)?;
            let found = Arc::new(UnwrappedKey { handle, login: ready.login, is_token_object: true });
            self.cache.insert(key.id, Arc::clone(&found));
            return Ok(found);
        }
        self.with_holder(means, |ready| {
            if let Some(found) = self.cache.find(&key.id, ready.login) {
                return Ok(found);
            }
            let KeptKey::Wrapped(wrapped) = &*key.kept else {
                return Err(Fault::new(Blame::Material, "the key is not wrapped"));
            };
            let handle = self.unwrap(ready, means, wrapped, (KeyForm::of(key.kind), Leaves::Never))?;
            self.metrics.unwraps.inc();
            let unwrapped = Arc::new(UnwrappedKey { handle, login: ready.login, is_token_object: false });
            self.cache.insert(key.id, Arc::clone(&unwrapped));
            self.destroy_unused(ready);
            Ok(unwrapped)
        })
    }

    /// The token says the same to a corrupted key and when it is broken. If it unwraps what is known to be good, it
    /// is asked once more, and believed.
    pub(super) fn unwrap(
        &self,
        ready: Ready<'_>,
        means: Means<'_>,
        wrapped: &WrappedKey,
        (form, leaves): (KeyForm, Leaves),
    ) -> Result<u64, Fault> {
        let id = self.ensure_open(RootOf::Kept(wrapped.root_key), ready, means)?;
        let mut last = None;
        for _ in 0..2 {
            let (root, handle) = self.root_handle(&id, ready, |root| &root.wrapping)?;
            let functions = &means.library.functions;
            let iv_mode = self.token.config.iv_mode;
            let wrapping = Wrapping { functions, ready, root_key: id, handle, iv_mode };
            let fault = match wrapping.unwrap_as(wrapped, form, leaves) {
                Ok(handle) => return Ok(handle),
                Err(fault) => fault,
            };
            let fault = if fault.blame == Blame::Handle {
                root.wrapping.forget_handle();
                Fault { blame: Blame::Token, ..fault }
            } else if fault.blame == Blame::Material && wrapping.try_again(&root.proof).is_ok() {
                let what = format!("the HSM unwraps other key material, but not this: {}", fault.what);
                Fault { what, ..fault }
            } else if fault.blame == Blame::Material {
                return Err(Fault { blame: Blame::Token, ..fault });
            } else {
                return Err(fault);
            };
            last = Some(fault);
        }
        Err(last.unwrap_or_else(|| Fault::new(Blame::Token, "the key could not be unwrapped")))
    }

    /// The key is not needed any more. True if there is something to destroy.
    pub(super) fn discard(&self, id: &MaterialId) -> bool {
        self.cache.discard(id)
    }

    /// Destroys what was discarded.
    pub(super) fn sweep(&self, means: Means<'_>) -> Result<(), Fault> {
        self.with_holder(means, |ready| {
            self.destroy_unused(ready);
            Ok(())
        })
    }

    /// The token does not know the handle of this key, or of a root key, any more.
    pub(super) fn forget_handle(&self, material: Option<&MaterialId>, means: Means<'_>) {
        let Some(id) = material else {
            for root in self.roots.load().iter() {
                root.wrapping.forget_handle();
                root.sealing.forget_handle();
            }
            return;
        };
        self.cache.discard(id);
        // If the session that held it is gone, so are all the others: better to know it now than one by one.
        let _ = self.with_holder(means, |ready| Ok(ready.session.get_session_info()?));
    }

    /// Whether the object of a key is still there, which costs no search.
    pub(super) fn exists(&self, material: Option<&MaterialId>, ready: Ready<'_>) -> Result<bool, Fault> {
        let Some(id) = material else {
            let roots = self.roots.load_full();
            let mut roots = roots.iter().filter(|root| self.is_wanted_root(&root.id)).peekable();
            let is_open = roots.peek().is_some();
            return roots.try_fold(is_open, |all, root| Ok(all && inventory::exists(ready, &root.sealing)?));
        };
        let Some(key) = self.cache.find(id, ready.login) else { return Ok(true) };
        let kind = [AttributeType::KeyType];
        match ready.session.get_attributes(object_handle(key.handle), &kind).map_err(Fault::from) {
            Ok(_) => Ok(true),
            Err(fault) if fault.blame == Blame::Handle => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn destroy_unused(&self, ready: Ready<'_>) {
        for key in self.cache.take_unused() {
            if key.login == ready.login && !key.is_token_object {
                // A handle that is stale already is no loss.
                let _ = ready.session.destroy_object(object_handle(key.handle));
            }
        }
        self.metrics.cached_keys.set(i64::try_from(self.cache.len()).unwrap_or(i64::MAX));
    }

    /// Works in the session that holds the keys, which is replaced if it is broken. While another call hangs in it,
    /// nobody waits for it.
    fn with_holder<T>(
        &self,
        means: Means<'_>,
        work: impl Fn(Ready<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let now = self.clock.instant();
        let busy = || Fault::new(Blame::Busy, "a key is being unwrapped, which takes long");
        if self.holder_busy.is_stuck(now, HANG_LIMIT) {
            return Err(busy());
        }
        let patience = means.deadline.min(now + HANG_LIMIT);
        let mut holder = self.holder.try_lock_until(patience).ok_or_else(busy)?;
        self.holder_busy.start(self.clock.instant());
        let mut result = self.ready_holder(&mut holder, means.library).and_then(&work);
        if let Err(fault) = &result
            && holder.session.heal(fault, means.library)
        {
            self.metrics.fault(&fault.code);
            self.cache.clear();
            result = self.ready_holder(&mut holder, means.library).and_then(&work);
        }
        self.holder_busy.end();
        result
    }

    fn ready_holder<'h>(&self, holder: &'h mut Holder, library: &Library) -> Result<Ready<'h>, Fault> {
        let login = holder.session.ready(library)?.login;
        if login != holder.login {
            // Handles died with the former login. A token that keeps objects over it frees them now.
            self.cache.clear();
            holder.session.close(library);
            holder.login = holder.session.ready(library)?.login;
        }
        holder.session.ready(library)
    }
}

fn not_opened() -> Fault {
    Fault::new(Blame::Missing, "the root key has not been opened")
}
