//! Whether a request is allowed and what says so: all kinds of policies together, as IAM and AWS KMS evaluate them.

use std::fmt;
use std::sync::Arc;

use crate::identity::kms::NamedPolicy;
use crate::policy::{AttachedTo, Finding, Naming, PolicyDocument, Request, StatementRef, evaluate};

/// All policies that have a say about a request. What else decides it, such as time and network, is in its context.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    pub caller: CallerKind,
    /// Whether the resource belongs to the account of the caller.
    pub is_own: bool,
    /// Of a key or, as its trust policy, of a role; absent where the resource has none.
    pub resource_policy: Option<&'a PolicyDocument>,
    pub identity_policies: &'a [Arc<NamedPolicy>],
    /// The permissions boundary.
    pub boundary: Option<&'a NamedPolicy>,
    /// None: the session may do what its role may.
    pub session_policies: &'a [Arc<NamedPolicy>],
    /// Service control policies of the caller's account. None: they forbid nothing.
    pub account_policies: &'a [Arc<NamedPolicy>],
    /// Of the endpoint or listener that the request came through. None: it lets everything pass.
    pub endpoint_policy: Option<&'a NamedPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// The root user of an account, to whom no policies are attached and who may what its account may.
    Root,
    /// A service that calls by itself: resources alone let it in.
    Service,
    /// A user or a role session.
    UserOrRole,
}

impl Layers<'_> {
    /// Whether the context can change what they say; if not, an empty one does.
    pub fn need_context(&self) -> bool {
        let lists = [self.identity_policies, self.session_policies, self.account_policies];
        let named = lists.into_iter().flatten().map(AsRef::as_ref);
        let named = named.chain(self.boundary).chain(self.endpoint_policy).map(|policy| &policy.document);
        self.resource_policy.into_iter().chain(named).any(PolicyDocument::needs_context)
    }
}

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    AccountPolicy,
    Boundary,
    Endpoint,
    Identity,
    Resource,
    Session,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Allowed(Grounds<'a>),
    Denied(Denial),
}

/// What allows a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds<'a> {
    /// The statement of the resource policy, if the resource has one and no grant stands in for it.
    pub resource: Option<StatementRef<'a>>,
    /// The identity policy and its statement, where those had to allow it too.
    pub identity: Option<Deciding<'a>>,
    pub is_granted: bool,
}

/// A statement, and the name of its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deciding<'a> {
    pub policy: &'a str,
    pub statement: StatementRef<'a>,
}

/// Why a request is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policies that deny it, or of which none allows it.
    pub layer: Layer,
    /// What denies it explicitly; absent if nothing allows it.
    pub explicit: Option<Explicit>,
}

/// A statement that denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explicit {
    /// Absent: the resource's only policy.
    pub policy: Option<Box<str>>,
    /// Its `Sid`, or its number.
    pub statement: Box<str>,
}

impl Layer {
    /// In the words of AWS.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountPolicy => "service control policy",
            Self::Boundary => "permissions boundary",
            Self::Endpoint => "VPC endpoint policy",
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
            Self::Session => "session policy",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Denial {
    /// That nothing of these policies allows it.
    pub const fn implicit(layer: Layer) -> Self {
        Self { layer, explicit: None }
    }

    fn explicit(layer: Layer, policy: Option<&str>, statement: StatementRef<'_>) -> Self {
        let explicit = Explicit { policy: policy.map(Box::from), statement: statement.to_string().into() };
        Self { layer, explicit: Some(explicit) }
    }

    /// Whether a grant could still allow it.
    pub const fn is_open_to_grants(&self) -> bool {
        self.explicit.is_none()
    }
}

/// What each kind of policies says by itself.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    caller: CallerKind,
    is_own: bool,
    /// Absent if the resource has no policy.
    resource: Option<Finding<'a>>,
    identity: Said<'a>,
    boundary: Said<'a>,
    session: Said<'a>,
    account: Said<'a>,
    endpoint: Said<'a>,
}

/// What all policies of one kind say together.
#[derive(Clone, Copy, Debug)]
enum Said<'a> {
    Allows(Option<Deciding<'a>>),
    Denies(Deciding<'a>),
    Nothing,
}

/// What lets a caller in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Grant,
    Policy,
}

