//! SigV4 against AWS's own signer as the oracle, and against an adversary that changes one thing.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as oracle_sign};
use aws_sigv4::sign::v4;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proxy_api::sigv4::{
    Authorization, Credential, Refusal, Request, SERVICE_XKS, Scope, SigningKey, Timestamp, sign,
};

const ACCESS_KEY_ID: &str = "ABCDEFGHIJKLMNOP2345";
const SECRET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM/+9=";
const REGION: &str = "us-east-1";
const NOW: u64 = 1_700_000_000;
const PATH: &str = "/quickstart/kms/xks/v1/keys/foo/encrypt";

/// A signed request that a test may then spoil.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    path: String,
    query: Option<String>,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Signed {
    fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            path: &self.path,
            query: self.query.as_deref(),
            authority: self.authority.as_deref(),
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn verify_at(&self, now: u64) -> Result<(), Refusal> {
        let authorization = Authorization::parse(&self.headers)?;
        if authorization.access_key_id != ACCESS_KEY_ID {
            return Err(Refusal::SignatureMismatch);
        }
        let key = SigningKey::derive(SECRET.as_bytes(), &authorization.scope);
        authorization.check(&self.request(), SERVICE_XKS, now)?.verify(&key)
    }

    fn verify(&self) -> Result<(), Refusal> {
        self.verify_at(NOW)
    }
}

/// What to sign, with one member changed at a time.
struct Recipe<'a> {
    signed_headers: &'a str,
    signed_at: u64,
    scope_date: Option<&'a str>,
    service: &'a str,
    headers: &'a [(&'static str, &'a str)],
    body: &'a [u8],
}

const CURL_HEADERS: &str = "content-type;host;x-amz-date";
const RECIPE: Recipe<'static> = Recipe {
    signed_headers: CURL_HEADERS,
    signed_at: NOW,
    scope_date: None,
    service: SERVICE_XKS,
    headers: &[("host", "localhost:8440"), ("content-type", "application/json")],
    body: b"{}",
};

impl Recipe<'_> {
    fn sign(&self) -> Signed {
        let signed_at = Timestamp::from_unix_seconds(self.signed_at.try_into().unwrap()).unwrap();
        let mut headers: HeaderMap = self
            .headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        headers.insert("x-amz-date", HeaderValue::from_str(signed_at.as_str()).unwrap());
        let mut signed = Signed {
            method: "POST",
            path: PATH.into(),
            query: None,
            authority: None,
            headers,
            body: self.body.into(),
        };
        let date = self.scope_date.unwrap_or(signed_at.date());
        let scope = Scope { date, region: REGION, service: self.service };
        let key = SigningKey::derive(SECRET.as_bytes(), &scope);
        let credential =
            Credential { access_key_id: ACCESS_KEY_ID, scope, signed_headers: self.signed_headers };
        let value = sign(&signed.request(), &credential, signed_at.as_str(), &key).unwrap();
        signed.headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        signed
    }
}

