//! Grants: what they permit where policies do not.

use crate::authorizer::kms::{Denial, GrantedTo, Question, Ruling, rule_with_grant};
use crate::domain::kms::{
    EncryptionContext, GrantIndex, GrantOperation, GrantQuestion, GrantRequester, Key, KeyAction, Permit,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::{Call, Kms, Refused, Use};
use crate::identity::kms::Caller;
use crate::policy::Context;

/// The names of a caller that a grant can have.
pub(super) struct CallerNames<'a> {
    caller: &'a Caller,
    /// A session is granted by its own name, or by that of its role.
    principals: [&'a str; 2],
}

impl<'a> CallerNames<'a> {
    pub(super) fn of(caller: &'a Caller) -> Self {
        Self { caller, principals: [&caller.arn, caller.principal_arn()] }
    }

    pub(super) fn requester(&self) -> GrantRequester<'_> {
        let [own, of_role] = &self.principals;
        let names = if own == of_role { 1 } else { 2 };
        GrantRequester {
            principals: self.principals.get(..names).unwrap_or_default(),
            account: Some(&self.caller.account),
            service: None,
        }
    }
}

impl Call<'_> {
    /// The grant that permits what the policies refused; if there is none, the refusal stands. An explicit deny is
    /// final.
    pub(super) async fn granted<'c>(
        &self,
        refused: Refused,
        (key, question): (&Key, Question<'c>),
        (action, usage): (KeyAction, Use<'_>),
        context: impl FnOnce() -> Context<'c>,
    ) -> Result<Permit, Refused> {
        let is_open = matches!(
            &refused,
            Refused::Forbidden(forbidden)
                if matches!(forbidden.denial, Denial::NoIdentityAllows | Denial::NoResourceAllows)
        );
        let operation = GrantOperation::parse(action.permission()).filter(|_| is_open);
        let Some(operation) = operation else { return Err(refused) };
        let names = CallerNames::of(self.caller());
        let permit = self
            .kms
            .ask_grants(key, |grants| match usage.hands_on {
                Some(new) => grants.parent(names.requester(), new.operations, new.constraints),
                None => {
                    let no_context = EncryptionContext::default();
                    let encryption_context = usage.encryption_context.unwrap_or(&no_context);
                    let question = GrantQuestion { operation, encryption_context, source_arn: None };
                    grants.permits(names.requester(), question)
                }
            })
            .await?;
        let Some(permit) = permit else { return Err(refused) };
        let granted_to = if permit.is_for_account { GrantedTo::Account } else { GrantedTo::Caller };
        match rule_with_grant(question, granted_to, context) {
            Ruling::Allowed => Ok(permit),
            Ruling::Denied(_) => Err(refused),
        }
    }
}

impl Kms {
    /// What the grants of a key say. They are in memory from the first time on.
    pub(super) async fn ask_grants<A>(
        &self,
        key: &Key,
        question: impl Fn(&GrantIndex) -> A,
    ) -> Result<A, Refused> {
        loop {
            if let Some(answer) = self.grants.ask(&key.scope, &key.id, &question) {
                return Ok(answer);
            }
            let name = (key.scope.clone(), key.id.clone());
            // Also for others, whatever becomes of this request: there can be many.
            to_the_end(self.grants.clone().load(self.store.clone(), name)).await?;
        }
    }
}
