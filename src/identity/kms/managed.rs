//! Managed policies: those of AWS that are built in, and those that the identities file declares.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::kms::AccountId;
use crate::identity::kms::named_policy::{NamedPolicy, Policies};
use crate::identity::kms::rules::{self, InvalidIdentity};

/// IAM: attached to one user or role.
const MANAGED_POLICIES_MAX: usize = 20;
/// The name of a boundary that stands in the table of its user or role.
const PERMISSIONS_BOUNDARY: &str = "PermissionsBoundary";

pub(super) const ADMINISTRATOR_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
/// AWS KMS Developer Guide, AWS managed policies.
const KEY_MANAGEMENT_SERVICE_POWER_USER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
"Action":["kms:CreateAlias","kms:CreateKey","kms:DeleteAlias","kms:Describe*","kms:GenerateRandom","kms:Get*",
"kms:List*","kms:TagResource","kms:UntagResource","iam:ListGroups","iam:ListRoles","iam:ListUsers"],"Resource":"*"}]}"#;

const BUILT_IN: [(&str, &str); 2] = [
    ("arn:aws:iam::aws:policy/AWSKeyManagementServicePowerUser", KEY_MANAGEMENT_SERVICE_POWER_USER),
    ("arn:aws:iam::aws:policy/AdministratorAccess", ADMINISTRATOR_ACCESS),
];

/// By ARN, each read once.
#[derive(Debug, Default)]
pub(super) struct ManagedPolicies(HashMap<String, Arc<NamedPolicy>>);

impl ManagedPolicies {
    /// Those that are built in, and these.
    pub(super) fn read(declared: &BTreeMap<String, String>) -> Result<Self, (String, InvalidIdentity)> {
        let declared = declared.iter().map(|(arn, text)| (arn.as_str(), text.as_str()));
        let read = |(arn, text): (&str, &str)| {
            let document = rules::identity_policy(text)
                .map_err(|reason| ("policy".to_owned(), InvalidIdentity::Policy(arn.to_owned(), reason)))?;
            Ok((arn.to_owned(), NamedPolicy::new(arn, document)))
        };
        BUILT_IN.into_iter().chain(declared).map(read).collect::<Result<_, _>>().map(Self)
    }

    /// By its ARN, or by the name of one of AWS or of the account.
    pub(super) fn find(&self, account: &AccountId, name: &str) -> Result<&Arc<NamedPolicy>, InvalidIdentity> {
        let missing = || InvalidIdentity::ManagedPolicyUnknown(name.to_owned());
        if name.starts_with("arn:") {
            return self.0.get(name).filter(|policy| is_for(account, &policy.name)).ok_or_else(missing);
        }
        if let Some(built_in) = self.0.get(&format!("arn:aws:iam::aws:policy/{name}")) {
            return Ok(built_in);
        }
        let of_account = format!("arn:aws:iam::{account}:policy/");
        let is_meant = |policy: &&Arc<NamedPolicy>| {
            let rest = policy.name.strip_prefix(of_account.as_str());
            rest.is_some_and(|rest| rest.rsplit('/').next() == Some(name))
        };
        self.0.values().find(is_meant).ok_or_else(missing)
    }

    /// The policies in the table of a user or role, and those attached to it.
    pub(super) fn all_policies(
        &self,
        account: &AccountId,
        (own, attached): (&BTreeMap<String, String>, &[String]),
    ) -> Result<Policies, InvalidIdentity> {
        if attached.len() > MANAGED_POLICIES_MAX {
            return Err(InvalidIdentity::TooManyManagedPolicies);
        }
        let mut policies = rules::identity_policies(own)?;
        for name in attached {
            policies.push(Arc::clone(self.find(account, name)?));
        }
        Ok(policies.into())
    }

    /// From JSON text, or from the name or ARN of a managed policy.
    pub(super) fn boundary(
        &self,
        account: &AccountId,
        source: Option<&str>,
    ) -> Result<Option<Arc<NamedPolicy>>, InvalidIdentity> {
        let Some(source) = source else { return Ok(None) };
        if !source.trim_start().starts_with('{') {
            return self.find(account, source).map(Arc::clone).map(Some);
        }
        let document = rules::identity_policy(source);
        let named = |reason| InvalidIdentity::Policy(PERMISSIONS_BOUNDARY.to_owned(), reason);
        document.map(|document| Some(NamedPolicy::new(PERMISSIONS_BOUNDARY, document))).map_err(named)
    }
}

/// Policies of other accounts cannot be attached.
fn is_for(account: &AccountId, arn: &str) -> bool {
    let owner = arn.split(':').nth(4);
    owner == Some("aws") || owner == Some(account.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ADMINISTRATOR_ACCESS, BUILT_IN, ManagedPolicies};
    use crate::domain::kms::AccountId;
    use crate::identity::kms::rules::InvalidIdentity;

    #[test]
    fn a_managed_policy_is_found_by_arn_or_name_in_its_own_account_and_those_of_aws_everywhere() {
        let own = AccountId::parse("111122223333").unwrap();
        let other = AccountId::parse("444455556666").unwrap();
        let arn = "arn:aws:iam::111122223333:policy/team/Readers";
        let declared = BTreeMap::from([(arn.to_owned(), ADMINISTRATOR_ACCESS.to_owned())]);
        let managed = ManagedPolicies::read(&declared).unwrap();
        assert_eq!(*managed.find(&own, arn).unwrap().name, *arn);
        assert_eq!(*managed.find(&own, "Readers").unwrap().name, *arn);
        for (built_in, _) in BUILT_IN {
            let name = built_in.rsplit('/').next().unwrap();
            assert_eq!(*managed.find(&other, built_in).unwrap().name, *built_in);
            assert_eq!(*managed.find(&other, name).unwrap().name, *built_in);
        }
        for (account, name) in
            [(&other, arn), (&other, "Readers"), (&own, "team/Readers"), (&own, "arn:aws:iam::1")]
        {
            let missing = InvalidIdentity::ManagedPolicyUnknown(name.to_owned());
            assert_eq!(managed.find(account, name).unwrap_err(), missing);
        }
    }
}
