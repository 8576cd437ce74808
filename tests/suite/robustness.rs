//! No input ends the daemon, makes it grow, or draws an answer that is not of the API.

use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use proxy_api::client::Outgoing;
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::client::Signed;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use crate::support::traffic::{Caller, Kept};
use crate::support::{Reply, Site};

const REQUESTS: usize = 10_000;
/// By then caches and pools are filled.
const WARMED_UP: usize = 2_000;
const GROWTH_KIB_MAX: u64 = 20 * 1024;
const SEED: u64 = 0x0dd5_eed0_f401_dfa5;

/// XKS v1, Error codes, without those that blame us: nothing is wrong with the HSM. And 405, which is outside the
/// table.
const DOCUMENTED: [(u16, &str); 9] = [
    (400, "ValidationException"),
    (400, "InvalidStateException"),
    (400, "InvalidCiphertextException"),
    (400, "InvalidKeyUsageException"),
    (401, "AuthenticationFailedException"),
    (404, "KeyNotFoundException"),
    (404, "InvalidUriPathException"),
    (405, "UnsupportedOperationException"),
    (501, "UnsupportedOperationException"),
];

/// SplitMix64: the same requests every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Up to `end` bytes; mostly few.
    fn bytes(&mut self, end: usize) -> Vec<u8> {
        let end = 1 + self.below(end);
        let length = self.below(end);
        (0..length).map(|_| self.roll().to_le_bytes()[0]).collect()
    }

    fn text(&mut self, alphabet: &[&str], end: usize) -> String {
        (0..self.below(end)).map(|_| *self.pick(alphabet)).collect()
    }

    fn path(&mut self) -> String {
        const PIECES: [&str; 22] = [
            "/", "/", "/", "test", "kms", "xks", "v1", "keys", "foo", "encrypt", "health", "metadata", "..",
            ".", "%2e", "%2f", "%00", "%ff", "%", "?", "~", "\u{e9}",
        ];
        let start = *self.pick(&["/", "/test/kms/xks/v1/", "/test/kms/xks/v1/keys/"]);
        format!("{start}{}", self.text(&PIECES, 12))
    }

    /// Changes a few bytes.
    fn disturb(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len().max(1));
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.roll().to_le_bytes()[0]),
                2 => bytes.extend_from_within(at..),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
    }

    fn value(&mut self) -> Value {
        match self.below(9) {
            0 => Value::Null,
            1 => json!(self.roll()),
            2 => json!(-1.5e300),
            3 => json!([[], {}]),
            4 => json!("\u{0}\u{202e}\n"),
            5 => json!("A".repeat(self.below(8_000))),
            6 => json!(encode_base64(&self.bytes(8_000))),
            _ => json!(encode_base64(&self.bytes(40))),
        }
    }

    /// Gives a member another value, or adds one.
    fn disturb_member(&mut self, body: &mut Value) {
        const MEMBERS: [&str; 12] = [
            "requestMetadata",
            "plaintext",
            "ciphertext",
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
            "additionalAuthenticatedData",
            "encryptionAlgorithm",
            "ciphertextDataIntegrityValueAlgorithm",
            "awsPrincipalArn",
            "kmsOperation",
            "unknown",
        ];
        let member = *self.pick(&MEMBERS);
        let value = self.value();
        if self.below(3) == 0 { body["requestMetadata"][member] = value } else { body[member] = value }
    }

    fn disturb_headers(&mut self, headers: &mut HeaderMap) {
        const NAMES: [&str; 6] =
            ["authorization", "x-amz-date", "content-type", "x-amz-content-sha256", "accept", "x-unknown"];
        let name = HeaderName::from_static(NAMES[self.below(NAMES.len())]);
        match self.below(3) {
            0 => drop(headers.remove(name)),
            1 => {
                let mut value = headers.get(&name).map_or(Vec::new(), |value| value.as_bytes().to_vec());
                self.disturb(&mut value);
                headers.extend(HeaderValue::from_bytes(&value).ok().map(|value| (name, value)));
            }
            _ => {
                let value = self.bytes(1000);
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(name, value);
                }
            }
        }
    }
}

/// A client with dice of its own that keeps its connection.
struct Thrower<'a> {
    runtime: &'a Runtime,
    caller: Caller,
    right: &'a [(&'static str, Value)],
    dice: Dice,
    kept: Kept<'a>,
}

