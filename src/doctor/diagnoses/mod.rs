//! The table of all diagnoses, a file a side of the installation.

pub(super) mod inside;
pub(super) mod kms;
pub(super) mod machine;
pub(super) mod outside;

use crate::doctor::Diagnosis;

/// Every diagnosis, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Diagnosis> {
    let lists = [
        machine::configuration::ALL,
        machine::files::ALL,
        machine::state::ALL,
        machine::daemon::ALL,
        outside::certificates::ALL,
        outside::clock::ALL,
        outside::credentials::ALL,
        outside::endpoint::ALL,
        inside::hsm::ALL,
        inside::keys::ALL,
        kms::ALL,
    ];
    lists.into_iter().flatten().copied()
}
