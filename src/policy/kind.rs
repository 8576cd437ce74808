//! What a policy must be to be attached to something, beyond being one.

use crate::policy::PolicyDocument;

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whose calls may pass a VPC endpoint.
    Endpoint,
    /// What its owner may do. Boundaries, session policies and service control policies are the same.
    Identity,
    /// Who may use a KMS key.
    Key,
    /// Who may assume a role.
    Trust,
}

impl Kind {
    pub fn read(self, text: &str) -> Result<PolicyDocument, String> {
        let document = PolicyDocument::parse(text).map_err(|error| error.to_string())?;
        self.check(&document)?;
        Ok(document)
    }

    /// Refuses a document that is none of this kind, and says which statement makes it so.
    pub fn check(self, document: &PolicyDocument) -> Result<(), String> {
        if let Some(number) = document.statement_without_principal().filter(|_| self.wants_principals()) {
            return Err(format!("statement {number} has no `Principal`"));
        }
        match self {
            // AWS KMS Developer Guide, Key policy statement syntax: required, other than in IAM.
            Self::Key if !document.has_version() => Err("`Version` is missing".to_owned()),
            Self::Key => document.keys_for_all_values().find_map(overly_permissive).map_or(Ok(()), Err),
            Self::Endpoint => demand_resources(document, "an endpoint policy"),
            Self::Identity if document.names_a_principal() => {
                Err("a policy of an identity names no principals".to_owned())
            }
            Self::Identity => demand_resources(document, "a policy of an identity"),
            Self::Trust if document.names_a_resource() => Err("a trust policy names no resources".to_owned()),
            Self::Trust => Ok(()),
        }
    }

    /// What is accepted, and yet hardly meant.
    pub fn warnings(self, document: &PolicyDocument) -> Vec<String> {
        let without_effect =
            |number| format!("statement {number} has no `Resource`: in a key policy it has no effect");
        let in_vain = |(number, operator, key)| {
            format!(
                "statement {number}: `{operator}` is not defined for `{key}`, which has several values: put \
                 `ForAnyValue:` or `ForAllValues:` before it"
            )
        };
        let of_keys = document.statements_without_resource().filter(|_| self == Self::Key);
        of_keys.map(without_effect).chain(document.vain_conditions().map(in_vain)).collect()
    }

    const fn wants_principals(self) -> bool {
        match self {
            Self::Endpoint | Self::Key | Self::Trust => true,
            Self::Identity => false,
        }
    }
}

fn demand_resources(document: &PolicyDocument, what: &str) -> Result<(), String> {
    match document.statements_without_resource().next() {
        Some(number) => {
            Err(format!("statement {number} has no `Resource`: each one of {what} names resources"))
        }
        None => Ok(()),
    }
}

/// AWS KMS Developer Guide, Using the ForAllValues set operator: not with keys that have one value.
fn overly_permissive(key: &str) -> Option<String> {
    let starts_with =
        |prefix: &str| key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let (error, what) = if starts_with("kms:EncryptionContext:") {
        ("OverlyPermissiveCondition:EncryptionContext", "encryption context")
    } else if starts_with("aws:RequestTag/") {
        ("OverlyPermissiveCondition", "tag")
    } else {
        return None;
    };
    Some(format!(
        "{error}: Using the ForAllValues set operator with a single-valued condition key matches requests without the \
         specified {what} or with an unspecified {what}. To fix, remove ForAllValues."
    ))
}

#[cfg(test)]
mod tests {
    use super::Kind;

    const STATEMENT: &str = r#""Effect":"Allow","Action":"kms:Encrypt""#;

    fn refusal(kind: Kind, members: &str) -> Option<String> {
        kind.read(&format!(r#"{{"Version":"2012-10-17","Statement":[{{{STATEMENT}{members}}}]}}"#)).err()
    }

    #[test]
    fn each_kind_demands_principals_and_resources_where_they_mean_something() {
        let (principal, resource) = (r#","Principal":"*""#, r#","Resource":"*""#);
        let both = format!("{principal}{resource}");
        for (kind, accepted, refused) in [
            (Kind::Endpoint, vec![both.as_str()], vec!["", principal, resource]),
            (Kind::Identity, vec![resource], vec!["", principal, &both]),
            (Kind::Key, vec![principal, &both], vec!["", resource]),
            (Kind::Trust, vec![principal], vec!["", resource, &both]),
        ] {
            accepted
                .iter()
                .for_each(|members| assert_eq!(refusal(kind, members), None, "{kind:?} {members}"));
            refused
                .iter()
                .for_each(|members| assert!(refusal(kind, members).is_some(), "{kind:?} {members}"));
        }
    }

    #[test]
    fn for_all_values_is_refused_in_key_policies_for_keys_with_one_value() {
        for (key, is_refused) in [
            ("kms:EncryptionContext:a", true),
            ("KMS:encryptioncontext:a", true),
            ("aws:RequestTag/a", true),
            ("aws:TagKeys", false),
            ("kms:EncryptionContextKeys", false),
        ] {
            let condition = format!(
                r#","Principal":"*","Resource":"*","Condition":{{"ForAllValues:StringEquals":{{"{key}":"x"}}}}"#
            );
            assert_eq!(refusal(Kind::Key, &condition).is_some(), is_refused, "{key}");
        }
    }

    #[test]
    fn a_statement_of_a_key_policy_without_resource_is_warned_of_by_its_number() {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{{STATEMENT},"Principal":"*","Resource":"*"}},{{{STATEMENT},"Principal":"*"}}]}}"#
        );
        let document = Kind::Key.read(&text).unwrap();
        assert_eq!(
            Kind::Key.warnings(&document),
            ["statement 2 has no `Resource`: in a key policy it has no effect"]
        );
    }
}
