//! What `holdfast doctor` is asked.

use std::path::PathBuf;

use crate::doctor::Group;

/// Where to look, and how far.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The proxy as AWS KMS sees it, `https://HOST[/PREFIX]`; may be repeated
    #[arg(long = "endpoint", value_name = "URL")]
    pub endpoints: Vec<String>,
    /// Only these groups, with commas between them; may be repeated
    #[arg(long, value_enum, value_name = "GROUP", value_delimiter = ',')]
    pub only: Vec<Group>,
    /// Log in to the HSMs even while the daemon runs
    #[arg(long)]
    pub log_in: bool,
    /// Encryptions and decryptions to time in each HSM
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// An `http://` address whose Date the clock is compared with
    #[arg(long, value_name = "URL")]
    pub time_source: Option<String>,
    /// PEM file with further root certificates to trust at endpoints
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CA")]
    pub ca: Option<PathBuf>,
    /// PEM file with a client certificate for endpoints with mTLS
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CLIENT_CERT", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file with the key of the client certificate
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CLIENT_KEY", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    pub(super) fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }
}
