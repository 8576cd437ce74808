//! AES-256-GCM on one session and key: three ways to an IV, and lengths that are checked, not assumed.

use aws_lc_rs::rand;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::config::IvMode;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::fault::{Blame, Doing, Fault};
use crate::key_manager::pkcs11::ffi::{Functions, Iv, Message, TAG_BYTES};
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::{BoundAad, Encrypted};
use crate::secret::SecretBytes;

const IV_BYTES: usize = 12;
/// Luna appends 16 bytes when it is configured so; XKS takes both lengths.
const APPENDED_IV_BYTES_MAX: usize = 16;

/// A key in a session, ready to compute.
pub(super) struct Gcm<'a> {
    functions: &'a Functions,
    session: &'a Session,
    key_handle: u64,
    iv_mode: IvMode,
}

impl<'a> Gcm<'a> {
    /// With the token key itself.
    pub(super) fn new(
        functions: &'a Functions,
        ready: Ready<'a>,
        object: &KeyObject,
        iv_mode: IvMode,
    ) -> Result<Self, Fault> {
        let key_handle = inventory::handle_of(object, ready)?;
        Ok(Self { functions, session: ready.session, key_handle, iv_mode })
    }

    /// With a key whose handle is known to be of this login.
    pub(super) fn with_handle(
        functions: &'a Functions,
        session: &'a Session,
        key_handle: u64,
        iv_mode: IvMode,
    ) -> Self {
        Self { functions, session, key_handle, iv_mode }
    }

    pub(super) fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted, Fault> {
        let mut iv = match self.iv_mode {
            IvMode::Host => fresh_iv()?.to_vec(),
            IvMode::Hsm => vec![0; IV_BYTES],
            IvMode::Appended => Vec::new(),
        };
        let iv_argument = match self.iv_mode {
            IvMode::Host | IvMode::Hsm => Iv::Buffer(&mut iv),
            IvMode::Appended => Iv::Null,
        };
        let mut output = vec![0; plaintext.len() + TAG_BYTES + APPENDED_IV_BYTES_MAX];
        let on = (self.session, self.key_handle);
        let written = self
            .functions
            .encrypt(on, Message { iv: iv_argument, aad, input: plaintext }, &mut output)
            .map_err(|failed| Fault::of_call(failed, Doing::Other))?;
        output.truncate(written);
        self.split(output, iv, plaintext.len())
    }

    /// Takes ciphertext, tag and IV apart; anything but the exact lengths is a fault of the token.
    fn split(
        &self,
        mut output: Vec<u8>,
        mut iv: Vec<u8>,
        plaintext_bytes: usize,
    ) -> Result<Encrypted, Fault> {
        let sealed_bytes = plaintext_bytes + TAG_BYTES;
        if self.iv_mode == IvMode::Appended && output.len() > sealed_bytes {
            iv = output.split_off(sealed_bytes);
        }
        if output.len() != sealed_bytes || !proxy_api::wire::IV_BYTES.contains(&iv.len()) {
            return Err(Fault::new(Blame::Token, "C_Encrypt returned ciphertext or IV of a wrong length"));
        }
        if iv.iter().all(|&byte| byte == 0) {
            return Err(Fault::new(
                Blame::Token,
                "the token did not write an IV; is `iv_mode` right for it?",
            ));
        }
        let tag = output.split_off(plaintext_bytes);
        Ok(Encrypted { iv, ciphertext: output, tag, integrity_value: None })
    }

    pub(super) fn decrypt(&self, iv: &[u8], sealed: &[u8], aad: &[u8]) -> Result<SecretBytes, Fault> {
        // The token may write into the IV buffer.
        let mut iv = iv.to_vec();
        let mut output = Zeroizing::new(vec![0; sealed.len()]);
        let on = (self.session, self.key_handle);
        let written = self
            .functions
            .decrypt(on, Message { iv: Iv::Buffer(&mut iv), aad, input: sealed }, &mut output)
            .map_err(|failed| Fault::of_call(failed, Doing::Decrypting))?;
        if Some(written) != sealed.len().checked_sub(TAG_BYTES) {
            return Err(Fault::new(Blame::Token, "C_Decrypt returned plaintext of a wrong length"));
        }
        output.truncate(written);
        Ok(SecretBytes::new(std::mem::take(&mut *output)))
    }

    /// XKS v1, Appendix C: the value is computed before the check decryption starts, so that what the check
    /// passes is what was hashed.
    pub(super) fn attach_integrity_value(
        &self,
        encrypted: &mut Encrypted,
        plaintext: &[u8],
        aad: &BoundAad,
    ) -> Result<(), Fault> {
        let Encrypted { iv, ciphertext, tag, .. } = &*encrypted;
        let value = proxy_api::wire::cdiv(aad.aad(), aad.metadata(), iv, ciphertext, tag);
        self.check(encrypted, plaintext, aad.as_bytes())?;
        encrypted.integrity_value = Some(value);
        Ok(())
    }

    /// Encrypts and decrypts known data: true if this key, session and token work.
    pub(super) fn round_trip(&self) -> Result<(), Fault> {
        const KNOWN: &[u8] = b"holdfast health probe";
        let encrypted = self.encrypt(KNOWN, KNOWN)?;
        let sealed = [encrypted.ciphertext.as_slice(), &encrypted.tag].concat();
        let decrypted = self.decrypt(&encrypted.iv, &sealed, KNOWN)?;
        if decrypted.expose() == KNOWN {
            Ok(())
        } else {
            Err(Fault::new(Blame::Token, "the token decrypts to another plaintext than was encrypted"))
        }
    }

    /// What the configuration claims of this token and XKS needs of it: IVs that never repeat, the largest
    /// mandatory sizes at once (XKS v1, Encrypt), and tampering that is noticed.
    pub(super) fn self_test(&self) -> Result<(), Fault> {
        const AAD_BYTES: usize = 2 + 8192 + 1 + 20;
        let (plaintext, aad) = (vec![0x5a; 4300], vec![0xa5; AAD_BYTES]);
        let first = self.encrypt(&plaintext, &aad)?;
        let second = self.encrypt(&plaintext, &aad)?;
        if first.iv == second.iv {
            return Err(Fault::new(
                Blame::Token,
                "two encryptions got the same IV; is `iv_mode` right for the token?",
            ));
        }
        let mut sealed = [first.ciphertext.as_slice(), &first.tag].concat();
        if self.decrypt(&first.iv, &sealed, &aad)?.expose() != plaintext {
            return Err(Fault::new(
                Blame::Token,
                "the token decrypts to another plaintext than was encrypted",
            ));
        }
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
        match self.decrypt(&first.iv, &sealed, &aad) {
            Ok(_) => Err(Fault::new(Blame::Token, "the token decrypts a ciphertext with a wrong tag")),
            Err(fault) if matches!(fault.blame, Blame::Data | Blame::DataOrToken) => self.round_trip(),
            Err(fault) => Err(fault),
        }
    }
}

/// 96 random bits from the operating system's generator (NIST SP 800-38D, section 8.2.2).
fn fresh_iv() -> Result<[u8; IV_BYTES], Fault> {
    let mut iv = [0; IV_BYTES];
    rand::fill(&mut iv).map_err(|_| Fault::new(Blame::Token, "the operating system gave no random bytes"))?;
    Ok(iv)
}
