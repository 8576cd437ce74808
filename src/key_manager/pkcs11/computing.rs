//! What keys compute besides AES-GCM, on one session and handle. Every length is checked, not assumed.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA512, digest};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::Session;
use cryptoki_sys::{CKM_ECDSA, CKM_EDDSA, CKM_ML_DSA, CKM_RSA_PKCS, CKM_RSA_X_509};
use zeroize::Zeroizing;

use crate::domain::kms::{Hash, KeySpec, MacAlgorithm, SigningAlgorithm};
use crate::key_manager::backing_key::{Computation, ToSign};
use crate::key_manager::pkcs11::capabilities::{self, Capabilities};
use crate::key_manager::pkcs11::fault::{Blame, Doing, Fault};
use crate::key_manager::pkcs11::ffi::{CallFailed, Functions, Scheme, object_handle};
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves, Purpose};
use crate::key_manager::pkcs11::making::generate_pair;
use crate::key_manager::pkcs11::oaep;
use crate::public_key::prehashed::Prehashed;
use crate::public_key::{der, spki};
use crate::secret::SecretBytes;

const ED25519_SIGNATURE_BYTES: usize = 64;
/// FIPS 204, table 2.
const ML_DSA_SIGNATURES: [(KeySpec, usize); 3] =
    [(KeySpec::MlDsa44, 2420), (KeySpec::MlDsa65, 3309), (KeySpec::MlDsa87, 4627)];
/// FIPS 203, table 3.
const ML_KEM_SECRET_BYTES: usize = 32;

/// What DigestInfo has before the digest (RFC 8017, 9.2, note 1).
const SHA256_INFO: &[u8] =
    &[0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
const SHA384_INFO: &[u8] =
    &[0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 0x30];
const SHA512_INFO: &[u8] =
    &[0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 0x40];

#[derive(Clone, Copy)]
pub(super) struct Computing<'a> {
    pub(super) functions: &'a Functions,
    pub(super) session: &'a Session,
    pub(super) capabilities: &'a Capabilities,
}

