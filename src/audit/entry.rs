//! The lines of a trail that are no records: heads of files, keys, intents, checkpoints, gaps.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::chain::{self, Link};

/// Of the lines and files.
pub(super) const FORMAT: u32 = 1;
pub(super) const ALGORITHM: &str = "ECDSA_SHA_256";
/// A public key on P-256 as X.509 has it (RFC 5480): this, and then the uncompressed point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// What a line is, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Checkpoint,
    Gap,
    Head,
    Intent,
    Key,
    Record,
    Removal,
}

impl Kind {
    pub(super) fn of(body: &[u8]) -> Self {
        let kinds: [(&[u8], Self); 6] = [
            (b"{\"checkpoint\":{", Self::Checkpoint),
            (b"{\"gap\":{", Self::Gap),
            (b"{\"trail\":{", Self::Head),
            (b"{\"intent\":{", Self::Intent),
            (b"{\"key\":{", Self::Key),
            (b"{\"removed\":{", Self::Removal),
        ];
        kinds.iter().find(|(start, _)| body.starts_with(start)).map_or(Self::Record, |(_, kind)| *kind)
    }
}

/// The first line of every file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileHead {
    pub format: u32,
    pub trail_id: String,
    pub created: String,
    pub first_sequence: u64,
    pub previous: String,
    /// Absent before the HSM made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// Absent: no file was ever removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Range>,
    /// Intents of earlier files whose end is not written yet.
    pub open_intents: Vec<Box<RawValue>>,
}

/// The key that checkpoints are signed with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    pub key_id: String,
    /// SubjectPublicKeyInfo in DER and Base64.
    pub public_key: String,
}

/// Says of a line, and with it of all lines before it, that they are ours.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    pub time: String,
    pub sequence: u64,
    pub hash: String,
    pub key_id: String,
    pub algorithm: String,
    /// In DER and Base64.
    pub signature: String,
}

/// Records that were given up, with `when_full = "drop"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Gap {
    pub time: String,
    pub dropped_records: u64,
}

/// Lines, from one to another, both included.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Range {
    pub first_sequence: u64,
    pub last_sequence: u64,
}

/// Says that a file is going to be removed for its age.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Removal {
    pub time: String,
    pub files: Vec<RemovedFile>,
    /// The lines that were removed so until now, without a gap between them.
    pub lines: Range,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RemovedFile {
    pub name: String,
    pub first_sequence: u64,
    pub last_sequence: u64,
}

#[derive(Deserialize, Serialize)]
struct Trail<T> {
    trail: T,
}

#[derive(Deserialize, Serialize)]
struct Intent<T> {
    intent: T,
}

#[derive(Deserialize, Serialize)]
struct Checkpointed<T> {
    checkpoint: T,
}

#[derive(Deserialize, Serialize)]
struct Keyed<T> {
    key: T,
}

#[derive(Deserialize, Serialize)]
struct Removing<T> {
    removed: T,
}

#[derive(Serialize)]
struct Gapped<T> {
    gap: T,
}

/// What names a record for people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EventName {
    #[serde(rename = "eventID")]
    pub event_id: Option<String>,
    pub event_name: Option<String>,
    pub event_time: Option<String>,
}

impl EventName {
    /// Of a record or an intent; empty if it has none.
    pub(super) fn of(object: &[u8]) -> Self {
        match Kind::of(object) {
            Kind::Intent => {
                serde_json::from_slice::<Intent<Self>>(object).map(|intent| intent.intent).unwrap_or_default()
            }
            Kind::Checkpoint | Kind::Gap | Kind::Head | Kind::Key | Kind::Record | Kind::Removal => {
                serde_json::from_slice(object).unwrap_or_default()
            }
        }
    }
}

fn object(line: &impl Serialize) -> Vec<u8> {
    // Texts and numbers: nothing that JSON lacks.
    serde_json::to_vec(line).unwrap_or_default()
}

impl FileHead {
    pub(super) fn to_object(&self) -> Vec<u8> {
        object(&Trail { trail: self })
    }

    pub(super) fn parse(object: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Trail<Self>>(object).ok().map(|line| line.trail)
    }
}

impl PublicKey {
    /// Of a SubjectPublicKeyInfo in DER.
    pub fn new(key_id: String, spki: &[u8]) -> Self {
        Self { key_id, public_key: STANDARD.encode(spki) }
    }

