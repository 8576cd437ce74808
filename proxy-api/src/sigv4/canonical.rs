//! The canonical request and the string to sign: what both sides hash.

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue};

use super::authorization::SignedHeaders;
use super::hex::push_hex;
use super::query::push_query;
use super::{ALGORITHM, HOST, Refusal, SCOPE_END, Scope};

/// Room for a request that signs the usual headers, so that the buffer is allocated once.
const CANONICAL_BYTES_USUAL: usize = 512;

const X_AMZ_CONTENT_SHA256: &str = "x-amz-content-sha256";

/// An HTTP request as it travels.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As received: still encoded, not normalised.
    pub path: &'a str,
    /// As received. Must be absent where a signature is verified for the XKS API.
    pub query: Option<&'a str>,
    /// `:authority` under HTTP/2; absent under HTTP/1.1, which has a `Host` header.
    pub authority: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// The string to sign for `request` if it was signed at `signed_at`.
pub(super) fn string_to_sign(
    request: &Request<'_>,
    signed_headers: SignedHeaders<'_>,
    scope: &Scope<'_>,
    signed_at: &str,
) -> Result<Vec<u8>, Refusal> {
    // One buffer for both texts: hashing a short text at once is cheaper than in twenty pieces.
    let mut buffer = Vec::with_capacity(CANONICAL_BYTES_USUAL);
    push_canonical_request(&mut buffer, request, signed_headers)?;
    let canonical_digest = digest(&SHA256, &buffer);
    buffer.clear();
    push_line(&mut buffer, ALGORITHM);
    push_line(&mut buffer, signed_at);
    for part in [scope.date, scope.region, scope.service] {
        buffer.extend_from_slice(part.as_bytes());
        buffer.push(b'/');
    }
    push_line(&mut buffer, SCOPE_END);
    push_hex(&mut buffer, canonical_digest.as_ref());
    Ok(buffer)
}

fn push_canonical_request(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    signed_headers: SignedHeaders<'_>,
) -> Result<(), Refusal> {
    push_line(out, request.method);
    push_path(out, request.path);
    out.push(b'\n');
    push_query(out, request.query.unwrap_or_default());
    out.push(b'\n');
    for name in signed_headers.names() {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        push_values(out, request, name)?;
        out.push(b'\n');
    }
    out.push(b'\n');
    for (index, name) in signed_headers.names().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'\n');
    push_hex(out, digest(&SHA256, request.body).as_ref());
    Ok(())
}

/// Whether the hash of the body in a header, if there is one, is that of the body.
pub(super) fn body_hash_is_claimed(request: &Request<'_>) -> Option<bool> {
    let mut claimed = request.headers.get_all(X_AMZ_CONTENT_SHA256).iter();
    let first = claimed.next()?;
    let mut hash = Vec::with_capacity(64);
    push_hex(&mut hash, digest(&SHA256, request.body).as_ref());
    Some(first.as_bytes() == hash && claimed.next().is_none())
}

fn push_line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Each byte that is not unreserved is encoded again, so `%` becomes `%25`, as for every service but S3.
fn push_path(out: &mut Vec<u8>, path: &str) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.push(b'%');
            let start = out.len();
            push_hex(out, &[byte]);
            out.iter_mut().skip(start).for_each(u8::make_ascii_uppercase);
        }
    }
}

fn push_values(out: &mut Vec<u8>, request: &Request<'_>, name: &str) -> Result<(), Refusal> {
    if name == HOST {
        push_value(out, host(request)?);
        return Ok(());
    }
    let mut values = request.headers.get_all(name).iter();
    push_value(out, values.next().ok_or(Refusal::SignedHeaderAbsent)?.as_bytes());
    for value in values {
        out.push(b',');
        push_value(out, value.as_bytes());
    }
    Ok(())
}

/// Under HTTP/2 `:authority` takes the part of `Host` (XKS v1, Appendix A, Task 1).
fn host<'a>(request: &Request<'a>) -> Result<&'a [u8], Refusal> {
    let mut values = request.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let header = values.next();
    if values.next().is_some() {
        return Err(Refusal::HostAmbiguous);
    }
    match (header, request.authority.map(str::as_bytes)) {
        (Some(header), Some(authority)) if header != authority => Err(Refusal::HostAmbiguous),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Refusal::SignedHeaderAbsent),
    }
}

/// Blanks at the ends removed, runs of blanks inside made one.
fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    let mut last = b' ';
    for &byte in value.trim_ascii() {
        if byte != b' ' || last != b' ' {
            out.push(byte);
        }
        last = byte;
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Request, SignedHeaders, push_canonical_request};
    use crate::sigv4::Refusal;

    fn canonical(
        authority: Option<&str>,
        headers: &[(&'static str, &'static str)],
        signed: &str,
    ) -> Result<String, Refusal> {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut map = HeaderMap::new();
        headers.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        let request =
            Request { method: "POST", path: "/a b/%41~", query: None, authority, headers: &map, body: b"" };
        let mut out = Vec::new();
        push_canonical_request(&mut out, &request, SignedHeaders::plain(signed))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_are_trimmed_collapsed_and_joined_and_the_path_is_encoded_again() {
        let headers = [("host", "h:1"), ("x-a", "  one   two "), ("x-a", "three")];
        assert_eq!(
            canonical(None, &headers, "host;x-a").unwrap(),
            "POST\n/a%20b/%2541~\n\nhost:h:1\nx-a:one two,three\n\nhost;x-a\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_authority_stands_for_an_absent_host() {
        assert!(canonical(Some("h:2"), &[], "host").unwrap().contains("\nhost:h:2\n"));
        assert!(canonical(Some("h:2"), &[("host", "h:2")], "host").unwrap().contains("\nhost:h:2\n"));
    }

    #[test]
    fn there_is_exactly_one_host_and_every_signed_header() {
        assert_eq!(canonical(Some("h:2"), &[("host", "h:1")], "host"), Err(Refusal::HostAmbiguous));
        assert_eq!(canonical(None, &[("host", "a"), ("host", "a")], "host"), Err(Refusal::HostAmbiguous));
        assert_eq!(canonical(None, &[], "host"), Err(Refusal::SignedHeaderAbsent));
        assert_eq!(canonical(Some("h"), &[], "host;x-a"), Err(Refusal::SignedHeaderAbsent));
    }
}