impl Computing<'_> {
    pub(super) fn compute(
        &self,
        spec: KeySpec,
        handle: u64,
        computation: &Computation,
    ) -> Result<SecretBytes, Fault> {
        match computation {
            Computation::Sign { algorithm, input } => {
                self.sign(spec, handle, *algorithm, input).map(SecretBytes::new)
            }
            Computation::Mac { algorithm, message } => self.mac(handle, *algorithm, message.expose()),
            Computation::DecryptOaep { algorithm, ciphertext } => {
                let hash = algorithm.oaep_hash().ok_or_else(|| unsupported("RSAES_OAEP alone decrypts"))?;
                self.decrypt_oaep(spec, handle, hash, ciphertext)
            }
            Computation::Agree { peer } => {
                let point = spki::raw_of(spec, peer).ok_or_else(not_a_key)?;
                self.agree(spec, handle, point)
            }
            Computation::Decapsulate { ciphertext } => self.decapsulate(handle, ciphertext),
        }
    }

    fn sign(
        &self,
        spec: KeySpec,
        handle: u64,
        algorithm: SigningAlgorithm,
        input: &ToSign,
    ) -> Result<Vec<u8>, Fault> {
        use SigningAlgorithm as Algorithm;
        match (algorithm, input) {
            (
                Algorithm::RsassaPkcs1V15Sha256
                | Algorithm::RsassaPkcs1V15Sha384
                | Algorithm::RsassaPkcs1V15Sha512,
                ToSign::Digest(digest),
            ) => {
                let info = digest_info(algorithm.hash());
                self.rsa(spec, handle, Scheme::Plain(CKM_RSA_PKCS), &[info, digest].concat())
            }
            (
                Algorithm::RsassaPssSha256 | Algorithm::RsassaPssSha384 | Algorithm::RsassaPssSha512,
                ToSign::Digest(digest),
            ) => {
                let hash = algorithm.hash().unwrap_or(Hash::Sha256);
                self.rsa(spec, handle, Scheme::Pss(hash), digest)
            }
            (
                Algorithm::EcdsaSha256 | Algorithm::EcdsaSha384 | Algorithm::EcdsaSha512,
                ToSign::Digest(digest),
            ) => {
                let bytes =
                    spki::coordinate_bytes(spec).ok_or_else(|| unsupported("the curve is not known"))?;
                let signature = self.signature(handle, Scheme::Plain(CKM_ECDSA), digest, 2 * bytes)?;
                let (r, s) = signature.split_at_checked(bytes).unwrap_or_default();
                Ok(der::sequence(&[&der::integer(r), &der::integer(s)]))
            }
            (Algorithm::Ed25519Sha512, ToSign::Message(message)) => {
                let scheme = Scheme::Plain(CKM_EDDSA);
                self.signature(handle, scheme, message.expose(), ED25519_SIGNATURE_BYTES)
            }
            (Algorithm::Ed25519PhSha512, ToSign::Digest(digest)) => {
                if !self.capabilities.signs_ed25519ph(|| self.try_ed25519ph())? {
                    return Err(unsupported("the HSM lacks CKM_EDDSA with phFlag over a digest"));
                }
                self.signature(handle, Scheme::Ed25519ph, digest, ED25519_SIGNATURE_BYTES)
            }
            (Algorithm::MlDsaShake256, ToSign::Message(message)) => {
                let bytes = ml_dsa_signature_bytes(spec).unwrap_or_default();
                self.signature(handle, Scheme::Plain(CKM_ML_DSA), message.expose(), bytes)
            }
            (Algorithm::MlDsaShake256, ToSign::ExternalMu(_)) => {
                Err(unsupported("CKM_ML_DSA takes no message representative"))
            }
            _ => Err(unsupported("the algorithm does not sign this")),
        }
    }

    /// Some tokens sign something else without a word: a throw-away key shows it.
    fn try_ed25519ph(&self) -> Result<bool, Fault> {
        let form = KeyForm { spec: KeySpec::EccNistEdwards25519, purpose: Purpose::Sign };
        let pair = match generate_pair(self.session, form, &form.session_key(Leaves::Never)) {
            Err(fault) if fault.blame == Blame::Unsupported => return Ok(false),
            pair => pair?,
        };
        let digest = digest(&SHA512, b"");
        let scheme = Scheme::Ed25519ph;
        let made = self.signature(pair.private.handle, scheme, digest.as_ref(), ED25519_SIGNATURE_BYTES);
        let verified = made.ok().and_then(|made| {
            let key = spki::raw_of(form.spec, &pair.public_key)?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
            let signature = ed25519_dalek::Signature::from_slice(&made).ok()?;
            key.verify_prehashed(Prehashed::new(digest.as_ref())?, None, &signature).ok()
        });
        Ok(verified.is_some())
    }

    fn rsa(&self, spec: KeySpec, handle: u64, scheme: Scheme<'_>, input: &[u8]) -> Result<Vec<u8>, Fault> {
        self.signature(handle, scheme, input, modulus_bytes(spec)?)
    }

    /// A signature of exactly this length, and not of zeros.
    fn signature(
        &self,
        handle: u64,
        scheme: Scheme<'_>,
        input: &[u8],
        bytes: usize,
    ) -> Result<Vec<u8>, Fault> {
        let mut signature = vec![0; bytes];
        let written =
            self.functions.sign((self.session, handle), scheme, input, &mut signature).map_err(of_call)?;
        if written == bytes && signature.iter().any(|byte| *byte != 0) {
            Ok(signature)
        } else {
            Err(Fault::new(Blame::Token, "the token made a signature of a wrong length, or none"))
        }
    }

    pub(super) fn mac(
        &self,
        handle: u64,
        algorithm: MacAlgorithm,
        message: &[u8],
    ) -> Result<SecretBytes, Fault> {
        let scheme = Scheme::Plain(capabilities::hmac(algorithm));
        self.signature(handle, scheme, message, algorithm.hash().bytes()).map(SecretBytes::new)
    }

    /// By the token where it has the hash, else by the token's RSA and our decoding.
    pub(super) fn decrypt_oaep(
        &self,
        spec: KeySpec,
        handle: u64,
        hash: Hash,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Fault> {
        let modulus_bytes = modulus_bytes(spec)?;
        if ciphertext.len() != modulus_bytes {
            return Err(bad_ciphertext());
        }
        let on = (self.session, handle);
        // Some tokens want room for the whole modulus.
        let mut output = Zeroizing::new(vec![0; modulus_bytes]);
        if self.capabilities.has_oaep(hash) {
            match self.functions.decrypt_by(on, Scheme::Oaep(hash), ciphertext, &mut output) {
                Ok(written) => return shortened(output, written),
                Err(failed) if is_lacking(failed) => self.capabilities.refuse_oaep(hash),
                Err(failed) => return Err(undecrypted(failed)),
            }
        }
        let written = self
            .functions
            .decrypt_by(on, Scheme::Plain(CKM_RSA_X_509), ciphertext, &mut output)
            .map_err(undecrypted)?;
        let mut encoded = Zeroizing::new(vec![0; modulus_bytes]);
        // Some tokens leave leading zeros out.
        let number = output.get(..written).filter(|number| !number.is_empty());
        let place = modulus_bytes.checked_sub(written).and_then(|zeros| encoded.get_mut(zeros..));
        match (number, place) {
            (Some(number), Some(place)) => place.copy_from_slice(number),
            _ => return Err(Fault::new(Blame::Token, "the token decrypted to a wrong length")),
        }
        oaep::decode(hash, &encoded).ok_or_else(bad_ciphertext)
    }

    /// The x-coordinate, in all its bytes.
    pub(super) fn agree(&self, spec: KeySpec, handle: u64, peer: &[u8]) -> Result<SecretBytes, Fault> {
        let algorithm =
            agreement_of(spec).ok_or_else(|| unsupported("the curve does not agree on secrets"))?;
        // A point off the curve would give the key away bit by bit.
        ParsedPublicKey::try_from(&UnparsedPublicKey::new(algorithm, peer)).map_err(|_| not_a_key())?;
        let bytes = spki::coordinate_bytes(spec).unwrap_or_default();
        let template = readable_secret(bytes);
        let secret = self
            .functions
            .derive_key((self.session, handle), Scheme::Ecdh(peer), &template)
            .map_err(of_call)?;
        self.take(secret, bytes)
    }

    fn decapsulate(&self, handle: u64, ciphertext: &[u8]) -> Result<SecretBytes, Fault> {
        let template = readable_secret(ML_KEM_SECRET_BYTES);
        let key = object_handle(handle);
        let secret = self
            .session
            .decapsulate_key(&Mechanism::MlKem, key, &template, ciphertext)
            .map_err(|error| Fault::from(error).or_unsupported())?;
        self.take(secret.handle(), ML_KEM_SECRET_BYTES)
    }

    /// Reads a secret and destroys its object.
    fn take(&self, secret: u64, bytes: usize) -> Result<SecretBytes, Fault> {
        let object = object_handle(secret);
        let value = self.session.get_attributes(object, &[AttributeType::Value]);
        let destroyed = self.session.destroy_object(object);
        let value = value?.into_iter().find_map(value_of).unwrap_or_default();
        destroyed?;
        let mut padded = Zeroizing::new(vec![0; bytes]);
        // Some tokens leave leading zeros out.
        match bytes.checked_sub(value.len()).and_then(|zeros| padded.get_mut(zeros..)) {
            Some(place) if !value.is_empty() => place.copy_from_slice(&value),
            _ => return Err(Fault::new(Blame::Token, "the token agreed on a secret of a wrong length")),
        }
        Ok(SecretBytes::new(std::mem::take(&mut *padded)))
    }
}

