//! The `Authorization` header, a line, then the date, then the body: no header is proof of anything without the key.
#![no_main]

use http::HeaderMap;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::header::HOST;
use libfuzzer_sys::fuzz_target;
use proxy_api::sigv4::Authorization;
use proxy_api::sigv4::Request;
use proxy_api::sigv4::SigningKey;

/// 2026-11-22T00:00:00Z, the date in the seeds.
const NOW_UNIX_SECONDS: u64 = 1_795_305_600;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (authorization, date, body) = (next(), next(), next());
    let (Ok(authorization), Ok(date)) =
        (HeaderValue::from_bytes(authorization), HeaderValue::from_bytes(date))
    else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(AUTHORIZATION, authorization);
    headers.insert("x-amz-date", date);
    let path = "/kms/xks/v1/health";
    let request = Request { method: "POST", path, query: None, authority: None, headers: &headers, body };
    let Ok(authorization) = Authorization::parse(&headers) else { return };
    let key = SigningKey::derive(b"secret", &authorization.scope);
    if let Ok(claim) = authorization.check(&request, "kms-xks-proxy", NOW_UNIX_SECONDS) {
        assert!(claim.verify(&key).is_err());
    }
});
