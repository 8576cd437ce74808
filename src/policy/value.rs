//! What condition values mean: numbers, dates, networks, and how they compare.

use std::cmp::Ordering;
use std::net::IpAddr;

use time::Date;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// A decimal number of any length, compared exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    is_negative: bool,
    /// Without leading zeros; empty for zero.
    whole: &'a str,
    /// Without trailing zeros.
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    /// Digits with an optional sign and an optional fraction; no exponent.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: text.starts_with('-') && !is_zero, whole, fraction })
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        let whole = self.whole.len().cmp(&other.whole.len()).then_with(|| self.whole.cmp(other.whole));
        whole.then_with(|| self.fraction.cmp(other.fraction))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.cmp_magnitude(other),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (true, true) => other.cmp_magnitude(self),
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A moment, in nanoseconds since the Unix epoch, written as W3C's Date and Time Formats have it (`2026-11`, `2026-11-30`,
/// `2026-11-30T12:00Z`, `2026-11-30T12:00:00Z` with any offset and fraction), or as a number of seconds, which a year
/// alone is too.
pub(super) fn parse_moment(text: &str) -> Option<i128> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    let from_text = || {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
        let midnight = || Some(Date::parse(text, DAY).ok()?.midnight().assume_utc());
        let first = || Some(Date::parse(&format!("{text}-01"), DAY).ok()?.midnight().assume_utc());
        let minute = || {
            let (minute, zone) = text.split_at_checked("2026-11-30T12:00".len())?;
            OffsetDateTime::parse(&format!("{minute}:00{zone}"), &Rfc3339).ok()
        };
        moment.or_else(midnight).or_else(minute).or_else(first).map(OffsetDateTime::unix_timestamp_nanos)
    };
    let from_number = || {
        let seconds = Decimal::parse(text)?;
        let whole: i128 = if seconds.whole.is_empty() { 0 } else { seconds.whole.parse().ok()? };
        let fraction: i128 = format!("{:0<9.9}", seconds.fraction).parse().ok()?;
        let magnitude = whole.checked_mul(NANOSECONDS_PER_SECOND)?.checked_add(fraction)?;
        Some(if seconds.is_negative { -magnitude } else { magnitude })
    };
    from_number().or_else(from_text)
}

/// A range of addresses in CIDR notation; without a prefix length, one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// An IPv4 range written as mapped into IPv6 is refused: addresses are compared in their shortest form, so it
    /// would match nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                let is_plain = prefix == "0" || !prefix.starts_with(['0', '+']);
                (address, Some(prefix.parse().ok().filter(|_| is_plain)?))
            }
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let (_, width) = bits(base);
        let prefix_bits = prefix.unwrap_or(width);
        (prefix_bits <= width && base == base.to_canonical()).then_some(Self { base, prefix_bits })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let (base, width) = bits(self.base);
        let (address, address_width) = bits(address.to_canonical());
        let host_bits = width.saturating_sub(self.prefix_bits);
        // Shifting out all 128 bits is no shift at all for the processor, hence the check.
        width == address_width && (base ^ address).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}
