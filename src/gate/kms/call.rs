//! One authenticated request to the KMS API: the doors it can open.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::OnceCell;

use crate::attestation::Attestation;
use crate::authorizer::evaluation::{Denial, Evaluation, Layer, Verdict};
use crate::authorizer::kms::{Question, Service, evaluation};
use crate::domain::kms::{
    AccountAction, AliasName, ConditionKey, CrossAccount, ENCRYPTION_CONTEXT_BYTES_MAX, EncryptionContext,
    GrantConstraints, GrantOperation, Key, KeyAction, KeyId, KeyPlace, KeyReference, Permission, Region,
    Scope, UnixMillis, Uuid, check,
};
use crate::gate::kms::facts::{Conditions, RequestFacts};
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::key_store_refused::KeyStoreRefused;
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::{Account, Forbidden, Kms, OpenKey, Refused, ResourceQuotas, Touched, Witness};
use crate::identity::kms::Caller;
use crate::policy::Context;

/// Names one request: `x-amzn-RequestId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub [u8; 16]);

/// One authenticated request.
pub struct Call<'a> {
    pub(super) kms: &'a Kms,
    request: Request<'a>,
    /// KMS time.
    now: UnixMillis,
    /// Where the first key in a custom key store is that was opened.
    opened_place: OnceLock<KeyPlace>,
    /// Whether the audit trail knows that something is going to be changed.
    pub(super) announced: OnceCell<()>,
}

/// What a call is made from.
pub struct Request<'a> {
    pub caller: &'a Caller,
    pub facts: RequestFacts<'a>,
    pub id: RequestId,
    pub deadline: Instant,
    pub witness: &'a dyn Witness,
}

/// What a request wants to do with a key, beyond the action: what policies may test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use<'a> {
    pub encryption_context: Option<&'a EncryptionContext>,
    pub grant_tokens: &'a [Cow<'a, str>],
    /// `kms:EncryptionAlgorithm` and the like, `aws:RequestTag/…` and `aws:TagKeys`.
    pub conditions: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// What is known of the recipient: `kms:RecipientAttestation:…`.
    pub attestation: Option<&'a Attestation>,
    /// Of CreateGrant.
    pub hands_on: Option<HandedOn<'a>>,
}

/// What a new grant gives: a grantee hands on no more than it has.
#[derive(Clone, Copy, Debug)]
pub struct HandedOn<'a> {
    pub operations: &'a [GrantOperation],
    pub constraints: &'a GrantConstraints,
}

/// Which forms of key identifier an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    AliasesToo,
    KeysOnly,
}

impl<'a> Call<'a> {
    pub fn new(kms: &'a Kms, request: Request<'a>) -> Self {
        let now = kms.now();
        Self { kms, request, now, opened_place: OnceLock::new(), announced: OnceCell::new() }
    }

