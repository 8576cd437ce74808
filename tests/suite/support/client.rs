//! Signed requests to a site, answered with everything that came back.

use bytes::Bytes;
use holdfast::clock::{Clock, SystemClock};
use http::header::HeaderMap;
use http::{Method, uri::PathAndQuery};
use proxy_api::client::{Connection, Endpoint, HttpVersions, Outgoing, TlsTrust};
use proxy_api::sigv4::{self, SERVICE_XKS, Scope, SigningKey, Timestamp, X_AMZ_DATE};
use proxy_api::wire::decode_base64;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A member of the body that is text.
    pub fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.json())).to_owned()
    }

    /// A member of the body that is Base64.
    pub fn bytes(&self, member: &str) -> Vec<u8> {
        decode_base64(&self.text(member)).unwrap()
    }

    /// Asserts the whole of an error answer: status, name, content type, one line, and a clean message.
    #[track_caller]
    pub fn assert_error(&self, status: u16, name: &str) {
        let body = String::from_utf8(self.body.clone()).unwrap();
        assert_eq!((self.status, self.json()["errorName"].as_str()), (status, Some(name)), "{body}");
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(!body.contains('\n'));
        if let Some(message) = self.json()["errorMessage"].as_str() {
            assert!(
                message.len() < 512 && message.bytes().all(|byte| (0x20..=0x7e).contains(&byte)),
                "{message}"
            );
        }
    }

    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/json");
        self
    }
}

/// `requestMetadata` as AWS KMS sends it.
pub fn metadata(kms_operation: &str) -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kmsOperation": kms_operation,
        "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "kmsViaService": "ebs",
    })
}

/// A request that can be made wrong before it is signed, or after.
pub struct Signed {
    pub method: Method,
    pub path: String,
    pub body: Vec<u8>,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: String,
    pub service: String,
    /// Added to our clock.
    pub skew_seconds: i64,
    /// Headers to add and sign, besides `host` and `x-amz-date`.
    pub extra_headers: Vec<(&'static str, String)>,
    /// Overrides the list of signed headers.
    pub signed_headers: Option<String>,
}

impl Signed {
    pub fn outgoing(&self, host: &str) -> Outgoing {
        let now = i64::try_from(SystemClock.unix_seconds()).unwrap();
        let signed_at = Timestamp::from_unix_seconds(now + self.skew_seconds).unwrap();
        let path: PathAndQuery = self.path.parse().unwrap();
        let mut outgoing = Outgoing::new(self.method.clone(), path, host, Bytes::from(self.body.clone()));
        outgoing.headers.insert(X_AMZ_DATE, signed_at.as_str().parse().unwrap());
        let mut names = vec!["host".to_owned(), X_AMZ_DATE.to_owned()];
        for (name, value) in &self.extra_headers {
            outgoing.headers.insert(*name, value.parse().unwrap());
            names.push((*name).to_owned());
        }
        names.sort();
        let names = self.signed_headers.clone().unwrap_or_else(|| names.join(";"));
        let scope = Scope { date: signed_at.date(), region: &self.region, service: &self.service };
        let request = sigv4::Request {
            method: self.method.as_str(),
            path: outgoing.path.path(),
            query: None,
            authority: None,
            headers: &outgoing.headers,
            body: &self.body,
        };
        let credential =
            sigv4::Credential { access_key_id: &self.access_key_id, scope, signed_headers: &names };
        let key = SigningKey::derive(self.secret_access_key.as_bytes(), &scope);
        let authorization = sigv4::sign(&request, &credential, signed_at.as_str(), &key).unwrap();
        outgoing.headers.insert("authorization", authorization.parse().unwrap());
        outgoing
    }

    pub fn new(path: &str, body: &Value, access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            body: serde_json::to_vec(body).unwrap(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            region: "us-east-1".to_owned(),
            service: SERVICE_XKS.to_owned(),
            skew_seconds: 0,
            extra_headers: Vec::new(),
            signed_headers: None,
        }
    }
}

/// Sends over a connection of its own.
pub fn send(runtime: &tokio::runtime::Runtime, host: &str, ca_pem: &str, outgoing: &Outgoing) -> Reply {
    send_with(runtime, host, &TlsTrust::new(ca_pem.as_bytes()), HttpVersions::default(), outgoing)
}

pub fn send_with(
    runtime: &tokio::runtime::Runtime,
    host: &str,
    trust: &TlsTrust<'_>,
    versions: HttpVersions,
    outgoing: &Outgoing,
) -> Reply {
    let endpoint = Endpoint::https(host, trust, versions).unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let answer = connection.send(outgoing.clone()).await.unwrap();
        Reply { status: answer.status.as_u16(), headers: answer.headers.clone(), body: answer.body.to_vec() }
    })
}
