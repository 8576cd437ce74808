//! Answers `holdfast policy simulate`: as the daemon would decide, with nothing done.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::app::kms::KmsFace;
use crate::authorizer::facts::RequestFacts;
use crate::clock::Clock;
use crate::domain::kms::{AccountAction, AccountId, AliasName, KeyAction, KeyReference, Region, Scope};
use crate::gate::kms::{Kms, Refused, Simulated, SimulatedOn};
use crate::identity::kms::{Caller, Directory};
use crate::kms::OperationName;
use crate::kms::permissions::{Check, checks};
use crate::simulation::{Answer, Asked, SimulationRequest};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the session of a role that is asked about.
const SESSION_NAME: &str = "simulation";
const KEYLESS: &str = "say which key: by id, ARN or alias";

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
        for on in self.asked()? {
            let simulated = Simulated {
                on: on.as_simulated(),
                encryption_context: self.request.encryption_context.as_ref(),
                context: &self.context,
            };
            let deadline = self.clock.instant() + TIMEOUT;
            let answer = self.kms.simulate(&self.caller, self.facts(), (simulated, deadline)).await;
            answers.push(answer.map_err(explain)?);
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

    fn asked(&self) -> Result<Vec<On>, String> {
        match &self.request.ask {
            Asked::Action(action) => Ok(vec![self.action(action)?]),
            Asked::Operation(name) => {
                let operation =
                    OperationName::parse(name).ok_or_else(|| format!("there is no operation `{name}`"))?;
                let has_tags = self.request.context.keys().any(|key| key.starts_with("aws:RequestTag/"));
                let is_needed = |check: &&Check| has_tags || !matches!(check, Check::AccountIfTagged(_));
                checks(operation).iter().filter(is_needed).map(|check| self.check(*check)).collect()
            }
        }
    }

    fn action(&self, action: &str) -> Result<On, String> {
        let name = action.strip_prefix("kms:").unwrap_or(action);
        let on_key = KeyAction::parse(name);
        match (on_key, AccountAction::parse(name)) {
            (Some(action), _) if self.request.key.is_some() => self.check(Check::Key(action)),
            (Some(action), _) if self.alias.is_some() => self.check(Check::Alias(action)),
            (_, Some(action)) => self.check(Check::Account(action)),
            (Some(_), None) => Err(KEYLESS.to_owned()),
            (None, None) => Err(format!("there is no action `{action}`")),
        }
    }

    fn check(&self, check: Check) -> Result<On, String> {
        let alias = || self.alias.clone().ok_or_else(|| "say which alias: `alias/…`".to_owned());
        match check {
            Check::Account(action) | Check::AccountIfTagged(action) => Ok(On::Account(action)),
            Check::Alias(action) => Ok(On::Alias(action, alias()?)),
            Check::Key(KeyAction::UpdateAliasFrom) => {
                Ok(On::Key(KeyAction::UpdateAliasFrom, alias()?.as_str().to_owned()))
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
}

impl On {
    fn as_simulated(&self) -> SimulatedOn<'_> {
        match self {
            Self::Account(action) => SimulatedOn::Account(action.required_permission()),
            Self::Alias(action, name) => SimulatedOn::Alias(*action, name),
            Self::Key(action, key) => SimulatedOn::Key(*action, key),
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
        | Refused::InvalidCiphertext
        | Refused::KeyManager(_)
        | Refused::KeyStore(_)
        | Refused::State { .. }
        | Refused::Store(_)
        | Refused::Unkept(_)) => format!("the daemon cannot tell: {other:?}"),
    }
}
