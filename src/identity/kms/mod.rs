//! Callers of the KMS API: users, roles and their sessions, each in an account.

mod accounts;
mod administration;
mod caller;
mod claim;
mod declared;
mod directory;
mod managed;
mod mfa;
mod named_policy;
mod network;
mod organization;
mod record;
mod registry;
mod rules;
mod service;
mod session_token;
mod sessions;
mod shown;
mod table;
#[cfg(test)]
mod tests;
mod vault;

pub use administration::{
    AdminAnswer, AdminError, AdminRequest, Administered, Holder, HolderKind, IdentityAdmin, NewAccessKey,
    NewMfaDevice, Shown, ShownAccessKey, administer_json,
};
pub use caller::{Caller, Principal, ServiceCall, Session, TemporaryCredentials, Via};
pub use claim::Claim;
pub use declared::{Declared, DeclaredError};
pub use directory::{Directory, MfaError, Unauthenticated};
pub use mfa::MfaRefused;
pub use named_policy::{NamedPolicy, Policies, SESSION_POLICY};
pub use network::{Network, Networks, Origin, VpcEndpoint};
pub use organization::{Organization, Organizations};
pub use registry::Registry;
pub use rules::InvalidIdentity;
pub use service::ServiceRefused;
pub use session_token::SessionKey;
pub use sessions::{
    NewSession, NewUserSession, SESSION_POLICY_CHARS_MAX, SessionCredentials, SessionError, SessionTime,
    session_arn,
};
pub use table::Role;
