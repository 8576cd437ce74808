//! Sessions of roles and users: made by AWS STS, and found again by the token that their caller sends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::rand;
use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use crate::config::credentials::{random_base32, random_base64};
use crate::domain::kms::{AccountId, Tag};
use crate::identity::kms::accounts::Accounts;
use crate::identity::kms::caller::{Caller, Identity, Principal, Session, TemporaryCredentials};
use crate::identity::kms::directory::Unauthenticated;
use crate::identity::kms::named_policy::{NamedPolicy, SESSION_POLICY};
use crate::identity::kms::rules;
use crate::identity::kms::session_token::{SessionKey, TokenContent, TokenHolder};
use crate::identity::kms::table::{Role, Table};
use crate::identity::signing_keys::SigningKeys;
use crate::policy::PolicyDocument;
use crate::secret::SecretBytes;

pub(super) const SESSION_PREFIX: &str = "ASIA";
const ACCESS_KEY_ID_RANDOM_CHARS: usize = 16;
const SECRET_RANDOM_BYTES: usize = 30;
/// Opened tokens that are kept, so that not each request opens its own anew.
const OPENED_MAX: usize = 4096;
/// AWS STS: plain text of a session policy.
pub const SESSION_POLICY_CHARS_MAX: usize = 2048;
/// Session policy and session tags together.
const PACKED_BYTES_MAX: usize = 4096;

/// What a session is made from.
#[derive(Debug)]
pub struct NewSession<'a> {
    pub role: &'a Role,
    pub name: &'a str,
    /// Those of the request and those inherited.
    pub tags: BTreeMap<String, String>,
    /// Keys of the tags that are inherited.
    pub transitive: Vec<String>,
    pub policy: Option<&'a str>,
    pub source_identity: Option<&'a str>,
    pub time: SessionTime,
    /// Whether a second factor was shown.
    pub mfa: bool,
}

/// What a session of a user is made from; who calls is a user or root user with a long-term key.
#[derive(Debug)]
pub struct NewUserSession<'a> {
    pub caller: &'a Caller,
    pub time: SessionTime,
    /// Whether a second factor was shown.
    pub mfa: bool,
}

/// From when a session is, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTime {
    pub now_unix_seconds: u64,
    pub duration_seconds: u32,
}

/// The credentials of a new session.
#[derive(Debug)]
pub struct SessionCredentials {
    pub access_key_id: String,
    pub secret_access_key: SecretBytes,
    pub token: String,
    pub expires_unix_seconds: u64,
    /// Of session policy and tags, how much of what they may take.
    pub packed_percent: usize,
}

/// Why there is no new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// No session key yet: the HSM that seals it was not reached.
    NotReady,
    /// Policy and tags together are too long; by how many percent of what is allowed.
    TooLarge { percent: usize },
    /// The session policy, and why.
    Policy(String),
}

/// A token that was opened.
pub(super) struct Opened {
    token: String,
    expires_unix_seconds: u64,
    /// Those of the table that it was opened with: after a change it is opened anew.
    accounts: Arc<Accounts>,
    pub(super) secret: SecretBytes,
    pub(super) signing_keys: SigningKeys,
    pub(super) identity: Identity,
}

#[derive(Default)]
pub(super) struct Sessions {
    key: ArcSwapOption<SessionKey>,
    opened: RwLock<HashMap<Arc<str>, Arc<Opened>>>,
}

impl Sessions {
    pub(super) fn set_key(&self, key: SessionKey) {
        self.key.store(Some(Arc::new(key)));
        self.opened.write().clear();
    }

    /// A session of a role.
    pub(super) fn make(&self, new: NewSession<'_>) -> Result<SessionCredentials, SessionError> {
        if let Some(policy) = new.policy {
            rules::identity_policy(policy).map_err(SessionError::Policy)?;
        }
        let tag_bytes: usize = new.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        let packed = new.policy.map_or(0, str::len) + tag_bytes;
        let packed_percent = (packed * 100).div_ceil(PACKED_BYTES_MAX);
        if packed > PACKED_BYTES_MAX {
            return Err(SessionError::TooLarge { percent: packed_percent });
        }
        let content = TokenContent {
            account: new.role.account.to_string(),
            of: TokenHolder::Role {
                name: new.role.name.to_string(),
                unique_id: new.role.unique_id.to_string(),
                session_name: new.name.to_owned(),
            },
            tags: new.tags,
            transitive: new.transitive,
            policy: new.policy.map(str::to_owned),
            source_identity: new.source_identity.map(str::to_owned),
            ..empty_content(new.time, new.mfa)?
        };
        Ok(SessionCredentials { packed_percent, ..self.seal(content)? })
    }

