//! What is known of a request whatever the resource: global condition keys.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::USER_AGENT;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::kms::AccountId;
use crate::identity::kms::{Caller, NamedPolicy, Network, Organization, VpcEndpoint};
use crate::policy::Context;

/// Room for the usual context, with those of a key.
const GLOBAL_VALUES_USUAL: usize = 32;

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Who connected, or for whom a trusted proxy says that it did.
    pub source_ip: IpAddr,
    pub secure_transport: bool,
    pub user_agent: Option<&'a str>,
    /// By the wall clock.
    pub unix_seconds: u64,
    /// The VPC endpoint that it came through, if it came through one.
    pub vpc: Option<VpcEndpoint<'a>>,
    /// What may pass that endpoint or listener at all; absent: everything.
    pub endpoint_policy: Option<&'a NamedPolicy>,
}

impl<'a> RequestFacts<'a> {
    /// Of a request that came from this network.
    pub fn of(
        network: &'a Network,
        headers: &'a HeaderMap,
        (peer, secure_transport): (IpAddr, bool),
        unix_seconds: u64,
    ) -> Self {
        let origin = network.origin(peer, headers);
        Self {
            source_ip: origin.source_ip,
            secure_transport,
            user_agent: headers.get(USER_AGENT).and_then(|value| value.to_str().ok()),
            unix_seconds,
            vpc: origin.vpc,
            endpoint_policy: network.endpoint_policy(),
        }
    }
}

/// IAM User Guide, AWS global condition context keys; `GLOBAL_KEYS` says when each is there.
pub fn global_context<'a>(caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let context = Context::with_capacity(GLOBAL_VALUES_USUAL)
        .with("aws:RequestedRegion", caller.region.as_str())
        .with("aws:SecureTransport", boolean(facts.secure_transport))
        .with("aws:EpochTime", facts.unix_seconds.to_string())
        .with_optional("aws:CurrentTime", rfc3339(facts.unix_seconds))
        .with_optional("aws:UserAgent", facts.user_agent);
    let context = with_network(context, caller, facts);
    let context = with_principal(context, caller);
    let context = with_service(context, caller);
    with_temporary_credentials(context, caller, facts.unix_seconds)
}

/// Whose the resource is that a request is about.
pub fn with_resource_account<'a>(
    context: Context<'a>,
    caller: &'a Caller,
    account: &'a AccountId,
) -> Context<'a> {
    with_organization(
        context.with("aws:ResourceAccount", account.as_str()),
        ["aws:ResourceOrgID", "aws:ResourceOrgPaths"],
        caller.organizations.get(account),
    )
}

fn with_organization<'a>(
    context: Context<'a>,
    [id, paths]: [&'static str; 2],
    organization: Option<&'a Organization>,
) -> Context<'a> {
    context
        .with_optional(id, organization.map(|organization| &*organization.id))
        .with_optional(paths, organization.and_then(|organization| organization.path.as_deref()))
}

/// A request through a VPC endpoint has an address of a private network, which says nothing by itself.
fn with_network<'a>(context: Context<'a>, caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let source_ip = facts.source_ip.to_string();
    let Some(endpoint) = facts.vpc else { return context.with("aws:SourceIp", source_ip) };
    let owner = endpoint.account.and_then(AccountId::parse);
    let organization = owner.and_then(|account| caller.organizations.get(&account));
    let context = context
        .with("aws:SourceVpce", endpoint.id)
        .with("aws:VpcSourceIp", source_ip)
        .with_optional("aws:SourceVpc", endpoint.vpc)
        .with_optional("aws:VpceAccount", endpoint.account);
    with_organization(context, ["aws:VpceOrgID", "aws:VpceOrgPaths"], organization)
}

fn with_principal<'a>(context: Context<'a>, caller: &'a Caller) -> Context<'a> {
    let context = context.with("aws:PrincipalType", caller.principal_type());
    // A service is nobody of an account.
    if caller.service().is_some() {
        return context;
    }
    let context =
        with_organization(context, ["aws:PrincipalOrgID", "aws:PrincipalOrgPaths"], caller.organization());
    let mut context = context
        .with("aws:PrincipalArn", caller.principal_arn())
        .with("aws:PrincipalAccount", caller.account.as_str())
        .with("aws:userid", &*caller.user_id)
        .with_optional("aws:username", caller.user_name());
    for tag in caller.tags.iter() {
        context = context.with(format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
    }
    context
}

/// Of a service that calls by itself, and of one that passes on the call of a user or role.
fn with_service<'a>(context: Context<'a>, caller: &'a Caller) -> Context<'a> {
    let service = caller.service();
    let source_account = service.and_then(|service| service.source_account.as_ref());
    let organization = source_account.and_then(|account| caller.organizations.get(account));
    let context = with_organization(context, ["aws:SourceOrgID", "aws:SourceOrgPaths"], organization);
    let via = caller.via.as_ref().map(|via| &*via.service);
    let name = service.map(|service| &*service.name);
    context
        .with("aws:PrincipalIsAWSService", boolean(service.is_some()))
        .with_optional("aws:PrincipalServiceName", name)
        .with_optional("aws:PrincipalServiceNamesList", name)
        .with_optional("aws:SourceArn", service.and_then(|service| service.source_arn.as_deref()))
        .with_optional("aws:SourceAccount", source_account.map(AccountId::as_str))
        .with("aws:ViaAWSService", boolean(via.is_some()))
        .with_optional("aws:CalledVia", via)
        .with_optional("aws:CalledViaFirst", via)
        .with_optional("aws:CalledViaLast", via)
}

fn with_temporary_credentials<'a>(
    context: Context<'a>,
    caller: &'a Caller,
    now_unix_seconds: u64,
) -> Context<'a> {
    let Some(temporary) = &caller.temporary else { return context };
    let mfa_age = temporary.mfa_unix_seconds.map(|at| now_unix_seconds.saturating_sub(at).to_string());
    context
        .with_optional("aws:TokenIssueTime", rfc3339(temporary.issued_unix_seconds))
        .with("aws:MultiFactorAuthPresent", boolean(mfa_age.is_some()))
        .with_optional("aws:MultiFactorAuthAge", mfa_age)
        .with_optional("aws:SourceIdentity", temporary.source_identity.as_deref())
}

const fn boolean(is_true: bool) -> &'static str {
    if is_true { "true" } else { "false" }
}

fn rfc3339(unix_seconds: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_seconds).ok()?).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
