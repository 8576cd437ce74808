//! The two AWS accounts of a quick start and an administrator's access key of each.

use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::config::credentials::deserialize_secret;
use crate::config::credentials::random_base32;
use crate::config::credentials::random_base64;
use crate::config::private_file;
use crate::provision::Error;
use crate::provision::Folder;
use crate::provision::write_if_changed;
use crate::secret::SecretBytes;

const DIGITS: usize = 12;
const SECOND_ACCOUNT: &str = "210987654321";
/// The second account if the first one was given the usual number of the second.
const OTHER_SECOND_ACCOUNT: &str = "123456789012";

/// How AWS builds an access key: this prefix and 16 characters, and 30 random bytes in Base64.
const ACCESS_KEY_ID_PREFIX: &str = "AKIA";
const ACCESS_KEY_ID_RANDOM_CHARS: usize = 16;
const SECRET_RANDOM_BYTES: usize = 30;

/// The number of an AWS account: twelve digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(String);

impl FromStr for AccountId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an account id is twelve digits")
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts {
    #[serde(default)]
    account: Vec<Account>,
}

/// An account and the access key of its administrator.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) access_key_id: String,
    #[serde(deserialize_with = "deserialize_secret")]
    pub(super) secret_access_key: SecretBytes,
}

/// The first account and the second one, each with the access key that it had before.
pub(super) fn provision(folder: &Folder, first: &AccountId) -> Result<[Account; 2], Error> {
    let second = if first.0 == SECOND_ACCOUNT { OTHER_SECOND_ACCOUNT } else { SECOND_ACCOUNT };
    let path = folder.accounts();
    let mut accounts = read(&path)?;
    let pair = [find_or_make(&mut accounts, &first.0)?, find_or_make(&mut accounts, second)?];
    write_if_changed(&path, &write(&accounts))?;
    Ok(pair)
}

fn read(path: &Path) -> Result<Accounts, Error> {
    let content = match private_file::read(path) {
        Err(error) if error.is_not_found() => return Ok(Accounts::default()),
        other => other.map_err(Error::PrivateFile)?,
    };
    let text = str::from_utf8(content.expose()).ok();
    text.and_then(|text| toml::from_str(text).ok()).ok_or_else(|| Error::Accounts(path.to_owned()))
}

fn find_or_make(accounts: &mut Accounts, id: &str) -> Result<Account, Error> {
    if let Some(account) = accounts.account.iter().find(|account| account.id == id) {
        return Ok(account.clone());
    }
    let access_key_id = format!("{ACCESS_KEY_ID_PREFIX}{}", random_base32(ACCESS_KEY_ID_RANDOM_CHARS)?);
    let account =
        Account { id: id.to_owned(), access_key_id, secret_access_key: random_base64(SECRET_RANDOM_BYTES)? };
    accounts.account.push(account.clone());
    Ok(account)
}

/// Nothing needs escaping: ids and secrets are made of few characters.
fn write(accounts: &Accounts) -> Zeroizing<Vec<u8>> {
    // More than enough for each, so that the buffer never grows and leaves a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(256 * accounts.account.len()));
    for Account { id, access_key_id, secret_access_key } in &accounts.account {
        text.extend_from_slice(
            format!("[[account]]\nid = \"{id}\"\naccess_key_id = \"{access_key_id}\"\n").as_bytes(),
        );
        text.extend_from_slice(b"secret_access_key = \"");
        text.extend_from_slice(secret_access_key.expose());
        text.extend_from_slice(b"\"\n\n");
    }
    text
}
