//! What is known of a request whatever the resource: global condition keys.

use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity::kms::{Caller, NamedPolicy};
use crate::policy::Context;

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

/// The end of a private network that requests come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpcEndpoint<'a> {
    /// `aws:SourceVpce`
    pub id: &'a str,
    /// `aws:SourceVpc`
    pub vpc: Option<&'a str>,
    /// `aws:VpceAccount`: whose endpoint it is.
    pub account: Option<&'a str>,
}

/// IAM User Guide, AWS global condition context keys.
pub fn global_context<'a>(caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let issued = caller.temporary.as_ref().and_then(|temporary| rfc3339(temporary.issued_unix_seconds));
    let mut context = Context::new()
        .with("aws:PrincipalArn", caller.principal_arn())
        .with("aws:PrincipalAccount", caller.account.as_str())
        .with("aws:PrincipalType", caller.principal_type())
        .with("aws:userid", &*caller.user_id)
        .with("aws:RequestedRegion", caller.region.as_str())
        .with("aws:SecureTransport", if facts.secure_transport { "true" } else { "false" })
        .with("aws:SourceIp", facts.source_ip.to_string())
        .with("aws:EpochTime", facts.unix_seconds.to_string())
        .with_optional("aws:CurrentTime", rfc3339(facts.unix_seconds))
        .with_optional("aws:TokenIssueTime", issued)
        .with_optional("aws:UserAgent", facts.user_agent)
        .with_optional("aws:username", caller.user_name());
    for tag in caller.tags.iter() {
        context = context.with(format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
    }
    context
}

fn rfc3339(unix_seconds: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_seconds).ok()?).ok()?;
    time.format(&Rfc3339).ok()
}
