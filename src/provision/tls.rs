//! A small CA for this machine, a server certificate for `localhost`, a client certificate as AWS KMS has one.

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use aws_lc_rs::rand;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CidrSubnet;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::GeneralSubtree;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::NameConstraints;
use rcgen::PublicKeyData;
use rcgen::SerialNumber;
use time::Duration;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::private_file;
use crate::provision::Error;
use crate::provision::Folder;
use crate::provision::Report;
use crate::provision::io_at;

/// The subject of AWS KMS in this Region (XKS v1, Authentication).
pub(super) const CLIENT_SUBJECT: &str = "cks.kms.us-east-1.amazonaws.com";
const SERVER_NAME: &str = "localhost";

const CA_DAYS: i64 = 3650;
/// The longest that every TLS client accepts of a private CA.
const LEAF_DAYS: i64 = 825;
const RENEWAL_DAYS: i64 = 30;
/// Certificates hold from yesterday on, for machines whose clock is behind.
const CLOCK_SKEW_DAYS: i64 = 1;

/// The CA at work.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_id: Vec<u8>,
    now: OffsetDateTime,
}

/// A key that is there is kept, so that whoever trusts the CA goes on trusting it.
pub(super) fn provision(folder: &Folder, clock: &dyn Clock, report: &mut Report<'_>) -> Result<(), Error> {
    let tls = folder.tls();
    DirBuilder::new().recursive(true).mode(0o700).create(&tls).map_err(io_at(&tls))?;
    let (ca_params, ca_key) = (ca_params(), provision_key(&tls.join("ca.key"))?);
    let authority = Authority {
        key_id: ca_params.key_identifier(&ca_key),
        issuer: Issuer::new(ca_params.clone(), ca_key),
        now: OffsetDateTime::from(clock.now()),
    };
    let certificates = [
        ("ca", ca_params, CA_DAYS),
        ("server", server_params()?, LEAF_DAYS),
        ("client", client_params(), LEAF_DAYS),
    ];
    for (name, params, days) in certificates {
        let key = provision_key(&tls.join(format!("{name}.key")))?;
        let path = tls.join(format!("{name}.pem"));
        if !authority.is_current(&path, &key)? {
            authority.issue(&path, params, days, &key)?;
            report.made(&path)?;
        }
    }
    provision_cluster(folder, authority.now, report)
}

/// The trust anchor of the cluster: a CA that has signed nothing, since SoftHSM is no HSM that a network is before.
fn provision_cluster(folder: &Folder, now: OffsetDateTime, report: &mut Report<'_>) -> Result<(), Error> {
    let path = folder.tls().join("cluster-ca.pem");
    let (params, key) = (cluster_params(), provision_key(&folder.tls().join("cluster-ca.key"))?);
    let issuer_key = provision_key(&folder.tls().join("cluster-ca.key"))?;
    let authority = Authority {
        key_id: params.key_identifier(&key),
        issuer: Issuer::new(params.clone(), issuer_key),
        now,
    };
    if !authority.is_current(&path, &key)? {
        authority.issue(&path, params, CA_DAYS, &key)?;
        report.made(&path)?;
    }
    Ok(())
}

fn cluster_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("Holdfast quick start cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn provision_key(path: &Path) -> Result<KeyPair, Error> {
    let at = |error| Error::Certificate(path.to_owned(), error);
    match private_file::read(path) {
        Ok(pem) => KeyPair::from_pem(&String::from_utf8_lossy(pem.expose())).map_err(at),
        Err(error) if error.is_not_found() => {
            let key = KeyPair::generate().map_err(at)?;
            let pem = Zeroizing::new(key.serialize_pem());
            private_file::replace(path, pem.as_bytes()).map_err(io_at(path))?;
            Ok(key)
        }
        Err(error) => Err(Error::PrivateFile(error)),
    }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject
}

/// Whoever trusts this CA trusts it for this machine and for the one client alone.
fn ca_params() -> CertificateParams {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let prefix_bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let names = [SERVER_NAME, CLIENT_SUBJECT].map(|name| GeneralSubtree::DnsName(name.into()));
    let addresses = addresses.map(|address| {
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix_bits(address)))
    });
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("Holdfast quick start CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.into_iter().chain(addresses).collect(),
        excluded_subtrees: Vec::new(),
    });
    params
}

