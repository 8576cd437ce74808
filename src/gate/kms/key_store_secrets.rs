//! The secrets of custom key stores, sealed under the root key of the HSM and bound to the key store they are of.

use std::time::Instant;

use zeroize::Zeroizing;

use crate::domain::kms::{CustomKeyStore, CustomKeyStoreId, Scope, SealedSecret};
use crate::gate::kms::{Kms, Refused};
use crate::key_manager::HsmError;
use crate::secret::SecretBytes;

/// Whose secret it is.
#[derive(Clone, Copy)]
pub(super) struct SecretOf<'a> {
    pub(super) scope: &'a Scope,
    pub(super) id: &'a CustomKeyStoreId,
}

/// What `kmsuser` may log in with. While its password is being changed, nobody can know whether the HSM has the
/// next one already: both are kept until that is known, also over several attempts.
pub(super) struct ClusterPasswords {
    pub(super) current: SecretBytes,
    /// The newest first.
    pub(super) next: Vec<SecretBytes>,
}

/// HSMs lock users after some wrong passwords: no login tries more than two of them.
const NEXT_PASSWORDS_MAX: usize = 2;

/// `KeyStorePasswordType` of the service model: at most 32 letters and digits.
const PASSWORD_CHARS: usize = 32;
const LETTERS_AND_DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl<'a> SecretOf<'a> {
    pub(super) const fn store(store: &'a CustomKeyStore) -> Self {
        Self { scope: &store.scope, id: &store.id }
    }

    /// A secret that is copied to another row does not open.
    pub(super) fn context(self) -> Vec<u8> {
        let Self { scope, id } = self;
        format!("holdfast custom key store v1/{}/{}/{id}", scope.account, scope.region).into_bytes()
    }
}

impl Kms {
    pub(super) async fn seal_secret(
        &self,
        of: SecretOf<'_>,
        secret: SecretBytes,
        deadline: Instant,
    ) -> Result<SealedSecret, Refused> {
        Ok(SealedSecret(self.backing_keys.seal(secret, of.context(), deadline).await.result?))
    }

    pub(super) async fn open_secret(
        &self,
        of: SecretOf<'_>,
        sealed: &SealedSecret,
        deadline: Instant,
    ) -> Result<SecretBytes, Refused> {
        let opened = self.backing_keys.unseal(sealed.0.clone(), of.context(), deadline).await.result;
        // What we sealed ourselves and cannot open is damaged: not a ciphertext of the caller's.
        opened.map_err(|error| match error {
            HsmError::BadCiphertext => Refused::KeyManager(damaged(of)),
            HsmError::BadKeyMaterial
            | HsmError::Busy
            | HsmError::Corrupted(_)
            | HsmError::DeadlineExceeded
            | HsmError::Device(_)
            | HsmError::KeyMissing
            | HsmError::TooLong
            | HsmError::Unavailable(_)
            | HsmError::Unsupported(_)
            | HsmError::UsageRefused => Refused::KeyManager(error),
        })
    }

    pub(super) async fn seal_passwords(
        &self,
        of: SecretOf<'_>,
        passwords: &ClusterPasswords,
        deadline: Instant,
    ) -> Result<SealedSecret, Refused> {
        self.seal_secret(of, passwords.to_bytes(), deadline).await
    }

    pub(super) async fn open_passwords(
        &self,
        of: SecretOf<'_>,
        sealed: &SealedSecret,
        deadline: Instant,
    ) -> Result<ClusterPasswords, Refused> {
        let bytes = self.open_secret(of, sealed, deadline).await?;
        ClusterPasswords::from_bytes(bytes.expose()).ok_or_else(|| Refused::KeyManager(damaged(of)))
    }

    /// A password that nobody but us will know.
    pub(super) async fn fresh_password(&self, deadline: Instant) -> Result<SecretBytes, Refused> {
        let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_CHARS));
        while password.len() < PASSWORD_CHARS {
            let random = self.backing_keys.random(PASSWORD_CHARS * 2, deadline).await.result?;
            // The last eight values of a byte would make some letters likelier than others.
            let letters =
                random.expose().iter().filter(|byte| **byte < 248).map(|byte| usize::from(*byte) % 62);
            let letters = letters.filter_map(|at| LETTERS_AND_DIGITS.get(at).copied());
            let missing = PASSWORD_CHARS - password.len();
            password.extend(letters.take(missing));
        }
        Ok(SecretBytes::new(std::mem::take(&mut *password)))
    }
}

impl ClusterPasswords {
    /// In the order in which they are to be tried.
    pub(super) fn candidates(&self) -> Vec<SecretBytes> {
        std::iter::once(&self.current).chain(&self.next).cloned().collect()
    }

    /// The password is settled.
    pub(super) const fn known(current: SecretBytes) -> Self {
        Self { current, next: Vec::new() }
    }

    /// It is about to be changed from `current`, which was just accepted. What else might be in force, because an
    /// earlier change never said what became of it, is kept.
    pub(super) fn changing(&self, current: &SecretBytes, next: SecretBytes) -> Self {
        let unsettled = self.next.iter().filter(|password| *password != current).cloned();
        let next = std::iter::once(next).chain(unsettled).take(NEXT_PASSWORDS_MAX).collect();
        Self { current: current.clone(), next }
    }

    /// Each behind its length in one byte.
    fn to_bytes(&self) -> SecretBytes {
        let mut bytes = Vec::with_capacity(2 * (PASSWORD_CHARS + 1));
        for password in self.candidates() {
            bytes.push(u8::try_from(password.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(password.expose());
        }
        SecretBytes::new(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut passwords = Vec::new();
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first() {
            let (password, behind) = behind.split_at_checked(usize::from(*length))?;
            passwords.push(SecretBytes::new(password.to_vec()));
            rest = behind;
        }
        let mut passwords = passwords.into_iter();
        Some(Self { current: passwords.next()?, next: passwords.collect() })
    }
}

fn damaged(of: SecretOf<'_>) -> HsmError {
    HsmError::Device(format!("the secret of custom key store {} cannot be opened", of.id))
}

#[cfg(test)]
mod tests {
    use super::{ClusterPasswords, NEXT_PASSWORDS_MAX};
    use crate::secret::SecretBytes;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn passwords_are_read_as_they_were_written() {
        for next in [&[][..], &["and the next one"], &["two", "three"]] {
            let next: Vec<_> = next.iter().map(|text| secret(text)).collect();
            let passwords = ClusterPasswords { current: secret("secret1"), next: next.clone() };
            let read = ClusterPasswords::from_bytes(passwords.to_bytes().expose()).unwrap();
            assert_eq!((read.current.expose(), read.next), (&b"secret1"[..], next));
        }
        for bytes in [&[][..], &[5, 1], &[1, b'a', 9], &[1, b'a', 1, b'b', 7]] {
            assert!(ClusterPasswords::from_bytes(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_password_that_may_be_in_force_is_not_forgotten_when_another_change_begins() {
        let first = ClusterPasswords::known(secret("p0")).changing(&secret("p0"), secret("p1"));
        assert_eq!(first.candidates(), [secret("p0"), secret("p1")]);
        let second = first.changing(&secret("p0"), secret("p2"));
        assert_eq!(second.candidates(), [secret("p0"), secret("p2"), secret("p1")]);
        // The change had happened: then it is the one that is settled.
        let other = first.changing(&secret("p1"), secret("p2"));
        assert_eq!(other.candidates(), [secret("p1"), secret("p2")]);
        let third = second.changing(&secret("p0"), secret("p3"));
        assert_eq!(third.next.len(), NEXT_PASSWORDS_MAX);
    }
}
