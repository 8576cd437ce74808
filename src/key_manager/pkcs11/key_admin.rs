//! Making, rotating, disabling and destroying the HSM keys behind an external key id.

use std::fmt;
use std::sync::Arc;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::config;
use crate::domain::{ExternalKeyId, VersionMarker};
use crate::key_manager::Lookup;
use crate::key_manager::external_key::{ExternalKey, KeyVersion};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::inventory::{self, Inventory};
use crate::key_manager::pkcs11::module::Module;
use crate::key_manager::pkcs11::new_key::{self, NewKey};
use crate::key_manager::pkcs11::root_key;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::secret::SecretBytes;

/// A read-write session on one token.
pub struct KeyAdmin {
    session: Session,
    token: Token,
    module: Arc<Module>,
}

/// Why a key could not be managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAdminError {
    Ambiguous(ExternalKeyId),
    Disabled(ExternalKeyId),
    Exists(ExternalKeyId),
    /// Made by another tool: it has no state or version of ours.
    Foreign(ExternalKeyId),
    Hsm(String),
    Missing(ExternalKeyId),
    MissingVersion(ExternalKeyId, u32),
    /// The newest version is what encrypts; only all versions together can go with it.
    NewestVersion(ExternalKeyId, u32),
    /// The label of the root key.
    Reserved(ExternalKeyId),
}

impl KeyAdmin {
    /// Loads the module, finds the token and logs in.
    pub fn open(config: &config::Hsm, pin: &SecretBytes) -> Result<Self, KeyAdminError> {
        let module = Module::load(&config.module).map_err(KeyAdminError::Hsm)?;
        let module = Arc::new(module.with_parameters(config.initialize_parameters.as_deref()));
        module.initialize().map_err(KeyAdminError::Hsm)?;
        let token = Token::new(config.clone(), Arc::clone(&module), Some(pin));
        let session = {
            let library = module.library();
            token.open_session(&library)?;
            let pkcs11 = library.pkcs11()?;
            let (slot, _) = token.find_slot(&library)?;
            pkcs11.open_rw_session_no_drop(slot)?
        };
        Ok(Self { session, token, module })
    }

    /// The keys that are in the token now.
    pub fn inventory(&self) -> Result<Inventory, KeyAdminError> {
        let (login, objects) = (self.token.login_number(), &self.token.objects);
        let ready = Ready { session: &self.session, login, objects };
        Ok(Inventory::read(ready, &Inventory::default())?)
    }

    /// Makes version 1 of a new key.
    pub fn create(&self, new: &NewKey) -> Result<VersionMarker, KeyAdminError> {
        if root_key::is_reserved(new.id.as_str()) {
            return Err(KeyAdminError::Reserved(new.id.clone()));
        }
        match self.inventory()?.find(new.id.as_str()) {
            Lookup::Missing => self.generate(new, 1),
            Lookup::Found(_) | Lookup::Ambiguous => Err(KeyAdminError::Exists(new.id.clone())),
        }
    }

    /// Makes the next version with the usages of the newest; older versions go on decrypting. A key of
    /// another tool gets its first version, and stays readable as version 0.
    pub fn rotate(&self, id: &ExternalKeyId) -> Result<VersionMarker, KeyAdminError> {
        let key = self.find(id)?;
        let newest = key.newest().ok_or_else(|| KeyAdminError::Missing(id.clone()))?;
        if !newest.enabled {
            return Err(KeyAdminError::Disabled(id.clone()));
        }
        let number = newest.number().checked_add(1);
        let number =
            number.ok_or_else(|| KeyAdminError::Hsm("there is no higher version number".to_owned()))?;
        self.generate(&NewKey { id: id.clone(), usages: newest.usages }, number)
    }

    /// Enables or disables every version. The newest is what counts: it goes first when use is taken away and
    /// last when it is given back, so that stopping half-way leaves the key disabled. A version 0 that another
    /// tool made has no state of its own and follows the newest.
    pub fn set_enabled(&self, id: &ExternalKeyId, enabled: bool) -> Result<(), KeyAdminError> {
        let key = self.find(id)?;
        if key.newest().is_none_or(|newest| newest.marker.is_none()) {
            return Err(KeyAdminError::Foreign(id.clone()));
        }
        let mut versions: Vec<_> =
            key.versions().iter().filter_map(|version| Some((version, version.marker?))).collect();
        if !enabled {
            versions.reverse();
        }
        for (version, marker) in versions {
            if version.enabled != enabled {
                let handle = self.handle(version)?;
                self.session
                    .update_attributes(handle, &[Attribute::Id(marker.to_object_id(enabled).to_vec())])?;
            }
        }
        Ok(())
    }