impl<'a> Evaluation<'a> {
    pub fn of(request: &Request<'_>, layers: Layers<'a>) -> Self {
        let is_service = layers.caller == CallerKind::Service;
        let of_one = |policy: Option<&'a NamedPolicy>| {
            policy.map_or(Said::Allows(None), |policy| Said::of_one(request, policy))
        };
        Self {
            caller: layers.caller,
            is_own: layers.is_own,
            resource: layers.resource_policy.map(|policy| evaluate(request, AttachedTo::Resource, policy)),
            identity: match layers.caller {
                CallerKind::Root => Said::Allows(None),
                CallerKind::Service => Said::Nothing,
                CallerKind::UserOrRole => Said::of_any(request, layers.identity_policies),
            },
            boundary: of_one(layers.boundary),
            session: Said::of_any_if_there(request, layers.session_policies),
            account: if is_service {
                Said::Allows(None)
            } else {
                Said::of_any_if_there(request, layers.account_policies)
            },
            endpoint: of_one(layers.endpoint_policy),
        }
    }

    /// Decides (IAM User Guide, Policy evaluation logic). An explicit deny anywhere wins. In the account of the
    /// resource, a resource policy that names the caller itself allows by itself; one that names it with others (`*`,
    /// the role of a session) does so within boundary and session policies; one that names the account lets identity
    /// policies decide. From another account, both must allow. What caps an account or an endpoint must allow too.
    ///
    /// A grant counts as if the resource policy named its grantee; and whoever is granted the use of a key of another
    /// account needs no permission of its own (AWS KMS Developer Guide, Allowing users in other accounts to use a KMS
    /// key).
    pub fn verdict(&self, grant: Option<Naming>) -> Verdict<'a> {
        if let Some(denial) = self.explicit_denial() {
            return Verdict::Denied(denial);
        }
        let (naming, statement) = match self.resource {
            Some(Finding::Allows { naming, statement }) => (Some(naming), Some(statement)),
            Some(Finding::Denies { .. } | Finding::Silent) | None => (None, None),
        };
        let by_policy = self.missing(naming, By::Policy);
        let by_grant = grant.map_or(by_policy, |_| self.missing(grant, By::Grant));
        // Each is enough by itself. If neither is, what would say more is to be told.
        let is_granted = by_policy.is_some() && (by_grant.is_none() || grant > naming);
        let missing = if is_granted { by_grant } else { by_policy };
        match missing.or_else(|| self.missing_ceiling()) {
            Some(layer) => Verdict::Denied(Denial::implicit(layer)),
            None => Verdict::Allowed(Grounds {
                resource: statement.filter(|_| !is_granted),
                identity: self.identity.deciding(),
                is_granted,
            }),
        }
    }

    /// Which policies do not allow it although the resource's policy or a grant means the caller by this name.
    fn missing(&self, naming: Option<Naming>, by: By) -> Option<Layer> {
        match (naming, self.is_own) {
            (Some(naming), _) if self.caller == CallerKind::Service => {
                (naming == Naming::Account).then_some(Layer::Resource)
            }
            (Some(Naming::Exactly), true) => None,
            (Some(Naming::WithOthers), true) => self.missing_cap(),
            (Some(Naming::WithOthers | Naming::Exactly), false) if by == By::Grant => self.missing_cap(),
            (Some(Naming::Account), true) | (Some(_), false) => self.missing_identity(),
            (None, true) if self.resource.is_none() => self.missing_identity(),
            (None, _) => Some(Layer::Resource),
        }
    }

    fn explicit_denial(&self) -> Option<Denial> {
        let named = [
            (Layer::Identity, self.identity),
            (Layer::Session, self.session),
            (Layer::Boundary, self.boundary),
            (Layer::AccountPolicy, self.account),
            (Layer::Endpoint, self.endpoint),
        ];
        let of_named = named.into_iter().find_map(|(layer, said)| match said {
            Said::Denies(Deciding { policy, statement }) => {
                Some(Denial::explicit(layer, Some(policy), statement))
            }
            Said::Allows(_) | Said::Nothing => None,
        });
        of_named.or(match self.resource {
            Some(Finding::Denies { statement }) => Some(Denial::explicit(Layer::Resource, None, statement)),
            Some(Finding::Allows { .. } | Finding::Silent) | None => None,
        })
    }

    /// Which policies that an identity needs do not allow it.
    fn missing_identity(&self) -> Option<Layer> {
        if self.identity.is_silent() { Some(Layer::Identity) } else { self.missing_cap() }
    }

    fn missing_cap(&self) -> Option<Layer> {
        let caps = [(Layer::Boundary, self.boundary), (Layer::Session, self.session)];
        caps.into_iter().find(|(_, said)| said.is_silent()).map(|(layer, _)| layer)
    }

    fn missing_ceiling(&self) -> Option<Layer> {
        let ceilings = [(Layer::AccountPolicy, self.account), (Layer::Endpoint, self.endpoint)];
        ceilings.into_iter().find(|(_, said)| said.is_silent()).map(|(layer, _)| layer)
    }
}

impl<'a> Said<'a> {
    /// The first that denies, else the first that allows.
    fn of_any(request: &Request<'_>, policies: &'a [Arc<NamedPolicy>]) -> Self {
        let mut said = Self::Nothing;
        for policy in policies {
            match Self::of_one(request, policy) {
                denies @ Self::Denies(_) => return denies,
                allows @ Self::Allows(_) if said.is_silent() => said = allows,
                Self::Allows(_) | Self::Nothing => {}
            }
        }
        said
    }

    fn of_any_if_there(request: &Request<'_>, policies: &'a [Arc<NamedPolicy>]) -> Self {
        if policies.is_empty() { Self::Allows(None) } else { Self::of_any(request, policies) }
    }

    fn of_one(request: &Request<'_>, policy: &'a NamedPolicy) -> Self {
        let deciding = |statement| Deciding { policy: &policy.name, statement };
        match evaluate(request, AttachedTo::Identity, &policy.document) {
            Finding::Allows { statement, .. } => Self::Allows(Some(deciding(statement))),
            Finding::Denies { statement } => Self::Denies(deciding(statement)),
            Finding::Silent => Self::Nothing,
        }
    }

    const fn is_silent(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    const fn deciding(&self) -> Option<Deciding<'a>> {
        match self {
            Self::Allows(deciding) => *deciding,
            Self::Denies(_) | Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests;
