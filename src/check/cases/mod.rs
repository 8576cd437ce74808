//! All cases: those of the official client, by its numbers, and those that it does not have.

mod authentication;
mod decrypt;
mod encrypt;
mod health;
mod key_usage;
mod limits;
mod metadata;
mod mutual_tls;
mod parameters;
mod signatures;
mod tampering;
mod transport;

pub(crate) use encrypt::random_bytes;

use crate::check::case::Group;

/// In the order in which they run.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "health", cases: health::CASES },
    Group { name: "metadata", cases: metadata::CASES },
    Group { name: "encrypt", cases: encrypt::CASES },
    Group { name: "decrypt", cases: decrypt::CASES },
    Group { name: "key usage", cases: key_usage::CASES },
    Group { name: "authentication", cases: authentication::CASES },
    Group { name: "signatures", cases: signatures::CASES },
    Group { name: "parameters", cases: parameters::CASES },
    Group { name: "limits", cases: limits::CASES },
    Group { name: "tampering", cases: tampering::CASES },
    Group { name: "transport", cases: transport::CASES },
    Group { name: "mutual TLS", cases: mutual_tls::CASES },
];
