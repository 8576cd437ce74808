//! Session tokens: all that is to be known of a session, sealed so that only this installation can open it.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::identity::kms::record::{deserialize_secret, serialize_secret};
use crate::secret::SecretBytes;

pub(super) const SESSION_KEY_BYTES: usize = 32;
/// The first byte of a token: how the rest is to be read.
const VERSION: u8 = 2;
/// Longer than any token that is made; what is longer is not decoded.
const TOKEN_CHARS_MAX: usize = 16 * 1024;
/// Room for the usual token, so that the buffer with the secret grows seldom.
const PLAINTEXT_BYTES_USUAL: usize = 8 * 1024;

/// The key that tokens are sealed with, AES-256-GCM with random nonces.
pub struct SessionKey(RandomizedNonceKey);

/// What a token holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenContent {
    pub(super) account: String,
    pub(super) of: TokenHolder,
    pub(super) issued_unix_seconds: u64,
    pub(super) expires_unix_seconds: u64,
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    pub(super) secret_access_key: SecretBytes,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    /// Keys of the tags that are inherited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) transitive: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_identity: Option<String>,
    /// Whether a second factor was shown when it was issued.
    #[serde(default)]
    pub(super) mfa: bool,
}

/// Whose session it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TokenHolder {
    Role { name: String, unique_id: String, session_name: String },
    Root,
    User { name: String, unique_id: String },
}

impl SessionKey {
    /// Nothing unless there are 32 bytes.
    pub fn new(bytes: &SecretBytes) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes.expose()).ok().map(Self)
    }

    /// A token that belongs to this access key id.
    pub(super) fn seal(&self, access_key_id: &str, content: &TokenContent) -> Option<String> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(PLAINTEXT_BYTES_USUAL));
        serde_json::to_writer(&mut *buffer, content).ok()?;
        let nonce = self.0.seal_in_place_append_tag(Aad::from(bound(access_key_id)), &mut *buffer).ok()?;
        let mut token = vec![VERSION];
        token.extend_from_slice(nonce.as_ref());
        token.extend_from_slice(&buffer);
        Some(STANDARD.encode(token))
    }

    /// Nothing unless this key sealed the token for this access key id.
    pub(super) fn open(&self, access_key_id: &str, token: &str) -> Option<TokenContent> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let mut bytes = Zeroizing::new(STANDARD.decode(token).ok()?);
        let (version, rest) = bytes.split_first_mut()?;
        if *version != VERSION {
            return None;
        }
        let (nonce, sealed) = rest.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plaintext = self.0.open_in_place(nonce, Aad::from(bound(access_key_id)), sealed).ok()?;
        serde_json::from_slice(plaintext).ok()
    }
}

/// A token is worth nothing with another access key id or as another version.
fn bound(access_key_id: &str) -> Vec<u8> {
    [&[VERSION], access_key_id.as_bytes()].concat()
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::{SessionKey, TokenContent, TokenHolder};
    use crate::secret::SecretBytes;

    const ID: &str = "ASIAABCDEFGHIJKLMNOP";

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&SecretBytes::new(vec![byte; 32])).unwrap()
    }

    fn content() -> TokenContent {
        TokenContent {
            account: "111122223333".to_owned(),
            of: TokenHolder::Role {
                name: "reader".to_owned(),
                unique_id: "AROAABCDEFGHIJKLMNOPQ".to_owned(),
                session_name: "s".to_owned(),
            },
            issued_unix_seconds: 1,
            expires_unix_seconds: 2,
            secret_access_key: SecretBytes::new(b"secret".to_vec()),
            tags: [("team".to_owned(), "blue".to_owned())].into(),
            transitive: vec!["team".to_owned()],
            policy: None,
            source_identity: None,
            mfa: false,
        }
    }

    #[test]
    fn a_token_opens_with_its_key_and_access_key_id_only() {
        let token = key(1).seal(ID, &content()).unwrap();
        let opened = key(1).open(ID, &token).unwrap();
        assert_eq!(format!("{opened:?}"), format!("{:?}", content()));
        assert_eq!(opened.secret_access_key.expose(), b"secret");
        assert!(key(2).open(ID, &token).is_none());
        assert!(key(1).open("ASIAABCDEFGHIJKLMNOQ", &token).is_none());
        assert!(SessionKey::new(&SecretBytes::new(vec![0; 31])).is_none());
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let key = key(1);
        let token = STANDARD.decode(key.seal(ID, &content()).unwrap()).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(ID, &STANDARD.encode(changed)).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn every_changed_character_and_every_cut_is_refused() {
        let key = key(1);
        let token = key.seal(ID, &content()).unwrap();
        for at in 0..token.len() {
            assert!(key.open(ID, &token[..at]).is_none(), "cut at {at}");
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(key.open(ID, &changed).is_none(), "character {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_opens_or_panics(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(key(1).open(ID, &text).is_none());
            prop_assert!(key(1).open(ID, &STANDARD.encode(bytes)).is_none());
        }
    }
}
