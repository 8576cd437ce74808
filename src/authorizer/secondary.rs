//! Secondary authorization: asks the policy of a key store about the metadata of a request.

use proxy_api::wire::RequestMetadata;

use crate::domain::Action;
use crate::policy::{AttachedTo, Context, Finding, PolicyDocument, Principal, Request, evaluate};

/// The condition keys that a request can have; each is absent where the request does not have it.
///
/// | Key | Value |
/// | --- | --- |
/// | `aws:PrincipalAccount`, `kms:CallerAccount` | account in `awsPrincipalArn` |
/// | `aws:PrincipalArn` | `awsPrincipalArn` |
/// | `aws:RequestedRegion` | Region in `kmsKeyArn` |
/// | `aws:ResourceAccount` | account in `kmsKeyArn` |
/// | `aws:SourceVpc`, `aws:SourceVpce` | `awsSourceVpc`, `awsSourceVpce` |
/// | `kms:ViaService` | `kmsViaService` |
/// | `xks:ExternalKeyId` | the external key id in the path |
/// | `xks:KmsKeyArn` | `kmsKeyArn` |
/// | `xks:KmsOperation` | `kmsOperation` |
/// | `xks:Operation` | `Decrypt`, `Encrypt` or `GetKeyMetadata` |
pub const CONDITION_KEYS: [&str; 12] = [
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "kms:CallerAccount",
    "kms:ViaService",
    "xks:ExternalKeyId",
    "xks:KmsKeyArn",
    "xks:KmsOperation",
    "xks:Operation",
];

/// The policy of one key store; without one, everything the credential allows is allowed.
#[derive(Debug, Default)]
pub struct Authorizer {
    policy: Option<PolicyDocument>,
}

/// What is to be decided (XKS v1, Authorization).
#[derive(Debug)]
pub struct Question<'a> {
    pub action: Action,
    pub external_key_id: &'a str,
    pub metadata: &'a RequestMetadata<'a>,
}

/// The answer, with the statement that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    Allowed { statement: Option<String> },
    Denied { reason: String },
}

impl Authorizer {
    /// Reads a policy. A condition on a key that no request has is refused: it would deny, or allow, always.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy = PolicyDocument::parse(text).map_err(|error| error.to_string())?;
        let is_known = |key: &&str| CONDITION_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
        if let Some(unknown) = policy.condition_keys().find(|key| !is_known(key)) {
            return Err(format!(
                "no request has the condition key `{unknown}`; there are {}",
                CONDITION_KEYS.join(", ")
            ));
        }
        Ok(Self { policy: Some(policy) })
    }

    pub fn rule(&self, question: &Question<'_>) -> Ruling {
        let Some(policy) = &self.policy else { return Ruling::Allowed { statement: None } };
        let action = format!("kms:{}", text(question.metadata.kms_operation.as_ref()));
        let request = Request {
            principal: Principal::new(text(question.metadata.aws_principal_arn.as_ref())),
            action: &action,
            resource: text(question.metadata.kms_key_arn.as_ref()),
            context: context(question),
        };
        match evaluate(&request, AttachedTo::Resource, policy) {
            Finding::Allows { statement, .. } => Ruling::Allowed { statement: Some(statement.to_string()) },
            Finding::Denies { statement } => Ruling::Denied { reason: format!("denied by `{statement}`") },
            Finding::Silent => Ruling::Denied { reason: "no statement allows it".to_owned() },
        }
    }
}

fn context<'a>(question: &Question<'a>) -> Context<'a> {
    let metadata = question.metadata;
    let principal = metadata.aws_principal_arn.as_deref();
    let key = metadata.kms_key_arn.as_deref();
    let caller_account = principal.and_then(|arn| arn_part(arn, ACCOUNT));
    Context::new()
        .with("xks:ExternalKeyId", question.external_key_id)
        .with("xks:Operation", operation_name(question.action))
        .with_optional("xks:KmsOperation", metadata.kms_operation.as_deref())
        .with_optional("xks:KmsKeyArn", key)
        .with_optional("aws:PrincipalArn", principal)
        .with_optional("aws:PrincipalAccount", caller_account)
        .with_optional("kms:CallerAccount", caller_account)
        .with_optional("aws:RequestedRegion", key.and_then(|arn| arn_part(arn, REGION)))
        .with_optional("aws:ResourceAccount", key.and_then(|arn| arn_part(arn, ACCOUNT)))
        .with_optional("aws:SourceVpc", metadata.aws_source_vpc.as_deref())
        .with_optional("aws:SourceVpce", metadata.aws_source_vpce.as_deref())
        .with_optional("kms:ViaService", metadata.kms_via_service.as_deref())
}

const REGION: usize = 3;
const ACCOUNT: usize = 4;

