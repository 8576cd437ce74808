//! A client of the KMS API.

use holdfast::domain::kms::KeySpec;
use proxy_api::client::{Connection, Endpoint, Failure, HttpVersions, Outgoing, TlsTrust};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::client::{Reply, Signed};
use super::pki::write_private;
use super::site::{Setup, Site};

/// An account, and its administrator's access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: &'static str,
    pub access_key_id: &'static str,
    pub secret_access_key: &'static str,
}

pub const ACCOUNT: Account = Account {
    id: "123456789012",
    access_key_id: "AKIAABCDEFGHIJKLMNOP",
    secret_access_key: "0123456789abcdefghijklmnopqrstuvwxyzABCD",
};
pub const OTHER_ACCOUNT: Account = Account {
    id: "210987654321",
    access_key_id: "AKIAPONMLKJIHGFEDCBA",
    secret_access_key: "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",
};
pub const REGION: &str = "us-east-1";

/// What the KMS API answered.
#[derive(Debug)]
pub struct KmsReply(pub Reply);

impl Setup {
    /// With the KMS API, no request quotas, and a clock that can be moved.
    pub fn kms() -> Self {
        let kms =
            "[kms.request_quotas]\nenabled = false\n[dev]\nclock_control = true\nwith_any_module = true\n";
        Self { kms: Some(kms.to_owned()), ..Self::default() }
    }
}

impl Site {
    pub(super) fn kms_configuration(&self, members: &str) -> String {
        let declared = [ACCOUNT, OTHER_ACCOUNT].map(|account| {
            let Account { id, access_key_id, secret_access_key } = account;
            format!(
                "[[account]]\nid = \"{id}\"\naccess_key_id = \"{access_key_id}\"\nsecret_access_key = \
                 \"{secret_access_key}\"\n"
            )
        });
        write_private(&self.path("accounts.toml"), &declared.concat());
        // SoftHSM has no post-quantum keys, and not all that Ed25519 can do.
        let software = if members.contains("software_provider") {
            String::new()
        } else {
            let specs = KeySpec::ALL.iter().filter(|spec| spec.may_be_software());
            let specs: Vec<_> = specs.map(|spec| format!("\"{spec}\"")).collect();
            format!("[kms.software_provider]\nkey_specs = [{}]\n", specs.join(", "))
        };
        format!(
            r#"
[kms]
hsms = ["softhsm"]
identities_file = "accounts.toml"
request_deadline_ms = 20000
{members}
{software}
[[kms.listener]]
name = "kms"
listen = "127.0.0.1:{}"
certificate_file = "server.pem"
private_key_file = "server.key"
"#,
            self.kms_port
        )
    }

    /// One request of the administrator of the first account, over a connection of its own.
    pub fn kms(&self, operation: &str, body: &Value) -> KmsReply {
        self.kms_as(&ACCOUNT, operation, body)
    }

    pub fn kms_as(&self, account: &Account, operation: &str, body: &Value) -> KmsReply {
        let mut client = KmsClient::open(&self.runtime, self.kms_endpoint()).unwrap();
        client.send(&signed(account, operation, body)).unwrap()
    }

    pub fn kms_endpoint(&self) -> Endpoint {
        let trust = TlsTrust::new(self.pki.ca_pem.as_bytes());
        Endpoint::https(&format!("localhost:{}", self.kms_port), &trust, HttpVersions::Http1).unwrap()
    }

    /// A new symmetric key: its id.
    #[track_caller]
    pub fn create_kms_key(&self) -> String {
        let created = self.kms("CreateKey", &json!({}));
        created.ok()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// Moves KMS time on.
    #[track_caller]
    pub fn advance_clock(&self, by: &str) {
        let (status, text) = self.admin_request("POST", &format!("/dev/clock?advance={by}")).unwrap();
        assert_eq!(status, 200, "{text}");
    }
}

/// One connection, kept open between requests. Can move to another thread.
pub struct KmsClient<'a> {
    runtime: &'a Runtime,
    endpoint: Endpoint,
    connection: Connection,
}

impl<'a> KmsClient<'a> {
    pub fn open(runtime: &'a Runtime, endpoint: Endpoint) -> Result<Self, Failure> {
        let connection = runtime.block_on(Connection::open(&endpoint))?;
        Ok(Self { runtime, endpoint, connection })
    }

    /// As the administrator of the first account.
    pub fn call(&mut self, operation: &str, body: &Value) -> Result<KmsReply, Failure> {
        self.send(&signed(&ACCOUNT, operation, body))
    }

    pub fn send(&mut self, signed: &Signed) -> Result<KmsReply, Failure> {
        let outgoing: Outgoing = signed.outgoing(self.endpoint.host());
        let answer = self.runtime.block_on(self.connection.send(outgoing))?;
        Ok(KmsReply(Reply {
            status: answer.status.as_u16(),
            headers: answer.headers.clone(),
            body: answer.body.to_vec(),
        }))
    }
}

/// A request that can be made wrong before it is signed.
pub fn signed(account: &Account, operation: &str, body: &Value) -> Signed {
    let mut signed = Signed::new("/", body, account.access_key_id, account.secret_access_key);
    REGION.clone_into(&mut signed.region);
    "kms".clone_into(&mut signed.service);
    signed.extra_headers = vec![
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amz-target", format!("TrentService.{operation}")),
    ];
    signed
}

impl KmsReply {
    /// The answer; there must be one.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.0.status, 200, "{:?}", String::from_utf8_lossy(&self.0.body));
        if self.0.body.is_empty() { json!({}) } else { serde_json::from_slice(&self.0.body).unwrap() }
    }

    /// The text of a member of the answer.
    #[track_caller]
    pub fn text(&self, member: &str) -> String {
        self.ok()[member].as_str().unwrap().to_owned()
    }

    /// The type of the error and its message.
    #[track_caller]
    pub fn error(&self) -> (String, String) {
        assert_ne!(self.0.status, 200, "{:?}", String::from_utf8_lossy(&self.0.body));
        let body: Value = serde_json::from_slice(&self.0.body).unwrap();
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    #[track_caller]
    pub fn assert_error(&self, name: &str, message: &str) {
        assert_eq!(self.error(), (name.to_owned(), message.to_owned()));
    }
}
