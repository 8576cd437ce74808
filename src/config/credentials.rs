//! The credentials file of a key store: made, read, added to, taken from.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::str;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::value::Datetime;
use zeroize::Zeroizing;

use crate::config::Credential;
use crate::config::private_file;
use crate::config::private_file::PrivateFileError;
use crate::config::validation::line_number;
use crate::secret::SecretBytes;

/// RFC 4648, section 6: what an access key id is written in (XKS v1, appendix A).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 130 random bits.
const ACCESS_KEY_ID_CHARS: usize = 26;
/// 264 random bits, which are 44 characters of Base64 without padding.
const SECRET_RANDOM_BYTES: usize = 33;

const HEADER: &str =
    "# SigV4 credentials of one key store. Written by `holdfast credential`; comments are not kept.\n";

/// Why a credentials file was not read or not changed. Never says what is in the file.
#[derive(Debug)]
pub enum CredentialsError {
    /// The id is in the file already.
    Duplicate(PathBuf, String),
    File(PrivateFileError),
    /// What is wrong, and with which `[[credential]]`, counted from 1.
    Illegal(PathBuf, usize, &'static str),
    Io(PathBuf, io::Error),
    /// Without its last credential a key store could serve nobody, and a configuration without one is refused.
    Last(PathBuf),
    /// Not a credentials file, from this line on.
    Malformed(PathBuf, usize),
    Unknown(PathBuf, String),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(path, id) => write!(f, "{}: access key id `{id}` is there twice", path.display()),
            Self::File(error) => error.fmt(f),
            Self::Illegal(path, place, reason) => {
                write!(f, "{}: credential {place}: {reason}", path.display())
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Last(path) => write!(f, "{}: the last credential cannot be removed", path.display()),
            Self::Malformed(path, line) => write!(
                f,
                "{}: line {line}: expected `[[credential]]` tables of `access_key_id`, `secret_access_key`, `created`",
                path.display()
            ),
            Self::Unknown(path, id) => write!(f, "{}: no access key id `{id}`", path.display()),
        }
    }
}

impl std::error::Error for CredentialsError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    #[serde(default)]
    credential: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    access_key_id: String,
    #[serde(deserialize_with = "deserialize_secret")]
    secret_access_key: SecretBytes,
    created: Datetime,
}

/// Takes the text over without a copy.
pub fn deserialize_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
    String::deserialize(deserializer).map(|text| SecretBytes::new(text.into_bytes()))
}

impl Credential {
    /// A new random credential.
    pub fn generate(created_unix_seconds: u64) -> Result<Self, Unspecified> {
        let access_key_id = random_base32(ACCESS_KEY_ID_CHARS)?;
        let secret_access_key = random_base64(SECRET_RANDOM_BYTES)?;
        Ok(Self { access_key_id, secret_access_key, created_unix_seconds })
    }
}

/// Random characters of A–Z and 2–7, five bits each.
pub fn random_base32(chars: usize) -> Result<String, Unspecified> {
    let mut random = vec![0; chars];
    rand::fill(&mut random)?;
    let digit = |byte: u8| BASE32.get(usize::from(byte % 32)).map(|&digit| char::from(digit));
    Ok(random.into_iter().filter_map(digit).collect())
}

/// Random bytes in Base64.
pub fn random_base64(bytes: usize) -> Result<SecretBytes, Unspecified> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    rand::fill(&mut random)?;
    Ok(SecretBytes::new(STANDARD.encode(&*random).into_bytes()))
}