/// The headers that AWS's signer adds to a POST.
fn oracle(uri: &str, headers: &[(String, String)], body: &[u8]) -> HeaderMap {
    let identity = Credentials::new(ACCESS_KEY_ID, SECRET, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE_XKS)
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new("POST", uri, pairs, SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = oracle_sign(signable, &params).unwrap().into_parts();
    let mut map = HeaderMap::new();
    for (name, value) in
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(instructions.headers())
    {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn oracle_signed(path: &str, headers: &[(String, String)], body: &[u8]) -> Signed {
    let mut map = oracle(&format!("https://localhost:8440{path}"), headers, body);
    map.insert("host", HeaderValue::from_static("localhost:8440"));
    Signed {
        method: "POST",
        path: path.into(),
        query: None,
        authority: None,
        headers: map,
        body: body.into(),
    }
}

#[test]
fn a_curl_like_request_verifies() {
    assert_eq!(RECIPE.sign().verify(), Ok(()));
}

#[test]
fn our_authorization_header_is_the_one_of_the_oracle() {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let theirs = oracle_signed(PATH, &headers, b"{}");
    assert_eq!(theirs.headers, RECIPE.sign().headers);
}

#[test]
fn the_window_is_five_minutes_either_way() {
    for (seconds, result) in [
        (300, Ok(())),
        (301, Err(Refusal::ClockSkew { seconds: 301 })),
        (-300, Ok(())),
        (-301, Err(Refusal::ClockSkew { seconds: -301 })),
        (-NOW.cast_signed(), Err(Refusal::ClockSkew { seconds: -NOW.cast_signed() })),
    ] {
        let signed = Recipe { signed_at: NOW.checked_add_signed(seconds).unwrap(), ..RECIPE }.sign();
        assert_eq!(signed.verify(), result);
    }
    assert!(matches!(RECIPE.sign().verify_at(u64::MAX), Err(Refusal::ClockSkew { .. })));
}

#[test]
fn what_the_scope_and_the_signed_headers_must_hold() {
    for (recipe, refusal) in [
        (Recipe { signed_headers: "content-type;x-amz-date", ..RECIPE }, Refusal::HostUnsigned),
        (Recipe { signed_headers: "content-type;host", ..RECIPE }, Refusal::DateUnsigned),
        (Recipe { service: "kms", ..RECIPE }, Refusal::ServiceWrong),
        (Recipe { scope_date: Some("20231113"), ..RECIPE }, Refusal::DateOutsideScope),
    ] {
        assert_eq!(recipe.sign().verify(), Err(refusal));
    }
}

#[test]
fn more_signed_headers_are_welcome_and_all_of_them_count() {
    let headers = [("host", "h"), ("x-extra", " a  b ")];
    let mut signed = Recipe { signed_headers: "host;x-amz-date;x-extra", headers: &headers, ..RECIPE }.sign();
    assert_eq!(signed.verify(), Ok(()));
    signed.headers.insert("x-extra", HeaderValue::from_static("a c"));
    assert_eq!(signed.verify(), Err(Refusal::SignatureMismatch));
    signed.headers.remove("x-extra");
    assert_eq!(signed.verify(), Err(Refusal::SignedHeaderAbsent));
}

#[test]
fn an_unsigned_header_may_change_on_the_way() {
    let mut signed = RECIPE.sign();
    signed.headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    assert_eq!(signed.verify(), Ok(()));
}

#[test]
fn under_http_2_the_authority_is_the_host() {
    let mut signed = RECIPE.sign();
    signed.headers.remove("host");
    assert_eq!(signed.verify(), Err(Refusal::SignedHeaderAbsent));
    signed.authority = Some("localhost:8440".into());
    assert_eq!(signed.verify(), Ok(()));
    signed.authority = Some("localhost".into());
    assert_eq!(signed.verify(), Err(Refusal::SignatureMismatch));
}

#[test]
fn doubled_missing_and_malformed_headers_are_refused() {
    for (name, value, doubled, missing) in [
        ("x-amz-date", "20231114T221320Z", Refusal::DateDuplicated, Refusal::DateMissing),
        ("authorization", "x y", Refusal::AuthorizationDuplicated, Refusal::AuthorizationMissing),
        ("host", "localhost:8440", Refusal::HostAmbiguous, Refusal::SignedHeaderAbsent),
    ] {
        let mut signed = RECIPE.sign();
        signed.headers.append(name, HeaderValue::from_static(value));
        assert_eq!(signed.verify(), Err(doubled));
        signed.headers.remove(name);
        assert_eq!(signed.verify(), Err(missing));
    }
    let mut signed = RECIPE.sign();
    signed.headers.insert("x-amz-date", HeaderValue::from_static("Tue, 14 Nov 2023 22:13:20 GMT"));
    assert_eq!(signed.verify(), Err(Refusal::DateMalformed));
}

#[test]
fn a_query_string_is_refused_even_if_empty() {
    for query in ["", "X-Amz-Signature=00"] {
        let signed = Signed { query: Some(query.into()), ..RECIPE.sign() };
        assert_eq!(signed.verify(), Err(Refusal::QueryPresent));
    }
}

#[test]
fn another_method_key_or_path_does_not_verify() {
    let signed = RECIPE.sign();
    for spoiled in [
        Signed { method: "PUT", ..signed.clone() },
        Signed { path: PATH.replace("foo", "bar"), ..signed.clone() },
        Signed { body: b"{ }".into(), ..signed.clone() },
    ] {
        assert_eq!(spoiled.verify(), Err(Refusal::SignatureMismatch));
    }
    let authorization = Authorization::parse(&signed.headers).unwrap();
    let key = SigningKey::derive(b"another secret", &authorization.scope);
    let request = signed.request();
    let claim = authorization.check(&request, SERVICE_XKS, NOW).unwrap();
    assert_eq!(claim.verify(&key), Err(Refusal::SignatureMismatch));
    assert_eq!(claim.signed_at().unix_seconds(), NOW.cast_signed());
}

#[test]
fn nothing_printable_holds_the_secret_or_a_signature() {
    let scope = Scope { date: "20231114", region: REGION, service: SERVICE_XKS };
    assert_eq!(format!("{:?}", SigningKey::derive(SECRET.as_bytes(), &scope)), "SigningKey");
    assert_eq!(Refusal::SignatureMismatch.to_string(), "the signature does not match");
}

/// Header names that AWS's signer signs and that do not clash with those that it adds.
fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("content-type".to_owned()),
        Just("content-length".to_owned()),
        "x-[a-z]{1,8}(-[a-z0-9]{1,4})?"
    ]
    .prop_filter("added by the signer", |name| !name.starts_with("x-amz"))
}

/// Flips one bit of `text`, staying in one byte.
fn flip(text: &[u8], at: usize, bit: u32) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 1 << bit;
    bytes
}

