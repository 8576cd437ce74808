//! Changes identities: sealed and stored first, in force in the directory then, acknowledged last.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::credentials::{random_base32, random_base64};
use crate::domain::kms::{AccountId, RootKeyId};
use crate::identity::kms::administration::{
    AdminAnswer, AdminError, AdminRequest, Administered, Holder, HolderKind, IdentityAdmin, NewAccessKey,
    NewMfaDevice,
};
use crate::identity::kms::directory::Directory;
use crate::identity::kms::mfa;
use crate::identity::kms::record::{
    AccessKeyRecord, MfaDeviceRecord, Named, Records, RoleRecord, UserRecord,
};
use crate::identity::kms::rules;
use crate::identity::kms::sessions::random_unique_id;
use crate::identity::kms::shown;
use crate::identity::kms::table::{Table, mfa_serial};
use crate::identity::kms::vault::Vault;
use crate::key_manager::backing_key::BackingKeys;
use crate::store::{IdentityKind, IdentityName, Store};

const ACCESS_KEY_ID_PREFIX: &str = "AKIA";
const ACCESS_KEY_ID_RANDOM_CHARS: usize = 16;
const SECRET_RANDOM_BYTES: usize = 30;
/// IAM: of one user.
const ACCESS_KEYS_MAX: usize = 2;

/// Users, roles and access keys that are kept in the store.
pub struct Registry {
    directory: Arc<Directory>,
    vault: Vault,
    /// One change after the other: each starts from what is in force.
    changing: Mutex<()>,
}

/// One row that changes, and what is in force with it.
enum Change {
    User(Named, Option<UserRecord>),
    Role(Named, Option<RoleRecord>),
    AccessKey(String, AccountId, Option<AccessKeyRecord>),
}

impl Registry {
    pub fn new(
        directory: Arc<Directory>,
        store: Arc<dyn Store>,
        backing_keys: Arc<dyn BackingKeys>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { directory, vault: Vault { store, backing_keys, clock }, changing: Mutex::new(()) }
    }

    /// Reads what is stored and puts it in force; makes the session key if there is none. The root key is open. How
    /// much was left out because it is under a former root key that is missing: nobody is that, or has such a session.
    pub async fn load(&self) -> Result<usize, AdminError> {
        let _one_at_a_time = self.changing.lock().await;
        let keys = self.vault.store.root_keys().await?;
        let (records, mut unread) = self.vault.read(keys).await?;
        match self.vault.session_key(keys).await? {
            Some(key) => self.directory.set_session_key(key),
            None => unread += 1,
        }
        self.directory.keep(Arc::new(records)).map_err(AdminError::Damaged)?;
        Ok(unread)
    }

    /// Puts everything that is stored under the current root key: how many were, and why the first that could not be
    /// was not. In memory nothing changes.
    pub async fn reseal(&self, current: RootKeyId) -> Result<(usize, Option<AdminError>), AdminError> {
        let _one_at_a_time = self.changing.lock().await;
        self.vault.reseal(current).await
    }

    async fn serve(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
        let _one_at_a_time = self.changing.lock().await;
        let (declared, stored) = (self.directory.declared(), self.directory.stored());
        let shown = shown::Both { declared: &declared, stored: &stored };
        let change = match request {
            AdminRequest::List { account, kind } => {
                return Ok(AdminAnswer::Identities(shown.identities(account.as_deref(), kind)));
            }
            AdminRequest::Show(holder) => {
                let identity = shown.identity(&named(&holder)?, holder.kind)?;
                return Ok(AdminAnswer::Identity(Box::new(identity)));
            }
            AdminRequest::ListAccessKeys { account } => {
                return Ok(AdminAnswer::AccessKeys(shown.access_keys(account.as_deref())));
            }
            AdminRequest::CreateAccessKey { account, user } => {
                return self.create_access_key(&shown, &account, user).await;
            }
            AdminRequest::CreateUser { user, path, tags } => {
                let named = missing(&shown, &user, HolderKind::User)?;
                Change::User(named, Some(self.new_user(path, tags)?))
            }
            AdminRequest::CreateRole { role, path, tags, trust_policy, max_session_duration_seconds } => {
                let named = missing(&shown, &role, HolderKind::Role)?;
                let record = self.new_role(path, tags, trust_policy, max_session_duration_seconds)?;
                Change::Role(named, Some(record))
            }
            AdminRequest::Delete(holder) => deletion(&shown, &holder)?,
            AdminRequest::PutPolicy { of, name, document } => with_policy(&shown, &of, |policies| {
                policies.insert(name, document);
                Ok(())
            })?,
            AdminRequest::DeletePolicy { of, name } => with_policy(&shown, &of, |policies| {
                policies.remove(&name).map(|_| ()).ok_or(AdminError::Missing)
            })?,
            AdminRequest::PutBoundary { of, document } => with_boundary(&shown, &of, Some(document))?,
            AdminRequest::DeleteBoundary { of } => with_boundary(&shown, &of, None)?,
            AdminRequest::CreateMfaDevice { user } => return self.create_mfa_device(&shown, &user).await,
            AdminRequest::DeleteMfaDevice { user } => {
                let named = named(&user)?;
                let record = shown.stored_user(&named)?;
                record.mfa_device.as_ref().ok_or(AdminError::Missing)?;
                Change::User(named, Some(UserRecord { mfa_device: None, ..record.clone() }))
            }
            AdminRequest::PutTrustPolicy { role, document } => {
                let named = named(&role)?;
                let record = RoleRecord { trust_policy: document, ..shown.stored_role(&named)?.clone() };
                Change::Role(named, Some(record))
            }
            AdminRequest::SetAccessKeyActive { access_key_id, active } => {
                let (account, record) = shown.stored_access_key(&access_key_id)?;
                Change::AccessKey(access_key_id, account, Some(AccessKeyRecord { active, ..record.clone() }))
            }
            AdminRequest::DeleteAccessKey { access_key_id } => {
                let (account, _) = shown.stored_access_key(&access_key_id)?;
                Change::AccessKey(access_key_id, account, None)
            }
        };
        self.apply(&stored, change).await
    }

