//! Grants: what they permit where policies do not.

use crate::authorizer::kms::{Denial, Question, Ruling, rule_with_grant};
use crate::domain::kms::{Grant, GrantOperation, GrantPrincipal, Key, KeyAction};
use crate::gate::kms::{Call, Refused, Use};
use crate::policy::Context;
use crate::store::{GrantFilter, GrantQuery};

/// Grants of one key for one grantee that are looked at in one go.
const PAGE: usize = 100;

impl Call<'_> {
    /// The grant that permits what the policies refused; if there is none, the refusal stands. An explicit deny is
    /// final.
    pub(super) async fn granted<'c>(
        &self,
        refused: Refused,
        (key, question): (&Key, Question<'c>),
        (action, usage): (KeyAction, Use<'_>),
        context: impl FnOnce() -> Context<'c>,
    ) -> Result<Grant, Refused> {
        let is_open = matches!(
            &refused,
            Refused::Forbidden(forbidden)
                if matches!(forbidden.denial, Denial::NoIdentityAllows | Denial::NoResourceAllows)
        );
        let operation = GrantOperation::parse(action.permission()).filter(|_| is_open);
        // Who may retire a grant is another question.
        let Some(operation) = operation.filter(|operation| *operation != GrantOperation::RetireGrant) else {
            return Err(refused);
        };
        if rule_with_grant(question, context) != Ruling::Allowed {
            return Err(refused);
        }
        let caller = self.caller();
        let mut names = vec![caller.principal_arn()];
        // A session is granted by its own name, or by that of its role.
        names.extend((*caller.arn != *caller.principal_arn()).then_some(&*caller.arn));
        for name in names {
            let grantee = GrantPrincipal::Principal(name.to_owned());
            if let Some(grant) = self.find_grant(key, &grantee, (operation, usage)).await? {
                return Ok(grant);
            }
        }
        Err(refused)
    }

    async fn find_grant(
        &self,
        key: &Key,
        grantee: &GrantPrincipal,
        (operation, usage): (GrantOperation, Use<'_>),
    ) -> Result<Option<Grant>, Refused> {
        let mut after = None;
        loop {
            let filter = GrantFilter::OfKey { key_id: &key.id, grantee: Some(grantee) };
            let query = GrantQuery { scope: &key.scope, filter, after: after.as_ref() };
            let grants = self.kms.store.grants_page(query, PAGE).await?;
            let is_last = grants.len() < PAGE;
            after = grants.last().map(|grant| grant.id.clone());
            let found = grants.into_iter().find(|grant| grant.permits(operation, usage.encryption_context));
            if found.is_some() || is_last {
                return Ok(found);
            }
        }
    }
}