proptest! {
    #[test]
    fn whatever_the_oracle_signs_verifies(
        headers in proptest::collection::vec((header_name(), "[ -~]{0,40}"), 0..6),
        path in "(/[A-Za-z0-9_.~-]{1,12}|/%[0-9A-F]{2}){1,5}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assume!(!path.split('/').any(|segment| segment == "." || segment == ".."));
        let signed = oracle_signed(&path, &headers, &body);
        prop_assert_eq!(signed.verify(), Ok(()));
    }

    #[test]
    fn one_flipped_bit_anywhere_fails(part in 0..4_usize, at in any::<usize>(), bit in 0..8_u32) {
        let mut signed = RECIPE.sign();
        match part {
            0 => signed.body = flip(&signed.body, at, bit),
            1 => {
                let Ok(path) = String::from_utf8(flip(signed.path.as_bytes(), at, bit)) else { return Ok(()) };
                signed.path = path;
            }
            2 | 3 => {
                let name = if part == 2 { AUTHORIZATION } else { HeaderName::from_static("host") };
                let value = flip(signed.headers[&name].as_bytes(), at, bit);
                let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
                signed.headers.insert(name, value);
            }
            _ => unreachable!(),
        }
        prop_assert!(signed.verify().is_err());
    }

    #[test]
    fn no_request_makes_verification_panic(
        authorization in proptest::collection::vec(any::<u8>(), 0..200),
        date in "[0-9TZ ]{0,20}",
        path in "\\PC{0,30}",
    ) {
        let mut signed = RECIPE.sign();
        signed.path = path;
        signed.headers.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
        let _ = signed.verify();
        if let Ok(value) = HeaderValue::from_bytes(&authorization) {
            signed.headers.insert(AUTHORIZATION, value);
            prop_assert!(signed.verify().is_err());
        }
    }
}
