//! `AssumeRole`: temporary credentials of a session of a role.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authorizer::assume_role::{Assumption, missing_permission};
use crate::authorizer::facts::RequestFacts;
use crate::cloudtrail::date_text;
use crate::domain::kms::UnixMillis;
use crate::identity::kms::{
    Caller, Directory, NewSession, Role, SESSION_POLICY_CHARS_MAX, SessionCredentials, SessionTime,
    session_arn,
};
use crate::json::Object;
use crate::sts::error::Error;
use crate::sts::parameters::Parameters;
use crate::sts::second_factor::SecondFactor;
use crate::sts::xml::Xml;

const DURATION_SECONDS_DEFAULT: u32 = 3600;
const DURATION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// Of a session that another session makes.
const CHAINED_SECONDS_MAX: u32 = 3600;
const TAGS_MAX: usize = 50;
const SESSION_NAME_CHARS: std::ops::RangeInclusive<usize> = 2..=64;
const ROLE_ARN_CHARS: std::ops::RangeInclusive<usize> = 20..=2048;
const EXTERNAL_ID_CHARS: std::ops::RangeInclusive<usize> = 2..=1224;

/// Each changes what a session may do or who it is, so none is passed over in silence.
const UNSUPPORTED: [&str; 2] = ["PolicyArns", "ProvidedContexts"];

/// A session that was made.
pub(super) struct Assumed {
    credentials: SessionCredentials,
    arn: String,
    id: String,
    has_policy_or_tags: bool,
    source_identity: Option<String>,
}

/// What is asked for, checked as far as that needs no role.
struct Wanted<'a> {
    role_arn: &'a str,
    session_name: &'a str,
    duration_seconds: Option<u32>,
    policy: Option<&'a str>,
    external_id: Option<&'a str>,
    source_identity: Option<&'a str>,
    second_factor: Option<SecondFactor<'a>>,
    tags: BTreeMap<String, String>,
    transitive: Vec<String>,
}

pub(super) fn execute(
    directory: &Directory,
    caller: &Caller,
    facts: &RequestFacts<'_>,
    parameters: &Parameters,
) -> Result<Assumed, Error> {
    let wanted = Wanted::parse(parameters, caller)?;
    let denied = |permission: &str| {
        let (arn, role) = (&caller.arn, wanted.role_arn);
        Error::AccessDenied(format!(
            "User: {arn} is not authorized to perform: sts:{permission} on resource: {role}"
        ))
    };
    if let Some(factor) = wanted.second_factor {
        factor.take(directory, caller, facts.unix_seconds)?;
    }
    // Whether a role exists is told only to those who may assume it.
    let role = directory.role(wanted.role_arn).ok_or_else(|| denied("AssumeRole"))?;
    let missing = missing_permission(Assumption {
        caller,
        facts,
        role: &role,
        session_name: wanted.session_name,
        external_id: wanted.external_id,
        source_identity: wanted.source_identity,
        mfa: wanted.second_factor.is_some(),
        tags: &wanted.tags,
        transitive_tag_keys: &wanted.transitive,
    });
    if let Some(permission) = missing {
        return Err(denied(permission));
    }
    let duration_seconds = wanted.duration(caller, &role)?;
    let Wanted { session_name, policy, source_identity, second_factor, tags, transitive, .. } = wanted;
    let has_policy_or_tags = policy.is_some() || !tags.is_empty();
    let credentials = directory.make_session(NewSession {
        role: &role,
        name: session_name,
        tags,
        transitive,
        policy,
        source_identity,
        time: SessionTime { now_unix_seconds: facts.unix_seconds, duration_seconds },
        mfa: second_factor.is_some(),
    })?;
    Ok(Assumed {
        credentials,
        arn: session_arn(&role.account, &role.name, session_name),
        id: format!("{}:{session_name}", role.unique_id),
        has_policy_or_tags,
        source_identity: source_identity.map(str::to_owned),
    })
}

impl<'a> Wanted<'a> {
    fn parse(parameters: &'a Parameters, caller: &'a Caller) -> Result<Self, Error> {
        if let Some(name) = UNSUPPORTED.into_iter().find(|name| parameters.has(name)) {
            return Err(Error::validation(format!("The parameter {name} is not supported.")));
        }
        let role_arn = parameters.required("RoleArn")?;
        if !ROLE_ARN_CHARS.contains(&role_arn.len()) || !role_arn.starts_with("arn:") {
            return Err(Error::validation(format!("{role_arn} is invalid")));
        }
        let session_name = parameters.required("RoleSessionName")?;
        check_word("roleSessionName", session_name, SESSION_NAME_CHARS, "")?;
        let external_id = parameters.get("ExternalId");
        if let Some(text) = external_id {
            check_word("externalId", text, EXTERNAL_ID_CHARS, ":/")?;
        }
        let policy = parameters.get("Policy");
        if policy.is_some_and(|text| text.chars().count() > SESSION_POLICY_CHARS_MAX) {
            return Err(Error::validation(
                "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have \
                 length less than or equal to 2048",
            ));
        }
        let (tags, transitive) = tags(parameters, caller)?;
        Ok(Self {
            role_arn,
            session_name,
            duration_seconds: duration(parameters)?,
            policy,
            external_id,
            source_identity: source_identity(parameters, caller)?,
            second_factor: SecondFactor::parse(parameters)?,
            tags,
            transitive,
        })
    }

