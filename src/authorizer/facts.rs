//! What is known of a request whatever the resource: global condition keys.

use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity::kms::Caller;
use crate::policy::Context;

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    pub source_ip: IpAddr,
    pub secure_transport: bool,
    pub user_agent: Option<&'a str>,
    /// By the wall clock.
    pub unix_seconds: u64,
}

/// IAM User Guide, AWS global condition context keys.
pub fn global_context<'a>(caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let issued = caller.session().and_then(|session| rfc3339(session.issued_unix_seconds));
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