    fn new_user(&self, path: String, tags: BTreeMap<String, String>) -> Result<UserRecord, AdminError> {
        Ok(UserRecord {
            path,
            unique_id: random_unique_id("AIDA").ok_or(AdminError::Random)?,
            created_unix_seconds: self.vault.clock.unix_seconds(),
            policies: BTreeMap::new(),
            managed_policies: Vec::new(),
            permissions_boundary: None,
            tags,
            mfa_device: None,
        })
    }

    fn new_role(
        &self,
        path: String,
        tags: BTreeMap<String, String>,
        trust_policy: String,
        max_session_duration_seconds: u32,
    ) -> Result<RoleRecord, AdminError> {
        Ok(RoleRecord {
            path,
            unique_id: random_unique_id("AROA").ok_or(AdminError::Random)?,
            created_unix_seconds: self.vault.clock.unix_seconds(),
            trust_policy,
            policies: BTreeMap::new(),
            managed_policies: Vec::new(),
            permissions_boundary: None,
            tags,
            max_session_duration_seconds,
        })
    }

    async fn create_access_key(
        &self,
        shown: &shown::Both<'_>,
        account: &str,
        user: Option<String>,
    ) -> Result<AdminAnswer, AdminError> {
        let account = rules::check_account(account)?;
        if let Some(user) = &user {
            shown.identity(&(account.clone(), user.clone()), HolderKind::User)?;
        }
        let own = shown.access_keys(Some(account.as_str()));
        if own.iter().filter(|key| key.user == user).count() >= ACCESS_KEYS_MAX {
            return Err(AdminError::Limit("it has two access keys already"));
        }
        let random = random_base32(ACCESS_KEY_ID_RANDOM_CHARS).map_err(|_| AdminError::Random)?;
        let access_key_id = format!("{ACCESS_KEY_ID_PREFIX}{random}");
        let secret_access_key = random_base64(SECRET_RANDOM_BYTES).map_err(|_| AdminError::Random)?;
        let record = AccessKeyRecord {
            account: account.to_string(),
            user,
            secret_access_key: secret_access_key.clone(),
            active: true,
            created_unix_seconds: self.vault.clock.unix_seconds(),
        };
        self.apply(shown.stored, Change::AccessKey(access_key_id.clone(), account, Some(record))).await?;
        Ok(AdminAnswer::NewAccessKey(NewAccessKey { access_key_id, secret_access_key }))
    }

    async fn create_mfa_device(
        &self,
        shown: &shown::Both<'_>,
        user: &Holder,
    ) -> Result<AdminAnswer, AdminError> {
        let named = named(user)?;
        let secret = mfa::random_secret().ok_or(AdminError::Random)?;
        let device = NewMfaDevice {
            serial_number: mfa_serial(&named.0, &named.1),
            otpauth_uri: mfa::otpauth_uri(&named.0, &named.1, &secret),
        };
        let mfa_device = Some(MfaDeviceRecord { secret });
        let record = UserRecord { mfa_device, ..shown.stored_user(&named)?.clone() };
        self.apply(shown.stored, Change::User(named, Some(record))).await?;
        Ok(AdminAnswer::NewMfaDevice(device))
    }