    fn duration(&self, caller: &Caller, role: &Role) -> Result<u32, Error> {
        let is_chained = caller.session().is_some();
        let seconds = self.duration_seconds.unwrap_or(DURATION_SECONDS_DEFAULT);
        if is_chained && seconds > CHAINED_SECONDS_MAX {
            return Err(Error::validation(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
            ));
        }
        if seconds > role.max_session_seconds {
            return Err(Error::validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        Ok(seconds)
    }
}

/// That of the request, or the one that the calling session has: it stays the same through all that follow.
fn source_identity<'a>(parameters: &'a Parameters, caller: &'a Caller) -> Result<Option<&'a str>, Error> {
    let inherited = caller.temporary.as_ref().and_then(|temporary| temporary.source_identity.as_deref());
    let Some(given) = parameters.get("SourceIdentity") else { return Ok(inherited) };
    check_word("sourceIdentity", given, SESSION_NAME_CHARS, "")?;
    if inherited.is_some_and(|inherited| inherited != given) {
        return Err(Error::AccessDenied(
            "The source identity of a session cannot be changed by role chaining".to_owned(),
        ));
    }
    Ok(Some(given))
}

fn duration(parameters: &Parameters) -> Result<Option<u32>, Error> {
    let Some(text) = parameters.get("DurationSeconds") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| DURATION_SECONDS.contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        Error::validation(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member \
             must have value between 900 and 43200"
        ))
    })
}

/// `[\w+=,.@-]*` and `extra`.
fn check_word(
    member: &str,
    text: &str,
    chars: std::ops::RangeInclusive<usize>,
    extra: &str,
) -> Result<(), Error> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || extra.contains(c);
    let constraint = if !chars.contains(&text.chars().count()) {
        format!("Member must have length between {} and {}", chars.start(), chars.end())
    } else if !text.chars().all(is_legal) {
        format!("Member must satisfy regular expression pattern: [\\w+=,.@{extra}-]*")
    } else {
        return Ok(());
    };
    Err(Error::validation(format!(
        "1 validation error detected: Value '{text}' at '{member}' failed to satisfy constraint: {constraint}"
    )))
}

type SessionTags = (BTreeMap<String, String>, Vec<String>);

/// The tags of the request and those that the calling session hands on. Keys are compared without regard to case.
fn tags(parameters: &Parameters, caller: &Caller) -> Result<SessionTags, Error> {
    let (given, keys) = (parameters.pairs("Tags"), parameters.list("TransitiveTagKeys"));
    // A list with a gap would lose what is behind it.
    let is_whole =
        given.len() * 2 == parameters.count("Tags") && keys.len() == parameters.count("TransitiveTagKeys");
    if !is_whole || given.len() > TAGS_MAX || keys.len() > TAGS_MAX {
        return Err(Error::validation("Tags and TransitiveTagKeys must be lists of at most 50 members."));
    }
    let inherited = caller.session().map(|session| session.transitive_tags.as_slice()).unwrap_or_default();
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut transitive = Vec::new();
    for tag in inherited {
        tags.insert(tag.key.clone(), tag.value.clone());
        transitive.push(tag.key.clone());
    }
    for (key, value) in given {
        if !is_tag(key, value) {
            return Err(Error::validation(format!("The tag with key '{key}' is not valid.")));
        }
        if tags.keys().any(|known| known.eq_ignore_ascii_case(key)) {
            return Err(Error::validation(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    for key in keys {
        let known = tags.keys().find(|known| known.eq_ignore_ascii_case(key));
        let known = known.ok_or_else(|| {
            Error::validation("The specified transitive tag key must be included in the requested tags.")
        })?;
        if !transitive.contains(known) {
            transitive.push(known.clone());
        }
    }
    Ok((tags, transitive))
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, and no key of AWS's own.
fn is_tag(key: &str, value: &str) -> bool {
    let is_legal = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    (1..=128).contains(&key.chars().count())
        && value.chars().count() <= 256
        && key.chars().chain(value.chars()).all(is_legal)
        && !key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

impl Assumed {
    /// `responseElements`: neither the secret nor the token.
    pub(super) fn recorded(&self) -> Vec<u8> {
        let mut json = Vec::new();
        let mut object = Object::begin(&mut json);
        object.object("credentials", |credentials| {
            let expires = i64::try_from(self.credentials.expires_unix_seconds).unwrap_or(i64::MAX);
            credentials.text("accessKeyId", &self.credentials.access_key_id);
            credentials.text("expiration", &date_text(UnixMillis(expires.saturating_mul(1000))));
        });
        object.object("assumedRoleUser", |user| {
            user.text("assumedRoleId", &self.id);
            user.text("arn", &self.arn);
        });
        object.end();
        json
    }

    /// The members of `AssumeRoleResult`.
    pub(super) fn write(&self, xml: &mut Xml) {
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &self.id);
            xml.text("Arn", &self.arn);
        });
        write_credentials(&self.credentials, xml);
        if let Some(source_identity) = &self.source_identity {
            xml.text("SourceIdentity", source_identity);
        }
        if self.has_policy_or_tags {
            xml.text("PackedPolicySize", &self.credentials.packed_percent.to_string());
        }
    }
}

pub(super) fn write_credentials(credentials: &SessionCredentials, xml: &mut Xml) {
    xml.element("Credentials", |xml| {
        let secret = str::from_utf8(credentials.secret_access_key.expose()).unwrap_or_default();
        xml.text("AccessKeyId", &credentials.access_key_id);
        xml.text("SecretAccessKey", secret);
        xml.text("SessionToken", &credentials.token);
        xml.text("Expiration", &rfc3339(credentials.expires_unix_seconds));
    });
}

fn rfc3339(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
