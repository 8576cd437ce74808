//! Grants: what they permit where policies do not.

use crate::authorizer::evaluation::{Denial, Evaluation, Verdict};
use crate::domain::kms::{Grant, GrantOperation, GrantPrincipal, Key, KeyAction};
use crate::gate::kms::{Call, Refused, Use};
use crate::policy::Naming;
use crate::store::{GrantFilter, GrantQuery};

/// Grants of one key for one grantee that are looked at in one go.
const PAGE: usize = 100;

impl Call<'_> {
    /// The grant that permits what policies leave open; if there is none, the denial stands.
    pub(super) async fn granted(
        &self,
        evaluation: &Evaluation<'_>,
        denial: Denial,
        key: &Key,
        (action, usage): (KeyAction, Use<'_>),
    ) -> Result<Result<Grant, Denial>, Refused> {
        let operation = GrantOperation::parse(action.permission()).filter(|_| denial.is_open_to_grants());
        // Who may retire a grant is another question.
        let Some(operation) = operation.filter(|operation| *operation != GrantOperation::RetireGrant) else {
            return Ok(Err(denial));
        };
        let caller = self.caller();
        // A session is granted by its own name, or by that of its role.
        let names = [
            Some((&*caller.arn, Naming::Exactly)),
            caller.session().map(|session| (&*session.role_arn, Naming::WithOthers)),
        ];
        for (name, naming) in names.into_iter().flatten() {
            if !matches!(evaluation.verdict(Some(naming)), Verdict::Allowed(_)) {
                continue;
            }
            let grantee = GrantPrincipal::Principal(name.to_owned());
            if let Some(grant) = self.find_grant(key, &grantee, (operation, usage)).await? {
                return Ok(Ok(grant));
            }
        }
        Ok(Err(denial))
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
