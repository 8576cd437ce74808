//! Requests that go on while the test does something else.

use std::time::Duration;

use proxy_api::client::{Connection, Endpoint, HttpVersions, Outgoing, TlsTrust};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::client::{Reply, Signed, metadata};
use super::site::Site;

/// A request under way.
pub struct Pending(JoinHandle<Reply>);

impl Site {
    /// An Encrypt request to the store `test`.
    pub fn encrypt_request(&self, key: &str) -> Signed {
        let body = json!({
            "requestMetadata": metadata("Encrypt"),
            "plaintext": "SGVsbG8gV29ybGQh",
            "encryptionAlgorithm": "AES_GCM",
        });
        self.signed(&format!("keys/{key}/encrypt"), &body)
    }

    /// Sends a request without waiting for its answer; it is on its way when this returns.
    pub fn start_request(&self, signed: &Signed) -> Pending {
        let mut connection = self.runtime.block_on(self.connect());
        let outgoing = signed.outgoing(&self.host());
        Pending(self.runtime.spawn(async move { send(&mut connection, outgoing).await }))
    }

    /// Sends requests over as many connections, all at the same moment.
    pub fn at_once(&self, requests: &[Signed]) -> Vec<Reply> {
        let connections: Vec<_> = requests.iter().map(|_| self.runtime.block_on(self.connect())).collect();
        let pending: Vec<_> = connections
            .into_iter()
            .zip(requests)
            .map(|(mut connection, signed)| {
                let outgoing = signed.outgoing(&self.host());
                Pending(self.runtime.spawn(async move { send(&mut connection, outgoing).await }))
            })
            .collect();
        pending.into_iter().map(|pending| pending.wait(self)).collect()
    }

    async fn connect(&self) -> Connection {
        let trust = TlsTrust::new(self.pki.ca_pem.as_bytes());
        let endpoint = Endpoint::https(&self.host(), &trust, HttpVersions::default()).unwrap();
        Connection::open(&endpoint).await.unwrap()
    }

    /// Lines of the request log, as soon as there are this many with this outcome.
    pub fn lines_with_outcome(&self, outcome: &str, count: usize) -> Vec<Value> {
        let lines = || {
            let mut lines = self.request_lines();
            lines.retain(|line| line["outcome"] == outcome);
            lines
        };
        self.wait_until("as many log lines", || lines().len() >= count);
        lines()
    }
}

impl Pending {
    pub fn wait(self, site: &Site) -> Reply {
        site.runtime.block_on(self.0).unwrap()
    }
}

async fn send(connection: &mut Connection, outgoing: Outgoing) -> Reply {
    let answer = connection.send(outgoing).await.unwrap();
    Reply { status: answer.status.as_u16(), headers: answer.headers, body: answer.body.to_vec() }
}

/// How long the daemon worked on a request, by its log line.
pub fn duration_of(line: &Value) -> Duration {
    Duration::from_micros(line["durationUs"].as_u64().unwrap())
}

/// The middle of several durations: what a busy machine does to one of them does not count.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}
