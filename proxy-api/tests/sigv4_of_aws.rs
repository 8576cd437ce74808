//! Signatures as services of AWS take them: in the header with a query string beside it, and in the query string.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use proxy_api::sigv4::{Authorization, Refusal, Request, SigningKey};

const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z.
const NOW: u64 = 1_440_938_160;
const CLAIM: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600";
const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

/// Name in the test suite of AWS, own parameters, token, signature.
const IN_QUERY: &[(&str, &str, &str, &str)] = &[
    ("get-vanilla", "", "", "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
    ("get-vanilla-query", "", "", "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
    (
        "get-vanilla-query-order-encoded",
        "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        "",
        "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
    ),
    (
        "get-vanilla-query-order-key-case",
        "Param2=value2&Param1=value1",
        "",
        "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
    ),
    (
        "get-vanilla-empty-query-key",
        "Param1=value1",
        "",
        "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de",
    ),
    (
        "get-vanilla-query-unreserved",
        "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "",
        "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
    ),
    (
        "get-vanilla-utf8-query",
        "ሴ=bar",
        "",
        "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600",
    ),
    (
        "get-vanilla-with-session-token",
        "",
        "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
        "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
    ),
];
/// Name in the test suite of AWS, query, signed headers, signature.
const IN_HEADER: &[(&str, &str, &str, &str)] = &[
    (
        "get-vanilla",
        "",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "get-vanilla-query",
        "",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "get-vanilla-query-order-encoded",
        "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        "host;x-amz-date",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "get-vanilla-query-order-key-case",
        "Param2=value2&Param1=value1",
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-vanilla-empty-query-key",
        "Param1=value1",
        "host;x-amz-date",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    (
        "get-vanilla-query-unreserved",
        "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "host;x-amz-date",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "get-vanilla-utf8-query",
        "ሴ=bar",
        "host;x-amz-date",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "get-vanilla-with-session-token",
        "",
        "host;x-amz-date;x-amz-security-token",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
];

struct Sent {
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn new(query: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("example.amazonaws.com"));
        Self { query: query.to_owned(), headers, body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: "GET",
            path: "/",
            query: Some(&self.query).filter(|query| !query.is_empty()).map(String::as_str),
            authority: None,
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn verify_at(&self, now: u64) -> Result<(), Refusal> {
        let request = self.request();
        let authorization = Authorization::of(&request)?;
        let key = SigningKey::derive(SECRET, &authorization.scope);
        authorization.check(&request, "service", now)?.verify(&key)
    }

    fn verify(&self) -> Result<(), Refusal> {
        self.verify_at(NOW)
    }
}

fn in_query(own: &str, token: &str, signature: &str) -> Sent {
    let own = if own.is_empty() { String::new() } else { format!("{own}&") };
    let token = if token.is_empty() { String::new() } else { format!("&X-Amz-Security-Token={token}") };
    Sent::new(&format!("{own}{CLAIM}{token}&X-Amz-Signature={signature}"))
}

fn in_header(query: &str, signed_headers: &str, signature: &str) -> Sent {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed_headers}, Signature={signature}"
    );
    let sent = Sent::new(query).with("x-amz-date", "20150830T123600Z").with("authorization", &authorization);
    if signed_headers.contains("x-amz-security-token") {
        sent.with("x-amz-security-token", TOKEN)
    } else {
        sent
    }
}

fn vanilla() -> Sent {
    let (_, own, token, signature) = IN_QUERY[0];
    in_query(own, token, signature)
}

#[test]
fn signatures_of_the_test_suite_verify_in_the_query_string() {
    for (name, own, token, signature) in IN_QUERY {
        assert_eq!(in_query(own, token, signature).verify(), Ok(()), "{name}");
        let spoiled = in_query(&format!("{own}&b=c"), token, signature);
        assert_eq!(spoiled.verify(), Err(Refusal::SignatureMismatch), "{name}");
    }
}

#[test]
fn signatures_of_the_test_suite_verify_in_the_header_beside_a_query_string() {
    for (name, query, signed_headers, signature) in IN_HEADER {
        let sent = in_header(query, signed_headers, signature);
        assert_eq!(sent.verify(), Ok(()), "{name}");
        let spoiled = in_header(&format!("{query}&b=c"), signed_headers, signature);
        assert_eq!(spoiled.verify(), Err(Refusal::SignatureMismatch), "{name}");
        if !query.is_empty() {
            let request = sent.request();
            let bare = Authorization::parse(request.headers).unwrap();
            assert_eq!(bare.check(&request, "service", NOW).err(), Some(Refusal::QueryPresent), "{name}");
        }
    }
}

#[test]
fn the_token_is_found_where_the_signature_is() {
    let found = |sent: &Sent| {
        let request = sent.request();
        let authorization = Authorization::of(&request).unwrap();
        authorization.security_token(&request).map(|token| token.map(std::borrow::Cow::into_owned))
    };
    assert_eq!(found(&vanilla()), Ok(None));
    let (_, own, _, signature) = IN_QUERY[0];
    assert_eq!(found(&in_query(own, "a%2Bb%2F%3D", signature)), Ok(Some("a+b/=".to_owned())));
    assert_eq!(found(&in_query(own, "%ff", signature)), Err(Refusal::AuthorizationMalformed));
    let (_, query, signed_headers, signature) = IN_HEADER[0];
    let sent = in_header(query, signed_headers, signature);
    assert_eq!(found(&sent), Ok(None));
    let mut sent = sent.with("x-amz-security-token", TOKEN);
    assert_eq!(found(&sent), Ok(Some(TOKEN.to_owned())));
    // Some signers add the token when they have signed.
    assert_eq!(sent.verify(), Ok(()));
    sent.headers.append("x-amz-security-token", HeaderValue::from_static("b"));
    assert_eq!(found(&sent), Err(Refusal::AuthorizationMalformed));
}

#[test]
fn a_link_works_from_its_date_until_it_expires() {
    let sent = vanilla();
    for (now, result) in [
        (NOW + 3600, Ok(())),
        (NOW + 3601, Err(Refusal::ClockSkew { seconds: -3601 })),
        (NOW - 300, Ok(())),
        (NOW - 301, Err(Refusal::ClockSkew { seconds: 301 })),
    ] {
        assert_eq!(sent.verify_at(now), result, "{now}");
    }
}

#[test]
fn a_query_string_claims_everything_once_or_nothing() {
    let good = vanilla().query;
    for (from, to, refusal) in [
        ("X-Amz-Algorithm=", "X-Amz-Algorithms=", Refusal::AuthorizationMalformed),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", Refusal::AlgorithmUnsupported),
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801", Refusal::AuthorizationMalformed),
        ("X-Amz-Expires=3600", "X-Amz-Expires=0", Refusal::AuthorizationMalformed),
        ("X-Amz-Expires=3600", "X-Amz-Expires=-1", Refusal::AuthorizationMalformed),
        ("X-Amz-Expires=3600", "X-Amz-Expires=", Refusal::AuthorizationMalformed),
        ("&X-Amz-Expires=3600", "", Refusal::AuthorizationMalformed),
        ("&X-Amz-Expires", "&X-Amz-Expires=3600&X-Amz-Expires", Refusal::AuthorizationMalformed),
        ("&X-Amz-Signature", "&X-Amz-Signature&X-Amz-Signature", Refusal::AuthorizationMalformed),
        ("%2Faws4_request", "%2Faws5_request", Refusal::AuthorizationMalformed),
        ("=host", "=host%3Bhost", Refusal::AuthorizationMalformed),
        ("=host", "=x-amz-date%3Bhost", Refusal::AuthorizationMalformed),
        ("=host", "=accept", Refusal::HostUnsigned),
        ("=host", "=accept%3Bhost", Refusal::SignedHeaderAbsent),
        ("T123600Z", "T123600", Refusal::DateMalformed),
        ("=20150830T", "=20150829T", Refusal::DateOutsideScope),
        ("us-east-1%2Fservice", "us-east-1%2Fother", Refusal::ServiceWrong),
    ] {
        let query = good.replacen(from, to, 1);
        assert_ne!(query, good, "{from}");
        assert_eq!(Sent::new(&query).verify(), Err(refusal), "{from} {to}");
    }
    assert_eq!(Sent::new("").verify(), Err(Refusal::AuthorizationMissing));
    assert_eq!(Sent::new("Action=a").verify(), Err(Refusal::AuthorizationMissing));
    let both = vanilla().with("authorization", "a b");
    assert_eq!(both.verify(), Err(Refusal::AuthorizationDuplicated));
    assert!(both.headers.contains_key(AUTHORIZATION));
}

#[test]
fn headers_that_aws_goes_by_are_signed_and_true() {
    assert_eq!(vanilla().with("x-amz-target", "a").verify(), Err(Refusal::HeaderUnsigned));
    let (_, query, signed_headers, signature) = IN_HEADER[0];
    let sent = in_header(query, signed_headers, signature).with("x-amz-target", "a");
    assert_eq!(sent.verify(), Err(Refusal::HeaderUnsigned));
    let hash_signed = |hash| {
        let headers = "host;x-amz-content-sha256;x-amz-date";
        let mut sent = in_header("", headers, signature).with("x-amz-content-sha256", hash);
        sent.headers.remove(AUTHORIZATION);
        let scope = proxy_api::sigv4::Scope { date: "20150830", region: "us-east-1", service: "service" };
        let credential =
            proxy_api::sigv4::Credential { access_key_id: "AKIDEXAMPLE", scope, signed_headers: headers };
        let key = SigningKey::derive(SECRET, &scope);
        let value = proxy_api::sigv4::sign(&sent.request(), &credential, "20150830T123600Z", &key).unwrap();
        sent.with("authorization", &value).verify()
    };
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hash_signed(of_nothing), Ok(()));
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &of_nothing.to_uppercase(), ""] {
        assert_eq!(hash_signed(hash), Err(Refusal::SignatureMismatch), "{hash}");
    }
}