/// The value of a secret, which wipes itself.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one was asked for"
)]
pub(super) fn value_of(attribute: Attribute) -> Option<Zeroizing<Vec<u8>>> {
    match attribute {
        Attribute::Value(bytes) => Some(Zeroizing::new(bytes)),
        _ => None,
    }
}

fn readable_secret(bytes: usize) -> Vec<Attribute> {
    let bytes = u32::try_from(bytes).unwrap_or_default();
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(u64::from(bytes).into()),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

fn shortened(mut output: Zeroizing<Vec<u8>>, written: usize) -> Result<SecretBytes, Fault> {
    if written > output.len() {
        return Err(Fault::new(Blame::Token, "the token decrypted to a wrong length"));
    }
    output.truncate(written);
    Ok(SecretBytes::new(std::mem::take(&mut *output)))
}

pub(super) fn agreement_of(spec: KeySpec) -> Option<&'static agreement::Algorithm> {
    let algorithms: [(KeySpec, &'static agreement::Algorithm); 3] = [
        (KeySpec::EccNistP256, &ECDH_P256),
        (KeySpec::EccNistP384, &ECDH_P384),
        (KeySpec::EccNistP521, &ECDH_P521),
    ];
    algorithms.into_iter().find(|(curve, _)| *curve == spec).map(|(_, algorithm)| algorithm)
}

pub(super) fn modulus_bytes(spec: KeySpec) -> Result<usize, Fault> {
    spec.rsa_bits().map(|bits| bits / 8).ok_or_else(|| unsupported("the key is no RSA key"))
}

fn ml_dsa_signature_bytes(spec: KeySpec) -> Option<usize> {
    ML_DSA_SIGNATURES.iter().find(|(set, _)| *set == spec).map(|(_, bytes)| *bytes)
}

const fn digest_info(hash: Option<Hash>) -> &'static [u8] {
    match hash {
        Some(Hash::Sha256) => SHA256_INFO,
        Some(Hash::Sha384) => SHA384_INFO,
        Some(Hash::Sha512) => SHA512_INFO,
        Some(Hash::Sha1 | Hash::Sha224) | None => &[],
    }
}

/// Refused before it saw any data.
fn is_lacking(failed: CallFailed) -> bool {
    failed.function == "C_DecryptInit"
        && (capabilities::is_refusal(failed.code) || failed.code == RvError::ArgumentsBad)
}

/// Some say it to a wrong padding what others say when they are broken.
fn undecrypted(failed: CallFailed) -> Fault {
    let fault = Fault::of_call(failed, Doing::Decrypting);
    let is_perhaps_data = failed.function == "C_Decrypt" && failed.quirks.bad_padding.contains(&failed.code);
    if is_perhaps_data { Fault { blame: Blame::DataOrToken, ..fault } } else { fault }
}

fn of_call(failed: CallFailed) -> Fault {
    Fault::of_call(failed, Doing::Other).or_unsupported()
}

pub(super) fn unsupported(what: &str) -> Fault {
    Fault::new(Blame::Unsupported, what)
}

fn not_a_key() -> Fault {
    Fault::new(Blame::ForeignKey, "it is no public key on the curve of the key")
}

fn bad_ciphertext() -> Fault {
    Fault::new(Blame::Data, "the ciphertext does not decrypt")
}
