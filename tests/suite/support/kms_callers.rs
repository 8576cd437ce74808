//! Callers of the KMS API and of STS that are no administrators: users, and sessions of roles, in any Region.

use proxy_api::client::{Connection, Endpoint, Outgoing};
use serde_json::Value;

use super::client::{Reply, Signed};
use super::kms::{Account, KmsClient, KmsReply, REGION, signed};
use super::site::Site;

/// What a request is signed with.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    pub region: String,
}

/// What STS answered.
#[derive(Debug)]
pub struct StsReply {
    pub status: u16,
    pub xml: String,
}

impl Account {
    pub fn credentials(&self) -> Credentials {
        Credentials::new(self.access_key_id, self.secret_access_key)
    }

    /// The same administrator, calling another Region.
    pub fn in_region(&self, region: &str) -> Credentials {
        Credentials { region: region.to_owned(), ..self.credentials() }
    }
}

impl Credentials {
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: None,
            region: REGION.to_owned(),
        }
    }

    fn applied_to(&self, mut signed: Signed) -> Signed {
        self.access_key_id.clone_into(&mut signed.access_key_id);
        self.secret_access_key.clone_into(&mut signed.secret_access_key);
        self.region.clone_into(&mut signed.region);
        if let Some(token) = &self.session_token {
            signed.extra_headers.push(("x-amz-security-token", token.clone()));
        }
        signed
    }

    /// A request to the KMS API.
    pub fn kms(&self, operation: &str, body: &Value) -> Signed {
        self.applied_to(signed(&super::kms::ACCOUNT, operation, body))
    }

    /// A request to STS.
    pub fn sts(&self, action: &str, parameters: &[(&str, &str)]) -> Signed {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Version", "2011-06-15").append_pair("Action", action).extend_pairs(parameters);
        let mut signed = signed(&super::kms::ACCOUNT, action, &Value::Null);
        signed.body = form.finish().into_bytes();
        "sts".clone_into(&mut signed.service);
        signed.extra_headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        self.applied_to(signed)
    }
}

impl Site {
    /// Sends a request to the KMS API over a connection of its own.
    pub fn send_kms(&self, signed: &Signed) -> KmsReply {
        KmsClient::open(&self.runtime, self.kms_endpoint()).unwrap().send(signed).unwrap()
    }

    pub fn kms_by(&self, caller: &Credentials, operation: &str, body: &Value) -> KmsReply {
        self.send_kms(&caller.kms(operation, body))
    }

    pub fn sts_by(&self, caller: &Credentials, action: &str, parameters: &[(&str, &str)]) -> StsReply {
        let KmsReply(reply) = self.send_kms(&caller.sts(action, parameters));
        StsReply { status: reply.status, xml: String::from_utf8(reply.body).unwrap() }
    }

    /// Sends what a test has made of a request, to any listener.
    pub fn send_to(&self, endpoint: &Endpoint, outgoing: Outgoing) -> Reply {
        self.runtime.block_on(async {
            let mut connection = Connection::open(endpoint).await.unwrap();
            let answer = connection.send(outgoing).await.unwrap();
            Reply { status: answer.status.as_u16(), headers: answer.headers, body: answer.body.to_vec() }
        })
    }

    /// The answer of a `holdfast identity` command.
    #[track_caller]
    pub fn identity(&self, arguments: &[&str]) -> Value {
        let text = self.holdfast_ok(&[&["identity", "--json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// A user of the first account with one policy, and an access key of it.
    #[track_caller]
    pub fn new_user(&self, name: &str, policy: &Value) -> Credentials {
        let account = super::kms::ACCOUNT.id;
        self.identity(&["user", "create", "--account", account, name]);
        self.put_policy("user", name, policy);
        let made = self.identity(&["access-key", "create", "--account", account, "--user", name]);
        let text = |member: &str| made["new_access_key"][member].as_str().unwrap().to_owned();
        Credentials::new(&text("access_key_id"), &text("secret_access_key"))
    }

    #[track_caller]
    pub fn put_policy(&self, kind: &str, name: &str, policy: &Value) {
        let file = self.path(&format!("{kind}-{name}.json"));
        std::fs::write(&file, policy.to_string()).unwrap();
        let account = super::kms::ACCOUNT.id;
        let file = file.to_str().unwrap();
        let words =
            ["policy", "put", "--account", account, "--of", kind, name, "--policy", "p", "--document", file];
        self.identity(&words);
    }
}

impl StsReply {
    /// The text of an element.
    #[track_caller]
    pub fn element(&self, name: &str) -> String {
        let (start, end) = (format!("<{name}>"), format!("</{name}>"));
        let after = self.xml.split_once(&start).unwrap_or_else(|| panic!("no {name} in {}", self.xml)).1;
        after.split_once(&end).unwrap().0.to_owned()
    }

    /// The credentials that AssumeRole answered with.
    #[track_caller]
    pub fn credentials(&self) -> Credentials {
        assert_eq!(self.status, 200, "{}", self.xml);
        let mut made = Credentials::new(&self.element("AccessKeyId"), &self.element("SecretAccessKey"));
        made.session_token = Some(self.element("SessionToken"));
        made
    }

    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.element("Code").as_str()), (status, code), "{}", self.xml);
    }
}

impl Site {
    /// The same request so many times, over as many connections, all at the same moment.
    pub fn kms_at_once(&self, signed: &Signed, times: usize) -> Vec<KmsReply> {
        let endpoint = self.kms_endpoint();
        self.runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..times {
                connections.push(Connection::open(&endpoint).await.unwrap());
            }
            let outgoing = signed.outgoing(endpoint.host());
            let pending: Vec<_> = connections
                .into_iter()
                .map(|mut connection| {
                    let outgoing = outgoing.clone();
                    self.runtime.spawn(async move { connection.send(outgoing).await.unwrap() })
                })
                .collect();
            let mut replies = Vec::new();
            for answer in pending {
                let answer = answer.await.unwrap();
                let (status, headers) = (answer.status.as_u16(), answer.headers.clone());
                replies.push(KmsReply(Reply { status, headers, body: answer.body.to_vec() }));
            }
            replies
        })
    }
}

impl Site {
    /// Everything that is in the database, its log and its spare pages not counted: what a thief of a backup reads.
    pub fn database_text(&self) -> String {
        let copy = self.path(&format!("copy-{}.sqlite", self.folder.path().read_dir().unwrap().count()));
        self.holdfast_ok(&["backup", copy.to_str().unwrap()]);
        String::from_utf8_lossy(&std::fs::read(copy).unwrap()).into_owned()
    }
}
