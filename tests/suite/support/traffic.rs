//! Clients that keep their connection, as AWS KMS does, while the site changes under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use proxy_api::client::{Connection, Endpoint, Failure, HttpVersions, Outgoing, TlsTrust};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::client::{Reply, Signed, metadata};
use super::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Site};

/// Who sends, and to which key store. Can move to another thread.
#[derive(Clone)]
pub struct Caller {
    pub endpoint: Endpoint,
    pub key_store: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Site {
    /// A caller of the store `test`.
    pub fn caller(&self) -> Caller {
        self.caller_of("test", ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    }

    pub fn caller_of(&self, key_store: &str, access_key_id: &str, secret_access_key: &str) -> Caller {
        let trust = TlsTrust::new(self.pki.ca_pem.as_bytes());
        Caller {
            endpoint: Endpoint::https(&self.host(), &trust, HttpVersions::Http1).unwrap(),
            key_store: key_store.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
        }
    }

    /// Sends one request over a connection of its own.
    pub fn send_as(&self, caller: &Caller, path: &str, body: &Value) -> Reply {
        Kept::open(&self.runtime, caller).unwrap().post(path, body).unwrap()
    }
}

impl Caller {
    pub fn outgoing(&self, path: &str, body: &Value) -> Outgoing {
        let path = format!("/{}/kms/xks/v1/{path}", self.key_store);
        Signed::new(&path, body, &self.access_key_id, &self.secret_access_key).outgoing(self.endpoint.host())
    }
}

/// One connection, kept open between requests.
pub struct Kept<'a> {
    runtime: &'a Runtime,
    caller: Caller,
    connection: Connection,
}

impl<'a> Kept<'a> {
    pub fn open(runtime: &'a Runtime, caller: &Caller) -> Result<Self, Failure> {
        let connection = runtime.block_on(Connection::open(&caller.endpoint))?;
        Ok(Self { runtime, caller: caller.clone(), connection })
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.send(self.caller.outgoing(path, body))
    }

    pub fn send(&mut self, outgoing: Outgoing) -> Result<Reply, Failure> {
        let answer = self.runtime.block_on(self.connection.send(outgoing))?;
        Ok(Reply {
            status: answer.status.as_u16(),
            headers: answer.headers.clone(),
            body: answer.body.to_vec(),
        })
    }

    pub fn is_open(&mut self) -> bool {
        self.runtime.block_on(async { self.connection.is_open() })
    }
}

/// Encrypts and decrypts with the key `foo` over one kept connection, again and again, on a thread of its own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Traffic {
    pub fn start(caller: &Caller) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (caller, stopped, count) = (caller.clone(), Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut kept = Kept::open(&runtime, &caller).unwrap();
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) && failures.is_empty() {
                failures.extend(round_trip(&mut kept).err());
                count.fetch_add(2, Ordering::Relaxed);
            }
            failures
        });
        Self { stop, answered, thread }
    }

    /// How many requests have been answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until some more requests have come and gone.
    #[track_caller]
    pub fn wait_for_more(&self, site: &Site) {
        let before = self.answered();
        site.wait_until("more traffic", || self.answered() >= before + 4 || self.thread.is_finished());
    }

    /// Ends it. Nothing may have failed.
    #[track_caller]
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.thread.join().unwrap(), Vec::<String>::new());
    }
}

fn round_trip(kept: &mut Kept<'_>) -> Result<(), String> {
    let mut ok = |path: &str, body: Value| {
        let reply = kept.post(path, &body).map_err(|failure| format!("{path}: {failure}"))?;
        if reply.status == 200 { Ok(reply.json()) } else { Err(format!("{path}: {}", reply.json())) }
    };
    let body = json!({
        "requestMetadata": metadata("Encrypt"), "plaintext": "SGVsbG8=", "encryptionAlgorithm": "AES_GCM",
    });
    let mut decrypt = ok("keys/foo/encrypt", body)?;
    decrypt["requestMetadata"] = metadata("Decrypt");
    decrypt["encryptionAlgorithm"] = json!("AES_GCM");
    let decrypted = ok("keys/foo/decrypt", decrypt)?;
    if decrypted["plaintext"] == "SGVsbG8=" { Ok(()) } else { Err("another plaintext".to_owned()) }
}
