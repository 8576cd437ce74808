//! What would be decided about a request that nobody makes: by the same evaluation, without use of a key.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::Record;
use crate::authorizer::evaluation::{Denial, Layer, Verdict};
use crate::domain::kms::{
    AliasName, ConditionKey, EncryptionContext, GrantId, KeyAction, KeyId, KeyReference, Permission, Scope,
    TestedBy, Uuid,
};
use crate::gate::kms::call::{Accepts, check_context};
use crate::gate::kms::granted::naming;
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::{Call, Kms, Refused, Request, RequestFacts, RequestId, Touched, Use, Witness};
use crate::identity::kms::Caller;
use crate::policy::Context;
use crate::simulation::Answer;

/// One permission that a request would need.
#[derive(Clone, Copy, Debug)]
pub struct Simulated<'a> {
    pub on: SimulatedOn<'a>,
    pub encryption_context: Option<&'a EncryptionContext>,
    /// What the parameters of the request say to policies.
    pub conditions: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// Of ReEncrypt, the other of its two keys.
    pub other_key: Option<&'a str>,
    /// Condition keys that are added, or have other values than they would.
    pub context: &'a [(String, Vec<String>)],
}

/// What it would be needed on.
#[derive(Clone, Copy, Debug)]
pub enum SimulatedOn<'a> {
    /// The caller's account, as `*`.
    Account(Permission),
    Alias(KeyAction, &'a AliasName),
    /// By id, ARN or alias.
    Key(KeyAction, &'a str),
    /// Retiring this grant of a key.
    Grant(&'a GrantId, &'a str),
}

/// Nothing is done, so that nothing is recorded.
#[derive(Default)]
struct Nobody {
    touched: Touched,
}

impl Witness for Nobody {
    fn touched(&self) -> &Touched {
        &self.touched
    }

    fn intent(&self) -> Record {
        Record { event_id: Uuid::of(&[0; 16]), json: Vec::new() }
    }
}

impl Kms {
    /// What would be decided about this caller. Absent if the key has no such grant.
    pub async fn simulate(
        &self,
        caller: &Caller,
        facts: RequestFacts<'_>,
        (asked, deadline): (Simulated<'_>, Instant),
    ) -> Result<Option<Answer>, Refused> {
        let nobody = Nobody::default();
        let request = Request { caller, facts, id: RequestId([0; 16]), deadline, witness: &nobody };
        Call::new(self, request).simulate(asked).await
    }
}

impl Call<'_> {
    async fn simulate(&self, asked: Simulated<'_>) -> Result<Option<Answer>, Refused> {
        check_context(asked.usage())?;
        match asked.on {
            SimulatedOn::Account(permission) => Ok(Some(self.simulate_account(permission, None, asked))),
            SimulatedOn::Alias(action, name) => {
                let arn = self.caller().scope().arn(name.as_str());
                Ok(Some(self.simulate_account(action.permission_on_alias(), Some(&arn), asked)))
            }
            SimulatedOn::Key(action, reference) => {
                self.simulate_key(action, reference, asked).await.map(Some)
            }
            SimulatedOn::Grant(id, reference) => self.simulate_retirement(id, reference, asked).await,
        }
    }

    fn simulate_account(
        &self,
        permission: Permission,
        resource: Option<&str>,
        asked: Simulated<'_>,
    ) -> Answer {
        let evaluation = self.evaluate_account(permission, resource, asked.usage(), |it| asked.adjust(it));
        let action = format!("kms:{}", permission.name);
        Answer::new(evaluation.verdict(None), &action, resource.unwrap_or("*"), None)
    }

    async fn simulate_key(
        &self,
        action: KeyAction,
        reference: &str,
        asked: Simulated<'_>,
    ) -> Result<Answer, Refused> {
        let (key, scope, alias) = self.named(reference).await?;
        let name = format!("kms:{}", action.permission());
        if !self.can_be_permitted(action, &scope) {
            let verdict = Verdict::Denied(Denial::implicit(Layer::Resource));
            return Ok(Answer::new(verdict, &name, &key.arn, None));
        }
        let mut conditions = asked.conditions.to_vec();
        if let Some(other) = asked.other_key {
            conditions.push(self.same_key_condition(self.key_named(other).await, reference).await);
        }
        let usage = Use { conditions: &conditions, ..asked.usage() };
        let alias = alias.as_ref().filter(|_| action.required_permission().has(ConditionKey::RequestAlias));
        let evaluation = self.evaluate((&key, alias), action, usage, |it| asked.adjust(it));
        let verdict = evaluation.verdict(None);
        let Verdict::Denied(denial) = verdict else { return Ok(Answer::new(verdict, &name, &key.arn, None)) };
        match self.granted(&evaluation, denial, &key.key, (action, usage)).await? {
            Ok(permit) => {
                let by_grant = evaluation.verdict(Some(naming(permit.to)));
                Ok(Answer::new(by_grant, &name, &key.arn, Some(&permit.grant.id.0)))
            }
            Err(denial) => Ok(Answer::new(Verdict::Denied(denial), &name, &key.arn, None)),
        }
    }

    async fn simulate_retirement(
        &self,
        grant: &GrantId,
        reference: &str,
        asked: Simulated<'_>,
    ) -> Result<Option<Answer>, Refused> {
        let (key, scope, _) = self.named(reference).await?;
        let Some(grant) = self.kms.store.grant(&scope, &key.key.id, grant).await? else { return Ok(None) };
        let evaluation = self.evaluate_retirement(&key, |it| asked.adjust(it));
        let name = format!("kms:{}", KeyAction::RetireGrant.permission());
        Ok(Some(Answer::new(self.retirement(&evaluation, &grant), &name, &key.arn, Some(&grant.id.0))))
    }

    /// Whoever asks about an alias is told which key it means, whatever the operation takes.
    async fn named(&self, reference: &str) -> Result<(Arc<CachedKey>, Scope, Option<AliasName>), Refused> {
        let (scope, id, alias) = self.resolve(reference, Accepts::AliasesToo).await?;
        let key = self.kms.find(&scope, &id).await?;
        let key = key.ok_or_else(|| Refused::KeyMissing { arn: arn(&scope, reference, id.to_string()) })?;
        Ok((key, scope, alias))
    }

    /// Of ReEncrypt: whether it goes from a key to the same key, however the two are named.
    pub async fn same_key_condition(
        &self,
        source: Option<(Scope, KeyId)>,
        destination: &str,
    ) -> (Cow<'static, str>, Cow<'static, str>) {
        let is_same = source.is_some() && source == self.key_named(destination).await;
        (ConditionKey::ReEncryptOnSameKey.as_str().into(), if is_same { "true" } else { "false" }.into())
    }
}

fn arn(scope: &Scope, reference: &str, id: String) -> String {
    match KeyReference::parse(reference) {
        Some(KeyReference::Arn { .. } | KeyReference::AliasArn { .. }) => reference.to_owned(),
        Some(KeyReference::Alias(_) | KeyReference::Id(_)) | None => scope.arn(&format!("key/{id}")),
    }
}

impl<'a> Simulated<'a> {
    fn usage(&self) -> Use<'a> {
        Use { encryption_context: self.encryption_context, conditions: self.conditions, ..Use::default() }
    }

    /// Which policies see a condition key does not depend on who says what it is.
    fn adjust(&self, context: Context<'a>) -> Context<'a> {
        self.context.iter().fold(context, |context, (key, values)| {
            let tested_by = ConditionKey::of_name(key).map_or(TestedBy::AnyPolicy, ConditionKey::tested_by);
            values.iter().fold(context.without(key), |context, value| match tested_by {
                TestedBy::AnyPolicy => context.with(key, value),
                TestedBy::IdentityPolicies => context.with_for_identities(key, value),
            })
        })
    }
}
