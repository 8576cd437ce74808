//! What names, paths, tags, policies and keys of identities may be (IAM and AWS STS quotas).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::kms::AccountId;
use crate::identity::kms::named_policy::NamedPolicy;
use crate::policy::{Kind, PolicyDocument};

const NAME_CHARS_MAX: usize = 64;
const POLICY_NAME_CHARS_MAX: usize = 128;
const PATH_CHARS_MAX: usize = 512;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
pub(super) const TAGS_MAX: usize = 50;
const POLICIES_MAX: usize = 50;
const ACCESS_KEY_ID_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=128;

/// IAM: the longest session of a role, and the shortest maximum.
pub(super) const MAX_SESSION_SECONDS: std::ops::RangeInclusive<u32> = 3600..=43_200;

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const UNIQUE_ID_CHARS: usize = 17;

/// Which rule something about an identity breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidIdentity {
    AccessKeyId,
    Account,
    Duplicate(String),
    ManagedPolicyUnknown(String),
    MaxSessionDuration,
    /// The secret of a device for a second factor.
    MfaSecret,
    Name,
    Organization,
    Path,
    /// The name of an inline policy.
    PolicyName,
    /// An identity policy, by name, and why.
    Policy(String, String),
    SecretAccessKey,
    ServiceActsForNobody,
    ServiceName,
    Tags,
    TooManyManagedPolicies,
    TooManyPolicies,
    TrustPolicy(String),
}

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessKeyId => f.write_str(
                "an access key id is 16 to 128 letters and digits; `ASIA` at its start is for sessions",
            ),
            Self::Account => f.write_str("an account id is twelve digits"),
            Self::Duplicate(what) => write!(f, "{what} is there twice"),
            Self::ManagedPolicyUnknown(name) => write!(f, "there is no managed policy `{name}`"),
            Self::MaxSessionDuration => f.write_str("the maximum session duration is 3600 to 43200 seconds"),
            Self::MfaSecret => f.write_str("the secret for a second factor is 16 to 128 characters of Base32"),
            Self::Name => f.write_str("a name is 1 to 64 characters of A-Z a-z 0-9 + = , . @ _ -"),
            Self::Organization => f.write_str(
                "`organization_id` looks like `o-a1b2c3d4e5`, and `organization_path` starts with it and a slash",
            ),
            Self::Path => f.write_str("a path starts and ends with `/` and has at most 512 characters"),
            Self::PolicyName => {
                f.write_str("the name of a policy is 1 to 128 characters of A-Z a-z 0-9 + = , . @ _ -")
            }
            Self::Policy(name, reason) => write!(f, "policy `{name}`: {reason}"),
            Self::SecretAccessKey => f.write_str("a secret access key is 16 to 128 visible ASCII characters"),
            Self::ServiceActsForNobody => f.write_str("`acts_for` names one account at least"),
            Self::ServiceName => f.write_str("the name of a service looks like `s3.amazonaws.com`"),
            Self::Tags => f.write_str(
                "there are at most 50 tags, with keys of 1 to 128 and values of at most 256 characters",
            ),
            Self::TooManyManagedPolicies => f.write_str("there are at most 20 managed policies"),
            Self::TooManyPolicies => write!(f, "there are at most {POLICIES_MAX} policies"),
            Self::TrustPolicy(reason) => write!(f, "the trust policy: {reason}"),
        }
    }
}

impl std::error::Error for InvalidIdentity {}

/// `[\w+=,.@-]+`
pub(super) fn is_word(text: &str, chars_max: usize) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=chars_max).contains(&text.len()) && text.bytes().all(is_legal)
}

/// AWS STS, `roleSessionNameType`.
pub(super) fn check_session_name(name: &str) -> Option<()> {
    (name.len() >= 2 && is_word(name, NAME_CHARS_MAX)).then_some(())
}

pub(super) fn check_account(text: &str) -> Result<AccountId, InvalidIdentity> {
    AccountId::parse(text).ok_or(InvalidIdentity::Account)
}

pub(super) fn check_name(name: &str) -> Result<(), InvalidIdentity> {
    is_word(name, NAME_CHARS_MAX).then_some(()).ok_or(InvalidIdentity::Name)
}

pub(super) fn check_policy_name(name: &str) -> Result<(), InvalidIdentity> {
    is_word(name, POLICY_NAME_CHARS_MAX).then_some(()).ok_or(InvalidIdentity::PolicyName)
}