    /// What cannot be put in force is not stored.
    async fn apply(&self, stored: &Records, change: Change) -> Result<AdminAnswer, AdminError> {
        let mut next = stored.clone();
        match &change {
            Change::User(named, record) => set(&mut next.users, named, record.as_ref()),
            Change::Role(named, record) => set(&mut next.roles, named, record.as_ref()),
            Change::AccessKey(id, _, record) => set(&mut next.access_keys, id, record.as_ref()),
        }
        Table::build(&Records::default(), &next).map_err(|(_, error)| AdminError::Invalid(error))?;
        match change {
            Change::User((account, name), record) => {
                self.put(IdentityName { account, kind: IdentityKind::User, name }, record).await?;
            }
            Change::Role((account, name), record) => {
                self.put(IdentityName { account, kind: IdentityKind::Role, name }, record).await?;
            }
            Change::AccessKey(name, account, record) => {
                self.put(IdentityName { account, kind: IdentityKind::AccessKey, name }, record).await?;
            }
        }
        self.directory.keep(Arc::new(next)).map_err(AdminError::Damaged)?;
        Ok(AdminAnswer::Done)
    }

    async fn put(&self, name: IdentityName, record: Option<impl serde::Serialize>) -> Result<(), AdminError> {
        let IdentityName { account, kind, name: own } = name.clone();
        match record {
            Some(record) => {
                self.vault.write(name, &record).await?;
                tracing::warn!(%account, ?kind, name = own, "identity made or changed");
            }
            None => {
                self.vault.delete(&name).await?;
                tracing::warn!(%account, ?kind, name = own, "identity deleted");
            }
        }
        Ok(())
    }
}

impl IdentityAdmin for Registry {
    fn administer(&self, request: AdminRequest) -> Administered<'_> {
        Box::pin(self.serve(request))
    }
}

/// The name of what is to be made, if it is still free.
fn missing(shown: &shown::Both<'_>, holder: &Holder, kind: HolderKind) -> Result<Named, AdminError> {
    let named = named(holder)?;
    match shown.identity(&named, kind) {
        Ok(_) => Err(AdminError::Exists),
        Err(_) => Ok(named),
    }
}

fn deletion(shown: &shown::Both<'_>, holder: &Holder) -> Result<Change, AdminError> {
    let named = named(holder)?;
    match holder.kind {
        HolderKind::Role => {
            shown.stored_role(&named)?;
            Ok(Change::Role(named, None))
        }
        HolderKind::User => {
            shown.stored_user(&named)?;
            let keys = shown.access_keys(Some(named.0.as_str()));
            if keys.iter().any(|key| key.user.as_deref() == Some(&named.1)) {
                return Err(AdminError::Limit("delete its access keys first"));
            }
            Ok(Change::User(named, None))
        }
    }
}

fn with_policy(
    shown: &shown::Both<'_>,
    of: &Holder,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), AdminError>,
) -> Result<Change, AdminError> {
    let named = named(of)?;
    match of.kind {
        HolderKind::Role => {
            let mut record = shown.stored_role(&named)?.clone();
            change(&mut record.policies)?;
            Ok(Change::Role(named, Some(record)))
        }
        HolderKind::User => {
            let mut record = shown.stored_user(&named)?.clone();
            change(&mut record.policies)?;
            Ok(Change::User(named, Some(record)))
        }
    }
}

fn with_boundary(
    shown: &shown::Both<'_>,
    of: &Holder,
    permissions_boundary: Option<String>,
) -> Result<Change, AdminError> {
    let named = named(of)?;
    let missing = |known: &Option<String>| known.is_none() && permissions_boundary.is_none();
    match of.kind {
        HolderKind::Role => {
            let record = shown.stored_role(&named)?.clone();
            if missing(&record.permissions_boundary) {
                return Err(AdminError::Missing);
            }
            Ok(Change::Role(named, Some(RoleRecord { permissions_boundary, ..record })))
        }
        HolderKind::User => {
            let record = shown.stored_user(&named)?.clone();
            if missing(&record.permissions_boundary) {
                return Err(AdminError::Missing);
            }
            Ok(Change::User(named, Some(UserRecord { permissions_boundary, ..record })))
        }
    }
}

fn named(holder: &Holder) -> Result<Named, AdminError> {
    rules::check_name(&holder.name)?;
    Ok((rules::check_account(&holder.account)?, holder.name.clone()))
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) {
    match value {
        Some(value) => {
            map.insert(key.clone(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}
