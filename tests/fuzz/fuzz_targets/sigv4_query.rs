//! A query string, a line, then the body: no claim is proof of anything without the key.
#![no_main]

use http::HeaderMap;
use http::HeaderValue;
use http::header::HOST;
use libfuzzer_sys::fuzz_target;
use proxy_api::sigv4::Authorization;
use proxy_api::sigv4::Request;
use proxy_api::sigv4::SigningKey;

/// 2015-08-30T12:36:00Z, the date in the seeds.
const NOW_UNIX_SECONDS: u64 = 1_440_938_160;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let Ok(query) = str::from_utf8(lines.next().unwrap_or_default()) else { return };
    let body = lines.next().unwrap_or_default();
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
    let request =
        Request { method: "POST", path: "/", query: Some(query), authority: None, headers: &headers, body };
    let Ok(authorization) = Authorization::of(&request) else { return };
    let _ = authorization.security_token(&request);
    let key = SigningKey::derive(b"secret", &authorization.scope);
    if let Ok(claim) = authorization.check(&request, "kms", NOW_UNIX_SECONDS) {
        assert!(claim.verify(&key).is_err());
    }
});
