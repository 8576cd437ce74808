//! The principals a policy names, and which callers they are.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::policy::arn::Arn;
use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::json::Node;
use crate::policy::request::Principal;
use crate::policy::written::Values;
use crate::policy::written::Written;

const ACCOUNT_ID_DIGITS: usize = 12;

/// The value of `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principals {
    /// `"*"`
    Everyone,
    Listed(Vec<(PrincipalType, Vec<Written<Named>>)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrincipalType {
    Aws,
    Federated,
    Service,
}

/// Whom one entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An account, by its id or the ARN of its root.
    Account(Box<str>),
    /// `*` among the AWS principals: the same as everyone, services too.
    Everyone,
    /// A caller of exactly this name.
    Exactly,
    /// A role, and with it all its sessions. A session does not show the path of its role; names of roles are
    /// unique in an account without it.
    Role { partition: Box<str>, account: Box<str>, name: Box<str> },
}

/// By which name a policy means a caller, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Naming {
    /// By its account, which may pass the permission on to it.
    Account,
    /// Together with others: by `*`, or as a session by its role.
    WithOthers,
    /// By its own name.
    Exactly,
}

impl Principals {
    pub(super) fn parse(node: Node) -> Result<Self, PolicyError> {
        if let Node::Text(text) = &node {
            let everyone = (text == "*").then_some(Self::Everyone);
            return everyone.ok_or(Cause::Expected("`*` or an object such as `{\"AWS\": …}`").into());
        }
        let types = node.into_members()?;
        if types.is_empty() {
            return Err(Cause::EmptyMember.into());
        }
        types.into_iter().map(parse_type).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// By which name they mean the caller, the strongest if there are several.
    pub(super) fn name(&self, caller: &Principal<'_>) -> Option<Naming> {
        match self {
            Self::Everyone => Some(Naming::WithOthers),
            Self::Listed(types) => {
                let meant = types.iter().filter(|(principal_type, _)| principal_type.may_mean(caller));
                meant.flat_map(|(_, entries)| entries).filter_map(|entry| entry.name(caller)).max()
            }
        }
    }

    /// Whether a statement about everyone but these is not about the caller. An account is listed beside the
    /// identities that are meant, and spares its root user only.
    pub(super) fn spare(&self, caller: &Principal<'_>) -> bool {
        if caller.has_boundary() {
            return false;
        }
        self.name(caller).is_some_and(|naming| match naming {
            Naming::Account => caller.arn().is_some_and(|arn| arn.resource == "root"),
            Naming::WithOthers | Naming::Exactly => true,
        })
    }
}

fn parse_type((name, node): (String, Node)) -> Result<(PrincipalType, Vec<Written<Named>>), PolicyError> {
    let parse = || {
        let principal_type = PrincipalType::parse(&name).ok_or(Cause::UnknownPrincipalType)?;
        let entry = |node: Node| Written::parse(node.into_text()?, |text| principal_type.read(text));
        Ok((principal_type, node.into_values()?.into_iter().map(entry).collect::<Result<_, _>>()?))
    };
    parse().map_err(|error: PolicyError| error.in_member(&name))
}

impl PrincipalType {
    const ALL: [Self; 3] = [Self::Aws, Self::Federated, Self::Service];

    const fn name(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Federated => "Federated",
            Self::Service => "Service",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|principal_type| principal_type.name() == name)
    }

    /// Whether the caller is of this type: an entry that reads like its name but is of another type means somebody
    /// else. `*` among the AWS principals means everyone.
    fn may_mean(self, caller: &Principal<'_>) -> bool {
        match self {
            Self::Aws => true,
            // Nobody calls as a federated principal, only as a session of a role.
            Self::Federated => false,
            Self::Service => caller.arn().is_none(),
        }
    }

    fn read(self, text: &str) -> Result<Named, PolicyError> {
        if self == Self::Aws && text == "*" {
            return Ok(Named::Everyone);
        }
        if text.contains(['*', '?']) {
            return Err(Cause::PrincipalWildcard.into());
        }
        match self {
            Self::Aws => read_aws_principal(text),
            Self::Federated if text.is_empty() => Err(Cause::EmptyMember.into()),
            Self::Federated => Ok(Named::Exactly),
            Self::Service => {
                let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
                let is_service = text.contains('.') && text.chars().all(is_host);
                is_service
                    .then_some(Named::Exactly)
                    .ok_or(Cause::Expected("a service such as `ec2.amazonaws.com`").into())
            }
        }
    }
}

fn read_aws_principal(text: &str) -> Result<Named, PolicyError> {
    let malformed =
        Cause::Expected("`*`, an account id, or the ARN of an account root, user, role or session");
    if is_account_id(text) {
        return Ok(Named::Account(text.into()));
    }
    let Some(Arn { partition, service, region: "", account, resource }) = Arn::parse(text) else {
        return Err(malformed.into());
    };
    if !is_account_id(account) {
        return Err(malformed.into());
    }
    let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
    let name = rest.rsplit('/').next().filter(|name| !name.is_empty());
    match (service, kind, name) {
        ("iam", "root", None) if resource == "root" => Ok(Named::Account(account.into())),
        ("iam", "group", _) => Err(Cause::PrincipalGroup.into()),
        ("iam", "role", Some(name)) => {
            Ok(Named::Role { partition: partition.into(), account: account.into(), name: name.into() })
        }
        ("iam", "user", Some(_)) | ("sts", "federated-user", Some(_)) => Ok(Named::Exactly),
        ("sts", "assumed-role", Some(_)) if is_session(rest) => Ok(Named::Exactly),
        _ => Err(malformed.into()),
    }
}

fn is_account_id(text: &str) -> bool {
    text.len() == ACCOUNT_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `role/session`
fn is_session(text: &str) -> bool {
    text.split_once('/').is_some_and(|(role, session)| !role.is_empty() && !session.contains('/'))
}

impl Written<Named> {
    fn name(&self, caller: &Principal<'_>) -> Option<Naming> {
        let is_exact = || *self.source == *caller.as_str();
        match &self.meaning {
            Named::Account(id) => (caller.account() == Some(id)).then_some(Naming::Account),
            Named::Everyone => Some(Naming::WithOthers),
            Named::Exactly => is_exact().then_some(Naming::Exactly),
            Named::Role { partition, account, name } => {
                let is_session = caller.session_role() == Some(name)
                    && caller
                        .arn()
                        .is_some_and(|arn| arn.account == &**account && arn.partition == &**partition);
                // A role by itself calls nothing; who asks about it asks about its sessions.
                (is_session || is_exact()).then_some(Naming::WithOthers)
            }
        }
    }
}

/// By which name an entry means a caller; an entry that no policy could have means only who is called like it.
pub(super) fn naming(entry: &str, caller: &Principal<'_>) -> Option<Naming> {
    let meaning = PrincipalType::Aws.read(entry).unwrap_or(Named::Exactly);
    Written { source: entry.into(), meaning }.name(caller)
}

impl Serialize for Principals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Everyone => serializer.serialize_str("*"),
            Self::Listed(types) => {
                let mut map = serializer.serialize_map(Some(types.len()))?;
                for (principal_type, entries) in types {
                    map.serialize_entry(principal_type.name(), &Values(entries))?;
                }
                map.end()
            }
        }
    }
}
