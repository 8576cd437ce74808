//! `env`: a shell file with everything that a client of this quick start needs to know.

use zeroize::Zeroizing;

use crate::config::Credential;
use crate::provision::Error;
use crate::provision::Plan;
use crate::provision::Secrets;
use crate::provision::accounts::Account;
use crate::provision::configuration;
use crate::provision::shell::quote;
use crate::provision::softhsm;
use crate::provision::write_if_changed;
use crate::secret::SecretBytes;

const REGION: &str = "us-east-1";

const HEADER: &str = "\
# What a client of this quick start needs to know; read it with `. env`.
# Made anew by each `holdfast provision`, so a change made here does not last.
";

pub(super) fn provision(plan: &Plan, secrets: &Secrets<'_>, accounts: &[Account; 2]) -> Result<(), Error> {
    // Room for all of it: a string that grows leaves copies of the secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    text.push_str(HEADER);
    export_proxy(&mut text, plan, secrets.credential);
    export_certificates(&mut text, plan);
    export_kms(&mut text, plan, accounts);
    if let Some(password) = secrets.cluster_password {
        export_cluster(&mut text, plan, password);
    }
    export(&mut text, "SOFTHSM2_CONF", &plan.folder.softhsm_variable().1);
    write_if_changed(&plan.folder.variables(), text.as_bytes())
}

fn export_proxy(text: &mut String, plan: &Plan, credential: &Credential) {
    text.push_str("\n# The XKS proxy\n");
    export(text, "XKS_PROXY_HOST", &format!("localhost:{}", plan.ports.xks));
    export(text, "XKS_PROXY_HOST_MTLS", &format!("localhost:{}", plan.ports.xks_mtls));
    export(text, "URI_PREFIX", configuration::URI_PREFIX);
    export(text, "SIGV4_ACCESS_KEY_ID", &credential.access_key_id);
    export_secret(text, "SIGV4_SECRET_ACCESS_KEY", &credential.secret_access_key);
    export(text, "REGION", REGION);
    export(text, "KEY_ID", softhsm::KEY);
    export(text, "ENCRYPT_ONLY_KEY_ID", softhsm::ENCRYPT_ONLY_KEY);
    export(text, "DECRYPT_ONLY_KEY_ID", softhsm::DECRYPT_ONLY_KEY);
    export(text, "IMPOTENT_KEY_ID", softhsm::IMPOTENT_KEY);
}

fn export_certificates(text: &mut String, plan: &Plan) {
    let ca = plan.folder.text_of("tls/ca.pem");
    text.push_str("\n# Whom to trust, and who to be with mTLS\n");
    for name in ["HOLDFAST_CA", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        export(text, name, &ca);
    }
    export(text, "HOLDFAST_CLIENT_CERT", &plan.folder.text_of("tls/client.pem"));
    export(text, "HOLDFAST_CLIENT_KEY", &plan.folder.text_of("tls/client.key"));
}

fn export_kms(text: &mut String, plan: &Plan, [first, second]: &[Account; 2]) {
    let https = format!("https://localhost:{}", plan.ports.kms);
    text.push_str("\n# The KMS API, an administrator of an account, and one of a second account\n");
    export(text, "AWS_ENDPOINT_URL_KMS", &https);
    export(text, "AWS_ENDPOINT_URL_STS", &https);
    export(text, "HOLDFAST_KMS_HTTP", &format!("http://localhost:{}", plan.ports.kms_http));
    export(text, "AWS_DEFAULT_REGION", REGION);
    export(text, "HOLDFAST_ACCOUNT_ID", &first.id);
    export(text, "AWS_ACCESS_KEY_ID", &first.access_key_id);
    export_secret(text, "AWS_SECRET_ACCESS_KEY", &first.secret_access_key);
    export(text, "HOLDFAST_ACCOUNT2_ID", &second.id);
    export(text, "HOLDFAST_ACCOUNT2_ACCESS_KEY_ID", &second.access_key_id);
    export_secret(text, "HOLDFAST_ACCOUNT2_SECRET_ACCESS_KEY", &second.secret_access_key);
    text.push_str("\n# The machine's side\n");
    export(text, "HOLDFAST_ADMIN_URL", &format!("http://localhost:{}", plan.ports.admin));
}

fn export_cluster(text: &mut String, plan: &Plan, password: &SecretBytes) {
    text.push_str("\n# For custom key stores of the type AWS_CLOUDHSM; the password is the first one\n");
    export(text, "HOLDFAST_CLUSTER_ID", configuration::CLUSTER_ID);
    export(text, "HOLDFAST_CLUSTER_TRUST_ANCHOR", &plan.folder.text_of("tls/cluster-ca.pem"));
    export_secret(text, "HOLDFAST_CLUSTER_PASSWORD", password);
}

fn export_secret(text: &mut String, name: &str, secret: &SecretBytes) {
    // All our secrets are Base64, so text.
    export(text, name, str::from_utf8(secret.expose()).unwrap_or_default());
}

fn export(text: &mut String, name: &str, value: &str) {
    for part in ["export ", name, "=", &quote(value), "\n"] {
        text.push_str(part);
    }
}
