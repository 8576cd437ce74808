//! Answers `holdfast policy simulate`: as the daemon would decide, with nothing done.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::app::kms::KmsFace;
use crate::authorizer::facts::RequestFacts;
use crate::clock::Clock;
use crate::domain::kms::{
    AccountAction, AccountId, AliasName, ConditionKey, GrantId, KeyAction, KeyReference, Region, Scope,
};
use crate::gate::kms::{Kms, Refused, Simulated, SimulatedOn};
use crate::identity::kms::{Caller, Directory};
use crate::kms::OperationName;
use crate::kms::default_conditions::default_conditions;
use crate::kms::permissions::{Check, checks};
use crate::simulation::{Answer, Asked, SimulationRequest};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the session of a role that is asked about.
const SESSION_NAME: &str = "simulation";
const KEYLESS: &str = "say which key: by id, ARN or alias";
const GRANTLESS: &str = "its grant decides about RetireGrant: say which one, by its id, with `--grant`";

impl KmsFace {
    /// JSON of a [`SimulationRequest`] there, of a list of [`Answer`] back.
    pub(super) async fn simulate(&self, request: &str) -> Result<String, String> {
        let request: SimulationRequest = serde_json::from_str(request).map_err(|error| error.to_string())?;
        let (kms, directory, clock) = self.for_simulation();
        let answers = Simulation::new(&request, kms, directory, clock)?.answers().await?;
        serde_json::to_string(&answers).map_err(|error| error.to_string())
    }
}

struct Simulation<'a> {
    request: &'a SimulationRequest,
    kms: &'a Kms,
    clock: &'a dyn Clock,
    caller: Caller,
    source_ip: IpAddr,
    alias: Option<AliasName>,
    context: Vec<(String, Vec<String>)>,
}

impl<'a> Simulation<'a> {
    fn new(
        request: &'a SimulationRequest,
        kms: &'a Kms,
        directory: &Directory,
        clock: &'a dyn Clock,
    ) -> Result<Self, String> {
        let session = (SESSION_NAME, clock.unix_seconds());
        let caller = directory.caller(&request.caller, region(request)?, session);
        let source_ip = request.source_ip.as_deref().map(str::parse).transpose();
        let alias =
            |text: &String| AliasName::parse(text).ok_or_else(|| format!("`{text}` is no name of an alias"));
        Ok(Self {
            request,
            kms,
            clock,
            caller: caller
                .ok_or_else(|| format!("there is no user, role or account `{}`", request.caller))?,
            source_ip: source_ip
                .map_err(|_| "the source is no IP address")?
                .unwrap_or(Ipv4Addr::LOCALHOST.into()),
            alias: request.alias.as_ref().map(alias).transpose()?,
            context: request.context.clone().into_iter().collect(),
        })
    }

