//! What a proxy's certificate says, for the metrics.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// As many as X.509 allows in a common name; a proxy chooses what becomes a label of ours.
const NAME_CHARS_MAX: usize = 64;

/// Name and end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyCertificate {
    /// The common name of the subject; empty if it has none.
    pub(super) name: String,
    pub(super) not_after_unix_seconds: i64,
}

impl ProxyCertificate {
    /// None for what is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        Some(Self {
            name: name.unwrap_or_default().chars().take(NAME_CHARS_MAX).collect(),
            not_after_unix_seconds: certificate.validity().not_after.timestamp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::ProxyCertificate;

    fn der(common_name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_name_is_the_common_name_and_short() {
        for (common_name, name) in [
            (Some("proxy"), "proxy".to_owned()),
            (None, String::new()),
            (Some(&"é".repeat(90)), "é".repeat(64)),
        ] {
            let certificate = ProxyCertificate::read(&der(common_name)).unwrap();
            assert_eq!((certificate.name, certificate.not_after_unix_seconds), (name, 1_927_843_200));
        }
    }

    proptest! {
        #[test]
        fn damaged_certificates_do_no_harm(place in 0_usize..400, byte in any::<u8>(), end in 0_usize..500) {
            let mut der = der(Some("proxy"));
            let place = place % der.len();
            der[place] = byte;
            der.truncate(end);
            if let Some(certificate) = ProxyCertificate::read(&der) {
                prop_assert!(certificate.name.chars().count() <= 64);
            }
        }
    }
}
