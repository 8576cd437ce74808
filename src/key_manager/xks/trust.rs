//! Whom to trust as a proxy, and who we are to it: one for all key stores.

use std::sync::Arc;

use proxy_api::client::{ClientIdentity, HttpVersions, TlsTrust, client_config};
use rustls::ClientConfig;

use crate::config::ProxyTls;
use crate::config::private_file;
use crate::secret::SecretBytes;

/// The TLS settings, or why there can be no TLS although nothing is configured wrongly.
#[derive(Clone, Debug)]
pub struct Trust {
    files: Files,
    config: Result<Arc<ClientConfig>, String>,
}

/// What the files held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    ca_pem: Option<Vec<u8>>,
    /// Certificate and private key.
    client: Option<(Vec<u8>, SecretBytes)>,
}

impl Trust {
    /// Reads the files. A system without certificates is an error only when a proxy is to be reached.
    pub fn load(tls: &ProxyTls) -> Result<Self, String> {
        let files = Files::read(tls).map_err(|reason| format!("kms.external_key_stores: {reason}"))?;
        let identity = files
            .client
            .as_ref()
            .map(|(certificate_pem, key)| ClientIdentity { certificate_pem, key_pem: key.expose() });
        let config = match &files.ca_pem {
            Some(ca_pem) => Ok(settings(&TlsTrust { identity, ..TlsTrust::new(ca_pem) })?),
            None => system(identity)?,
        };
        Ok(Self { files, config })
    }

    /// A system that trusts nobody.
    #[cfg(test)]
    pub(super) fn without_certificates() -> Self {
        let files = Files { ca_pem: None, client: None };
        Self { files, config: Err("the system has no certificates to trust".to_owned()) }
    }

    /// Whether the files say the same. The certificates of the system are not compared.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// The settings of a client, or why there are none.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, &str> {
        self.config.as_ref().map(Arc::clone).map_err(String::as_str)
    }
}

impl Files {
    fn read(tls: &ProxyTls) -> Result<Self, String> {
        let read = |member: &str, path: &std::path::Path| {
            std::fs::read(path).map_err(|error| format!("`{member}` {}: {error}", path.display()))
        };
        let ca_pem = tls.ca_file.as_ref().map(|path| read("ca_file", path)).transpose()?;
        let client = match &tls.client_files {
            None => None,
            Some((certificate, key)) => {
                let pem = read("client_certificate_file", certificate)?;
                let key =
                    private_file::read(key).map_err(|error| format!("`client_private_key_file` {error}"))?;
                Some((pem, key))
            }
        };
        Ok(Self { ca_pem, client })
    }
}

fn settings(trust: &TlsTrust<'_>) -> Result<Arc<ClientConfig>, String> {
    let config = client_config(trust, HttpVersions::Both);
    config.map(Arc::new).map_err(|error| format!("kms.external_key_stores: {error}"))
}

/// Trusts what the system trusts.
fn system(identity: Option<ClientIdentity<'_>>) -> Result<Result<Arc<ClientConfig>, String>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reason = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Ok(Err(format!("the system has no certificates to trust{reason}")));
    }
    settings(&TlsTrust { identity, ca_der: Some(&found.certs), ..TlsTrust::new(&[]) }).map(Ok)
}
