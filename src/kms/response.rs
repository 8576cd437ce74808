//! Answers as the AWS JSON 1.1 protocol has them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http_body_util::Full;
use serde::Serialize;

use crate::gate::kms::RequestId;
use crate::http::Response;
use crate::kms::error::Error;

const X_AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AMZ_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

#[derive(Serialize)]
struct ErrorBody<'a> {
    __type: &'static str,
    /// Absent where AWS says nothing.
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

pub(super) fn of(result: Result<Bytes, &Error>, id: RequestId) -> Response {
    let mut response = match result {
        Ok(body) => Response::new(Full::new(body)),
        Err(error) => refusal(error),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, AMZ_JSON);
    if let Ok(id) = HeaderValue::from_str(id.uuid().as_str()) {
        headers.insert(X_AMZN_REQUEST_ID, id);
    }
    response
}

fn refusal(error: &Error) -> Response {
    let wire = error.wire();
    let body = serde_json::to_vec(&ErrorBody { __type: wire.name, message: &wire.message });
    let mut response = Response::new(Full::new(Bytes::from(body.unwrap_or_default())));
    *response.status_mut() = wire.status;
    response
}
