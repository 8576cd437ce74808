//! The algorithms of the KMS API, and which go with which kind of key: one table.

use crate::domain::kms::{KeySpec, KeyUsage, words};

/// What kind of key it is, and what it may be used for: what HSMs need to know to make and to use one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyKind {
    pub spec: KeySpec,
    pub usage: KeyUsage,
}

impl KeyKind {
    pub const SYMMETRIC: Self = Self { spec: KeySpec::SymmetricDefault, usage: KeyUsage::EncryptDecrypt };
}

words! {
    /// `EncryptionAlgorithmSpec` of the service model.
    #[derive(Default)]
    pub enum EncryptionAlgorithm {
        #[default]
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        Sm2Pke = "SM2PKE",
    }
}

words! {
    /// `SigningAlgorithmSpec` of the service model.
    pub enum SigningAlgorithm {
        RsassaPssSha256 = "RSASSA_PSS_SHA_256",
        RsassaPssSha384 = "RSASSA_PSS_SHA_384",
        RsassaPssSha512 = "RSASSA_PSS_SHA_512",
        RsassaPkcs1V15Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
        RsassaPkcs1V15Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
        RsassaPkcs1V15Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
        EcdsaSha256 = "ECDSA_SHA_256",
        EcdsaSha384 = "ECDSA_SHA_384",
        EcdsaSha512 = "ECDSA_SHA_512",
        Sm2Dsa = "SM2DSA",
        MlDsaShake256 = "ML_DSA_SHAKE_256",
        Ed25519Sha512 = "ED25519_SHA_512",
        Ed25519PhSha512 = "ED25519_PH_SHA_512",
    }
}

words! {
    /// `MacAlgorithmSpec` of the service model.
    pub enum MacAlgorithm {
        HmacSha224 = "HMAC_SHA_224",
        HmacSha256 = "HMAC_SHA_256",
        HmacSha384 = "HMAC_SHA_384",
        HmacSha512 = "HMAC_SHA_512",
    }
}

words! {
    /// `KeyAgreementAlgorithmSpec` of the service model.
    pub enum KeyAgreementAlgorithm {
        Ecdh = "ECDH",
    }
}

words! {
    /// `EncapsulationAlgorithmSpec` of the service model.
    pub enum EncapsulationAlgorithm {
        MlKem = "ML_KEM",
    }
}

words! {
    /// `MessageType` of the service model: what the message of Sign and Verify is.
    #[derive(Default)]
    pub enum MessageType {
        #[default]
        Raw = "RAW",
        Digest = "DIGEST",
        /// The message representative µ of ML-DSA (FIPS 204, algorithm 7, line 6).
        ExternalMu = "EXTERNAL_MU",
    }
}

words! {
    /// `AlgorithmSpec` of the service model: how material to import is wrapped.
    pub enum WrappingAlgorithm {
        RsaesPkcs1V15 = "RSAES_PKCS1_V1_5",
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
        Sm2Pke = "SM2PKE",
    }
}

words! {
    /// `WrappingKeySpec` of the service model.
    pub enum WrappingKeySpec {
        Rsa2048 = "RSA_2048",
        Rsa3072 = "RSA_3072",
        Rsa4096 = "RSA_4096",
        Sm2 = "SM2",
    }
}

/// An algorithm that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Encapsulation(EncapsulationAlgorithm),
    Encryption(EncryptionAlgorithm),
    KeyAgreement(KeyAgreementAlgorithm),
    Mac(MacAlgorithm),
    Signing(SigningAlgorithm),
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encapsulation(algorithm) => algorithm.as_str(),
            Self::Encryption(algorithm) => algorithm.as_str(),
            Self::KeyAgreement(algorithm) => algorithm.as_str(),
            Self::Mac(algorithm) => algorithm.as_str(),
            Self::Signing(algorithm) => algorithm.as_str(),
        }
    }
}