    async fn answers(&self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        for check in self.checks()? {
            let on = self.on(check)?;
            let simulated = Simulated {
                on: on.as_simulated(),
                encryption_context: self.request.encryption_context.as_ref(),
                conditions: &default_conditions(check, |key| self.given(key)),
                other_key: self.other_key(check),
                context: &self.context,
            };
            let deadline = self.clock.instant() + TIMEOUT;
            let answer = self.kms.simulate(&self.caller, self.facts(), (simulated, deadline)).await;
            answers.push(answer.map_err(explain)?.ok_or("the key has no such grant")?);
        }
        Ok(answers)
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            source_ip: self.source_ip,
            secure_transport: true,
            user_agent: None,
            unix_seconds: self.clock.unix_seconds(),
            vpc: None,
            endpoint_policy: None,
        }
    }

    /// What the command says of a condition key.
    fn given(&self, key: ConditionKey) -> Option<&str> {
        let (_, values) = self.context.iter().find(|(name, _)| ConditionKey::of_name(name) == Some(key))?;
        values.first().map(String::as_str)
    }

    /// The key on the other side of a ReEncrypt.
    fn other_key(&self, check: Check) -> Option<&str> {
        let (key, second) = (self.request.key.as_deref(), self.request.destination_key.as_deref());
        match check {
            Check::Key(KeyAction::ReEncryptFrom) => second.or(key),
            Check::Key(KeyAction::ReEncryptTo) => key,
            Check::Account(_) | Check::AccountIfTagged(_) | Check::Alias(_) | Check::Key(_) => None,
        }
    }

    fn checks(&self) -> Result<Vec<Check>, String> {
        match &self.request.ask {
            Asked::Action(action) => Ok(vec![self.action(action)?]),
            Asked::Operation(name) => {
                let operation =
                    OperationName::parse(name).ok_or_else(|| format!("there is no operation `{name}`"))?;
                let has_tags = self.request.context.keys().any(|key| key.starts_with("aws:RequestTag/"));
                let is_needed = |check: &&Check| has_tags || !matches!(check, Check::AccountIfTagged(_));
                Ok(checks(operation).iter().filter(is_needed).copied().collect())
            }
        }
    }

    fn action(&self, action: &str) -> Result<Check, String> {
        let name = action.strip_prefix("kms:").unwrap_or(action);
        let on_key = KeyAction::parse(name);
        match (on_key, AccountAction::parse(name)) {
            // The key only narrows the list.
            (_, Some(action @ AccountAction::ListAliases)) => Ok(Check::Account(action)),
            (Some(action), _) if self.request.key.is_some() => Ok(Check::Key(action)),
            (Some(action), _) if self.alias.is_some() => Ok(Check::Alias(action)),
            (_, Some(action)) => Ok(Check::Account(action)),
            (Some(_), None) => Err(KEYLESS.to_owned()),
            (None, None) => Err(format!("there is no action `{action}`")),
        }
    }

    fn on(&self, check: Check) -> Result<On, String> {
        let alias = || self.alias.clone().ok_or_else(|| "say which alias: `alias/…`".to_owned());
        match check {
            Check::Account(action) | Check::AccountIfTagged(action) => Ok(On::Account(action)),
            Check::Alias(action) => Ok(On::Alias(action, alias()?)),
            Check::Key(KeyAction::UpdateAliasFrom) => {
                Ok(On::Key(KeyAction::UpdateAliasFrom, alias()?.as_str().to_owned()))
            }
            Check::Key(KeyAction::RetireGrant) => {
                let id = self.request.grant.clone().ok_or(GRANTLESS)?;
                let key = self.request.key.as_ref().ok_or(KEYLESS)?;
                Ok(On::Grant(GrantId(id), self.in_account(key)?))
            }
            Check::Key(action) => {
                let second =
                    self.request.destination_key.as_ref().filter(|_| action == KeyAction::ReEncryptTo);
                let key = second.or(self.request.key.as_ref()).or(self.request.alias.as_ref());
                Ok(On::Key(action, self.in_account(key.ok_or(KEYLESS)?)?))
            }
        }
    }

    /// A bare id or alias means a key of the account that was named.
    fn in_account(&self, key: &str) -> Result<String, String> {
        let Some(account) = &self.request.account else { return Ok(key.to_owned()) };
        let account = AccountId::parse(account).ok_or_else(|| format!("`{account}` is no account id"))?;
        let scope = Scope { account, region: self.caller.region.clone() };
        Ok(match KeyReference::parse(key) {
            Some(KeyReference::Id(id)) => scope.arn(&format!("key/{id}")),
            Some(KeyReference::Alias(name)) => scope.arn(name.as_str()),
            Some(KeyReference::Arn { .. } | KeyReference::AliasArn { .. }) | None => key.to_owned(),
        })
    }
}

/// A permission, and what it is needed on.
enum On {
    Account(AccountAction),
    Alias(KeyAction, AliasName),
    Key(KeyAction, String),
    Grant(GrantId, String),
}

impl On {
    fn as_simulated(&self) -> SimulatedOn<'_> {
        match self {
            Self::Account(action) => SimulatedOn::Account(action.required_permission()),
            Self::Alias(action, name) => SimulatedOn::Alias(*action, name),
            Self::Key(action, key) => SimulatedOn::Key(*action, key),
            Self::Grant(id, key) => SimulatedOn::Grant(id, key),
        }
    }
}

/// As said, else that of the key's ARN.
fn region(request: &SimulationRequest) -> Result<Region, String> {
    if let Some(text) = &request.region {
        return Region::parse(text).ok_or_else(|| format!("`{text}` is no Region"));
    }
    let reference = request.key.as_deref().and_then(KeyReference::parse);
    let region = reference.as_ref().and_then(KeyReference::scope).map(|scope| scope.region.clone());
    region.ok_or_else(|| "say which Region, or name the key by its ARN".to_owned())
}

fn explain(refused: Refused) -> String {
    match refused {
        Refused::KeyMissing { arn } => format!("there is no key {arn}"),
        Refused::AliasMissing { arn } => format!("there is no alias {arn}"),
        Refused::InvalidReference { reference } => format!("`{reference}` names no key"),
        Refused::OtherRegion { region } => format!("the key is of Region {region}"),
        other @ (Refused::AliasNotAccepted { .. }
        | Refused::Capability { .. }
        | Refused::CiphertextKeyMissing
        | Refused::Conflict
        | Refused::ContextTooLong
        | Refused::EncryptionsUsedUp { .. }
        | Refused::Forbidden(_)
        | Refused::Import(_)
        | Refused::InvalidAttestation(_)
        | Refused::InvalidCiphertext
        | Refused::KeyManager(_)
        | Refused::KeyStore(_)
        | Refused::NoAttestationRoots
        | Refused::MultiRegion(_)
        | Refused::State { .. }
        | Refused::Store(_)
        | Refused::Unkept(_)) => format!("the daemon cannot tell: {other}"),
    }
}
