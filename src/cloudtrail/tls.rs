//! `tlsDetails`: how a request was protected on its way, in the names of CloudTrail, which are those of OpenSSL.

use crate::json::Object;

/// What a client and we agreed on, in the IANA names.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    pub version: &'a str,
    pub cipher_suite: &'a str,
    pub key_exchange_group: Option<&'a str>,
    /// `Host`, or `:authority`, as the client sent it.
    pub host: Option<&'a str>,
}

/// A DNS name and a port.
const HOST_CHARS_MAX: usize = 300;

impl Tls<'_> {
    pub(super) fn write(&self, details: &mut Object<'_>) {
        details.text("tlsVersion", version(self.version));
        details.text("cipherSuite", cipher_suite(self.cipher_suite));
        details.text_if("keyExchange", self.key_exchange_group);
        let host = self.host.filter(|host| host.len() <= HOST_CHARS_MAX);
        details.text_if("clientProvidedHostHeader", host);
    }
}

fn version(iana: &str) -> &str {
    match iana {
        "TLSv1_2" => "TLSv1.2",
        "TLSv1_3" => "TLSv1.3",
        other => other,
    }
}

/// Those that we offer.
fn cipher_suite(iana: &str) -> &str {
    match iana {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other,
    }
}
