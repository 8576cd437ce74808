//! One port for two protocols: the KMS API, and the Query protocol of AWS STS.

use http::header::CONTENT_TYPE;

use crate::http::{Incoming, Responder, Response};
use crate::kms::server::Server;

/// The KMS API, and beside it whatever answers the Query protocol.
pub struct Endpoint<Q> {
    pub kms: Server,
    pub query: Q,
}

const FORM: &str = "application/x-www-form-urlencoded";

impl<Q: Responder> Responder for Endpoint<Q> {
    async fn respond(&self, incoming: Incoming) -> Response {
        if is_query_protocol(&incoming.headers, incoming.uri.query()) {
            self.query.respond(incoming).await
        } else {
            self.kms.respond(incoming).await
        }
    }
}

/// A form, or `?Action=…` of a request that names no operation in a header.
fn is_query_protocol(headers: &http::HeaderMap, query: Option<&str>) -> bool {
    if headers.contains_key(crate::kms::server::X_AMZ_TARGET) {
        return false;
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = content_type.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM));
    is_form || query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::is_query_protocol;

    #[test]
    fn forms_and_actions_in_the_query_are_not_for_kms() {
        let typed =
            |content_type| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let form = typed("application/x-www-form-urlencoded; charset=utf-8");
        assert!(is_query_protocol(&form, None));
        assert!(is_query_protocol(&HeaderMap::new(), Some("Version=1&Action=GetCallerIdentity")));
        assert!(!is_query_protocol(&HeaderMap::new(), Some("X-Amz-Date=1")));
        assert!(!is_query_protocol(&typed("application/x-amz-json-1.1"), None));
        let mut both = form;
        both.insert(crate::kms::server::X_AMZ_TARGET, HeaderValue::from_static("TrentService.Sign"));
        assert!(!is_query_protocol(&both, Some("Action=GetCallerIdentity")));
    }
}