/// A part of an ARN between colons; the principal may be no ARN at all (XKS v1, GetKeyMetadata).
fn arn_part(arn: &str, index: usize) -> Option<&str> {
    let part = arn.starts_with("arn:").then(|| arn.split(':').nth(index))?;
    part.filter(|part| !part.is_empty())
}

fn text<'a>(member: Option<&'a std::borrow::Cow<'_, str>>) -> &'a str {
    member.map(AsRef::as_ref).unwrap_or_default()
}

const fn operation_name(action: Action) -> &'static str {
    match action {
        Action::Decrypt => "Decrypt",
        Action::Encrypt | Action::EncryptWithIntegrityValue => "Encrypt",
        Action::GetKeyMetadata => "GetKeyMetadata",
    }
}

#[cfg(test)]
mod tests {
    use proxy_api::wire::RequestMetadata;

    use super::{Authorizer, Question, Ruling};
    use crate::domain::Action;

    fn rule(policy: &str, action: Action, metadata: &RequestMetadata<'_>) -> Ruling {
        Authorizer::parse(policy).unwrap().rule(&Question { action, external_key_id: "foo", metadata })
    }

    fn metadata() -> RequestMetadata<'static> {
        RequestMetadata {
            aws_principal_arn: Some("arn:aws:iam::123456789012:user/Alice".into()),
            kms_key_arn: Some("arn:aws:kms:eu-west-1:111122223333:key/1234".into()),
            kms_operation: Some("GenerateDataKey".into()),
            kms_request_id: Some("r".into()),
            kms_via_service: Some("ebs.eu-west-1.amazonaws.com".into()),
            aws_source_vpc: None,
            aws_source_vpce: None,
        }
    }

    fn policy(condition: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Only","Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{condition}}}]}}"#
        )
    }

    #[test]
    fn each_condition_key_is_decisive() {
        for (key, right, wrong) in [
            ("aws:PrincipalAccount", "123456789012", "111122223333"),
            ("kms:CallerAccount", "123456789012", "111122223333"),
            (
                "aws:PrincipalArn",
                "arn:aws:iam::123456789012:user/Alice",
                "arn:aws:iam::123456789012:user/Bob",
            ),
            ("aws:RequestedRegion", "eu-west-1", "us-east-1"),
            ("aws:ResourceAccount", "111122223333", "123456789012"),
            ("kms:ViaService", "ebs.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
            ("xks:ExternalKeyId", "foo", "bar"),
            ("xks:KmsKeyArn", "arn:aws:kms:eu-west-1:111122223333:key/1234", "x"),
            ("xks:KmsOperation", "GenerateDataKey", "Encrypt"),
            ("xks:Operation", "Encrypt", "Decrypt"),
        ] {
            let decide = |value| {
                rule(
                    &policy(&format!(r#"{{"StringEquals":{{"{key}":"{value}"}}}}"#)),
                    Action::Encrypt,
                    &metadata(),
                )
            };
            assert_eq!(decide(right), Ruling::Allowed { statement: Some("Only".to_owned()) }, "{key}");
            assert_eq!(
                decide(wrong),
                Ruling::Denied { reason: "no statement allows it".to_owned() },
                "{key}"
            );
        }
        for key in ["aws:SourceVpc", "aws:SourceVpce"] {
            let condition = policy(&format!(r#"{{"StringEquals":{{"{key}":"v-1"}}}}"#));
            let with = RequestMetadata {
                aws_source_vpc: Some("v-1".into()),
                aws_source_vpce: Some("v-1".into()),
                ..metadata()
            };
            assert!(matches!(rule(&condition, Action::Decrypt, &with), Ruling::Allowed { .. }));
            assert!(matches!(rule(&condition, Action::Decrypt, &metadata()), Ruling::Denied { .. }));
        }
    }

    #[test]
    fn without_a_policy_everything_is_allowed() {
        let ruling = Authorizer::default().rule(&Question {
            action: Action::Decrypt,
            external_key_id: "foo",
            metadata: &RequestMetadata::default(),
        });
        assert_eq!(ruling, Ruling::Allowed { statement: None });
    }

    #[test]
    fn a_condition_key_that_no_request_has_is_refused() {
        let refused = Authorizer::parse(&policy(r#"{"StringEquals":{"aws:Typo":"x"}}"#)).unwrap_err();
        assert!(refused.contains("`aws:Typo`"), "{refused}");
    }

    #[test]
    fn a_principal_that_is_no_arn_has_no_account() {
        let internal = RequestMetadata { aws_principal_arn: Some("AWS Internal".into()), ..metadata() };
        let condition = policy(r#"{"Null":{"aws:PrincipalAccount":"true"}}"#);
        assert!(matches!(rule(&condition, Action::Encrypt, &internal), Ruling::Allowed { .. }));
    }
}
