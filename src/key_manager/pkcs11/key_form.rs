//! What objects of the token are to be: class, type and the one use that they have.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{
    Attribute, KeyType, MlDsaParameterSetType, MlKemParameterSetType, ObjectClass, ParameterSetType,
};

use crate::domain::kms::{KeyKind, KeySpec, KeyUsage};
use crate::public_key::spki;

const AES_256_BYTES: usize = 32;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];
/// The object identifier of Ed25519 in DER, and its name as a PrintableString: tokens take one or the other.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// A kind of object, with what it may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyForm {
    pub(super) spec: KeySpec,
    pub(super) purpose: Purpose,
}

/// Least privilege: no object of the token has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// AES-GCM.
    Encrypt,
    Mac,
    Sign,
    /// RSAES-OAEP.
    Decrypt,
    Agree,
    Decapsulate,
    /// Unwraps what is imported, in the token or through its owner's memory.
    Import,
    /// Unwraps what an imported key is wrapped with.
    Unwrap,
}

impl KeyForm {
    pub(super) const SYMMETRIC: Self = Self::of(KeyKind::SYMMETRIC);

    pub(super) const fn of(kind: KeyKind) -> Self {
        let purpose = match (kind.usage, kind.spec) {
            (KeyUsage::EncryptDecrypt, KeySpec::SymmetricDefault) => Purpose::Encrypt,
            (KeyUsage::EncryptDecrypt, _) => Purpose::Decrypt,
            (KeyUsage::GenerateVerifyMac, _) => Purpose::Mac,
            (KeyUsage::SignVerify, _) => Purpose::Sign,
            (KeyUsage::KeyAgreement, _) => Purpose::Agree,
            (KeyUsage::EncapsulateDecapsulate, _) => Purpose::Decapsulate,
        };
        Self { spec: kind.spec, purpose }
    }

    /// A pair that wraps what is to be imported.
    pub(super) const fn wrapping_key(spec: KeySpec) -> Self {
        Self { spec, purpose: Purpose::Import }
    }

    pub(super) const fn is_pair(self) -> bool {
        self.spec.is_asymmetric()
    }

    /// Whether wrapped material has a length that RFC 3394 does without padding.
    pub(super) const fn needs_padding(self) -> bool {
        match self.secret_bytes() {
            Some(bytes) => bytes % 8 != 0,
            None => true,
        }
    }

    /// The length of a secret key.
    pub(super) const fn secret_bytes(self) -> Option<usize> {
        if matches!(self.spec, KeySpec::SymmetricDefault) {
            return Some(AES_256_BYTES);
        }
        self.spec.hmac_bytes()
    }

    const fn key_type(self) -> KeyType {
        match self.spec {
            KeySpec::SymmetricDefault => KeyType::AES,
            KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => {
                KeyType::GENERIC_SECRET
            }
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => KeyType::RSA,
            KeySpec::EccNistP256
            | KeySpec::EccNistP384
            | KeySpec::EccNistP521
            | KeySpec::EccSecgP256k1
            | KeySpec::Sm2 => KeyType::EC,
            KeySpec::EccNistEdwards25519 => KeyType::EC_EDWARDS,
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => KeyType::ML_DSA,
            KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => KeyType::ML_KEM,
        }
    }