    pub fn caller(&self) -> &'a Caller {
        self.request.caller
    }

    /// Where the key was that the request used, if that was in a custom key store; for the log.
    pub fn opened_place(&self) -> Option<&KeyPlace> {
        self.opened_place.get()
    }

    pub(super) fn witness(&self) -> &'a dyn Witness {
        self.request.witness
    }

    /// What is touched is in the record, also of a call that is refused.
    pub(super) fn touched(&self) -> &'a Touched {
        self.request.witness.touched()
    }

    pub fn now(&self) -> UnixMillis {
        self.now
    }

    pub fn id(&self) -> RequestId {
        self.request.id
    }

    pub fn quotas(&self) -> &'a ResourceQuotas {
        &self.kms.quotas
    }

    /// Something may be due earlier than was known.
    pub fn due_work_changed(&self) {
        self.kms.wake_due_work();
    }

    pub(super) fn facts(&self) -> &RequestFacts<'a> {
        &self.request.facts
    }

    pub(super) fn deadline(&self) -> Instant {
        self.request.deadline
    }

    /// Opens the key that `reference` names: by id or ARN, and where policies can test the alias of a request, by alias
    /// or alias ARN (AWS KMS Developer Guide, Key identifiers). A key of another account is opened only for what other
    /// accounts can be permitted at all.
    pub async fn open(
        &'a self,
        action: KeyAction,
        reference: &str,
        usage: Use<'_>,
    ) -> Result<OpenKey<'a>, Refused> {
        let permission = action.required_permission();
        let accepts =
            if permission.has(ConditionKey::RequestAlias) { Accepts::AliasesToo } else { Accepts::KeysOnly };
        let resolved = self.resolve(reference, accepts).await;
        let (scope, id, alias) = resolved.map_err(|refused| self.veiled(action, reference, refused))?;
        if !self.can_be_permitted(action, &scope) {
            return Err(self.missing(action, &scope, &id));
        }
        match self.kms.find(&scope, &id).await? {
            Some(key) => self.admit(key, action, alias.as_ref(), usage).await,
            None => Err(self.missing(action, &scope, &id)),
        }
    }

    /// Whether any policy or grant could permit the caller this on a key that is there.
    pub(super) fn can_be_permitted(&self, action: KeyAction, scope: &Scope) -> bool {
        scope.account == self.request.caller.account
            || action.required_permission().cross_account == CrossAccount::Yes
    }

    /// Opens the key that made a ciphertext. A key that is not there, or that the caller may not know of, looks
    /// the same.
    pub async fn open_maker(
        &'a self,
        action: KeyAction,
        (scope, id): (&Scope, &KeyId),
        usage: Use<'_>,
    ) -> Result<OpenKey<'a>, Refused> {
        // A multi-Region key decrypts wherever it has a replica; any other only in its own Region.
        let scope = Scope { account: scope.account.clone(), region: self.caller_region_for(id, scope) };
        if scope.region != self.request.caller.region {
            return Err(Refused::CiphertextKeyMissing);
        }
        let Some(key) = self.kms.find(&scope, id).await? else { return Err(Refused::CiphertextKeyMissing) };
        match self.admit(key, action, None, usage).await {
            // Nor does another account learn whether its key is still there.
            Err(Refused::Forbidden(_)) if scope.account != self.request.caller.account => {
                Err(Refused::CiphertextKeyMissing)
            }
            answer => answer,
        }
    }

    fn caller_region_for(&self, id: &KeyId, scope: &Scope) -> Region {
        if id.is_multi_region() { self.request.caller.region.clone() } else { scope.region.clone() }
    }

    /// Which key a reference means; none if it means none.
    pub async fn key_named(&self, reference: &str) -> Option<(Scope, KeyId)> {
        self.resolve(reference, Accepts::AliasesToo).await.ok().map(|(scope, id, _)| (scope, id))
    }

    /// For lists and creation.
    pub fn account(&'a self, action: AccountAction, usage: Use<'_>) -> Result<Account<'a>, Refused> {
        let scope = self.request.caller.scope();
        self.allow_account(action, None, usage)?;
        Ok(Account::new(self, scope))
    }

    /// Whether the identity policies of the caller allow this on a resource that is no key: an alias, or `*`.
    pub(super) fn allow_account(
        &self,
        action: AccountAction,
        resource: Option<&str>,
        usage: Use<'_>,
    ) -> Result<(), Refused> {
        let permission = action.required_permission();
        self.allow(permission, resource, usage)
    }

    /// Whether the identity policies of the caller allow this on an alias.
    pub fn allow_alias(&self, action: KeyAction, alias_arn: &str) -> Result<(), Refused> {
        self.touched().note_alias(&self.request.caller.account, alias_arn);
        self.allow(action.permission_on_alias(), Some(alias_arn), Use::default())
    }

    /// A key of the caller's own account, by id or ARN, for a list that was allowed as a whole: its key policy is not
    /// asked (AWS KMS Developer Guide, Controlling access to aliases).
    pub async fn own_key_id(&self, action: KeyAction, reference: &str) -> Result<KeyId, Refused> {
        let (scope, id, _) = self.resolve(reference, Accepts::KeysOnly).await?;
        let is_own = scope.account == self.request.caller.account;
        if is_own && self.kms.find(&scope, &id).await?.is_some() {
            return Ok(id);
        }
        Err(self.missing(action, &scope, &id))
    }

    /// Which key is meant, whether it is there or not, and by which alias.
    pub(super) async fn resolve(
        &self,
        text: &str,
        accepts: Accepts,
    ) -> Result<(Scope, KeyId, Option<AliasName>), Refused> {
        let reference = KeyReference::parse(text)
            .ok_or_else(|| Refused::InvalidReference { reference: text.to_owned() })?;
        let region = &self.request.caller.region;
        if let Some(scope) = reference.scope().filter(|scope| scope.region != *region) {
            return Err(Refused::OtherRegion { region: scope.region.clone() });
        }
        let scope = reference.scope().cloned().unwrap_or_else(|| self.request.caller.scope());
        match reference {
            KeyReference::Arn { id, .. } | KeyReference::Id(id) => Ok((scope, id, None)),
            KeyReference::Alias(_) | KeyReference::AliasArn { .. } if accepts == Accepts::KeysOnly => {
                Err(Refused::AliasNotAccepted { reference: text.to_owned() })
            }
            KeyReference::Alias(name) | KeyReference::AliasArn { name, .. } => {
                let target = self.kms.resolve(&scope, &name).await?;
                let target = target.ok_or_else(|| Refused::AliasMissing { arn: scope.arn(name.as_str()) })?;
                Ok((scope, target, Some(name)))
            }
        }
    }

    /// Whether a key of another account exists is nobody's business.
    pub(super) fn missing(&self, action: KeyAction, scope: &Scope, id: &KeyId) -> Refused {
        let arn = scope.arn(&format!("key/{id}"));
        if scope.account == self.request.caller.account {
            return Refused::KeyMissing { arn };
        }
        let denial = Denial::implicit(Layer::Resource);
        self.forbidden(action.permission(), Some(&arn), denial)
    }

    /// Nor is it which aliases that account has.
    fn veiled(&self, action: KeyAction, reference: &str, refused: Refused) -> Refused {
        let Refused::AliasMissing { arn } = &refused else { return refused };
        let parsed = KeyReference::parse(reference);
        let scope = parsed.as_ref().and_then(KeyReference::scope);
        if scope.is_none_or(|scope| scope.account == self.request.caller.account) {
            return refused;
        }
        self.forbidden(action.permission(), Some(arn), Denial::implicit(Layer::Resource))
    }

    /// What a refusal names: of an alias of another account the alias, whose key is not to be learned from it.
    fn shown_arn(&self, key: &CachedKey, alias: Option<&AliasName>) -> String {
        let scope = &key.key.scope;
        match alias {
            Some(alias) if scope.account != self.request.caller.account => scope.arn(alias.as_str()),
            Some(_) | None => key.arn.to_string(),
        }
    }

    /// Authorization first, so that nobody else learns of capabilities and states.
    async fn admit(
        &'a self,
        key: Arc<CachedKey>,
        action: KeyAction,
        alias: Option<&AliasName>,
        usage: Use<'_>,
    ) -> Result<OpenKey<'a>, Refused> {
        check_context(usage)?;
        self.touched().note_key(action, &key);
        let evaluation = self.evaluate((&key, alias), action, usage, |context| context);
        if let Verdict::Denied(denial) = evaluation.verdict(None) {
            let granted = self.granted(&evaluation, denial, &key.key, (action, usage)).await?;
            let shown = || self.shown_arn(&key, alias);
            granted.map_err(|denial| self.forbidden(action.permission(), Some(&shown()), denial))?;
        }
        let key_store = self.key_store_of(&key.key).await?;
        let open = OpenKey::new(self, key, action).in_key_store(key_store);
        check(open.key(), open.state(), action).map_err(|refusal| open.refused(refusal))?;
        Ok(open)
    }

    /// What the policies say about an action on a key, in a context that may be adjusted.
    pub(super) fn evaluate<'k>(
        &'k self,
        (key, alias): (&'k CachedKey, Option<&'k AliasName>),
        action: KeyAction,
        usage: Use<'k>,
        adjust: impl FnOnce(Context<'k>) -> Context<'k>,
    ) -> Evaluation<'k> {
        let permission = action.required_permission();
        let context = || {
            let conditions = self.conditions(permission, usage);
            let conditions = conditions.with_key(&key.key, self.kms.quotas.aliases_per_key);
            adjust(conditions.with_request_alias(alias).into_context())
        };
        let question = Question {
            caller: self.request.caller,
            facts: &self.request.facts,
            service: Service::Kms,
            permission: action.permission(),
            resource: &key.arn,
            resource_account: &key.key.scope.account,
            resource_policy: Some(&key.policy),
        };
        evaluation(question, context)
    }

    /// What the policies say about a permission on something of the caller's account that has no policy of its own.
    pub(super) fn evaluate_account<'k>(
        &'k self,
        permission: Permission,
        resource: Option<&'k str>,
        usage: Use<'k>,
        adjust: impl FnOnce(Context<'k>) -> Context<'k>,
    ) -> Evaluation<'k> {
        let own = &self.request.caller.account;
        let question = Question {
            caller: self.request.caller,
            facts: &self.request.facts,
            service: Service::Kms,
            permission: permission.name,
            resource: resource.unwrap_or("*"),
            resource_account: own,
            resource_policy: None,
        };
        let conditions = || self.conditions(permission, usage).with_resource_of(own);
        evaluation(question, || adjust(conditions().into_context()))
    }

    /// The custom key store that a key is in, if it is in one.
    async fn key_store_of(&self, key: &Key) -> Result<Option<Arc<KnownKeyStore>>, Refused> {
        let Some(id) = key.place.custom_key_store() else { return Ok(None) };
        self.opened_place.get_or_init(|| key.place.clone());
        match self.kms.find_key_store(&key.scope, id).await? {
            Some(known) => {
                self.touched().note_key_store(&known);
                Ok(Some(known))
            }
            None => Err(KeyStoreRefused::Missing { named: id.to_string() }.into()),
        }
    }

    pub(super) fn conditions<'c>(&'c self, permission: Permission, usage: Use<'c>) -> Conditions<'c> {
        Conditions::new(permission, self.request.caller, &self.request.facts).with_use(usage)
    }

    /// Whether the policies allow this on something of the caller's account that has no policy of its own.
    fn allow(&self, permission: Permission, resource: Option<&str>, usage: Use<'_>) -> Result<(), Refused> {
        match self.evaluate_account(permission, resource, usage, |context| context).verdict(None) {
            Verdict::Allowed(_) => Ok(()),
            Verdict::Denied(denial) => Err(self.forbidden(permission.name, resource, denial)),
        }
    }

    pub(super) fn forbidden(&self, permission: &str, resource: Option<&str>, denial: Denial) -> Refused {
        Refused::Forbidden(Forbidden {
            caller_arn: self.request.caller.arn.to_string(),
            permission: permission.to_owned(),
            resource: resource.map(str::to_owned),
            denial,
        })
    }
}

/// Before policies look at it: comparing takes time, and it would be refused anyway.
pub(super) fn check_context(usage: Use<'_>) -> Result<(), Refused> {
    let context_bytes = usage.encryption_context.map_or(0, EncryptionContext::canonical_bytes);
    if context_bytes > ENCRYPTION_CONTEXT_BYTES_MAX { Err(Refused::ContextTooLong) } else { Ok(()) }
}

impl RequestId {
    pub fn uuid(self) -> Uuid {
        Uuid::of(&self.0)
    }
}

impl fmt::Display for RequestId {
    /// As a UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uuid().as_str())
    }
}
