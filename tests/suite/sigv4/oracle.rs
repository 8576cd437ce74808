//! AWS's own signer.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use holdfast::clock::{Clock, SystemClock};
use http::HeaderValue;
use proxy_api::client::Outgoing;

use crate::support::client::Signed;

/// Signed in the header.
pub(crate) fn by_the_oracle(signed: &Signed, host: &str) -> Outgoing {
    sign_with(signed, host, SigningSettings::default(), SignableBody::Bytes(&signed.body))
}

/// Signed in the query string, as a link that works for a minute.
pub(crate) fn in_the_query(signed: &Signed, host: &str) -> Outgoing {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(60));
    sign_with(signed, host, settings, SignableBody::Bytes(&signed.body))
}

/// With a body that is left out of the signature, as S3 allows.
pub(crate) fn unsigned_payload(signed: &Signed, host: &str) -> Outgoing {
    let mut outgoing = sign_with(signed, host, SigningSettings::default(), SignableBody::UnsignedPayload);
    outgoing.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    outgoing
}

fn sign_with(signed: &Signed, host: &str, settings: SigningSettings, body: SignableBody<'_>) -> Outgoing {
    let identity =
        Credentials::new(&signed.access_key_id, &signed.secret_access_key, None, None, "test").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&signed.region)
        .name(&signed.service)
        .time(SystemClock.now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let path = signed.path.parse().unwrap();
    let mut outgoing = Outgoing::new(signed.method.clone(), path, host, signed.body.clone().into());
    for (name, value) in &signed.extra_headers {
        outgoing.headers.insert(*name, value.parse().unwrap());
    }
    let mut request = http::Request::post(format!("https://{host}{}", outgoing.path)).body(()).unwrap();
    *request.headers_mut() = outgoing.headers;
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(signed.method.as_str(), &uri, headers, body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    outgoing.path = request.uri().path_and_query().unwrap().clone();
    outgoing.headers = std::mem::take(request.headers_mut());
    outgoing
}
