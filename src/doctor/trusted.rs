//! The certification authorities that AWS KMS trusts in an external key store proxy.

const LIST: &str = include_str!("trusted_authorities.txt");

/// SHA-256 of each root certificate, in hexadecimal, and its name.
pub fn authorities() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

/// The name of the authority with this certificate.
pub(super) fn by_fingerprint(fingerprint: &str) -> Option<&'static str> {
    authorities().find(|(listed, _)| *listed == fingerprint).map(|(_, name)| name)
}

/// Whether one has this name.
pub(super) fn is_named(name: &str) -> bool {
    authorities().any(|(_, listed)| listed.eq_ignore_ascii_case(name))
}

/// Whether it is one of Amazon's, which sign the client certificate of AWS KMS.
pub(super) fn is_amazon(fingerprint: &str) -> bool {
    by_fingerprint(fingerprint)
        .is_some_and(|name| name.starts_with("Amazon Root CA") || name.starts_with("Starfield"))
}