    /// A session of a user, or of a root user.
    pub(super) fn make_for_user(&self, new: &NewUserSession<'_>) -> Result<SessionCredentials, SessionError> {
        let of = match new.caller.user_name() {
            Some(name) => {
                TokenHolder::User { name: name.to_owned(), unique_id: new.caller.user_id.to_string() }
            }
            None => TokenHolder::Root,
        };
        let account = new.caller.account.to_string();
        self.seal(TokenContent { account, of, ..empty_content(new.time, new.mfa)? })
    }

    fn seal(&self, content: TokenContent) -> Result<SessionCredentials, SessionError> {
        let key = self.key.load();
        let key = key.as_deref().ok_or(SessionError::NotReady)?;
        let random = random_base32(ACCESS_KEY_ID_RANDOM_CHARS).map_err(|_| SessionError::NotReady)?;
        let access_key_id = format!("{SESSION_PREFIX}{random}");
        let token = key.seal(&access_key_id, &content).ok_or(SessionError::NotReady)?;
        Ok(SessionCredentials {
            access_key_id,
            secret_access_key: content.secret_access_key,
            token,
            expires_unix_seconds: content.expires_unix_seconds,
            packed_percent: 0,
        })
    }

    /// The session of a token. Its role or user must still be there, and be the one that it was made for.
    pub(super) fn open(
        &self,
        table: &Table,
        (access_key_id, token): (&str, &str),
        now_unix_seconds: u64,
    ) -> Result<Arc<Opened>, Unauthenticated> {
        let opened = match self.known(table, access_key_id, token) {
            Some(opened) => opened,
            None => {
                let key = self.key.load();
                let content = key.as_deref().and_then(|key| key.open(access_key_id, token));
                let content = content.ok_or(Unauthenticated::AccessKeyUnknown)?;
                let opened = Opened::new(table, (access_key_id, token), content);
                Arc::new(opened.ok_or(Unauthenticated::AccessKeyUnknown)?)
            }
        };
        if opened.expires_unix_seconds <= now_unix_seconds {
            return Err(Unauthenticated::TokenExpired);
        }
        Ok(opened)
    }

    /// Only what was opened for a caller who then signed well is kept, so that nobody else fills the memory.
    pub(super) fn keep(&self, opened: &Arc<Opened>, now_unix_seconds: u64) {
        let id = &opened.identity.access_key_id;
        if self.opened.read().get(id).is_some_and(|known| Arc::ptr_eq(known, opened)) {
            return;
        }
        let mut all = self.opened.write();
        if all.len() >= OPENED_MAX {
            all.retain(|_, opened| opened.expires_unix_seconds > now_unix_seconds);
        }
        if all.len() >= OPENED_MAX {
            // Whichever half: the tokens of the others are opened again.
            let mut count = 0_usize;
            all.retain(|_, _| {
                count += 1;
                count.is_multiple_of(2)
            });
        }
        all.insert(Arc::clone(id), Arc::clone(opened));
    }

    fn known(&self, table: &Table, access_key_id: &str, token: &str) -> Option<Arc<Opened>> {
        let opened = self.opened.read().get(access_key_id).map(Arc::clone)?;
        let is_current = Arc::ptr_eq(table.accounts(), &opened.accounts);
        let is_same = bool::from(opened.token.as_bytes().ct_eq(token.as_bytes()));
        (is_current && is_same).then_some(opened)
    }
}

