//! The global condition keys that requests have: one table, which the documentation repeats.

use std::fmt;

/// A condition key that is there whatever is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalKey {
    /// One that ends with `/` stands for a key a tag. Policies may write it in any case.
    pub name: &'static str,
    pub kind: ValueKind,
    pub values: Values,
    pub present: &'static str,
}

/// Which operators compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    Arn,
    Boolean,
    Date,
    IpAddress,
    Numeric,
    String,
}

/// How many values a request can have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    Many,
    One,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arn => "ARN",
            Self::Boolean => "Boolean",
            Self::Date => "Date",
            Self::IpAddress => "IP address",
            Self::Numeric => "Numeric",
            Self::String => "String",
        })
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Many => "many",
            Self::One => "one",
        })
    }
}

use ValueKind::{Arn, Boolean, Date, IpAddress, Numeric, String};
use Values::{Many, One};

const ALWAYS: &str = "always";
const SERVICE: &str = "a service calls by itself";
const FORWARDED: &str = "a service passes on the call of a user or role";
const ENDPOINT: &str = "the request came through a VPC endpoint";
const TEMPORARY: &str = "the caller has temporary credentials";
const IDENTITY: &str = "the caller is a root user, user or role session";
const PRINCIPAL_ORGANIZATION: &str = "the account of the caller is declared to be in an organization";
const RESOURCE_ORGANIZATION: &str = "the account of the resource is declared to be in an organization";
const TAGS: &str = "the request has tags";

const fn key(name: &'static str, kind: ValueKind, values: Values, present: &'static str) -> GlobalKey {
    GlobalKey { name, kind, values, present }
}

/// IAM User Guide, AWS global condition context keys. In alphabetical order.
pub const GLOBAL_KEYS: [GlobalKey; 41] = [
    key("aws:CalledVia", String, Many, FORWARDED),
    key("aws:CalledViaFirst", String, One, FORWARDED),
    key("aws:CalledViaLast", String, One, FORWARDED),
    key("aws:CurrentTime", Date, One, ALWAYS),
    key("aws:EpochTime", Date, One, ALWAYS),
    key("aws:MultiFactorAuthAge", Numeric, One, "a second factor was shown for the temporary credentials"),
    key("aws:MultiFactorAuthPresent", Boolean, One, TEMPORARY),
    key("aws:PrincipalAccount", String, One, IDENTITY),
    key("aws:PrincipalArn", Arn, One, IDENTITY),
    key("aws:PrincipalIsAWSService", Boolean, One, ALWAYS),
    key("aws:PrincipalOrgID", String, One, PRINCIPAL_ORGANIZATION),
    key("aws:PrincipalOrgPaths", String, Many, "that organization is declared with a path"),
    key("aws:PrincipalServiceName", String, One, SERVICE),
    key("aws:PrincipalServiceNamesList", String, Many, SERVICE),
    key("aws:PrincipalTag/", String, One, "the user, role or session has this tag"),
    key("aws:PrincipalType", String, One, ALWAYS),
    key("aws:RequestedRegion", String, One, ALWAYS),
    key("aws:RequestTag/", String, One, "the request has this tag"),
    key("aws:ResourceAccount", String, One, ALWAYS),
    key("aws:ResourceOrgID", String, One, RESOURCE_ORGANIZATION),
    key("aws:ResourceOrgPaths", String, Many, "that organization is declared with a path"),
    key("aws:ResourceTag/", String, One, "the key or role has this tag"),
    key("aws:SecureTransport", Boolean, One, ALWAYS),
    key("aws:SourceAccount", String, One, "a service calls by itself and names the account"),
    key("aws:SourceArn", Arn, One, "a service calls by itself and names the resource it calls for"),
    key("aws:SourceIdentity", String, One, "the role was assumed with a source identity"),
    key("aws:SourceIp", IpAddress, One, "the request did not come through a VPC endpoint"),
    key(
        "aws:SourceOrgID",
        String,
        One,
        "the account that a service names is declared to be in an organization",
    ),
    key("aws:SourceOrgPaths", String, Many, "that organization is declared with a path"),
    key("aws:SourceVpc", String, One, "the VPC of the endpoint is declared"),
    key("aws:SourceVpce", String, One, ENDPOINT),
    key("aws:TagKeys", String, Many, TAGS),
    key("aws:TokenIssueTime", Date, One, TEMPORARY),
    key("aws:UserAgent", String, One, "the request has the header"),
    key("aws:userid", String, One, IDENTITY),
    key("aws:username", String, One, "the caller is a user"),
    key("aws:ViaAWSService", Boolean, One, ALWAYS),
    key("aws:VpceAccount", String, One, "the account of the endpoint is declared"),
    key("aws:VpceOrgID", String, One, "that account is declared to be in an organization"),
    key("aws:VpceOrgPaths", String, Many, "that organization is declared with a path"),
    key("aws:VpcSourceIp", IpAddress, One, ENDPOINT),
];