    /// How it is made; none of SM2.
    pub(super) const fn generation(self) -> Option<Mechanism<'static>> {
        match self.spec {
            KeySpec::SymmetricDefault => Some(Mechanism::AesKeyGen),
            KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => {
                Some(Mechanism::GenericSecretKeyGen)
            }
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Some(Mechanism::RsaPkcsKeyPairGen),
            KeySpec::EccNistP256 | KeySpec::EccNistP384 | KeySpec::EccNistP521 | KeySpec::EccSecgP256k1 => {
                Some(Mechanism::EccKeyPairGen)
            }
            KeySpec::EccNistEdwards25519 => Some(Mechanism::EccEdwardsKeyPairGen),
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => Some(Mechanism::MlDsaKeyPairGen),
            KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => Some(Mechanism::MlKemKeyPairGen),
            KeySpec::Sm2 => None,
        }
    }

    /// What generation is told of the public key, in the ways that tokens want to hear it.
    pub(super) fn domains(self) -> Vec<Vec<Attribute>> {
        if let Some(bits) = self.spec.rsa_bits() {
            let exponent = Attribute::PublicExponent(RSA_EXPONENT.to_vec());
            // The largest is 4096.
            let bits = u32::try_from(bits).unwrap_or_default();
            return vec![vec![Attribute::ModulusBits(u64::from(bits).into()), exponent]];
        }
        if let Some(curve) = spki::named_curve(self.spec) {
            return vec![vec![Attribute::EcParams(curve.to_vec())]];
        }
        if self.spec == KeySpec::EccNistEdwards25519 {
            return [ED25519_OID, ED25519_NAME]
                .map(|curve| vec![Attribute::EcParams(curve.to_vec())])
                .to_vec();
        }
        let sets: [(KeySpec, ParameterSetType); 6] = [
            (KeySpec::MlDsa44, MlDsaParameterSetType::ML_DSA_44.into()),
            (KeySpec::MlDsa65, MlDsaParameterSetType::ML_DSA_65.into()),
            (KeySpec::MlDsa87, MlDsaParameterSetType::ML_DSA_87.into()),
            (KeySpec::MlKem512, MlKemParameterSetType::ML_KEM_512.into()),
            (KeySpec::MlKem768, MlKemParameterSetType::ML_KEM_768.into()),
            (KeySpec::MlKem1024, MlKemParameterSetType::ML_KEM_1024.into()),
        ];
        let set = sets.into_iter().find(|(spec, _)| *spec == self.spec);
        vec![set.map(|(_, set)| Attribute::ParameterSet(set)).into_iter().collect()]
    }

    const fn class(self) -> ObjectClass {
        if self.is_pair() { ObjectClass::PRIVATE_KEY } else { ObjectClass::SECRET_KEY }
    }

    /// A secret or private key that lives as long as its session, and what of it can leave the token.
    pub(super) fn session_key(self, leaves: Leaves) -> Vec<Attribute> {
        let mut template = vec![
            Attribute::Class(self.class()),
            Attribute::KeyType(self.key_type()),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(!matches!(leaves, Leaves::Clear)),
            Attribute::Extractable(!matches!(leaves, Leaves::Never)),
        ];
        template.extend(self.uses());
        template
    }

    /// A private key that stays in the token, under this name.
    pub(super) fn token_key(self, label: &[u8], id: &[u8]) -> Vec<Attribute> {
        let mut template = vec![
            Attribute::Class(self.class()),
            Attribute::KeyType(self.key_type()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Label(label.to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        template.extend(self.uses());
        template
    }

    /// Its uses, each said, for tokens permit what nobody asked for.
    fn uses(self) -> Vec<Attribute> {
        let is = |purpose: Purpose| self.purpose == purpose;
        let imports = is(Purpose::Import);
        let mut uses = vec![
            Attribute::Sign(is(Purpose::Sign) || is(Purpose::Mac)),
            Attribute::Decrypt(is(Purpose::Encrypt) || is(Purpose::Decrypt) || imports),
            Attribute::Unwrap(imports || is(Purpose::Unwrap)),
            Attribute::Derive(is(Purpose::Agree)),
        ];
        if self.is_pair() {
            uses.push(Attribute::SignRecover(false));
        } else {
            uses.extend([
                Attribute::Encrypt(is(Purpose::Encrypt)),
                Attribute::Verify(false),
                Attribute::Wrap(false),
            ]);
        }
        if is(Purpose::Decapsulate) {
            uses.push(Attribute::Decapsulate(true));
        }
        uses
    }

    /// The public key that comes with a pair, which nothing uses.
    pub(super) fn public_key(self) -> Vec<Attribute> {
        let verifies = self.purpose == Purpose::Sign;
        vec![
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(self.key_type()),
            Attribute::Token(false),
            Attribute::Private(false),
            Attribute::Verify(verifies),
        ]
    }
}

/// In what form material can leave the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Kept where it was unwrapped.
    Never,
    Wrapped,
    /// For the caller, whose key it is.
    Clear,
}