fn server_params() -> Result<CertificateParams, Error> {
    let names = [SERVER_NAME.to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
    let mut params =
        CertificateParams::new(names).map_err(|error| Error::Certificate("server".into(), error))?;
    params.distinguished_name = subject(SERVER_NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Like that of AWS KMS, it is named by its common name alone.
fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(CLIENT_SUBJECT);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Authority {
    /// Whether the certificate is there, lasts a while, and belongs to its key and to this CA.
    fn is_current(&self, path: &Path, key: &KeyPair) -> Result<bool, Error> {
        let pem = match private_file::read(path) {
            Err(error) if error.is_not_found() => return Ok(false),
            other => other.map_err(Error::PrivateFile)?,
        };
        let Ok((_, pem)) = parse_x509_pem(pem.expose()) else { return Ok(false) };
        let Ok(certificate) = pem.parse_x509() else { return Ok(false) };
        let renewal = self.now + Duration::days(RENEWAL_DAYS);
        let lasts = certificate.validity().not_after.timestamp() > renewal.unix_timestamp();
        let has_key = certificate.public_key().raw == key.subject_public_key_info();
        let has_our_id = |extension: &ParsedExtension<'_>| {
            let ParsedExtension::AuthorityKeyIdentifier(authority) = extension else { return false };
            authority.key_identifier.as_ref().is_some_and(|id| id.0 == self.key_id)
        };
        let is_ours =
            certificate.extensions().iter().any(|extension| has_our_id(extension.parsed_extension()));
        Ok(lasts && has_key && is_ours)
    }

    fn issue(
        &self,
        path: &Path,
        mut params: CertificateParams,
        days: i64,
        key: &KeyPair,
    ) -> Result<(), Error> {
        let mut serial = [0; 16];
        rand::fill(&mut serial)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = self.now - Duration::days(CLOCK_SKEW_DAYS);
        params.not_after = self.now + Duration::days(days);
        params.use_authority_key_identifier_extension = true;
        let at = |error| Error::Certificate(path.to_owned(), error);
        let certificate = params.signed_by(key, &self.issuer).map_err(at)?;
        private_file::replace(path, certificate.pem().as_bytes()).map_err(io_at(path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;
    use std::time::SystemTime;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use tempfile::TempDir;

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

    /// Stands still at a day.
    struct Day(u32);

    impl Clock for Day {
        fn now(&self) -> SystemTime {
            START + DAY * (20_000 + self.0)
        }

        fn instant(&self) -> Instant {
            unimplemented!("certificates know no monotonic time")
        }
    }

    struct Site(TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().unwrap());
            site.provision_on(0);
            site
        }

        /// Runs on a day; the names of the certificates that were made.
        fn provision_on(&self, day: u32) -> Vec<String> {
            let folder = Folder::new(self.0.path()).unwrap();
            let mut out = Vec::new();
            provision(&folder, &Day(day), &mut Report { out: &mut out, folder: &folder }).unwrap();
            let out = String::from_utf8(out).unwrap();
            out.lines().map(|line| line.rsplit_once('/').unwrap().1.to_owned()).collect()
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join("tls").join(name)
        }
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn certificates_are_made_again_when_less_than_thirty_days_are_left() {
        let site = Site::new();
        assert_eq!(site.provision_on(0), NONE);
        assert_eq!(site.provision_on(794), NONE);
        let keys = ["ca.key", "server.key", "client.key"].map(|name| fs::read(site.path(name)).unwrap());
        assert_eq!(site.provision_on(795), ["server.pem", "client.pem"]);
        assert_eq!(site.provision_on(795), NONE);
        assert_eq!(site.provision_on(3620), ["ca.pem", "server.pem", "client.pem", "cluster-ca.pem"]);
        let kept = ["ca.key", "server.key", "client.key"].map(|name| fs::read(site.path(name)).unwrap());
        assert_eq!(keys, kept);
    }

    #[test]
    fn a_certificate_that_does_not_fit_is_made_again() {
        let site = Site::new();
        fs::remove_file(site.path("server.key")).unwrap();
        assert_eq!(site.provision_on(0), ["server.pem"]);
        private_file::replace(&site.path("client.pem"), b"not a certificate").unwrap();
        assert_eq!(site.provision_on(0), ["client.pem"]);
        fs::remove_file(site.path("ca.key")).unwrap();
        assert_eq!(site.provision_on(0), ["ca.pem", "server.pem", "client.pem"]);
        // The new CA under the old leaves: nothing but the names would fit.
        let other = Site::new();
        fs::copy(other.path("server.pem"), site.path("server.pem")).unwrap();
        fs::copy(other.path("server.key"), site.path("server.key")).unwrap();
        assert_eq!(site.provision_on(0), ["server.pem"]);
    }

    #[test]
    fn a_certificate_made_again_has_another_serial_number_and_the_names_of_the_first() {
        let site = Site::new();
        let read = || {
            let pem = fs::read(site.path("server.pem")).unwrap();
            let der = CertificateDer::from_pem_slice(&pem).unwrap();
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
            let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
            (certificate.raw_serial_as_string(), certificate.subject().to_string(), names)
        };
        let (first_serial, subject, names) = read();
        site.provision_on(800);
        let (second_serial, same_subject, same_names) = read();
        assert_ne!(first_serial, second_serial);
        assert_eq!((subject.as_str(), names), ("CN=localhost", 3));
        assert_eq!((same_subject.as_str(), same_names), ("CN=localhost", 3));
    }
}
