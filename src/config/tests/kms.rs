//! `[kms]` and `[dev]`.

use std::path::Path;
use std::time::Duration;

use crate::config::LoadBalancer;
use crate::config::tests::KMS_ONLY;
use crate::config::tests::parse;

#[test]
fn the_kms_api_can_do_without_the_proxy() {
    let config = parse(KMS_ONLY).unwrap();
    assert!(config.listeners.is_empty() && config.key_stores.is_empty());
    let kms = config.kms.unwrap();
    assert_eq!((kms.tls_listeners.len(), kms.http_listeners.len()), (0, 1));
    assert!(kms.request_quotas.enabled && !config.dev.clock_control);
}

#[test]
fn kms_tables_are_checked() {
    for (from, to, problem) in [
        (
            "hsms = [\"token\"]",
            "hsms = [\"other\"]",
            "kms: `hsms` entry 1: no hsm is named `other`; there are: token",
        ),
        ("hsms = [\"token\"]", "hsms = []", "kms: `hsms` must name at least one hsm"),
        (
            "127.0.0.1:8443",
            "0.0.0.0:8443",
            "kms.listener `kms`: without a certificate, `listen` must be a loopback address: plaintext goes over it",
        ),
        (
            "listen = \"127.0.0.1:8443\"",
            "listen = \"127.0.0.1:8443\"\ncertificate_file = \"x\"",
            "kms.listener `kms`: `certificate_file` and `private_key_file` go together",
        ),
        (
            "127.0.0.1:8443",
            "127.0.0.1:8444",
            "kms.listener `kms`: `listen` is already taken by another table",
        ),
        (
            "[kms]",
            "[kms.request_quotas.per_second]\nCreateKey = 0.0\n[kms]",
            "kms.request_quotas.per_second: `CreateKey` must be more than 0 requests a second",
        ),
    ] {
        assert!(KMS_ONLY.contains(from), "{from}");
        let error = parse(&KMS_ONLY.replace(from, to)).unwrap_err();
        assert_eq!(error, format!("/etc/h.toml: {problem}"));
    }
}

#[test]
fn the_clock_is_moved_with_softhsm_only() {
    let with_clock = format!("{KMS_ONLY}[dev]\nclock_control = true\n");
    assert!(parse(&with_clock).unwrap().dev.clock_control);
    let other = with_clock.replace("libsofthsm2.so", "libcloudhsm_pkcs11.so");
    assert!(parse(&other).unwrap_err().contains("dev: `clock_control` is for SoftHSM only"));
    assert!(parse(&format!("{other}with_any_module = true\n")).unwrap().dev.clock_control);
}

fn problems_of_external_key_stores(members: &str) -> String {
    let error = parse(&format!("{KMS_ONLY}[kms.external_key_stores]\n{members}\n")).unwrap_err();
    error.replace("/etc/h.toml: kms.external_key_stores", "")
}

#[test]
fn external_key_stores_have_the_quota_of_aws_unless_told_otherwise() {
    let kms = parse(KMS_ONLY).unwrap().kms.unwrap();
    let absent = kms.external_key_stores;
    assert!(!absent.allow_ports && absent.tls.files().next().is_none());
    assert_eq!((absent.requests_per_second, absent.requests_per_second_by_id.len()), (1800, 0));
    assert_eq!(absent.health_interval, Duration::from_secs(60));

    let config = parse(&format!(
        "{KMS_ONLY}[kms.external_key_stores]\nallow_ports = true\nca_file = \"ca.pem\"\nrequests_per_second = 900\n\
         client_certificate_file = \"c.pem\"\nclient_private_key_file = \"c.key\"\n\
         [kms.external_key_stores.requests_per_second_by_id]\ncks-1234567890abcdef0 = 5\n\
         [[kms.external_key_stores.vpc_endpoint_service]]\n\
         name = \"com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0\"\nprivate_dns_name = \"proxy.example.com\"\n\
         load_balancer = \"gateway\"\n"
    ))
    .unwrap();
    let watched = config.watched_files();
    for file in ["ca.pem", "c.pem", "c.key"] {
        assert!(watched.contains(&Path::new("/etc").join(file)), "{file}");
    }
    let stores = config.kms.unwrap().external_key_stores;
    assert!(stores.allow_ports);
    assert_eq!(stores.requests_per_second_by_id["cks-1234567890abcdef0"], 5);
    assert_eq!(stores.requests_per_second, 900);
    let [service] = &stores.vpc_endpoint_services[..] else { panic!("{stores:?}") };
    assert_eq!((service.availability_zones, service.load_balancer), (2, LoadBalancer::Gateway));
    assert!(service.private_dns_verified && !service.acceptance_required && service.owner.is_none());
}

#[test]
fn everything_that_is_wrong_with_external_key_stores_is_told() {
    let service = |members: &str| format!("[[kms.external_key_stores.vpc_endpoint_service]]\n{members}");
    let named = "name = \"com.amazonaws.vpce.us-east-1.vpce-svc-0a\"\nprivate_dns_name = \"a.example.com\"\n";
    for (members, problems) in [
        ("requests_per_second = 1000001".to_owned(), vec![": `requests_per_second` must be 1 to 1000000"]),
        (
            "requests_per_second = 0\nhealth_interval_seconds = 0".to_owned(),
            vec![
                ": `requests_per_second` must be 1 to 1000000",
                ": `health_interval_seconds` must be 1 to 86400",
            ],
        ),
        (
            "[kms.external_key_stores.requests_per_second_by_id]\nother = 0".to_owned(),
            vec![
                ".requests_per_second_by_id: `other` is not the id of a custom key store",
                ".requests_per_second_by_id: `other` must be 1 to 1000000",
            ],
        ),
        (
            "client_certificate_file = \"c.pem\"".to_owned(),
            vec![": `client_certificate_file` and `client_private_key_file` go together"],
        ),
        (
            service(
                "name = \"vpce-svc-0a\"\nprivate_dns_name = \"a/b\"\nowner = \"me\"\navailability_zones = 101",
            ),
            vec![
                ".vpc_endpoint_service 1: `name` must look like \
                 `com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0`",
                ".vpc_endpoint_service 1: `private_dns_name` must be a host name",
                ".vpc_endpoint_service 1: `owner` must be an account id of 12 digits",
                ".vpc_endpoint_service 1: `availability_zones` must be 0 to 100",
            ],
        ),
        (
            service(named) + &service(named),
            vec![".vpc_endpoint_service 2: `name` is already taken by another table"],
        ),
    ] {
        assert_eq!(problems_of_external_key_stores(&members).lines().collect::<Vec<_>>(), problems);
    }
}

#[test]
fn attestation_needs_its_roots_and_is_off_without() {
    assert_eq!(parse(KMS_ONLY).unwrap().kms.unwrap().attestation, None);
    let with = |members: &str| parse(&format!("{KMS_ONLY}[kms.attestation]\n{members}\n"));
    let attestation =
        with("root_certificates_file = \"roots.pem\"").unwrap().kms.unwrap().attestation.unwrap();
    assert_eq!(attestation.root_certificates_file, Path::new("/etc/roots.pem"));
    assert!(with("").unwrap_err().contains("root_certificates_file"));
}