    pub fn to_object(&self) -> Vec<u8> {
        object(&Keyed { key: self })
    }

    pub fn parse(object: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Keyed<Self>>(object).ok().map(|line| line.key)
    }

    pub fn pem(&self) -> String {
        let lines = self.public_key.as_bytes().chunks(64).map(String::from_utf8_lossy);
        let body = lines.fold(String::new(), |text, line| text + &line + "\n");
        format!("-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n")
    }

    /// The Base64 of a PEM file that has one public key on P-256.
    pub fn base64_of_pem(pem: &str) -> Option<String> {
        let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
        let text: String = body.chars().filter(|char| !char.is_whitespace()).collect();
        point_of(&STANDARD.decode(&text).ok()?)?;
        Some(text)
    }

    /// Whether this is its signature of a text.
    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let spki = STANDARD.decode(&self.public_key).unwrap_or_default();
        point_of(&spki).is_some_and(|point| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text, signature).is_ok()
        })
    }
}

/// The uncompressed point of a key on P-256.
fn point_of(spki: &[u8]) -> Option<&[u8]> {
    spki.strip_prefix(&P256_PREFIX).filter(|point| point.len() == POINT_BYTES)
}

impl Checkpoint {
    /// Without its signature yet.
    pub fn unsigned(link: Link, time: String, key_id: String) -> Self {
        Self {
            time,
            sequence: link.sequence,
            hash: chain::hexadecimal(&link.hash),
            key_id,
            algorithm: ALGORITHM.to_owned(),
            signature: String::new(),
        }
    }

    /// The text that is signed.
    pub fn text(&self, trail_id: &str) -> String {
        let Self { time, sequence, hash, key_id, .. } = self;
        format!(
            "holdfast audit checkpoint 1\ntrail {trail_id}\nsequence {sequence}\nhash {hash}\ntime {time}\n\
             key {key_id}\n"
        )
    }

    pub fn with_signature(self, der: &[u8]) -> Self {
        Self { signature: STANDARD.encode(der), ..self }
    }

    pub fn to_object(&self) -> Vec<u8> {
        object(&Checkpointed { checkpoint: self })
    }

    /// Nothing if it is not written as we write it.
    pub fn parse(object: &[u8]) -> Option<Self> {
        let line = serde_json::from_slice::<Checkpointed<Self>>(object).ok()?;
        (line.checkpoint.to_object() == object).then_some(line.checkpoint)
    }

    pub fn is_signed_by(&self, key: &PublicKey, trail_id: &str) -> bool {
        let signature = STANDARD.decode(&self.signature).unwrap_or_default();
        self.algorithm == ALGORITHM
            && self.key_id == key.key_id
            && key.verifies(self.text(trail_id).as_bytes(), &signature)
    }
}

impl Gap {
    pub(super) fn to_object(&self) -> Vec<u8> {
        object(&Gapped { gap: self })
    }
}

impl Range {
    /// With lines that were removed, too. What does not join them is not known any more.
    pub(super) fn and(before: Option<Self>, more: Self) -> Self {
        match before {
            Some(before) if more.first_sequence > before.last_sequence + 1 => more,
            Some(before) => Self {
                first_sequence: before.first_sequence.min(more.first_sequence),
                last_sequence: before.last_sequence.max(more.last_sequence),
            },
            None => more,
        }
    }
}

impl Removal {
    pub(super) fn to_object(&self) -> Vec<u8> {
        object(&Removing { removed: self })
    }

    pub(super) fn parse(object: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Removing<Self>>(object).ok().map(|line| line.removed)
    }
}

/// The line of an intent.
pub(super) fn intent_object(record: &[u8]) -> Vec<u8> {
    [b"{\"intent\":", record, b"}"].concat()
}

/// The record in the line of an intent.
pub(super) fn intended(object: &[u8]) -> Option<&[u8]> {
    object.strip_prefix(b"{\"intent\":")?.strip_suffix(b"}")
}

/// The end of a call that nobody saw.
pub(super) fn interrupted(record: &[u8]) -> Vec<u8> {
    const END: &[u8] = br#","errorCode":"Interrupted","errorMessage":"the daemon stopped before the outcome of this call was known"}"#;
    [record.strip_suffix(b"}").unwrap_or(record), END].concat()
}
