//! The credentials file of a key store: made, read, added to, taken from.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proxy_api::wire::InvalidProxyConfiguration;
use proxy_api::wire::check_access_key_id;
use proxy_api::wire::check_secret_access_key;
use serde::Deserialize;
use serde::Deserializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::value::Datetime;
use zeroize::Zeroizing;

use crate::config::Credential;
use crate::config::private_file;
use crate::config::private_file::PrivateFileError;
use crate::config::syntax;
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
    Illegal(PathBuf, usize, IllegalCredential),
    Io(PathBuf, io::Error),
    /// Without its last credential a key store could serve nobody, and a configuration without one is refused.
    Last(PathBuf),
    /// Not a credentials file, from this line on.
    Malformed(PathBuf, usize),
    Unknown(PathBuf, String),
}

/// Which value of a credential breaks its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IllegalCredential {
    Created,
    Key(InvalidProxyConfiguration),
}

impl fmt::Display for IllegalCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => {
                f.write_str("`created` is a time after 1970 with its offset, such as 2026-11-22T10:00:00Z")
            }
            Self::Key(error) => error.fmt(f),
        }
    }
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
    parse(path, private_file::read(path).map_err(CredentialsError::File)?.expose())
}

fn parse(path: &Path, content: &[u8]) -> Result<Vec<Credential>, CredentialsError> {
    let malformed = |line| CredentialsError::Malformed(path.to_owned(), line);
    let text = str::from_utf8(content).map_err(|_| malformed(1))?;
    // The message of the parser may repeat what it found, so only its place is told.
    let file: CredentialsFile = syntax::read(text).map_err(|wrong| malformed(wrong.line))?;
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

fn credential(entry: Entry) -> Result<Credential, IllegalCredential> {
    let Entry { access_key_id, secret_access_key, created } = entry;
    check_access_key_id(&access_key_id).map_err(IllegalCredential::Key)?;
    // It was text in the file.
    let secret = str::from_utf8(secret_access_key.expose()).unwrap_or_default();
    check_secret_access_key(secret).map_err(IllegalCredential::Key)?;
    let time = OffsetDateTime::parse(&created.to_string(), &Rfc3339).ok();
    let created_unix_seconds =
        time.and_then(|time| u64::try_from(time.unix_timestamp()).ok()).ok_or(IllegalCredential::Created)?;
    Ok(Credential { access_key_id, secret_access_key, created_unix_seconds })
}

/// Adds a credential; makes the file if there is none.
pub fn append(path: &Path, credential: Credential) -> Result<(), CredentialsError> {
    change(path, |credentials| {
        let id = &credential.access_key_id;
        if credentials.iter().any(|present| &present.access_key_id == id) {
            return Err(CredentialsError::Duplicate(path.to_owned(), id.clone()));
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const ID: &str = "ABCDEFGHIJKLMNOPQRST";
    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCD/+=";
    const CREATED: &str = "2026-11-22T10:00:00Z";

    fn entry(id: &str, secret: &str, created: &str) -> String {
        format!(
            "[[credential]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\ncreated = {created}\n"
        )
    }

    /// How a file with this content is refused, without its path.
    fn refusal(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        private_file::replace(&path, content).unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        refusal.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    }

    fn ids(path: &Path) -> Vec<String> {
        read(path).unwrap().into_iter().map(|credential| credential.access_key_id).collect()
    }

    #[test]
    fn what_was_appended_is_read_again_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let [first, second] = [1_800_000_000, 0].map(|created| Credential::generate(created).unwrap());
        append(&path, first.clone()).unwrap();
        append(&path, second.clone()).unwrap();
        let present = read(&path).unwrap();
        for (present, wanted) in present.iter().zip([&first, &second]) {
            assert_eq!(present.access_key_id, wanted.access_key_id);
            assert_eq!(present.secret_access_key, wanted.secret_access_key);
            assert_eq!(present.created_unix_seconds, wanted.created_unix_seconds);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        remove(&path, &first.access_key_id).unwrap();
        assert_eq!(ids(&path), std::slice::from_ref(&second.access_key_id));
        // Nothing but the file itself is left in the folder.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(matches!(remove(&path, &first.access_key_id), Err(CredentialsError::Unknown(..))));
        assert!(matches!(remove(&path, &second.access_key_id), Err(CredentialsError::Last(..))));
        assert!(matches!(append(&path, second.clone()), Err(CredentialsError::Duplicate(..))));
        assert_eq!(ids(&path), [second.access_key_id]);
    }

    #[test]
    fn credentials_appended_at_the_same_time_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| append(&path, Credential::generate(0).unwrap()).unwrap());
            }
        });
        assert_eq!(ids(&path).len(), 8);
    }

    #[test]
    fn a_generated_credential_is_as_the_specification_wants_it() {
        let credential = Credential::generate(0).unwrap();
        assert_eq!((credential.access_key_id.len(), credential.secret_access_key.len()), (26, 44));
        assert!(
            !format!("{credential:?}")
                .contains(str::from_utf8(credential.secret_access_key.expose()).unwrap())
        );
        assert_ne!(credential.access_key_id, Credential::generate(0).unwrap().access_key_id);
    }

    #[test]
    fn ids_secrets_and_times_are_checked_at_both_ends_of_their_range() {
        let is_right = |id: &str, secret: &str, created: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c");
            private_file::replace(&path, entry(id, secret, created).as_bytes()).unwrap();
            read(&path).is_ok()
        };
        let text = |chars: usize| "A".repeat(chars);
        assert!(is_right(ID, SECRET, CREATED) && is_right(&text(30), &text(64), "2026-11-22T12:00:00+02:00"));
        for id in [text(19), text(31), ID.to_lowercase(), format!("{ID}0"), format!("{ID}8")] {
            assert!(!is_right(&id, SECRET, CREATED), "{id}");
        }
        for secret in [text(42), text(65), format!("{SECRET}-"), format!("{SECRET} ")] {
            assert!(!is_right(ID, &secret, CREATED), "{secret}");
        }
        for created in
            ["2026-11-22", "2026-11-22T10:00:00", "1969-12-31T23:59:59Z", "1", "\"2026-11-22T10:00:00Z\""]
        {
            assert!(!is_right(ID, SECRET, created), "{created}");
        }
    }

    #[test]
    fn a_refusal_says_where_and_never_what() {
        let good = entry(ID, SECRET, CREATED);
        let malformed = |line| {
            let members = "`access_key_id`, `secret_access_key`, `created`";
            format!("line {line}: expected `[[credential]]` tables of {members}")
        };
        assert_eq!(refusal(&[0xff]), malformed(1));
        assert_eq!(refusal(format!("{good}{SECRET}").as_bytes()), malformed(5));
        assert_eq!(refusal(good.replace(&format!("\"{SECRET}\""), "12345").as_bytes()), malformed(3));
        assert_eq!(refusal(good.replace("created", SECRET).as_bytes()), malformed(4));
        // Id and secret the wrong way round.
        let swapped = format!("{good}{}", entry(SECRET, ID, CREATED));
        assert_eq!(
            refusal(swapped.as_bytes()),
            "credential 2: an access key id is 20 to 30 characters of A-Z and 2-7"
        );
        let twice = format!("{good}{good}");
        assert_eq!(refusal(twice.as_bytes()), format!("access key id `{ID}` is there twice"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _result = parse(Path::new("c"), &bytes);
        }
    }
}