/// What a signing algorithm hashes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl EncryptionAlgorithm {
    /// Of OAEP, and of its MGF1 (AWS KMS Developer Guide, RSAES_OAEP).
    pub const fn oaep_hash(self) -> Option<Hash> {
        match self {
            Self::RsaesOaepSha1 => Some(Hash::Sha1),
            Self::RsaesOaepSha256 => Some(Hash::Sha256),
            Self::Sm2Pke | Self::SymmetricDefault => None,
        }
    }

    /// What keys of this spec can encrypt at once, where it is less than what a request can hold (RFC 8017, 7.1.1).
    pub fn plaintext_bytes_max(self, spec: KeySpec) -> Option<usize> {
        let (modulus_bits, hash) = spec.rsa_bits().zip(self.oaep_hash())?;
        (modulus_bits / 8).checked_sub(2 * hash.bytes() + 2)
    }
}

impl SigningAlgorithm {
    /// What is hashed before it is signed; none where the message itself is signed, or SM3.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::EcdsaSha256 | Self::RsassaPkcs1V15Sha256 | Self::RsassaPssSha256 => Some(Hash::Sha256),
            Self::EcdsaSha384 | Self::RsassaPkcs1V15Sha384 | Self::RsassaPssSha384 => Some(Hash::Sha384),
            Self::Ed25519PhSha512
            | Self::EcdsaSha512
            | Self::RsassaPkcs1V15Sha512
            | Self::RsassaPssSha512 => Some(Hash::Sha512),
            Self::Ed25519Sha512 | Self::MlDsaShake256 | Self::Sm2Dsa => None,
        }
    }
}

impl MacAlgorithm {
    pub const fn hash(self) -> Hash {
        match self {
            Self::HmacSha224 => Hash::Sha224,
            Self::HmacSha256 => Hash::Sha256,
            Self::HmacSha384 => Hash::Sha384,
            Self::HmacSha512 => Hash::Sha512,
        }
    }
}

const RSA_SIGNING: &[SigningAlgorithm] = &[
    SigningAlgorithm::RsassaPkcs1V15Sha256,
    SigningAlgorithm::RsassaPkcs1V15Sha384,
    SigningAlgorithm::RsassaPkcs1V15Sha512,
    SigningAlgorithm::RsassaPssSha256,
    SigningAlgorithm::RsassaPssSha384,
    SigningAlgorithm::RsassaPssSha512,
];
const OAEP: &[EncryptionAlgorithm] =
    &[EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256];

/// Table T1: what keys of a spec and usage can do, in the order in which AWS KMS lists it.
impl KeyKind {
    pub const fn encryption_algorithms(self) -> &'static [EncryptionAlgorithm] {
        match (self.usage, self.spec) {
            (KeyUsage::EncryptDecrypt, KeySpec::SymmetricDefault) => &[EncryptionAlgorithm::SymmetricDefault],
            (KeyUsage::EncryptDecrypt, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096) => OAEP,
            (KeyUsage::EncryptDecrypt, KeySpec::Sm2) => &[EncryptionAlgorithm::Sm2Pke],
            _ => &[],
        }
    }

    pub const fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        if !matches!(self.usage, KeyUsage::SignVerify) {
            return &[];
        }
        match self.spec {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => RSA_SIGNING,
            KeySpec::EccNistP256 | KeySpec::EccSecgP256k1 => &[SigningAlgorithm::EcdsaSha256],
            KeySpec::EccNistP384 => &[SigningAlgorithm::EcdsaSha384],
            KeySpec::EccNistP521 => &[SigningAlgorithm::EcdsaSha512],
            KeySpec::EccNistEdwards25519 => {
                &[SigningAlgorithm::Ed25519Sha512, SigningAlgorithm::Ed25519PhSha512]
            }
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => &[SigningAlgorithm::MlDsaShake256],
            KeySpec::Sm2 => &[SigningAlgorithm::Sm2Dsa],
            KeySpec::Hmac224
            | KeySpec::Hmac256
            | KeySpec::Hmac384
            | KeySpec::Hmac512
            | KeySpec::MlKem512
            | KeySpec::MlKem768
            | KeySpec::MlKem1024
            | KeySpec::SymmetricDefault => &[],
        }
    }

    pub const fn mac_algorithms(self) -> &'static [MacAlgorithm] {
        match (self.usage, self.spec) {
            (KeyUsage::GenerateVerifyMac, KeySpec::Hmac224) => &[MacAlgorithm::HmacSha224],
            (KeyUsage::GenerateVerifyMac, KeySpec::Hmac256) => &[MacAlgorithm::HmacSha256],
            (KeyUsage::GenerateVerifyMac, KeySpec::Hmac384) => &[MacAlgorithm::HmacSha384],
            (KeyUsage::GenerateVerifyMac, KeySpec::Hmac512) => &[MacAlgorithm::HmacSha512],
            _ => &[],
        }
    }

    pub const fn key_agreement_algorithms(self) -> &'static [KeyAgreementAlgorithm] {
        if matches!(self.usage, KeyUsage::KeyAgreement) { &[KeyAgreementAlgorithm::Ecdh] } else { &[] }
    }

    /// Whether keys of this kind have the algorithm.
    pub fn has(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Encapsulation(algorithm) => self.encapsulation_algorithms().contains(&algorithm),
            Algorithm::Encryption(algorithm) => self.encryption_algorithms().contains(&algorithm),
            Algorithm::KeyAgreement(algorithm) => self.key_agreement_algorithms().contains(&algorithm),
            Algorithm::Mac(algorithm) => self.mac_algorithms().contains(&algorithm),
            Algorithm::Signing(algorithm) => self.signing_algorithms().contains(&algorithm),
        }
    }

    pub const fn encapsulation_algorithms(self) -> &'static [EncapsulationAlgorithm] {
        if matches!(self.usage, KeyUsage::EncapsulateDecapsulate) {
            &[EncapsulationAlgorithm::MlKem]
        } else {
            &[]
        }
    }
}

