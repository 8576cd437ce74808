//! The HTTP client of a collector: kept connections of the runtime that serves requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use proxy_api::client::{Deadlines, Outgoing, Pool};
use tokio::runtime::Handle;

use crate::config::{self, private_file};
use crate::outbound;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The sender of batches sends one after another.
const CONNECTIONS_MAX: usize = 1;

pub(super) struct Collector {
    pool: Arc<Pool>,
    path: PathAndQuery,
    /// With what it may be told by.
    headers: HeaderMap,
    runtime: Handle,
}

impl Collector {
    pub(super) fn new(settings: &config::Traces, runtime: Handle, timeout: Duration) -> Result<Self, String> {
        let endpoint = outbound::endpoint(&settings.destination)?;
        let deadlines = Deadlines { connect: CONNECT_TIMEOUT, total: timeout };
        let headers = match &settings.headers_file {
            Some(path) => {
                let text = private_file::read(path).map_err(|error| format!("`headers_file` {error}"))?;
                headers(text.expose()).ok_or_else(|| {
                    format!("`headers_file` {}: not a line `Name: value` for each header", path.display())
                })?
            }
            None => HeaderMap::new(),
        };
        let pool = Arc::new(Pool::new(endpoint, deadlines, CONNECTIONS_MAX));
        Ok(Self { pool, path: outbound::path(&settings.destination), headers, runtime })
    }
}

fn headers(text: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let mut value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut outgoing = Outgoing::new(head.method, self.path.clone(), self.pool.endpoint().host(), body);
        let headers = head.headers.iter().chain(&self.headers);
        outgoing.headers.extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        let pool = Arc::clone(&self.pool);
        // The thread that calls this has no runtime of its own.
        let answer = self.runtime.spawn(async move { pool.exchange(outgoing).await }).await??;
        Ok(Response::builder().status(answer.status).body(Bytes::new())?)
    }
}

#[cfg(test)]
mod tests {
    use super::headers;

    #[test]
    fn headers_are_lines() {
        let read = headers(b"Authorization: Bearer a:b\n\nX-Scope-OrgID:  7\n").unwrap();
        assert_eq!(read.get("authorization").unwrap(), "Bearer a:b");
        assert_eq!(read.get("x-scope-orgid").unwrap(), "7");
        for wrong in [b"no colon".as_slice(), b"a b: c", b": c", b"a: \x01"] {
            assert!(headers(wrong).is_none(), "{wrong:?}");
        }
    }
}