impl<'a> Thrower<'a> {
    fn new(site: &'a Site, right: &'a [(&'static str, Value)], seed: u64) -> Self {
        let caller = site.caller();
        let kept = Kept::open(&site.runtime, &caller).unwrap();
        Self { runtime: &site.runtime, caller, right, dice: Dice(seed), kept }
    }

    /// Sends some requests. How many of them were served?
    fn throw(&mut self, count: usize) -> usize {
        (0..count).filter(|number| self.throw_one(*number) == 200).count()
    }

    fn throw_one(&mut self, number: usize) -> u16 {
        let outgoing = self.some_request();
        if !self.kept.is_open() {
            self.kept = Kept::open(self.runtime, &self.caller).unwrap();
        }
        let reply = self.kept.send(outgoing).unwrap_or_else(|failure| panic!("request {number}: {failure}"));
        assert_documented(&reply, number);
        reply.status
    }

    /// One of the right requests, made wrong in one of many ways.
    fn some_request(&mut self) -> Outgoing {
        let dice = &mut self.dice;
        let (path, body) = dice.pick(self.right);
        let path = format!("/test/kms/xks/v1/{path}");
        let mut signed = Signed::new(&path, body, ACCESS_KEY_ID, SECRET_ACCESS_KEY);
        let host = self.caller.endpoint.host();
        match dice.below(8) {
            0 => disturb_path(dice, &mut signed),
            1 => {
                signed.method = dice.pick(&[Method::GET, Method::PUT, Method::DELETE, Method::PATCH]).clone()
            }
            2 => signed.body = dice.bytes(1000),
            3 => dice.disturb(&mut signed.body),
            4 | 5 => {
                let mut body = body.clone();
                dice.disturb_member(&mut body);
                signed.body = body.to_string().into_bytes();
            }
            6 => {
                let mut outgoing = signed.outgoing(host);
                dice.disturb_headers(&mut outgoing.headers);
                return outgoing;
            }
            _ => {
                let wrong = dice.text(&["A", "a", "1", "/"], 70);
                *dice.pick_mut([&mut signed.access_key_id, &mut signed.secret_access_key]) = wrong;
            }
        }
        signed.outgoing(host)
    }
}

/// Some requests of all clients at once. How many of them were served?
fn throw_all(throwers: &mut [Thrower<'_>], count: usize) -> usize {
    let each = count / throwers.len();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            throwers.iter_mut().map(|thrower| scope.spawn(move || thrower.throw(each))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn disturb_path(dice: &mut Dice, signed: &mut Signed) {
    let path = dice.path();
    if path.parse::<PathAndQuery>().is_ok() {
        signed.path = path;
    }
}

impl Dice {
    fn pick_mut<'a, T>(&mut self, from: [&'a mut T; 2]) -> &'a mut T {
        let [one, other] = from;
        if self.below(2) == 0 { one } else { other }
    }
}

#[track_caller]
fn assert_documented(reply: &Reply, number: usize) {
    if reply.status == 200 {
        reply.assert_ok().json();
        return;
    }
    let name = reply.text("errorName");
    let is_documented = DOCUMENTED.contains(&(reply.status, name.as_str()));
    assert!(is_documented, "request {number}: {} {}", reply.status, reply.json());
    reply.assert_error(reply.status, &name);
}

fn resident_kib(site: &Site) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Peer fault 2.
#[test]
fn ten_thousand_wrong_requests_leave_no_trace() {
    eprintln!("seed {SEED:#x}");
    let site = Site::start();
    let right = site.right_requests();
    let mut throwers = [0, 1, 2, 3].map(|number| Thrower::new(&site, &right, SEED + number));
    let served = throw_all(&mut throwers, WARMED_UP);
    let warmed_up = resident_kib(&site);
    let served = served + throw_all(&mut throwers, REQUESTS - WARMED_UP);
    let grown = resident_kib(&site).saturating_sub(warmed_up);
    assert!(grown < GROWTH_KIB_MAX, "grew by {grown} KiB");
    // Unknown members, other key ids of KMS and headers that are not signed do no harm.
    assert!((100..REQUESTS / 2).contains(&served), "{served} of {REQUESTS} were served");
    site.encrypt("foo", b"still here", json!({})).assert_ok();
    let (_, metrics) = site.admin("/metrics").unwrap();
    assert!(!metrics.contains("responder_panicked"), "{metrics}");
}