impl Opened {
    fn new(table: &Table, (access_key_id, token): (&str, &str), content: TokenContent) -> Option<Self> {
        let account = AccountId::parse(&content.account)?;
        let mut identity = match &content.of {
            TokenHolder::Role { name, unique_id, session_name } => {
                let role = table.role(&account, name).filter(|role| *role.unique_id == **unique_id)?;
                let session = assumed(role, session_name, &content)?;
                Identity {
                    tags: with_role_tags(content.tags, &role.tags),
                    ..session_identity(table, role, session)
                }
            }
            TokenHolder::Root => table.root("", account),
            TokenHolder::User { name, unique_id } => {
                let user = table.user(&account, name).filter(|user| *user.unique_id == **unique_id)?;
                table.identity_of(user, "")
            }
        };
        identity.access_key_id = Arc::from(access_key_id);
        identity.temporary = Some(Arc::new(TemporaryCredentials {
            issued_unix_seconds: content.issued_unix_seconds,
            mfa_unix_seconds: content.mfa.then_some(content.issued_unix_seconds),
            source_identity: content.source_identity.map(String::into_boxed_str),
        }));
        Some(Self {
            token: token.to_owned(),
            expires_unix_seconds: content.expires_unix_seconds,
            accounts: Arc::clone(table.accounts()),
            secret: content.secret_access_key,
            signing_keys: SigningKeys::default(),
            identity,
        })
    }
}

/// The session of a role that a token describes.
fn assumed(role: &Role, name: &str, content: &TokenContent) -> Option<Session> {
    let policy = match &content.policy {
        Some(text) => Some(NamedPolicy::new(SESSION_POLICY, PolicyDocument::parse(text).ok()?)),
        None => None,
    };
    let transitive = content.transitive.iter();
    Some(Session {
        role_arn: Arc::clone(&role.arn),
        role_name: Arc::clone(&role.name),
        name: name.to_owned(),
        policies: policy.into_iter().collect(),
        transitive_tags: transitive
            .filter_map(|key| Some(Tag { key: key.clone(), value: content.tags.get(key)?.clone() }))
            .collect(),
    })
}

fn session_identity(table: &Table, role: &Role, session: Session) -> Identity {
    Identity {
        account: role.account.clone(),
        access_key_id: Arc::from(""),
        arn: Arc::from(session_arn(&role.account, &role.name, &session.name)),
        user_id: Arc::from(format!("{}:{}", role.unique_id, session.name)),
        policies: Arc::clone(&role.policies),
        boundary: role.boundary.clone(),
        account_policies: table.accounts().policies(&role.account),
        tags: Arc::clone(&role.tags),
        temporary: None,
        organizations: table.accounts().organizations(),
        principal: Principal::Session(Arc::new(session)),
    }
}

/// A session of a role that nobody has the credentials of, as if it was made now.
pub(super) fn role_session(table: &Table, role: &Role, (name, now_unix_seconds): (&str, u64)) -> Identity {
    let session = Session {
        role_arn: Arc::clone(&role.arn),
        role_name: Arc::clone(&role.name),
        name: name.to_owned(),
        policies: Arc::from([]),
        transitive_tags: Vec::new(),
    };
    let issued =
        TemporaryCredentials { issued_unix_seconds: now_unix_seconds, ..TemporaryCredentials::default() };
    Identity { temporary: Some(Arc::new(issued)), ..session_identity(table, role, session) }
}

/// A token of nobody yet.
fn empty_content(time: SessionTime, mfa: bool) -> Result<TokenContent, SessionError> {
    Ok(TokenContent {
        account: String::new(),
        of: TokenHolder::Root,
        issued_unix_seconds: time.now_unix_seconds,
        expires_unix_seconds: time.now_unix_seconds.saturating_add(u64::from(time.duration_seconds)),
        secret_access_key: random_base64(SECRET_RANDOM_BYTES).map_err(|_| SessionError::NotReady)?,
        tags: BTreeMap::new(),
        transitive: Vec::new(),
        policy: None,
        source_identity: None,
        mfa,
    })
}

/// `arn:aws:sts::<account>:assumed-role/<role>/<session>`
pub fn session_arn(account: &AccountId, role_name: &str, session_name: &str) -> String {
    format!("arn:aws:sts::{account}:assumed-role/{role_name}/{session_name}")
}

/// A tag of the session comes before one of the role with the same key, whatever its case.
fn with_role_tags(session: BTreeMap<String, String>, role: &[Tag]) -> Arc<[Tag]> {
    let mut tags: Vec<_> = session.into_iter().map(|(key, value)| Tag { key, value }).collect();
    for tag in role {
        if !tags.iter().any(|own| own.key.eq_ignore_ascii_case(&tag.key)) {
            tags.push(tag.clone());
        }
    }
    tags.into()
}

/// Fresh bytes for a unique id.
pub(super) fn random_unique_id(prefix: &str) -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(rules::unique_id(prefix, &bytes))
}
