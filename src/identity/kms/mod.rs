//! Callers of the KMS API: users, roles and their sessions, each in an account.

mod administration;
mod caller;
mod declared;
mod directory;
mod named_policy;
mod organization;
mod record;
mod registry;
mod rules;
mod session_token;
mod sessions;
mod shown;
mod table;
#[cfg(test)]
mod tests;
mod vault;

pub use administration::{
    AdminAnswer, AdminError, AdminRequest, Administered, Holder, HolderKind, IdentityAdmin, NewAccessKey,
    Shown, ShownAccessKey, administer_json,
};
pub use caller::{Caller, Principal, ServiceCall, Session, TemporaryCredentials, Via};
pub use declared::{Declared, DeclaredError};
pub use directory::{Directory, Unauthenticated};
pub use named_policy::{NamedPolicy, Policies, SESSION_POLICY};
pub use organization::{Organization, Organizations};
pub use registry::Registry;
pub use rules::InvalidIdentity;
pub use session_token::SessionKey;
pub use sessions::{NewSession, SESSION_POLICY_CHARS_MAX, SessionCredentials, SessionError, session_arn};
pub use table::Role;
