//! What a request says about who signed it, taken apart without copying it.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::hex::decode_hex;
use super::query::{self, QueryClaim};
use super::timestamp::Timestamp;
use super::{
    ALGORITHM, CLOCK_SKEW_SECONDS_MAX, Claim, HOST, Refusal, Request, SCOPE_END, SIGNATURE_BYTES, X_AMZ_DATE,
};

/// The parameter of a query string, and the header, with the token of a session.
const X_AMZ_SECURITY_TOKEN: &str = "X-Amz-Security-Token";
const X_AMZ_SECURITY_TOKEN_HEADER: &str = "x-amz-security-token";

/// What a signing key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope<'a> {
    /// `YYYYMMDD`, UTC.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// What a request claims. Nothing of it is proven yet.
#[derive(Clone, Copy)]
pub struct Authorization<'a> {
    /// Of any length and form: one that nobody has is just unknown.
    pub access_key_id: &'a str,
    /// What the signing key must be derived for.
    pub scope: Scope<'a>,
    pub(super) signed_headers: SignedHeaders<'a>,
    pub(super) signature: [u8; SIGNATURE_BYTES],
    form: Form<'a>,
}

/// Where the claim stands, and so what else the request may have.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// In the header of a request that must not have a query string (XKS v1, Appendix A).
    BareHeader,
    Header,
    /// In the query string, as a link that works for a while.
    Query {
        date: &'a str,
        expires_seconds: i64,
    },
}

/// The names of the signed headers.
#[derive(Clone, Copy)]
pub(super) struct SignedHeaders<'a> {
    text: &'a str,
    /// Separated by `%3B`, perhaps.
    is_encoded: bool,
}

impl<'a> SignedHeaders<'a> {
    pub(super) const fn plain(text: &'a str) -> Self {
        Self { text, is_encoded: false }
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        let plain = (!self.is_encoded).then(|| self.text.split(';'));
        let encoded = self.is_encoded.then(|| query::split_encoded(self.text, ["%3B", "%3b"], ';'));
        plain.into_iter().flatten().chain(encoded.into_iter().flatten())
    }

    fn contains(self, header: &str) -> bool {
        self.names().any(|name| name == header)
    }

    /// In order and each once, as every signer makes them: a name that repeats would multiply the work of
    /// hashing its header, before anybody is authenticated.
    fn is_legal(self) -> bool {
        self.names().is_sorted_by(|name, next| name < next) && self.names().all(is_header_name)
    }
}

impl<'a> Authorization<'a> {
    /// Takes the claim of a request apart, wherever it stands: in the `Authorization` header or in the query string.
    pub fn of(request: &Request<'a>) -> Result<Self, Refusal> {
        let query = request.query.map(QueryClaim::find).transpose()?.flatten();
        match (request.headers.contains_key(AUTHORIZATION), query) {
            (true, Some(_)) => Err(Refusal::AuthorizationDuplicated),
            (true, None) => Ok(Self { form: Form::Header, ..Self::parse(request.headers)? }),
            (false, Some(claim)) => Self::from_query(claim).ok_or(Refusal::AuthorizationMalformed),
            (false, None) => Err(Refusal::AuthorizationMissing),
        }
    }

    /// Takes the one `Authorization` header of a request apart that must not have a query string.
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
        self.signed_headers.text
    }

    /// The token of the session that claims to have signed `request`.
    pub fn security_token(&self, request: &Request<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self.form {
            Form::BareHeader => Ok(None),
            Form::Header => header_token(request.headers).map(|token| token.map(Cow::Borrowed)),
            Form::Query { .. } => {
                let token = request.query.and_then(|query| query::value(query, X_AMZ_SECURITY_TOKEN));
                token.map(|token| query::decode(token).ok_or(Refusal::AuthorizationMalformed)).transpose()
            }
        }
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
        if matches!(self.form, Form::BareHeader) && request.query.is_some() {
            return Err(Refusal::QueryPresent);
        }
        if !self.signed_headers.contains(HOST) {
            return Err(Refusal::HostUnsigned);
        }
        let signed_at = self.signed_at(request)?;
        if signed_at.date() != self.scope.date {
            return Err(Refusal::DateOutsideScope);
        }
        let now = i64::try_from(now_unix_seconds).unwrap_or(i64::MAX);
        let seconds = signed_at.unix_seconds().saturating_sub(now);
        if !(-self.lifetime_seconds()..=CLOCK_SKEW_SECONDS_MAX).contains(&seconds) {
            return Err(Refusal::ClockSkew { seconds });
        }
        if !matches!(self.form, Form::BareHeader) {
            self.check_aws_headers(request)?;
        }
        Ok(Claim { authorization: self, request, signed_at })
    }

    /// How long ago the request may have been signed.
    const fn lifetime_seconds(&self) -> i64 {
        match self.form {
            Form::BareHeader | Form::Header => CLOCK_SKEW_SECONDS_MAX,
            Form::Query { expires_seconds, .. } => expires_seconds,
        }
    }

    fn signed_at(&self, request: &Request<'_>) -> Result<Timestamp, Refusal> {
        match self.form {
            Form::BareHeader | Form::Header if !self.signed_headers.contains(X_AMZ_DATE) => {
                Err(Refusal::DateUnsigned)
            }
            Form::BareHeader | Form::Header => request_time(request.headers),
            Form::Query { date, .. } => Timestamp::parse(date).ok_or(Refusal::DateMalformed),
        }
    }

    /// AWS services go by `x-amz-…` headers, so all of them must be signed, but for the token, which proves itself and
    /// which some signers add afterwards; and a hash of the body that is there must be the hash of the body (AWS
    /// IAM User Guide, Create a signed AWS API request). `UNSIGNED-PAYLOAD` is none.
    fn check_aws_headers(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let names = request.headers.keys().map(http::HeaderName::as_str);
        let mut ours =
            names.filter(|name| name.starts_with("x-amz-") && *name != X_AMZ_SECURITY_TOKEN_HEADER);
        if ours.any(|name| !self.signed_headers.contains(name)) {
            return Err(Refusal::HeaderUnsigned);
        }
        let hash = super::canonical::body_hash_is_claimed(request);
        if hash == Some(false) { Err(Refusal::SignatureMismatch) } else { Ok(()) }
    }

    fn from_query(claim: QueryClaim<'a>) -> Option<Self> {
        let parts = query::split_encoded(claim.credential, ["%2F", "%2f"], '/');
        let (access_key_id, scope) = parse_credential(parts)?;
        let signed_headers = SignedHeaders { text: claim.signed_headers, is_encoded: true };
        let is_legal = signed_headers.is_legal();
        let form = Form::Query { date: claim.date, expires_seconds: claim.expires_seconds };
        let signature = decode_hex(claim.signature)?;
        is_legal.then_some(Self { access_key_id, scope, signed_headers, signature, form })
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
        let (access_key_id, scope) = parse_credential(credential?.split('/'))?;
        let signed_headers = SignedHeaders::plain(signed_headers?);
        if !signed_headers.is_legal() {
            return None;
        }
        let signature = decode_hex(signature?)?;
        Some(Self { access_key_id, scope, signed_headers, signature, form: Form::BareHeader })
    }
}

fn parse_credential<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<(&'a str, Scope<'a>)> {
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

/// At most one.
fn header_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(X_AMZ_SECURITY_TOKEN_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(Some).ok_or(Refusal::AuthorizationMalformed)
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
        Ok((access_key_id.into(), format!("{scope:?}"), signed_headers.text.into()))
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
