//! What would be decided about a request that nobody makes: by the same evaluation, without use of a key.

use std::time::Instant;

use crate::audit::Record;
use crate::authorizer::evaluation::Verdict;
use crate::domain::kms::{
    AliasName, ConditionKey, EncryptionContext, KeyAction, KeyReference, Permission, Scope, Uuid,
};
use crate::gate::kms::call::Accepts;
use crate::gate::kms::granted::naming;
use crate::gate::kms::{Call, Kms, Refused, Request, RequestFacts, RequestId, Touched, Use, Witness};
use crate::identity::kms::Caller;
use crate::policy::Context;
use crate::simulation::Answer;

/// One permission that a request would need.
#[derive(Clone, Copy, Debug)]
pub struct Simulated<'a> {
    pub on: SimulatedOn<'a>,
    pub encryption_context: Option<&'a EncryptionContext>,
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
    /// What would be decided about this caller.
    pub async fn simulate(
        &self,
        caller: &Caller,
        facts: RequestFacts<'_>,
        (asked, deadline): (Simulated<'_>, Instant),
    ) -> Result<Answer, Refused> {
        let nobody = Nobody::default();
        let request = Request { caller, facts, id: RequestId([0; 16]), deadline, witness: &nobody };
        Call::new(self, request).simulate(asked).await
    }
}

impl Call<'_> {
    async fn simulate(&self, asked: Simulated<'_>) -> Result<Answer, Refused> {
        match asked.on {
            SimulatedOn::Account(permission) => Ok(self.simulate_account(permission, None, asked)),
            SimulatedOn::Alias(action, name) => {
                let arn = self.caller().scope().arn(name.as_str());
                Ok(self.simulate_account(action.permission_on_alias(), Some(&arn), asked))
            }
            SimulatedOn::Key(action, reference) => self.simulate_key(action, reference, asked).await,
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
        // Whoever asks about an alias is told which key it means, whatever the operation takes.
        let (scope, id, alias) = self.resolve(reference, Accepts::AliasesToo).await?;
        let named = action.required_permission().has(ConditionKey::RequestAlias);
        let key = self.kms.find(&scope, &id).await?;
        let key = key.ok_or_else(|| Refused::KeyMissing { arn: arn(&scope, reference, id.to_string()) })?;
        let usage = asked.usage();
        let alias = alias.as_ref().filter(|_| named);
        let evaluation = self.evaluate((&key, alias), action, usage, |it| asked.adjust(it));
        let name = format!("kms:{}", action.permission());
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
}

fn arn(scope: &Scope, reference: &str, id: String) -> String {
    match KeyReference::parse(reference) {
        Some(KeyReference::Arn { .. } | KeyReference::AliasArn { .. }) => reference.to_owned(),
        Some(KeyReference::Alias(_) | KeyReference::Id(_)) | None => scope.arn(&format!("key/{id}")),
    }
}

impl<'a> Simulated<'a> {
    fn usage(&self) -> Use<'a> {
        Use { encryption_context: self.encryption_context, ..Use::default() }
    }

    fn adjust(&self, context: Context<'a>) -> Context<'a> {
        self.context.iter().fold(context, |context, (key, values)| context.replacing(key, values))
    }
}
