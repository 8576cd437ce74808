//! The `Authorization` header taken apart, without copying it.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::hex::decode_hex;
use super::timestamp::Timestamp;
use super::{
    ALGORITHM, CLOCK_SKEW_SECONDS_MAX, Claim, HOST, Refusal, Request, SCOPE_END, SIGNATURE_BYTES, X_AMZ_DATE,
};

/// What a signing key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope<'a> {
    /// `YYYYMMDD`, UTC.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// What an `Authorization` header claims. Nothing of it is proven yet.
#[derive(Clone, Copy)]
pub struct Authorization<'a> {
    /// Of any length and form: one that nobody has is just unknown.
    pub access_key_id: &'a str,
    /// What the signing key must be derived for.
    pub scope: Scope<'a>,
    pub(super) signed_headers: &'a str,
    pub(super) signature: [u8; SIGNATURE_BYTES],
}

impl<'a> Authorization<'a> {
    /// Takes the one `Authorization` header of a request apart.
    pub fn parse(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Refusal::AuthorizationMissing)?;
        if values.next().is_some() {
            return Err(Refusal::AuthorizationDuplicated);
        }
        let text = value.to_str().map_err(|_| Refusal::AuthorizationMalformed)?;
        let (algorithm, members) = text.trim().split_once(' ').ok_or(Refusal::AuthorizationMalformed)?;
        if algorithm != ALGORITHM {
            return Err(Refusal::AlgorithmUnsupported);
        }
        Self::from_members(members).ok_or(Refusal::AuthorizationMalformed)
    }

    /// The names of the signed headers, separated by semicolons.
    #[must_use]
    pub const fn signed_headers(&self) -> &'a str {
        self.signed_headers
    }

    /// Everything that can be told without the key: service, time, and that host and time are signed.
    pub fn check<'r>(
        self,
        request: &'r Request<'r>,
        service: &str,
        now_unix_seconds: u64,
    ) -> Result<Claim<'r>, Refusal>
    where
        'a: 'r,
    {
        if self.scope.service != service {
            return Err(Refusal::ServiceWrong);
        }
        if request.query.is_some() {
            return Err(Refusal::QueryPresent);
        }
        if !self.signs(HOST) {
            return Err(Refusal::HostUnsigned);
        }
        if !self.signs(X_AMZ_DATE) {
            return Err(Refusal::DateUnsigned);
        }
        let signed_at = request_time(request.headers)?;
        if signed_at.date() != self.scope.date {
            return Err(Refusal::DateOutsideScope);
        }
        let now = i64::try_from(now_unix_seconds).unwrap_or(i64::MAX);
        let seconds = signed_at.unix_seconds().saturating_sub(now);
        if !(-CLOCK_SKEW_SECONDS_MAX..=CLOCK_SKEW_SECONDS_MAX).contains(&seconds) {
            return Err(Refusal::ClockSkew { seconds });
        }
        Ok(Claim { authorization: self, request, signed_at })
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.split(';').any(|name| name == header)
    }

    /// With and without blanks after the commas (XKS v1, Appendix A), each member once, in any order.
    fn from_members(members: &'a str) -> Option<Self> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for member in members.split(',') {
            let (name, value) = member.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "Signature" => &mut signature,
                "SignedHeaders" => &mut signed_headers,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        let (access_key_id, scope) = parse_credential(credential?)?;
        let signed_headers = signed_headers?;
        // In order and each once, as every signer makes them: a name that repeats would multiply the work of
        // hashing its header, before anybody is authenticated.
        let is_ordered = signed_headers.split(';').is_sorted_by(|name, next| name < next);
        if !is_ordered || !signed_headers.split(';').all(is_header_name) {
            return None;
        }
        Some(Self { access_key_id, scope, signed_headers, signature: decode_hex(signature?)? })
    }
}

fn parse_credential(credential: &str) -> Option<(&str, Scope<'_>)> {
    let mut parts = credential.split('/');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let access_key_id = next()?;
    let scope = Scope { date: next()?, region: next()?, service: next()? };
    let ends_well = next()? == SCOPE_END && parts.next().is_none();
    ends_well.then_some((access_key_id, scope))
}

