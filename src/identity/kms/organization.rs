//! Which organization accounts belong to, as far as the identities file says so.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::kms::AccountId;

/// The organization of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// `aws:PrincipalOrgID`, such as `o-a1b2c3d4e5`.
    pub id: Box<str>,
    /// `aws:PrincipalOrgPaths`: organization, root and organizational units, such as `o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/`.
    pub path: Option<Box<str>>,
}

/// The organizations of all accounts.
pub type Organizations = Arc<HashMap<AccountId, Organization>>;