/// The credentials in the file, oldest first as far as nobody changed the order.
pub fn read(path: &Path) -> Result<Vec<Credential>, CredentialsError> {
    let content = private_file::read(path).map_err(CredentialsError::File)?;
    let malformed = |line| CredentialsError::Malformed(path.to_owned(), line);
    let text = str::from_utf8(content.expose()).map_err(|_| malformed(1))?;
    // The message of the parser may repeat what it found, so only its place is told.
    let file: CredentialsFile = toml::from_str(text)
        .map_err(|error| malformed(line_number(text, error.span().map_or(0, |span| span.start))))?;
    let mut ids = BTreeSet::new();
    let checked = file.credential.into_iter().enumerate().map(|(index, entry)| {
        let credential = credential(entry)
            .map_err(|reason| CredentialsError::Illegal(path.to_owned(), index + 1, reason))?;
        if !ids.insert(credential.access_key_id.clone()) {
            return Err(CredentialsError::Duplicate(path.to_owned(), credential.access_key_id));
        }
        Ok(credential)
    });
    checked.collect()
}

fn credential(entry: Entry) -> Result<Credential, &'static str> {
    let Entry { access_key_id, secret_access_key, created } = entry;
    let is_id = access_key_id.bytes().all(|byte| BASE32.contains(&byte));
    if !is_id || !(20..=30).contains(&access_key_id.len()) {
        return Err("`access_key_id` must be 20 to 30 characters of A-Z 2-7");
    }
    let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=');
    if !secret_access_key.expose().iter().all(legal) || !(43..=64).contains(&secret_access_key.len()) {
        return Err("`secret_access_key` must be 43 to 64 characters of a-z A-Z 0-9 / + =");
    }
    let time = OffsetDateTime::parse(&created.to_string(), &Rfc3339).ok();
    let created_unix_seconds = time
        .and_then(|time| u64::try_from(time.unix_timestamp()).ok())
        .ok_or("`created` must be a time after 1970 with its offset, such as 2026-11-22T10:00:00Z")?;
    Ok(Credential { access_key_id, secret_access_key, created_unix_seconds })
}

/// Adds a credential; makes the file if there is none.
pub fn append(path: &Path, credential: Credential) -> Result<(), CredentialsError> {
    change(path, |credentials| {
        credentials.push(credential);
        Ok(())
    })
}

/// Takes a credential away, unless it is the last one.
pub fn remove(path: &Path, access_key_id: &str) -> Result<(), CredentialsError> {
    change(path, |credentials| {
        let place = credentials.iter().position(|credential| credential.access_key_id == access_key_id);
        let place =
            place.ok_or_else(|| CredentialsError::Unknown(path.to_owned(), access_key_id.to_owned()))?;
        credentials.remove(place);
        if credentials.is_empty() { Err(CredentialsError::Last(path.to_owned())) } else { Ok(()) }
    })
}

fn change<F>(path: &Path, change: F) -> Result<(), CredentialsError>
where
    F: FnOnce(&mut Vec<Credential>) -> Result<(), CredentialsError>,
{
    let io = |error| CredentialsError::Io(path.to_owned(), error);
    // Two commands at once: the second reads what the first wrote. Released when the file is closed.
    let folder = File::open(private_file::folder(path)).map_err(io)?;
    folder.lock().map_err(io)?;
    let mut credentials = match read(path) {
        Err(CredentialsError::File(error)) if error.is_not_found() => Vec::new(),
        other => other?,
    };
    change(&mut credentials)?;
    private_file::replace(path, &write(&credentials)).map_err(io)
}

/// Nothing needs escaping: the characters of ids and secrets are few.
fn write(credentials: &[Credential]) -> Zeroizing<Vec<u8>> {
    // More than enough for each, so that the buffer never grows and leaves a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(HEADER.len() + 256 * credentials.len()));
    text.extend_from_slice(HEADER.as_bytes());
    for credential in credentials {
        let created = rfc3339(credential.created_unix_seconds);
        text.extend_from_slice(b"\n[[credential]]\naccess_key_id = \"");
        text.extend_from_slice(credential.access_key_id.as_bytes());
        text.extend_from_slice(b"\"\nsecret_access_key = \"");
        text.extend_from_slice(credential.secret_access_key.expose());
        text.extend_from_slice(b"\"\ncreated = ");
        text.extend_from_slice(created.as_bytes());
        text.extend_from_slice(b"\n");
    }
    text
}

/// A time as the file and the commands show it. Seconds past the year 9999 show as 1970.
pub fn rfc3339(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}
