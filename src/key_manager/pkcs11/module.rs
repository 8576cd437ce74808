//! A PKCS#11 library in this process: loaded once, initialized, and initialized again when it must be.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cryptoki::context::{CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::{Functions, initialize_arguments};
use crate::key_manager::pkcs11::quirks::Quirks;
use crate::key_manager::pkcs11::token::ObjectLock;

/// A call that takes longer than AWS KMS ever waits hangs.
pub(super) const HANG_LIMIT: Duration = Duration::from_millis(250);

/// One library. PKCS#11 state is per process, so all tokens of one library share it.
pub struct Module {
    path: PathBuf,
    /// Held shared during every call, exclusively while the library is finalized and initialized.
    library: RwLock<Library>,
    /// Goes up with every initialization; sessions and object handles of an older one are dead, and closing
    /// such a session could close a new one that got the same number.
    generation: AtomicU64,
    /// Tokens that passed their last probe.
    in_service: AtomicUsize,
    /// By the label of the token, which may be the member of a cluster twice.
    objects: Mutex<BTreeMap<String, Arc<ObjectLock>>>,
}

pub(super) struct Library {
    pkcs11: Pkcs11,
    pub(super) functions: Functions,
    /// For `pReserved` of C_Initialize.
    parameters: Option<CString>,
    /// Or why not.
    initialized: Result<(), Fault>,
}

impl Module {
    /// Loads the library at `path`, without initializing it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let path = real_path(path);
        let explain = |reason: String| format!("PKCS#11 module {}: {reason}", path.display());
        let pkcs11 = Pkcs11::new(&path).map_err(|error| explain(error.to_string()))?;
        let functions = Functions::load(&path).map_err(explain)?;
        let initialized = Err(Fault::new(Blame::Token, "the PKCS#11 library is not initialized"));
        Ok(Self {
            library: RwLock::new(Library { pkcs11, functions, parameters: None, initialized }),
            generation: AtomicU64::new(1),
            in_service: AtomicUsize::new(0),
            objects: Mutex::new(BTreeMap::new()),
            path,
        })
    }

    /// Initializes it with these from now on; a NUL ends them.
    #[must_use]
    pub fn with_parameters(mut self, parameters: Option<&str>) -> Self {
        self.library.get_mut().parameters = parameters.and_then(|text| CString::new(text).ok());
        self
    }

    /// Initializes it for the first time. Libraries look for their token then, so a failure may pass.
    pub fn initialize(&self) -> Result<(), String> {
        let result = self.library.write().initialize();
        result.map_err(|fault| format!("PKCS#11 module {}: {}", self.path.display(), fault.what))
    }

    /// Whether this is the library at `path`. Distributions install one library under several names.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == real_path(path)
    }

    pub(super) fn object_lock(&self, token_label: &str) -> Arc<ObjectLock> {
        Arc::clone(self.objects.lock().entry(token_label.to_owned()).or_default())
    }

    /// The library, for calls; keep the guard for one job only.
    pub(super) fn library(&self) -> RwLockReadGuard<'_, Library> {
        self.library.read()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn count_in_service(&self, in_service: bool) {
        if in_service {
            self.in_service.fetch_add(1, Ordering::AcqRel);
        } else {
            self.in_service.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(super) fn is_in_service(&self) -> bool {
        self.in_service.load(Ordering::Acquire) > 0
    }

    /// Finalizes and initializes, unless somebody else did so since `seen`. Heals a library that lost its
    /// token, or remembers a PIN that was changed (SoftHSM). A call in progress is waited for as long as it
    /// does not hang; then there is nothing safe to do.
    pub(super) fn reinitialize(&self, seen: u64) -> Result<(), Fault> {
        let Some(mut library) = self.library.try_write_for(HANG_LIMIT) else {
            return Err(Fault::new(
                Blame::Token,
                "a PKCS#11 call has not returned; the library cannot be restarted",
            ));
        };
        if self.generation() != seen {
            return Ok(());
        }
        self.generation.store(seen + 1, Ordering::Release);
        if library.initialized.is_ok() {
            // It may have failed because the library is already gone; initializing decides.
            let _ = library.pkcs11.clone().finalize();
        }
        library.initialize()
    }

    /// Ends all use of the library, unless a call hangs in it.
    pub fn finalize(&self) {
        if let Some(mut library) = self.library.try_write_for(HANG_LIMIT)
            && library.initialized.is_ok()
        {
            library.initialized = Err(Fault::new(Blame::Token, "the PKCS#11 library is finalized"));
            self.generation.fetch_add(1, Ordering::Release);
            let _ = library.pkcs11.clone().finalize();
        }
    }
}

impl Library {
    fn initialize(&mut self) -> Result<(), Fault> {
        // Without CKF_OS_LOCKING_OK SoftHSM crashes under concurrency.
        let arguments = initialize_arguments(CInitializeFlags::OS_LOCKING_OK, self.parameters.as_deref());
        self.initialized = match self.pkcs11.initialize(arguments) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if self.initialized.is_ok()
            && let Ok(info) = self.pkcs11.get_library_info()
        {
            self.functions.quirks = Quirks::of(info.manufacturer_id(), info.library_description());
        }
        self.initialized.clone()
    }

    /// The functions of the library, if it is initialized.
    pub(super) fn pkcs11(&self) -> Result<&Pkcs11, Fault> {
        self.initialized.clone().map(|()| &self.pkcs11)
    }
}

fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
