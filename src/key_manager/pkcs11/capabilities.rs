//! What a token can do: what it says, and what it refused when it was tried.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::error::RvError;
use cryptoki_sys::{
    CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN,
    CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_EDDSA, CKM_GENERIC_SECRET_KEY_GEN, CKM_ML_DSA, CKM_ML_DSA_KEY_PAIR_GEN,
    CKM_ML_KEM, CKM_ML_KEM_KEY_PAIR_GEN, CKM_RSA_PKCS, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS_OAEP,
    CKM_RSA_PKCS_PSS, CKM_RSA_X_509, CKM_SHA224_HMAC, CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC,
};
use parking_lot::Mutex;

use crate::domain::kms::{Hash, KeyKind, KeySpec, KeyUsage, MacAlgorithm};
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::key_form::{KeyForm, Purpose};

/// A mechanism and its name; any one of them is enough.
type AnyOf = &'static [(u64, &'static str)];

const RSA_GENERATION: AnyOf = &[(CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN")];
const RSA_PKCS: AnyOf = &[(CKM_RSA_PKCS, "CKM_RSA_PKCS")];
const RSA_PSS: AnyOf = &[(CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS")];
const RSA_OAEP: AnyOf = &[(CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP"), (CKM_RSA_X_509, "CKM_RSA_X_509")];
const EC_GENERATION: AnyOf = &[(CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN")];
const ECDSA: AnyOf = &[(CKM_ECDSA, "CKM_ECDSA")];
const ECDH: AnyOf = &[(CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE")];
const EDWARDS_GENERATION: AnyOf = &[(CKM_EC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN")];
const EDDSA: AnyOf = &[(CKM_EDDSA, "CKM_EDDSA")];
const ML_DSA_GENERATION: AnyOf = &[(CKM_ML_DSA_KEY_PAIR_GEN, "CKM_ML_DSA_KEY_PAIR_GEN")];
const ML_DSA: AnyOf = &[(CKM_ML_DSA, "CKM_ML_DSA")];
const ML_KEM_GENERATION: AnyOf = &[(CKM_ML_KEM_KEY_PAIR_GEN, "CKM_ML_KEM_KEY_PAIR_GEN")];
const ML_KEM: AnyOf = &[(CKM_ML_KEM, "CKM_ML_KEM")];
const SECRET_GENERATION: AnyOf = &[(CKM_GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN")];
/// RFC 5649, or on older tokens what they do instead.
const PADDED_WRAPPING: AnyOf =
    &[(CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP"), (CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD")];

/// What one token has, and what it refused, with the mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CapabilityFacts {
    pub(super) mechanisms: Option<Vec<u64>>,
    pub(super) refused: Vec<(KeySpec, String)>,
}

/// The record of one token.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    /// Absent if the token does not tell: then everything is tried.
    mechanisms: Option<Vec<u64>>,
    /// What was refused when it was tried, with the mechanism.
    refused: Mutex<BTreeMap<&'static str, String>>,
    /// Hashes that `CKM_RSA_PKCS_OAEP` was refused with: SHA-1 first, then SHA-256.
    lacks_oaep: [AtomicBool; 2],
    /// It unwraps nothing with an RSA key.
    lacks_unwrapping: AtomicBool,
    /// Whether it signs digests by Ed25519ph; absent before it was tried.
    signs_ed25519ph: Mutex<Option<bool>>,
}

impl Capabilities {
    pub(super) fn new(mechanisms: Option<Vec<u64>>) -> Self {
        Self { mechanisms, ..Self::default() }
    }

    /// As somebody else has found it out.
    pub(super) fn from_facts(facts: CapabilityFacts) -> Self {
        let specs = facts.refused.into_iter().map(|(spec, mechanism)| (spec.as_str(), mechanism));
        Self { refused: Mutex::new(specs.collect()), ..Self::new(facts.mechanisms) }
    }

    /// What decides which keys can be made.
    pub(super) fn facts(&self) -> CapabilityFacts {
        let refused = self.refused.lock();
        let refused =
            refused.iter().filter_map(|(spec, mechanism)| Some((KeySpec::parse(spec)?, mechanism.clone())));
        CapabilityFacts { mechanisms: self.mechanisms.clone(), refused: refused.collect() }
    }

    pub(super) fn has(&self, mechanism: u64) -> bool {
        self.mechanisms.as_ref().is_none_or(|all| all.contains(&mechanism))
    }

    /// The mechanism that keys of this form lack, if any.
    pub(super) fn lacks(&self, form: KeyForm) -> Option<String> {
        if let Some(refused) = self.refused.lock().get(form.spec.as_str()) {
            return Some(refused.clone());
        }
        let Some(wanted) = wanted(form) else { return Some("a mechanism for SM2".to_owned()) };
        let lacking = wanted.into_iter().find(|any| !any.iter().any(|(number, _)| self.has(*number)))?;
        lacking.first().map(|(_, name)| (*name).to_owned())
    }

    /// From now on keys of this spec are not made.
    pub(super) fn refuse(&self, spec: KeySpec, mechanism: &str) {
        self.refused.lock().insert(spec.as_str(), mechanism.to_owned());
    }

    /// The mechanisms that wrap what needs padding, the best first.
    pub(super) fn padded_wrapping(&self) -> Vec<u64> {
        PADDED_WRAPPING.iter().map(|(number, _)| *number).filter(|number| self.has(*number)).collect()
    }

    pub(super) fn has_oaep(&self, hash: Hash) -> bool {
        self.has(CKM_RSA_PKCS_OAEP)
            && oaep_place(hash)
                .and_then(|place| self.lacks_oaep.get(place))
                .is_some_and(|lacks| !lacks.load(Ordering::Relaxed))
    }

    pub(super) fn refuse_oaep(&self, hash: Hash) {
        if let Some(lacks) = oaep_place(hash).and_then(|place| self.lacks_oaep.get(place)) {
            lacks.store(true, Ordering::Relaxed);
        }
    }

    /// Tries it once.
    pub(super) fn signs_ed25519ph(
        &self,
        attempt: impl FnOnce() -> Result<bool, Fault>,
    ) -> Result<bool, Fault> {
        let mut known = self.signs_ed25519ph.lock();
        match *known {
            Some(known) => Ok(known),
            None => Ok(*known.insert(attempt()?)),
        }
    }

    pub(super) fn lacks_unwrapping(&self) -> bool {
        self.lacks_unwrapping.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_unwrapping(&self) {
        self.lacks_unwrapping.store(true, Ordering::Relaxed);
    }

    /// For the log: the specs that the token has no mechanisms for.
    pub(super) fn summary(&self) -> String {
        let forms = KeySpec::ALL.iter().map(|spec| KeyForm { spec: *spec, purpose: first_purpose(*spec) });
        let lacking: Vec<_> = forms
            .filter_map(|form| self.lacks(form).map(|mechanism| format!("{} ({mechanism})", form.spec)))
            .collect();
        if lacking.is_empty() { "none".to_owned() } else { lacking.join(", ") }
    }
}

const fn oaep_place(hash: Hash) -> Option<usize> {
    match hash {
        Hash::Sha1 => Some(0),
        Hash::Sha256 => Some(1),
        Hash::Sha224 | Hash::Sha384 | Hash::Sha512 => None,
    }
}

fn first_purpose(spec: KeySpec) -> Purpose {
    let usage =
        KeyUsage::ALL.iter().find(|usage| **usage != KeyUsage::EncryptDecrypt && spec.permits(**usage));
    KeyForm::of(KeyKind { spec, usage: usage.copied().unwrap_or(KeyUsage::EncryptDecrypt) }).purpose
}

/// Absent: there is no such thing in PKCS#11.
fn wanted(form: KeyForm) -> Option<Vec<AnyOf>> {
    let mut wanted = match form.spec {
        KeySpec::SymmetricDefault => Vec::new(),
        KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => vec![SECRET_GENERATION],
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => vec![RSA_GENERATION],
        KeySpec::EccNistP256 | KeySpec::EccNistP384 | KeySpec::EccNistP521 | KeySpec::EccSecgP256k1 => {
            vec![EC_GENERATION]
        }
        // Those that cannot be wrapped stay in the token.
        KeySpec::EccNistEdwards25519 => return Some(vec![EDWARDS_GENERATION, EDDSA]),
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => vec![ML_DSA_GENERATION, ML_DSA],
        KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => vec![ML_KEM_GENERATION, ML_KEM],
        KeySpec::Sm2 => return None,
    };
    match form.purpose {
        Purpose::Sign if form.spec.rsa_bits().is_some() => wanted.extend([RSA_PKCS, RSA_PSS]),
        Purpose::Decrypt | Purpose::Import => wanted.push(RSA_OAEP),
        Purpose::Sign if wanted.len() == 1 => wanted.push(ECDSA),
        Purpose::Agree => wanted.push(ECDH),
        Purpose::Mac => wanted.extend(mac_mechanism(form.spec)),
        Purpose::Decapsulate | Purpose::Encrypt | Purpose::Sign | Purpose::Unwrap => {}
    }
    if form.needs_padding() {
        wanted.push(PADDED_WRAPPING);
    }
    Some(wanted)
}

fn mac_mechanism(spec: KeySpec) -> Option<AnyOf> {
    let mechanisms: [(KeySpec, AnyOf); 4] = [
        (KeySpec::Hmac224, &[(CKM_SHA224_HMAC, "CKM_SHA224_HMAC")]),
        (KeySpec::Hmac256, &[(CKM_SHA256_HMAC, "CKM_SHA256_HMAC")]),
        (KeySpec::Hmac384, &[(CKM_SHA384_HMAC, "CKM_SHA384_HMAC")]),
        (KeySpec::Hmac512, &[(CKM_SHA512_HMAC, "CKM_SHA512_HMAC")]),
    ];
    mechanisms.into_iter().find(|(made, _)| *made == spec).map(|(_, mechanism)| mechanism)
}

pub(super) const fn hmac(algorithm: MacAlgorithm) -> u64 {
    match algorithm {
        MacAlgorithm::HmacSha224 => CKM_SHA224_HMAC,
        MacAlgorithm::HmacSha256 => CKM_SHA256_HMAC,
        MacAlgorithm::HmacSha384 => CKM_SHA384_HMAC,
        MacAlgorithm::HmacSha512 => CKM_SHA512_HMAC,
    }
}

/// Whether a token says with this code that it does not know what is asked for.
pub(super) const fn is_refusal(code: RvError) -> bool {
    matches!(
        code,
        RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported
            | RvError::KeySizeRange
            | RvError::KeyNotWrappable
            | RvError::KeyUnextractable
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::TemplateIncomplete
            | RvError::TemplateInconsistent
    )
}

#[cfg(test)]
mod tests {
    use cryptoki_sys::{
        CKM_AES_KEY_WRAP_PAD, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_X_509,
    };

    use super::Capabilities;
    use crate::domain::kms::{Hash, KeyKind, KeySpec, KeyUsage};
    use crate::key_manager::pkcs11::key_form::KeyForm;

    fn lacks(mechanisms: &[u64], spec: KeySpec, usage: KeyUsage) -> Option<String> {
        Capabilities::new(Some(mechanisms.to_vec())).lacks(KeyForm::of(KeyKind { spec, usage }))
    }

    #[test]
    fn the_mechanism_that_is_missing_is_named() {
        let some =
            [CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_X_509, CKM_AES_KEY_WRAP_PAD];
        for (spec, usage, missing) in [
            (KeySpec::EccNistP256, KeyUsage::SignVerify, None),
            (KeySpec::EccNistP256, KeyUsage::KeyAgreement, Some("CKM_ECDH1_DERIVE")),
            (KeySpec::Rsa2048, KeyUsage::EncryptDecrypt, None),
            (KeySpec::Rsa2048, KeyUsage::SignVerify, Some("CKM_RSA_PKCS")),
            (KeySpec::MlDsa65, KeyUsage::SignVerify, Some("CKM_ML_DSA_KEY_PAIR_GEN")),
            (KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate, Some("CKM_ML_KEM_KEY_PAIR_GEN")),
            (KeySpec::Hmac256, KeyUsage::GenerateVerifyMac, Some("CKM_GENERIC_SECRET_KEY_GEN")),
            (KeySpec::EccNistEdwards25519, KeyUsage::SignVerify, Some("CKM_EC_EDWARDS_KEY_PAIR_GEN")),
            (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt, None),
        ] {
            assert_eq!(lacks(&some, spec, usage).as_deref(), missing, "{spec}");
        }
        let kind = (KeySpec::EccNistP256, KeyUsage::SignVerify);
        assert_eq!(lacks(&some[..4], kind.0, kind.1).as_deref(), Some("CKM_AES_KEY_WRAP_KWP"));
    }

    #[test]
    fn what_was_refused_is_not_tried_again() {
        let capabilities = Capabilities::new(None);
        assert_eq!(capabilities.lacks(KeyForm::wrapping_key(KeySpec::Rsa4096)), None);
        capabilities.refuse(KeySpec::Rsa4096, "CKM_RSA_PKCS_KEY_PAIR_GEN");
        assert!(capabilities.lacks(KeyForm::wrapping_key(KeySpec::Rsa4096)).is_some());
        assert!(capabilities.has_oaep(Hash::Sha256));
        capabilities.refuse_oaep(Hash::Sha256);
        assert!(capabilities.has_oaep(Hash::Sha1) && !capabilities.has_oaep(Hash::Sha256));
    }
}
