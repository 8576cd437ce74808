//! What to check: options, which the environment of the official conformance client can also give.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::check::load::LoadOptions;
use crate::secret::SecretBytes;

/// Checks an XKS proxy for conformance, or measures it.
#[derive(clap::Args)]
pub struct Options {
    /// The proxy, `<name>[:<port>]`.
    #[arg(long, env = "XKS_PROXY_HOST")]
    pub host: String,
    /// A second socket of the same proxy that requires a client certificate; without it, `--host` is taken to
    /// require one as soon as there is a client certificate.
    #[arg(long, env = "XKS_PROXY_HOST_MTLS")]
    pub mtls_host: Option<String>,
    /// The path before `/kms/xks/v1`.
    #[arg(long, env = "URI_PREFIX", default_value = "")]
    pub uri_prefix: String,
    #[arg(long, env = "SIGV4_ACCESS_KEY_ID")]
    pub access_key_id: String,
    /// Better given by the environment, where other users do not see it.
    #[arg(long, env = "SIGV4_SECRET_ACCESS_KEY", hide_env_values = true, value_parser = secret)]
    pub secret_access_key: SecretBytes,
    #[arg(long, env = "REGION", default_value = "us-east-1")]
    pub region: String,
    /// A key that encrypts and decrypts.
    #[arg(long, env = "KEY_ID")]
    pub key_id: String,
    /// A key that only encrypts.
    #[arg(long, env = "ENCRYPT_ONLY_KEY_ID")]
    pub encrypt_only_key_id: Option<String>,
    /// A key that only decrypts.
    #[arg(long, env = "DECRYPT_ONLY_KEY_ID")]
    pub decrypt_only_key_id: Option<String>,
    /// A key that does neither.
    #[arg(long, env = "IMPOTENT_KEY_ID")]
    pub impotent_key_id: Option<String>,
    /// PEM file with the accepted root certificates; the system's if absent.
    #[arg(long, env = "HOLDFAST_CA")]
    pub ca: Option<PathBuf>,
    /// PEM file with the client certificate, for mTLS.
    #[arg(long, env = "HOLDFAST_CLIENT_CERT", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file with the key of the client certificate.
    #[arg(long, env = "HOLDFAST_CLIENT_KEY", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Talk plain HTTP; AWS KMS never does.
    #[arg(long)]
    pub plain_http: bool,
    /// Seconds that one answer may take before a case fails.
    #[arg(long, default_value_t = 5)]
    pub timeout_seconds: u64,
    /// Only the cases whose group or name contains this text.
    #[arg(long)]
    pub only: Option<String>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub load: LoadOptions,
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that could fail")]
fn secret(text: &str) -> Result<SecretBytes, Infallible> {
    Ok(SecretBytes::new(text.as_bytes().to_vec()))
}
