//! From where a request comes: its address, and the VPC endpoint that it came through.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};

use crate::config::{self, AddressRange};
use crate::identity::kms::named_policy::NamedPolicy;
use crate::identity::kms::rules;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Names the VPC endpoint that a client of a proxy came through, if the proxy is trusted in this, too.
const X_VPC_ENDPOINT: HeaderName = HeaderName::from_static("x-holdfast-vpc-endpoint");
const X_VPC: HeaderName = HeaderName::from_static("x-holdfast-vpc");
/// What a header may say; a longer id is none.
const ID_CHARS_MAX: usize = 64;

/// The network side of every listener of the KMS API, by its name.
#[derive(Default)]
pub struct Networks(ArcSwap<BTreeMap<String, Arc<Network>>>);

/// That of one listener.
#[derive(Debug, Default)]
pub struct Network {
    settings: config::Network,
    endpoint_policy: Option<Arc<NamedPolicy>>,
}

/// From where one request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who connected, or for whom a trusted proxy says that it did.
    pub source_ip: IpAddr,
    pub vpc: Option<VpcEndpoint<'a>>,
}

/// The end of a private network that requests come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpcEndpoint<'a> {
    /// `aws:SourceVpce`
    pub id: &'a str,
    /// `aws:SourceVpc`
    pub vpc: Option<&'a str>,
    /// `aws:VpceAccount`: whose endpoint it is.
    pub account: Option<&'a str>,
}

impl Networks {
    /// What the configuration says, put in force in place of what it said before.
    pub fn declare(&self, settings: BTreeMap<String, Network>) {
        let networks = settings.into_iter().map(|(name, network)| (name, Arc::new(network)));
        self.0.store(Arc::new(networks.collect()));
    }

    /// Reads the endpoint policies; says which one is wrong and why.
    pub fn read(settings: &BTreeMap<String, config::Network>) -> Result<BTreeMap<String, Network>, String> {
        let read = |(name, network): (&String, &config::Network)| {
            let network = Network::new(network);
            let network = network.map_err(|reason| {
                format!("kms.listener `{name}`: the policy of `endpoint_policy_file`: {reason}")
            })?;
            Ok((name.clone(), network))
        };
        settings.iter().map(read).collect()
    }

    pub fn of_listener(&self, name: &str) -> Arc<Network> {
        self.0.load().get(name).cloned().unwrap_or_default()
    }
}

impl Network {
    fn new(settings: &config::Network) -> Result<Self, String> {
        let policy = settings.endpoint_policy.as_ref().map(|text| {
            let id = settings.vpc_endpoint.as_ref().map_or("EndpointPolicy", |endpoint| endpoint.id.as_str());
            rules::endpoint_policy(text).map(|document| NamedPolicy::new(id, document))
        });
        Ok(Self { settings: settings.clone(), endpoint_policy: policy.transpose()? })
    }

    /// Whose calls may pass at all; absent: everybody's.
    pub fn endpoint_policy(&self) -> Option<&NamedPolicy> {
        self.endpoint_policy.as_deref()
    }

    /// Headers of anybody but a trusted proxy say nothing, nor do those about an endpoint where the listener is one.
    pub fn origin<'a>(&'a self, peer: IpAddr, headers: &'a HeaderMap) -> Origin<'a> {
        let peer = peer.to_canonical();
        let declared = self.settings.vpc_endpoint.as_ref().map(|endpoint| VpcEndpoint {
            id: &endpoint.id,
            vpc: endpoint.vpc.as_deref(),
            account: endpoint.account.as_deref(),
        });
        if !self.trusts(peer) {
            return Origin { source_ip: peer, vpc: declared };
        }
        Origin { source_ip: self.client(peer, headers), vpc: declared.or_else(|| self.named(headers)) }
    }

    /// The endpoint that a trusted proxy names. A proxy that does not know of these headers passes on what its client
    /// wrote, so that trusting its addresses is not enough.
    fn named<'a>(&self, headers: &'a HeaderMap) -> Option<VpcEndpoint<'a>> {
        let endpoint = id(headers, &X_VPC_ENDPOINT).filter(|_| self.settings.trusted_vpc_headers)?;
        Some(VpcEndpoint { id: endpoint, vpc: id(headers, &X_VPC), account: None })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted_proxies.iter().any(|range: &AddressRange| range.contains(address))
    }

    /// Each proxy adds at the end who it was called by. Going back from the end, whoever is no trusted proxy is the
    /// client; what stands before that, it can have written itself.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(X_FORWARDED_FOR);
        let texts: Vec<_> = lines.iter().map(|line| line.to_str().unwrap_or_default()).collect();
        let mut nearest = peer;
        for entry in texts.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = parse(entry.trim()) else { return nearest };
            nearest = address;
            if !self.trusts(address) {
                return nearest;
            }
        }
        nearest
    }
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

