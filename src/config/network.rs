//! From where the requests of a `[[kms.listener]]` come: VPC endpoints, and proxies that are believed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::review::Review;
use crate::config::schema;

const ID_CHARS_MAX: usize = 64;
const PROXIES_MAX: usize = 256;
const ACCOUNT_ID_DIGITS: usize = 12;

/// The network side of a listener of the KMS API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Present: everything that comes in here comes through it.
    pub vpc_endpoint: Option<VpcEndpoint>,
    /// Whose calls may pass at all; absent: everybody's.
    pub endpoint_policy_file: Option<PathBuf>,
    /// What is in that file; read with the other files.
    pub endpoint_policy: Option<String>,
    /// Reverse proxies that are believed by which addresses they were called.
    pub trusted_proxies: Vec<AddressRange>,
    /// Whether they are believed through which VPC endpoint, too: only those that replace these headers may be.
    pub trusted_vpc_headers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpoint {
    pub id: String,
    pub vpc: Option<String>,
    pub account: Option<String>,
}

/// Addresses in CIDR notation; without a prefix length, one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    base: IpAddr,
    prefix_bits: u32,
}

impl AddressRange {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let (_, width) = bits(base);
        let prefix_bits = prefix.unwrap_or(width);
        (prefix_bits <= width && base == base.to_canonical()).then_some(Self { base, prefix_bits })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let (base, width) = bits(self.base);
        let (address, address_width) = bits(address.to_canonical());
        let host_bits = width.saturating_sub(self.prefix_bits);
        // Shifting out all 128 bits is no shift at all for the processor, hence the check.
        width == address_width && (base ^ address).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_bits)
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

pub(super) fn network(review: &mut Review<'_>, table: &str, raw: &schema::KmsListener) -> Network {
    let schema::KmsListener { vpc, vpc_endpoint, vpc_endpoint_account, .. } = raw;
    let mut check = |member: &str, prefix: &str, value: &Option<String>| {
        let is_id = value.as_ref().is_none_or(|id| is_id(id, prefix));
        review.require(is_id, table, format_args!("`{member}` must look like `{prefix}0a1b2c3d`"));
    };
    check("vpc", "vpc-", vpc);
    check("vpc_endpoint", "vpce-", vpc_endpoint);
    let is_account =
        |id: &String| id.len() == ACCOUNT_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_digit());
    let has_account = vpc_endpoint_account.as_ref().is_none_or(is_account);
    review.require(has_account, table, "`vpc_endpoint_account` must be twelve digits");
    let is_whole = vpc_endpoint.is_some() || (vpc.is_none() && vpc_endpoint_account.is_none());
    review.require(is_whole, table, "`vpc` and `vpc_endpoint_account` go with `vpc_endpoint`");
    let has_proxies = !raw.trusted_vpc_headers || !raw.trusted_proxies.is_empty();
    review.require(has_proxies, table, "`trusted_vpc_headers` goes with `trusted_proxies`");
    Network {
        vpc_endpoint: vpc_endpoint.clone().map(|id| VpcEndpoint {
            id,
            vpc: vpc.clone(),
            account: vpc_endpoint_account.clone(),
        }),
        endpoint_policy_file: raw
            .endpoint_policy_file
            .as_ref()
            .map(|path| review.path(table, "endpoint_policy_file", path)),
        endpoint_policy: None,
        trusted_proxies: trusted_proxies(review, table, &raw.trusted_proxies),
        trusted_vpc_headers: raw.trusted_vpc_headers,
    }
}

fn trusted_proxies(review: &mut Review<'_>, table: &str, raw: &[String]) -> Vec<AddressRange> {
    let reason = format_args!("`trusted_proxies` has more than {PROXIES_MAX} entries");
    review.require(raw.len() <= PROXIES_MAX, table, reason);
    let mut ranges = Vec::new();
    for (place, text) in raw.iter().enumerate() {
        let range = AddressRange::parse(text);
        let reason = format_args!(
            "`trusted_proxies` entry {} must be an address or a range such as `10.0.0.0/8`",
            place + 1
        );
        review.require(range.is_some(), table, reason);
        ranges.extend(range);
    }
    ranges
}

/// Of the form that AWS gives them, without its rule about hexadecimal digits.
fn is_id(id: &str, prefix: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    id.len() <= ID_CHARS_MAX
        && id.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_legal))
}

#[cfg(test)]
mod tests {
    use super::AddressRange;

    #[test]
    fn a_range_contains_what_its_prefix_covers_in_the_shortest_form_of_an_address() {
        for (range, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
        ] {
            let range = AddressRange::parse(range).unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), is_in, "{range:?} {address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::ffff:10.0.0.0/104", "::/129", "proxy", "10.0.0.0/"] {
            assert!(AddressRange::parse(text).is_none(), "{text}");
        }
    }
}
