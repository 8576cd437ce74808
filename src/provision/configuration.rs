//! `holdfast.toml`: written once, then only ports and paths in it are kept right, whatever else was changed by hand.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::Value;

use crate::config::private_file;
use crate::provision::Error;
use crate::provision::Folder;
use crate::provision::Ports;
use crate::provision::Report;
use crate::provision::io_at;
use crate::provision::softhsm;
use crate::provision::tls;

pub(super) const URI_PREFIX: &str = "quickstart";

pub(super) const CLUSTER_ID: &str = "cluster-quickstartaa";

const HTTPS: &str = "https";
const MTLS: &str = "mtls";
const KMS_HTTPS: &str = "kms-https";
const KMS_HTTP: &str = "kms-http";
const SOFTHSM: &str = "softhsm";

const SOFTWARE_PROVIDER: &str = r#"# SoftHSM has no post-quantum mechanisms and no Ed25519ph: private keys of these specs are computed with in the daemon,
# sealed by the token. Without ECC_NIST_EDWARDS25519 such keys stay in the token, and lack ED25519_PH_SHA_512.
[kms.software_provider]
key_specs = [
    "ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024", "ECC_NIST_EDWARDS25519",
]
"#;
const EXTERNAL_KEY_STORES: &str = r#"# External key stores: this proxy, or any other whose certificate is of this CA.
[kms.external_key_stores]
allow_ports = true
ca_file = "tls/ca.pem"
"#;

pub(super) fn provision(
    folder: &Folder,
    ports: Ports,
    module: &Path,
    report: &mut Report<'_>,
) -> Result<(), Error> {
    let path = folder.configuration();
    let module = module.to_str().ok_or_else(|| Error::UnwritablePath(module.to_owned()))?;
    if !path.try_exists().map_err(io_at(&path))? {
        private_file::replace(&path, first(folder, ports, module).as_bytes()).map_err(io_at(&path))?;
        return report.made(&path);
    }
    let text = fs::read_to_string(&path).map_err(io_at(&path))?;
    let adjusted =
        adjusted(&text, folder, ports, module).ok_or_else(|| Error::UnreadableConfiguration(path.clone()))?;
    if adjusted != text {
        private_file::replace(&path, adjusted.as_bytes()).map_err(io_at(&path))?;
        report.say(format_args!("moved ports and paths in {}", path.display()))?;
    }
    Ok(())
}