/// The last line of a header: a proxy that adds its own leaves those of the client before it.
fn id<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get_all(name).iter().next_back()?.to_str().ok()?.trim();
    let is_id = (1..=ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then_some(text)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Network, VpcEndpoint};
    use crate::config::{self, AddressRange};

    fn network(endpoint: Option<&str>, proxies: &[&str]) -> Network {
        let settings = config::Network {
            vpc_endpoint: endpoint.map(|id| config::VpcEndpoint {
                id: id.to_owned(),
                vpc: Some("vpc-1".to_owned()),
                account: Some("111122223333".to_owned()),
            }),
            trusted_proxies: proxies.iter().map(|range| AddressRange::parse(range).unwrap()).collect(),
            ..config::Network::default()
        };
        Network::new(&settings).unwrap()
    }

    /// One whose proxies replace the headers about VPC endpoints.
    fn trusting(endpoint: Option<&str>, proxies: &[&str]) -> Network {
        let mut network = network(endpoint, proxies);
        network.settings.trusted_vpc_headers = true;
        network
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_is_the_client() {
        let network = network(None, &["10.0.0.0/8", "2001:db8::/32"]);
        for (peer, lines, client) in [
            ("203.0.113.1", vec!["198.51.100.1"], "203.0.113.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("::ffff:10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["192.0.2.66, 198.51.100.1, 10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", vec!["192.0.2.66", "198.51.100.1", "10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", vec!["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            ("2001:db8::1", vec!["[2001:db9::5]:443"], "2001:db9::5"),
            ("2001:db8::1", vec!["[2001:db9::5]"], "2001:db9::5"),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|line| ("x-forwarded-for", line)).collect();
            let headers = headers(&lines);
            let origin = network.origin(peer.parse().unwrap(), &headers);
            assert_eq!(origin.source_ip.to_string(), client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_vpc_endpoint_is_named_by_the_listener_or_a_trusted_proxy_and_by_nobody_else() {
        let lines = [("x-holdfast-vpc-endpoint", "vpce-9"), ("x-holdfast-vpc", "vpc-9")];
        let headers = headers(&lines);
        let named = VpcEndpoint { id: "vpce-9", vpc: Some("vpc-9"), account: None };
        let own = VpcEndpoint { id: "vpce-1", vpc: Some("vpc-1"), account: Some("111122223333") };
        for (network, peer, expected) in [
            (trusting(None, &["10.0.0.1"]), "10.0.0.1", Some(named)),
            (trusting(None, &["10.0.0.1"]), "10.0.0.2", None),
            (trusting(None, &[]), "10.0.0.1", None),
            // Trusted with addresses only.
            (network(None, &["10.0.0.1"]), "10.0.0.1", None),
            (network(Some("vpce-1"), &[]), "10.0.0.1", Some(own)),
            (trusting(Some("vpce-1"), &["10.0.0.1"]), "10.0.0.1", Some(own)),
        ] {
            assert_eq!(network.origin(peer.parse().unwrap(), &headers).vpc, expected);
        }
    }

    #[test]
    fn of_several_headers_the_one_of_the_proxy_counts_and_a_vpc_without_endpoint_is_none() {
        let network = trusting(None, &["10.0.0.1"]);
        let peer = "10.0.0.1".parse().unwrap();
        let forged =
            headers(&[("x-holdfast-vpc-endpoint", "vpce-forged"), ("x-holdfast-vpc-endpoint", "vpce-9")]);
        assert_eq!(network.origin(peer, &forged).vpc.unwrap().id, "vpce-9");
        for lines in [[("x-holdfast-vpc", "vpc-9")], [("x-holdfast-vpc-endpoint", "vpce 9")]] {
            assert_eq!(network.origin(peer, &headers(&lines)).vpc, None);
        }
    }

    #[test]
    fn an_endpoint_policy_that_cannot_be_read_is_refused() {
        let settings =
            config::Network { endpoint_policy: Some("{}".to_owned()), ..config::Network::default() };
        assert!(Network::new(&settings).is_err());
    }
}
