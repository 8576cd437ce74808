//! Requests as they go over the wire, signed beforehand: a signature is good for five minutes.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::RwLock;
use proxy_api::sigv4::{self, Credential, Scope, SigningKey, Timestamp, X_AMZ_DATE};

use crate::Options;

const SIGNED_AGAIN_SECONDS: u64 = 120;
const SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-target";

pub struct Requests {
    host: String,
    access_key_id: String,
    secret_access_key: String,
    region: String,
    target: String,
    bodies: Vec<String>,
    signed: RwLock<Signed>,
}

struct Signed {
    at: Instant,
    requests: Vec<Arc<[u8]>>,
}

impl Requests {
    pub fn new(options: &Options) -> Self {
        let bodies = std::fs::read_to_string(&options.bodies).unwrap();
        let mut requests = Self {
            host: options.url.split_once("://").unwrap().1.to_owned(),
            access_key_id: options.access_key_id.clone(),
            secret_access_key: options.secret_access_key.clone(),
            region: options.region.clone(),
            target: format!("TrentService.{}", options.operation),
            bodies: bodies.lines().map(str::to_owned).collect(),
            signed: RwLock::new(Signed { at: Instant::now(), requests: Vec::new() }),
        };
        *requests.signed.get_mut() = requests.sign_all();
        requests
    }

    pub fn get(&self, index: u64) -> Arc<[u8]> {
        if self.signed.read().at.elapsed().as_secs() > SIGNED_AGAIN_SECONDS {
            let signed = self.sign_all();
            *self.signed.write() = signed;
        }
        let signed = self.signed.read();
        Arc::clone(&signed.requests[index as usize % signed.requests.len()])
    }

    fn sign_all(&self) -> Signed {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let signed_at = Timestamp::from_unix_seconds(now as i64).unwrap();
        let scope = Scope { date: signed_at.date(), region: &self.region, service: "kms" };
        let key = SigningKey::derive(self.secret_access_key.as_bytes(), &scope);
        let request = |body: &String| self.sign(body, (&signed_at, scope), &key);
        Signed { at: Instant::now(), requests: self.bodies.iter().map(request).collect() }
    }

    fn sign(&self, body: &str, (signed_at, scope): (&Timestamp, Scope<'_>), key: &SigningKey) -> Arc<[u8]> {
        let pairs = [
            ("host", self.host.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            (X_AMZ_DATE, signed_at.as_str()),
            ("x-amz-target", &self.target),
        ];
        let header = |(name, value): (&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = pairs.into_iter().map(header).collect();
        let request = sigv4::Request {
            method: "POST",
            path: "/",
            query: None,
            authority: None,
            headers: &headers,
            body: body.as_bytes(),
        };
        let credential =
            Credential { access_key_id: &self.access_key_id, scope, signed_headers: SIGNED_HEADERS };
        let authorization = sigv4::sign(&request, &credential, signed_at.as_str(), key).unwrap();
        let mut text = String::from("POST / HTTP/1.1\r\n");
        pairs.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        text += &format!("authorization: {authorization}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        text.into_bytes().into()
    }
}
