//! Which requests are for an operation, and what every answer carries.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::gate::kms::RequestId;
use crate::kms::error::Error;
use crate::kms::operation::OperationName;
use crate::kms::response;
use crate::kms::server::{X_AMZ_TARGET, route};

fn routed(method: &Method, uri: &'static str, target: Option<&'static str>) -> Result<OperationName, Error> {
    let target =
        target.map(|target| (http::HeaderName::from_static(X_AMZ_TARGET), HeaderValue::from_static(target)));
    route(method, &Uri::from_static(uri), &HeaderMap::from_iter(target))
}

#[test]
fn the_target_names_the_operation() {
    let post = Method::POST;
    assert_eq!(routed(&post, "/", Some("TrentService.ReEncrypt")), Ok(OperationName::ReEncrypt));
    assert_eq!(routed(&post, "/?X-Amz-Date=1", Some("TrentService.Sign")), Ok(OperationName::Sign));
    for target in [None, Some("TrentService.Nothing"), Some("Sign"), Some("trentservice.Sign"), Some("")] {
        assert_eq!(routed(&post, "/", target), Err(Error::UnknownOperation), "{target:?}");
    }
    assert_eq!(routed(&Method::GET, "/", Some("TrentService.Sign")), Err(Error::UnknownPath));
    assert_eq!(routed(&post, "/kms", Some("TrentService.Sign")), Err(Error::UnknownPath));
}

#[tokio::test]
async fn every_answer_carries_its_id_and_type() {
    let id = RequestId([7; 16]);
    let error = Error::Throttling("slow".to_owned());
    for (result, status, body) in [
        (Ok(Bytes::from_static(b"{}")), StatusCode::OK, "{}"),
        (Ok(Bytes::new()), StatusCode::OK, ""),
        (Err(&error), StatusCode::BAD_REQUEST, r#"{"__type":"ThrottlingException","message":"slow"}"#),
        (Err(&Error::UnknownOperation), StatusCode::BAD_REQUEST, r#"{"__type":"UnknownOperationException"}"#),
    ] {
        let response = response::of(result, id);
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/x-amz-json-1.1");
        assert_eq!(response.headers()["x-amzn-requestid"], id.to_string().as_str());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}
