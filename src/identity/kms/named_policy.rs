//! Policies with the names that people know them by, so that a decision can say which one made it.

use std::sync::Arc;

use crate::policy::PolicyDocument;

/// The name of the policy that the maker of a session cuts it down by.
pub const SESSION_POLICY: &str = "SessionPolicy";

/// A policy that has been read, and its name or ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPolicy {
    pub name: Box<str>,
    pub document: PolicyDocument,
}

/// Policies that many callers share.
pub type Policies = Arc<[Arc<NamedPolicy>]>;

impl NamedPolicy {
    pub fn new(name: &str, document: PolicyDocument) -> Arc<Self> {
        Arc::new(Self { name: Box::from(name), document })
    }
}
