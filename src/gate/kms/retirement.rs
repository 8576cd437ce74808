//! Who may retire a grant: the grant says it, and neither a key policy nor a permission alone.

use crate::authorizer::evaluation::{Denial, Evaluation, Layer, Verdict};
use crate::authorizer::kms::{Question, Service, evaluation};
use crate::domain::kms::{Grant, GrantId, KeyAction, check};
use crate::gate::kms::call::Accepts;
use crate::gate::kms::granted::{naming, requester};
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::{Call, OpenKey, Refused, Use};
use crate::policy::Context;

const ACTION: KeyAction = KeyAction::RetireGrant;

impl<'a> Call<'a> {
    /// Opens the key of a grant for whoever may retire it. Absent if the key has no such grant, which nobody of
    /// another account learns.
    pub async fn open_for_retirement(
        &'a self,
        key_arn: &str,
        id: &GrantId,
    ) -> Result<Option<OpenKey<'a>>, Refused> {
        self.touched().note_grant(id);
        let (scope, key_id, _) = self.resolve(key_arn, Accepts::KeysOnly).await?;
        let Some(key) = self.kms.find(&scope, &key_id).await? else {
            return Err(self.missing(ACTION, &scope, &key_id));
        };
        self.touched().note_key(ACTION, &key);
        let is_own = scope.account == self.caller().account;
        match self.kms.store.grant(&scope, &key_id, id).await? {
            Some(grant) => self.check_retirement(&key, &grant)?,
            None if is_own => return Ok(None),
            None => {
                return Err(self.forbidden(
                    ACTION.permission(),
                    Some(&key.arn),
                    Denial::implicit(Layer::Resource),
                ));
            }
        }
        let open = OpenKey::new(self, key, ACTION);
        check(open.key(), open.key().state, ACTION).map_err(|refusal| open.refused(refusal))?;
        Ok(Some(open))
    }

    fn check_retirement(&self, key: &CachedKey, grant: &Grant) -> Result<(), Refused> {
        let evaluation = self.evaluate_retirement(key, |context| context);
        match self.retirement(&evaluation, grant) {
            Verdict::Allowed(_) => Ok(()),
            Verdict::Denied(denial) => Err(self.forbidden(ACTION.permission(), Some(&key.arn), denial)),
        }
    }

    /// AWS KMS Developer Guide, Retiring and revoking grants: whom the grant names need no permission, whom their
    /// account is named for need that of identity policies, and an explicit deny is final.
    pub(super) fn retirement<'k>(&self, evaluation: &'k Evaluation<'_>, grant: &Grant) -> Verdict<'k> {
        match grant.retired_by(requester(self.caller())) {
            None => Verdict::Denied(Denial::implicit(Layer::Resource)),
            Some(to) => evaluation.verdict(Some(naming(to))),
        }
    }

    /// What the policies say, of which that of the key is none, in a context that may be adjusted.
    pub(super) fn evaluate_retirement<'k>(
        &'k self,
        key: &'k CachedKey,
        adjust: impl FnOnce(Context<'k>) -> Context<'k>,
    ) -> Evaluation<'k> {
        let caller = self.caller();
        let permission = ACTION.required_permission();
        let question = Question {
            caller,
            facts: self.facts(),
            service: Service::Kms,
            permission: permission.name,
            resource: &key.arn,
            resource_account: &caller.account,
            resource_policy: None,
        };
        let context = || {
            let conditions = self.conditions(permission, Use::default());
            adjust(conditions.with_key(&key.key, self.quotas().aliases_per_key).into_context())
        };
        evaluation(question, context)
    }
}