    /// Destroys one old version, after which nothing encrypted with it can be read again.
    pub fn delete_version(&self, id: &ExternalKeyId, number: u32) -> Result<(), KeyAdminError> {
        let key = self.find(id)?;
        let version = key
            .versions()
            .iter()
            .find(|version| version.number() == number)
            .ok_or_else(|| KeyAdminError::MissingVersion(id.clone(), number))?;
        if key.newest().is_some_and(|newest| newest.number() == number) {
            return Err(KeyAdminError::NewestVersion(id.clone(), number));
        }
        self.destroy(version)
    }

    /// Destroys every version, after which nothing encrypted with the key can be read. The oldest goes first:
    /// stopping half-way must not make an old version the one that encrypts.
    pub fn delete(&self, id: &ExternalKeyId) -> Result<(), KeyAdminError> {
        self.find(id)?.versions().iter().try_for_each(|version| self.destroy(version))
    }

    pub fn find(&self, id: &ExternalKeyId) -> Result<Arc<ExternalKey>, KeyAdminError> {
        match self.inventory()?.find(id.as_str()) {
            Lookup::Found(key) => Ok(key),
            Lookup::Missing => Err(KeyAdminError::Missing(id.clone())),
            Lookup::Ambiguous => Err(KeyAdminError::Ambiguous(id.clone())),
        }
    }

    /// AES-256, born in the token and never to leave it.
    fn generate(&self, new: &NewKey, number: u32) -> Result<VersionMarker, KeyAdminError> {
        Ok(new_key::generate(&self.session, new, number)?)
    }

    fn destroy(&self, version: &KeyVersion) -> Result<(), KeyAdminError> {
        Ok(self.session.destroy_object(self.handle(version)?)?)
    }

    fn handle(&self, version: &KeyVersion) -> Result<cryptoki::object::ObjectHandle, KeyAdminError> {
        inventory::find_object(&self.session, &self.token.objects, &version.object.name)?
            .ok_or_else(|| KeyAdminError::Hsm("the key vanished from the token".to_owned()))
    }
}

impl Drop for KeyAdmin {
    fn drop(&mut self) {
        self.module.finalize();
    }
}

impl From<Fault> for KeyAdminError {
    fn from(fault: Fault) -> Self {
        match fault.blame {
            Blame::Pin => Self::Hsm(format!("{}; it is not tried again, since HSMs lock users", fault.what)),
            Blame::Busy
            | Blame::Data
            | Blame::DataOrToken
            | Blame::Disconnected
            | Blame::Handle
            | Blame::ForeignKey
            | Blame::Length
            | Blame::Library
            | Blame::Unsupported
            | Blame::Login
            | Blame::Material
            | Blame::Missing
            | Blame::Session
            | Blame::Token
            | Blame::Usage => Self::Hsm(fault.what),
        }
    }
}

impl From<cryptoki::error::Error> for KeyAdminError {
    fn from(error: cryptoki::error::Error) -> Self {
        Fault::from(error).into()
    }
}

impl fmt::Display for KeyAdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(id) => {
                write!(f, "several HSM keys answer to `{id}`; relabel or delete all but one")
            }
            Self::Disabled(id) => write!(f, "key `{id}` is disabled; enable it first"),
            Self::Exists(id) => write!(f, "key `{id}` exists already; `rotate` makes a new version"),
            Self::Foreign(id) => {
                write!(
                    f,
                    "key `{id}` was made by another tool; use `holdfast key block`, or `rotate` it first"
                )
            }
            Self::Hsm(reason) => f.write_str(reason),
            Self::Missing(id) => write!(f, "no key `{id}` in the token"),
            Self::MissingVersion(id, number) => write!(f, "key `{id}` has no version {number}"),
            Self::NewestVersion(id, number) => {
                write!(
                    f,
                    "version {number} of key `{id}` is the newest, which encrypts; rotate first, or delete the key"
                )
            }
            Self::Reserved(id) => write!(f, "`{id}` is the label of the HSM's root key"),
        }
    }
}

impl std::error::Error for KeyAdminError {}
