//! Events as POST requests, signed with a shared secret.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use proxy_api::client::{Deadlines, Endpoint, HttpVersions, Outgoing, Pool, TlsTrust, client_config};

use crate::config;
use crate::config::private_file;
use crate::secret::SecretBytes;

const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), total: Duration::from_secs(10) };
/// HMAC-SHA256 over the body, in hexadecimal.
const SIGNATURE: &str = "x-holdfast-signature-256";

/// Certificates and secret are read for each event: events are rare, and a renewed file counts at once.
pub struct Webhook {
    settings: config::Webhook,
}

impl Webhook {
    pub(super) const fn new(settings: config::Webhook) -> Self {
        Self { settings }
    }

    /// Whether everything is there that a request needs.
    pub(super) fn check(&self) -> Result<(), String> {
        self.secret()?;
        self.endpoint().map(drop)
    }

    /// Succeeds when the receiver says so by a status 2xx.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let endpoint = self.endpoint()?;
        let path = self.settings.url.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let signature = signature(&self.secret()?, &body);
        let mut outgoing = Outgoing::new(Method::POST, path, endpoint.host(), body.into());
        let signature = HeaderValue::from_str(&signature).map_err(|error| error.to_string())?;
        outgoing.headers.insert(SIGNATURE, signature);
        let answer = Pool::new(endpoint, DEADLINES, 1).exchange(outgoing).await;
        let answer = answer.map_err(|failure| failure.to_string())?;
        if answer.status.is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status)) }
    }

    fn secret(&self) -> Result<SecretBytes, String> {
        private_file::read(&self.settings.secret_file).map_err(|error| format!("`secret_file` {error}"))
    }

    fn endpoint(&self) -> Result<Endpoint, String> {
        let host = self.settings.url.authority().map_or("", |authority| authority.as_str());
        if self.settings.url.scheme_str() == Some("http") {
            return Endpoint::http(host, HttpVersions::Http1).map_err(|error| error.to_string());
        }
        let (ca_pem, ca_der) = match &self.settings.ca_file {
            Some(path) => {
                let pem = fs::read(path);
                (pem.map_err(|error| format!("`ca_file` {}: {error}", path.display()))?, None)
            }
            None => (Vec::new(), Some(rustls_native_certs::load_native_certs().certs)),
        };
        let trust = TlsTrust { ca_der: ca_der.as_deref(), ..TlsTrust::new(&ca_pem) };
        let config = client_config(&trust, HttpVersions::Http1).map_err(|error| error.to_string())?;
        Endpoint::https_with(host, Arc::new(config)).map_err(|error| error.to_string())
    }
}

/// As `sha256=` and digits. A line break at the end of the secret's file is not part of the secret.
fn signature(secret: &SecretBytes, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().trim_ascii_end());
    let tag = hmac::sign(&key, body);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

#[cfg(test)]
mod tests {
    use super::signature;
    use crate::secret::SecretBytes;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_hmac_sha_256_of_the_body() {
        let secret = SecretBytes::new(b"Jefe\n".to_vec());
        assert_eq!(
            signature(&secret, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