impl KeySpec {
    /// Of an HMAC key: the length that its material has (AWS KMS Developer Guide, table of imported material).
    pub const fn hmac_bytes(self) -> Option<usize> {
        match self {
            Self::Hmac224 => Some(28),
            Self::Hmac256 => Some(32),
            Self::Hmac384 => Some(48),
            Self::Hmac512 => Some(64),
            Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EccNistP256
            | Self::EccNistP384
            | Self::EccNistP521
            | Self::EccSecgP256k1
            | Self::SymmetricDefault
            | Self::Sm2
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::EccNistEdwards25519
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024 => None,
        }
    }

    /// Of an ML-KEM key: the length of what it decapsulates (FIPS 203, table 3).
    pub const fn encapsulated_bytes(self) -> Option<usize> {
        if matches!(self, Self::MlKem512) {
            Some(768)
        } else if matches!(self, Self::MlKem768) {
            Some(1088)
        } else if matches!(self, Self::MlKem1024) {
            Some(1568)
        } else {
            None
        }
    }

    /// Of an RSA key: the length of its modulus.
    pub const fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            Self::EccNistP256
            | Self::EccNistP384
            | Self::EccNistP521
            | Self::EccSecgP256k1
            | Self::SymmetricDefault
            | Self::Hmac224
            | Self::Hmac256
            | Self::Hmac384
            | Self::Hmac512
            | Self::Sm2
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::EccNistEdwards25519
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024 => None,
        }
    }
}

impl KeySpec {
    /// Whether the software provider has keys of this spec: those that few HSMs can do everything with.
    pub const fn may_be_software(self) -> bool {
        matches!(
            self,
            Self::EccNistEdwards25519
                | Self::MlDsa44
                | Self::MlDsa65
                | Self::MlDsa87
                | Self::MlKem512
                | Self::MlKem768
                | Self::MlKem1024
        )
    }
}

impl WrappingKeySpec {
    /// The spec of the RSA key; none of SM2.
    pub const fn key_spec(self) -> Option<KeySpec> {
        match self {
            Self::Rsa2048 => Some(KeySpec::Rsa2048),
            Self::Rsa3072 => Some(KeySpec::Rsa3072),
            Self::Rsa4096 => Some(KeySpec::Rsa4096),
            Self::Sm2 => None,
        }
    }
}
