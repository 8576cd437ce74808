//! VPC endpoint services: declared, not real ones, so that key stores can be rehearsed that will need them.

use crate::domain::kms::{ExternalBacking, Region, VpcEndpointService, XksProxyConnectivity};
use crate::gate::kms::key_store_refused::VpcEndpointServiceRefused;

/// A service as the configuration declares it, with what AWS KMS checks of it (AWS KMS Developer Guide, Configuring
/// VPC endpoint service connectivity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredVpcEndpointService {
    pub name: String,
    pub private_dns_name: String,
    pub private_dns_verified: bool,
    pub owner: Option<String>,
    pub acceptance_required: bool,
    pub availability_zones: u32,
    pub has_network_load_balancer: bool,
    pub allowed_principals: Vec<String>,
}

const AVAILABILITY_ZONES_MIN: u32 = 2;

/// What can be known of the service of an external key store without asking its proxy.
pub(super) fn check(
    backing: &ExternalBacking,
    region: &Region,
    declared: &[DeclaredVpcEndpointService],
) -> Result<(), VpcEndpointServiceRefused> {
    match (&backing.vpc_endpoint_service, backing.connectivity) {
        (Some(service), XksProxyConnectivity::VpcEndpointService) => {
            check_service(service, &backing.uri_endpoint, (region, declared))
        }
        (Some(_) | None, XksProxyConnectivity::PublicEndpoint)
        | (None, XksProxyConnectivity::VpcEndpointService) => Ok(()),
    }
}

fn check_service(
    service: &VpcEndpointService,
    uri_endpoint: &str,
    (region, declared): (&Region, &[DeclaredVpcEndpointService]),
) -> Result<(), VpcEndpointServiceRefused> {
    let missing = || VpcEndpointServiceRefused::NotFound { name: service.name.clone() };
    // `com.amazonaws.vpce.<region>.vpce-svc-…`
    if service.name.split('.').nth(3) != Some(region.as_str()) {
        return Err(missing());
    }
    if declared.is_empty() {
        return Ok(());
    }
    let known = declared.iter().find(|known| known.name == service.name).ok_or_else(missing)?;
    let is_owner = service.owner.is_none() || known.owner.is_none() || service.owner == known.owner;
    // To KMS a service that does not admit it is not there.
    let principal = format!("cks.kms.{region}.amazonaws.com");
    if !is_owner || !known.allowed_principals.iter().any(|allowed| *allowed == principal || allowed == "*") {
        return Err(missing());
    }
    let rules = [
        (known.availability_zones >= AVAILABILITY_ZONES_MIN, "it must be in at least two Availability Zones"),
        (known.has_network_load_balancer, "it must have a network load balancer"),
        (!known.acceptance_required, "it must not require acceptance of connections"),
        (known.private_dns_verified, "the domain of its private DNS name must be verified"),
        (
            uri_endpoint.strip_prefix("https://").is_some_and(|host| {
                let name = host.split_once(':').map_or(host, |(name, _)| name);
                name.eq_ignore_ascii_case(&known.private_dns_name)
            }),
            "the XksProxyUriEndpoint must be `https://` and its private DNS name",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, rule)) => Err(VpcEndpointServiceRefused::InvalidConfiguration(rule.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{DeclaredVpcEndpointService, check};
    use crate::domain::kms::{
        ExternalBacking, Region, SealedSecret, UnixMillis, VpcEndpointService, XksProxyConnectivity,
    };
    use crate::gate::kms::key_store_refused::VpcEndpointServiceRefused;

    const NAME: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-1";

    fn backing() -> ExternalBacking {
        ExternalBacking {
            connectivity: XksProxyConnectivity::VpcEndpointService,
            uri_endpoint: "https://proxy.example.com".to_owned(),
            uri_path: "/kms/xks/v1".to_owned(),
            vpc_endpoint_service: Some(VpcEndpointService { name: NAME.to_owned(), owner: None }),
            access_key_id: String::new(),
            secret_access_key: SealedSecret(Vec::new()),
            credential_since: UnixMillis(0),
        }
    }

    fn sound() -> DeclaredVpcEndpointService {
        DeclaredVpcEndpointService {
            name: NAME.to_owned(),
            private_dns_name: "proxy.example.com".to_owned(),
            private_dns_verified: true,
            owner: Some("111122223333".to_owned()),
            acceptance_required: false,
            availability_zones: 2,
            has_network_load_balancer: true,
            allowed_principals: vec!["cks.kms.us-east-1.amazonaws.com".to_owned()],
        }
    }

    fn checked(declared: DeclaredVpcEndpointService) -> Result<(), VpcEndpointServiceRefused> {
        check(&backing(), &Region::parse("us-east-1").unwrap(), &[declared])
    }

    #[test]
    fn a_sound_service_passes_and_so_does_any_where_none_is_declared() {
        assert_eq!(checked(sound()), Ok(()));
        assert_eq!(check(&backing(), &Region::parse("us-east-1").unwrap(), &[]), Ok(()));
    }

    #[test]
    fn what_kms_could_not_see_is_not_found() {
        let missing = Err(VpcEndpointServiceRefused::NotFound { name: NAME.to_owned() });
        assert_eq!(check(&backing(), &Region::parse("eu-west-1").unwrap(), &[]), missing);
        assert_eq!(
            checked(DeclaredVpcEndpointService { allowed_principals: Vec::new(), ..sound() }),
            missing
        );
        assert_eq!(checked(DeclaredVpcEndpointService { name: "other".to_owned(), ..sound() }), missing);
        let owned = VpcEndpointService { name: NAME.to_owned(), owner: Some("999999999999".to_owned()) };
        let backing = ExternalBacking { vpc_endpoint_service: Some(owned), ..backing() };
        assert_eq!(check(&backing, &Region::parse("us-east-1").unwrap(), &[sound()]), missing);
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (declared, word) in [
            (DeclaredVpcEndpointService { availability_zones: 1, ..sound() }, "Availability"),
            (DeclaredVpcEndpointService { has_network_load_balancer: false, ..sound() }, "load balancer"),
            (DeclaredVpcEndpointService { acceptance_required: true, ..sound() }, "acceptance"),
            (DeclaredVpcEndpointService { private_dns_verified: false, ..sound() }, "verified"),
            (
                DeclaredVpcEndpointService { private_dns_name: "other.example.com".to_owned(), ..sound() },
                "DNS",
            ),
        ] {
            let Err(VpcEndpointServiceRefused::InvalidConfiguration(reason)) = checked(declared) else {
                panic!("{word} was not refused")
            };
            assert!(reason.contains(word), "{reason}");
        }
    }
}
