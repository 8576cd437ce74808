//! Web servers that Holdfast sends something to by itself: connections to them, and whom to trust there.

use std::fs;
use std::sync::Arc;

use http::uri::PathAndQuery;
use proxy_api::client::{Endpoint, HttpVersions, TlsTrust, client_config};

use crate::config::Destination;

/// Reads the certificates that it trusts.
pub fn endpoint(destination: &Destination) -> Result<Endpoint, String> {
    let host = destination.url.authority().map_or("", |authority| authority.as_str());
    if destination.url.scheme_str() == Some("http") {
        return Endpoint::http(host, HttpVersions::Http1).map_err(|error| error.to_string());
    }
    let (ca_pem, ca_der) = match &destination.ca_file {
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

/// What is asked for there.
pub fn path(destination: &Destination) -> PathAndQuery {
    destination.url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}
