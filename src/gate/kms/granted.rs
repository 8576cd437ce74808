//! Grants: what they permit where policies do not.

use crate::authorizer::evaluation::{Denial, Evaluation, Verdict};
use crate::domain::kms::{
    EncryptionContext, GrantIndex, GrantOperation, GrantQuestion, GrantRequester, GrantedTo, Key, KeyAction,
    Permit, RequesterName,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::{Call, Kms, Refused, Use};
use crate::identity::kms::Caller;
use crate::policy::Naming;

impl Call<'_> {
    /// The grant that permits what policies leave open; if there is none, the denial stands.
    pub(super) async fn granted(
        &self,
        evaluation: &Evaluation<'_>,
        denial: Denial,
        key: &Key,
        (action, usage): (KeyAction, Use<'_>),
    ) -> Result<Result<Permit, Denial>, Refused> {
        let operation = GrantOperation::parse(action.permission()).filter(|_| denial.is_open_to_grants());
        let Some(operation) = operation else { return Ok(Err(denial)) };
        let caller = self.caller();
        let no_context = EncryptionContext::default();
        let question = GrantQuestion {
            operation,
            encryption_context: usage.encryption_context.unwrap_or(&no_context),
            source_arn: caller.service().and_then(|service| service.source_arn.as_deref()),
        };
        let permit = self.kms.ask_grants(key, |grants| match usage.hands_on {
            Some(new) => grants.parent(requester(caller), new.operations, new.constraints),
            None => grants.permits(requester(caller), question),
        });
        let Some(permit) = permit.await? else { return Ok(Err(denial)) };
        match evaluation.verdict(Some(naming(permit.to))) {
            Verdict::Allowed(_) => Ok(Ok(permit)),
            Verdict::Denied(_) => Ok(Err(denial)),
        }
    }
}

/// The names of a caller that a grant can have.
pub(super) fn requester(caller: &Caller) -> GrantRequester<'_> {
    match caller.service() {
        Some(service) => {
            GrantRequester { own: RequesterName::Service(&service.name), role: None, account: None }
        }
        None => GrantRequester {
            own: RequesterName::Principal(&caller.arn),
            role: caller.session().map(|session| &*session.role_arn),
            account: Some(&caller.account),
        },
    }
}

/// As if a policy of the key said it.
pub(super) const fn naming(to: GrantedTo) -> Naming {
    match to {
        GrantedTo::Account => Naming::Account,
        GrantedTo::Itself => Naming::Exactly,
        GrantedTo::ItsRole => Naming::WithOthers,
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