pub(super) fn check_path(path: &str) -> Result<(), InvalidIdentity> {
    let is_valid = path.len() <= PATH_CHARS_MAX
        && path.starts_with('/')
        && path.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?".contains(&byte));
    is_valid.then_some(()).ok_or(InvalidIdentity::Path)
}

pub(super) fn is_tag(key: &str, value: &str) -> bool {
    (1..=TAG_KEY_CHARS_MAX).contains(&key.chars().count())
        && value.chars().count() <= TAG_VALUE_CHARS_MAX
        && !key.chars().chain(value.chars()).any(char::is_control)
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), InvalidIdentity> {
    let is_valid = tags.len() <= TAGS_MAX && tags.iter().all(|(key, value)| is_tag(key, value));
    is_valid.then_some(()).ok_or(InvalidIdentity::Tags)
}

pub(super) fn check_access_key(id: &str, secret: &[u8]) -> Result<(), InvalidIdentity> {
    let is_id = ACCESS_KEY_ID_CHARS.contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !id.starts_with("ASIA");
    if !is_id {
        return Err(InvalidIdentity::AccessKeyId);
    }
    let is_secret = SECRET_CHARS.contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    is_secret.then_some(()).ok_or(InvalidIdentity::SecretAccessKey)
}

pub(super) fn check_max_session(seconds: u32) -> Result<(), InvalidIdentity> {
    MAX_SESSION_SECONDS.contains(&seconds).then_some(()).ok_or(InvalidIdentity::MaxSessionDuration)
}

/// `s3.amazonaws.com`: a host name of two labels or more.
pub(super) fn check_service_name(name: &str) -> Result<(), InvalidIdentity> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let is_valid = name.len() <= POLICY_NAME_CHARS_MAX && name.contains('.') && name.split('.').all(is_label);
    is_valid.then_some(()).ok_or(InvalidIdentity::ServiceName)
}

/// The id of an organization, and the path of an account in it.
pub(super) fn check_organization(id: &str, path: Option<&str>) -> Result<(), InvalidIdentity> {
    let is_plain =
        |text: &str| text.len() <= PATH_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_in = |path: &str| path.strip_prefix(id).is_some_and(|rest| rest.starts_with('/'));
    let is_valid =
        id.starts_with("o-") && is_plain(id) && path.is_none_or(|path| is_plain(path) && is_in(path));
    is_valid.then_some(()).ok_or(InvalidIdentity::Organization)
}

/// A policy that says what its owner may do: it names resources and no principals.
pub(super) fn identity_policy(text: &str) -> Result<PolicyDocument, String> {
    Kind::Identity.read(text)
}

/// A policy that says whose calls may pass a VPC endpoint: it names principals and resources.
pub(super) fn endpoint_policy(text: &str) -> Result<PolicyDocument, String> {
    Kind::Endpoint.read(text)
}

/// A policy that says who may assume a role: it names principals and no resources.
pub(super) fn trust_policy(text: &str) -> Result<PolicyDocument, InvalidIdentity> {
    Kind::Trust.read(text).map_err(InvalidIdentity::TrustPolicy)
}

pub(super) fn identity_policies(
    texts: &BTreeMap<String, String>,
) -> Result<Vec<Arc<NamedPolicy>>, InvalidIdentity> {
    if texts.len() > POLICIES_MAX {
        return Err(InvalidIdentity::TooManyPolicies);
    }
    let read = |(name, text): (&String, &String)| {
        check_policy_name(name)?;
        let document = identity_policy(text);
        let document = document.map_err(|reason| InvalidIdentity::Policy(name.clone(), reason))?;
        Ok(NamedPolicy::new(name, document))
    };
    texts.iter().map(read).collect()
}

/// `AIDA…` or `AROA…`: the same for as long as account and name are.
pub(super) fn derived_unique_id(prefix: &str, account: &str, name: &str) -> String {
    let digest = digest(&SHA256, format!("{prefix}/{account}/{name}").as_bytes());
    unique_id(prefix, digest.as_ref())
}

/// At least as many bytes as an id has characters.
pub(super) fn unique_id(prefix: &str, bytes: &[u8]) -> String {
    let digit = |byte: &u8| BASE32.get(usize::from(byte % 32)).map(|&digit| char::from(digit));
    prefix.chars().chain(bytes.iter().filter_map(digit).take(UNIQUE_ID_CHARS)).collect()
}