/// A lower-case header name (RFC 9110, 5.6.2).
fn is_header_name(name: &str) -> bool {
    let is_legal =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_legal)
}

fn request_time(headers: &HeaderMap) -> Result<Timestamp, Refusal> {
    let mut values = headers.get_all(X_AMZ_DATE).iter();
    let value = values.next().ok_or(Refusal::DateMissing)?;
    if values.next().is_some() {
        return Err(Refusal::DateDuplicated);
    }
    value.to_str().ok().and_then(|text| Timestamp::parse(text.trim())).ok_or(Refusal::DateMalformed)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::{Authorization, Refusal};

    const SIGNATURE: &str = "1164eaa8e79eacaa9c0df54aa42f3b300380d14bedfc08e3b319648d4abfff66";
    const CREDENTIAL: &str =
        "MUBSXM6K3KMXHN6RRCXI7TWQH4NU76HYFKRSESPMTSTIBADXQQXQ/20211009/us-west-2/kms-xks-proxy/aws4_request";

    fn parse(value: &str) -> Result<(String, String, String), Refusal> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        let authorization = Authorization::parse(&headers)?;
        let Authorization { access_key_id, scope, signed_headers, .. } = authorization;
        Ok((access_key_id.into(), format!("{scope:?}"), signed_headers.into()))
    }

    #[test]
    fn the_example_of_the_specification_parses_with_and_without_blanks() {
        for separator in [", ", ",", "  ,   "] {
            let header = format!(
                "AWS4-HMAC-SHA256 Credential={CREDENTIAL}{separator}SignedHeaders=host;x-amz-date{separator}Signature={SIGNATURE}"
            );
            let (access_key_id, scope, signed_headers) = parse(&header).unwrap();
            assert_eq!(access_key_id, "MUBSXM6K3KMXHN6RRCXI7TWQH4NU76HYFKRSESPMTSTIBADXQQXQ");
            assert_eq!(scope, r#"Scope { date: "20211009", region: "us-west-2", service: "kms-xks-proxy" }"#);
            assert_eq!(signed_headers, "host;x-amz-date");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let good = format!("Credential={CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}");
        for members in [
            String::new(),
            good.replace("Credential=", "Credentials="),
            good.replace("Signature=", ""),
            good.replace(", Signature", " Signature"),
            good.replace(SIGNATURE, "1164"),
            good.replace(SIGNATURE, &SIGNATURE.to_uppercase()),
            good.replace("aws4_request", "aws5_request"),
            good.replace("aws4_request", "aws4_request/x"),
            good.replace("us-west-2", ""),
            good.replace("/us-west-2", ""),
            good.replace("host;", "host;;"),
            good.replace("host;", "Host;"),
            good.replace("host;x-amz-date", ""),
            good.replace("host;x-amz-date", "x-amz-date;host"),
            good.replace("host;x-amz-date", "host;host;x-amz-date"),
            format!("{good},"),
            format!("{good}, Signature={SIGNATURE}"),
            format!("{good}, Extra=1"),
        ] {
            let refusal = parse(&format!("AWS4-HMAC-SHA256 {members}")).unwrap_err();
            assert_eq!(refusal, Refusal::AuthorizationMalformed, "{members}");
        }
        assert_eq!(parse("AWS4-HMAC-SHA256"), Err(Refusal::AuthorizationMalformed));
        for algorithm in ["AWS4-ECDSA-P256-SHA256", "aws4-hmac-sha256", "Bearer", "AWS4-HMAC-SHA256,"] {
            assert_eq!(parse(&format!("{algorithm} {good}")), Err(Refusal::AlgorithmUnsupported));
        }
    }

    #[test]
    fn none_and_two_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(Authorization::parse(&headers).err(), Some(Refusal::AuthorizationMissing));
        headers.append(AUTHORIZATION, HeaderValue::from_static("a b"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("a b"));
        assert_eq!(Authorization::parse(&headers).err(), Some(Refusal::AuthorizationDuplicated));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in "AWS4-HMAC-SHA256 ((Credential|SignedHeaders|Signature)=([a-f0-9;/]{0,70}|é)[, ]{0,2}){0,5}",
        ) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(bytes) else { continue };
                let _ = Authorization::parse(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
            }
        }
    }
}
