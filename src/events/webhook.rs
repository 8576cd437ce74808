//! Events as POST requests, signed with a shared secret.

use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderValue, Method};
use proxy_api::client::{Deadlines, Outgoing, Pool};

use crate::config;
use crate::config::private_file;
use crate::outbound;
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
        outbound::endpoint(&self.settings.destination).map(drop)
    }

    /// Succeeds when the receiver says so by a status 2xx.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let endpoint = outbound::endpoint(&self.settings.destination)?;
        let path = outbound::path(&self.settings.destination);
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
