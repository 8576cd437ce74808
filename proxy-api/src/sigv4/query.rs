//! The query string: a signature in it, and its canonical form.

use std::borrow::Cow;

use super::{ALGORITHM, Refusal};

/// What a query string claims, as it travels.
#[derive(Clone, Copy)]
pub(super) struct QueryClaim<'a> {
    pub(super) credential: &'a str,
    pub(super) date: &'a str,
    pub(super) expires_seconds: i64,
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
}

const X_AMZ_SIGNATURE: &str = "X-Amz-Signature";
/// A week.
const EXPIRES_SECONDS_MAX: i64 = 604_800;

impl<'a> QueryClaim<'a> {
    /// Nothing if the query string claims nothing.
    pub(super) fn find(query: &'a str) -> Result<Option<Self>, Refusal> {
        let all =
            ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"];
        let [algorithm, credential, date, expires, signed_headers] = all.map(|name| value(query, name));
        let signature = value(query, X_AMZ_SIGNATURE);
        if algorithm.is_none() && signature.is_none() {
            return Ok(None);
        }
        let names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        let is_once = |wanted: &str| names.clone().filter(|name| *name == wanted).count() == 1;
        if !all.iter().all(|name| is_once(name)) || !is_once(X_AMZ_SIGNATURE) {
            return Err(Refusal::AuthorizationMalformed);
        }
        if algorithm != Some(ALGORITHM) {
            return Err(Refusal::AlgorithmUnsupported);
        }
        let expires_seconds = expires.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let expires_seconds = expires_seconds.and_then(|text| text.parse().ok());
        let expires_seconds = expires_seconds.filter(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(seconds));
        let claim = || {
            Some(Self {
                credential: credential?,
                date: date?,
                expires_seconds: expires_seconds?,
                signed_headers: signed_headers?,
                signature: signature?,
            })
        };
        claim().map(Some).ok_or(Refusal::AuthorizationMalformed)
    }
}

/// The first value of a parameter, as it travels.
pub(super) fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(is, _)| *is == name).map(|(_, value)| value)
}

/// Splits at `separator` and at its encodings.
pub(super) fn split_encoded<'a>(
    text: &'a str,
    [upper, lower]: [&'static str; 2],
    separator: char,
) -> impl Iterator<Item = &'a str> {
    text.split(separator).flat_map(move |part| part.split(upper)).flat_map(move |part| part.split(lower))
}

/// Percent-decoded, if that gives text.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    String::from_utf8(decoded(text).collect()).ok().map(Cow::Owned)
}

/// A `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some(byte)
    })
}

/// All parameters but the signature, decoded and encoded again in the one way, sorted by name and value.
pub(super) fn push_query(out: &mut Vec<u8>, query: &str) {
    if query.is_empty() {
        return;
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut encoded: Vec<(Vec<u8>, Vec<u8>)> = pairs
        .filter(|(name, _)| *name != X_AMZ_SIGNATURE)
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    encoded.sort_unstable();
    for (index, (name, value)) in encoded.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

const UPPER_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in decoded(text) {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            let nibbles = [byte >> 4, byte & 0x0f];
            out.extend(nibbles.into_iter().filter_map(|nibble| UPPER_DIGITS.get(usize::from(nibble))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{decode, push_query};

    #[test]
    fn parameters_are_encoded_in_one_way_and_sorted() {
        for (query, canonical) in [
            ("", ""),
            ("Param2=value2&Param1=value1", "Param1=value1&Param2=value2"),
            ("Param1=value2&Param1=Value1", "Param1=Value1&Param1=value2"),
            ("\u{1234}=bar", "%E1%88%B4=bar"),
            ("%e1%88%b4=b%61r", "%E1%88%B4=bar"),
            ("Param1", "Param1="),
            ("a=b=c&&d=%zz", "a=b%3Dc&d=%25zz"),
            ("-._~09Az=-._~", "-._~09Az=-._~"),
            ("a=1&X-Amz-Signature=00", "a=1"),
        ] {
            let mut out = Vec::new();
            push_query(&mut out, query);
            assert_eq!(String::from_utf8(out).unwrap(), canonical, "{query}");
        }
    }

    #[test]
    fn decoding_gives_text_or_nothing() {
        assert_eq!(decode("a%2Fb%2b").as_deref(), Some("a/b+"));
        assert_eq!(decode("%ff"), None);
        assert_eq!(decode("a+%").as_deref(), Some("a+%"));
    }
}