/// Whether the configuration has our cluster, or will have it. One that was made before there were clusters stays
/// without.
pub(super) fn has_cluster(folder: &Folder) -> bool {
    match fs::read_to_string(folder.configuration()) {
        Ok(text) => toml::from_str::<Places>(&text).is_ok_and(|places| {
            places.cluster.iter().any(|cluster| cluster.id.as_deref() == Some(CLUSTER_ID))
        }),
        Err(_) => true,
    }
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

fn hsm(folder: &Folder, module: &str) -> String {
    let variable = string(&folder.softhsm_variable().1);
    let (label, health_key) = (softhsm::TOKEN_LABEL, softhsm::HEALTH_KEY);
    format!(
        r#"[[hsm]]
name = "{SOFTHSM}"
module = {module}
token_label = "{label}"
pin_file = "pin"
iv_mode = "host"
session_copies = true
health_key = "{health_key}"

[hsm.environment]
SOFTHSM2_CONF = {variable}"#
    )
}

fn first(folder: &Folder, ports: Ports, module: &str) -> String {
    let Ports { xks, xks_mtls, kms, kms_http, admin } = ports;
    let module = string(module);
    let (hsm, cluster, subject) = (hsm(folder, &module), cluster(&module), tls::CLIENT_SUBJECT);
    format!(
        r#"# The quick start's configuration; `holdfast config print-default` prints one that explains every member.
# Changes last: a later quick start only moves ports and paths.

state_dir = "state"

[admin]
listen = "127.0.0.1:{admin}"

[[listener]]
name = "{HTTPS}"
listen = "127.0.0.1:{xks}"
certificate_file = "tls/server.pem"
private_key_file = "tls/server.key"

# The same for clients that show a certificate, as AWS KMS can.
[[listener]]
name = "{MTLS}"
listen = "127.0.0.1:{xks_mtls}"
certificate_file = "tls/server.pem"
private_key_file = "tls/server.key"

[listener.client_auth]
ca_file = "tls/ca.pem"
subjects = ["{subject}"]

# The AWS KMS API for the accounts in `accounts.toml`; others are made with `holdfast identity`.
[kms]
hsms = ["{SOFTHSM}"]
identities_file = "accounts.toml"

[[kms.listener]]
name = "{KMS_HTTPS}"
listen = "127.0.0.1:{kms}"
certificate_file = "tls/server.pem"
private_key_file = "tls/server.key"

[[kms.listener]]
name = "{KMS_HTTP}"
listen = "127.0.0.1:{kms_http}"

[kms.request_quotas]
enabled = false

{SOFTWARE_PROVIDER}{EXTERNAL_KEY_STORES}
# A week in a second: POST /dev/clock?advance=8d on the admin address. Never where keys matter.
[dev]
clock_control = true

{hsm}

{cluster}
[[key_store]]
name = "quickstart"
uri_path_prefix = "{URI_PREFIX}"
hsms = ["{SOFTHSM}"]
credentials_file = "credentials.toml"
keys = ["*"]
"#
    )
}

/// One token stands for two HSMs; `module` is text of TOML.
fn cluster(module: &str) -> String {
    let label = softhsm::CLUSTER_TOKEN_LABEL;
    format!(
        r#"# For custom key stores of the type AWS_CLOUDHSM: one token stands for two HSMs.
[[cluster]]
id = "{CLUSTER_ID}"
trust_anchor_file = "tls/cluster-ca.pem"
module = {module}

[[cluster.member]]
name = "cluster-1"
token_label = "{label}"

[[cluster.member]]
name = "cluster-2"
token_label = "{label}"
"#
    )
}

/// The places that may have to change; everything else in the file is passed over.
#[derive(Deserialize)]
struct Places {
    admin: Option<Socket>,
    #[serde(default)]
    listener: Vec<Socket>,
    kms: Option<KmsSockets>,
    #[serde(default)]
    hsm: Vec<Token>,
    #[serde(default)]
    cluster: Vec<ClusterModule>,
}

#[derive(Deserialize)]
struct ClusterModule {
    id: Option<String>,
    module: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct KmsSockets {
    #[serde(default)]
    listener: Vec<Socket>,
}

#[derive(Deserialize)]
struct Socket {
    name: Option<String>,
    listen: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct Token {
    name: Option<String>,
    module: Option<Spanned<String>>,
    environment: Option<TokenEnvironment>,
}

#[derive(Deserialize)]
struct TokenEnvironment {
    #[serde(rename = "SOFTHSM2_CONF")]
    softhsm_configuration: Option<Spanned<String>>,
}

/// The text with the ports of our sockets and the paths of our token as they should be.
fn adjusted(text: &str, folder: &Folder, ports: Ports, module: &str) -> Option<String> {
    let places: Places = toml::from_str(text).ok()?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut edit = |place: Option<Spanned<String>>, value: &dyn Fn(&str) -> Option<String>| {
        let changed = place.as_ref().and_then(|place| value(place.get_ref())).map(|value| string(&value));
        edits.extend(place.map(|place| place.span()).zip(changed));
    };
    let admin = places.admin.map(|socket| (socket, ports.admin));
    let kms_listeners = places.kms.map(|kms| kms.listener).unwrap_or_default();
    let listeners = places.listener.into_iter().chain(kms_listeners);
    let listeners = listeners.filter_map(|socket| match socket.name.as_deref() {
        Some(HTTPS) => Some((socket, ports.xks)),
        Some(MTLS) => Some((socket, ports.xks_mtls)),
        Some(KMS_HTTPS) => Some((socket, ports.kms)),
        Some(KMS_HTTP) => Some((socket, ports.kms_http)),
        Some(_) | None => None,
    });
    for (socket, port) in admin.into_iter().chain(listeners) {
        edit(socket.listen, &|listen| at_port(listen, port));
    }
    for token in places.hsm.into_iter().filter(|token| token.name.as_deref() == Some(SOFTHSM)) {
        edit(token.module, &|present| differing(present, module));
        let variable = token.environment.and_then(|environment| environment.softhsm_configuration);
        edit(variable, &|present| differing(present, &folder.softhsm_variable().1));
    }
    for cluster in places.cluster.into_iter().filter(|cluster| cluster.id.as_deref() == Some(CLUSTER_ID)) {
        edit(cluster.module, &|present| differing(present, module));
    }
    // From the end on, so that the places before stay where they are.
    edits.sort_by_key(|(range, _)| range.start);
    let mut adjusted = text.to_owned();
    for (range, value) in edits.into_iter().rev() {
        adjusted.replace_range(range, &value);
    }
    Some(adjusted)
}

/// The address with another port; nothing to change if it has that port, or is no address at all.
fn at_port(listen: &str, port: u16) -> Option<String> {
    let present: SocketAddr = listen.parse().ok()?;
    (present.port() != port).then(|| SocketAddr::new(present.ip(), port).to_string())
}

fn differing(present: &str, wanted: &str) -> Option<String> {
    (present != wanted).then(|| wanted.to_owned())
}
