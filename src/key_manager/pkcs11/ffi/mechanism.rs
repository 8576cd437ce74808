//! Mechanisms with their parameters, as C has them.

use std::ptr;

use cryptoki_sys::{
    CK_BYTE, CK_ECDH1_DERIVE_PARAMS, CK_EDDSA_PARAMS, CK_MECHANISM, CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE,
    CK_RSA_PKCS_OAEP_PARAMS, CK_RSA_PKCS_PSS_PARAMS, CK_TRUE, CK_ULONG, CKD_NULL, CKG_MGF1_SHA1,
    CKG_MGF1_SHA224, CKG_MGF1_SHA256, CKG_MGF1_SHA384, CKG_MGF1_SHA512, CKM_ECDH1_DERIVE, CKM_EDDSA,
    CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS, CKM_SHA_1, CKM_SHA224, CKM_SHA256, CKM_SHA384, CKM_SHA512,
    CKZ_DATA_SPECIFIED,
};

use crate::domain::kms::Hash;

/// What a token is to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::key_manager::pkcs11) enum Scheme<'a> {
    /// A mechanism without a parameter.
    Plain(CK_MECHANISM_TYPE),
    /// RSAES-OAEP with an empty label, MGF1 with the same hash.
    Oaep(Hash),
    /// RSASSA-PSS over a digest, MGF1 with the same hash, a salt as long as it.
    Pss(Hash),
    /// ECDH with the peer's point, and no key derivation function.
    Ecdh(&'a [u8]),
    /// With an empty context (RFC 8032, 5.1).
    Ed25519ph,
}

/// What the pointer of a mechanism points to.
pub(super) enum Parameter {
    None,
    Ecdh(CK_ECDH1_DERIVE_PARAMS),
    Eddsa(CK_EDDSA_PARAMS),
    Oaep(CK_RSA_PKCS_OAEP_PARAMS),
    Pss(CK_RSA_PKCS_PSS_PARAMS),
}

impl Scheme<'_> {
    const fn number(self) -> CK_MECHANISM_TYPE {
        match self {
            Self::Plain(number) => number,
            Self::Oaep(_) => CKM_RSA_PKCS_OAEP,
            Self::Pss(_) => CKM_RSA_PKCS_PSS,
            Self::Ecdh(_) => CKM_ECDH1_DERIVE,
            Self::Ed25519ph => CKM_EDDSA,
        }
    }

    /// The mechanism points into the parameter, and that into what the scheme was made from.
    pub(super) fn with<T>(self, call: impl FnOnce(&mut CK_MECHANISM) -> T) -> T {
        let mut parameter = self.parameter();
        let (address, bytes): (*mut CK_BYTE, usize) = match &mut parameter {
            Parameter::None => (ptr::null_mut(), 0),
            Parameter::Ecdh(parameter) => ((&raw mut *parameter).cast(), size_of_val(parameter)),
            Parameter::Eddsa(parameter) => ((&raw mut *parameter).cast(), size_of_val(parameter)),
            Parameter::Oaep(parameter) => ((&raw mut *parameter).cast(), size_of_val(parameter)),
            Parameter::Pss(parameter) => ((&raw mut *parameter).cast(), size_of_val(parameter)),
        };
        // The size of a structure fits.
        let ul_parameter_len = CK_ULONG::try_from(bytes).unwrap_or_default();
        call(&mut CK_MECHANISM {
            mechanism: self.number(),
            pParameter: address.cast(),
            ulParameterLen: ul_parameter_len,
        })
    }

    fn parameter(self) -> Parameter {
        match self {
            Self::Plain(_) => Parameter::None,
            Self::Oaep(hash) => Parameter::Oaep(CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: hash_mechanism(hash),
                mgf: mask_generation(hash),
                source: CKZ_DATA_SPECIFIED,
                pSourceData: ptr::null_mut(),
                ulSourceDataLen: 0,
            }),
            Self::Pss(hash) => Parameter::Pss(CK_RSA_PKCS_PSS_PARAMS {
                hashAlg: hash_mechanism(hash),
                mgf: mask_generation(hash),
                sLen: CK_ULONG::try_from(hash.bytes()).unwrap_or_default(),
            }),
            Self::Ecdh(point) => Parameter::Ecdh(CK_ECDH1_DERIVE_PARAMS {
                kdf: CKD_NULL,
                ulSharedDataLen: 0,
                pSharedData: ptr::null_mut(),
                ulPublicDataLen: CK_ULONG::try_from(point.len()).unwrap_or_default(),
                pPublicData: point.as_ptr().cast_mut(),
            }),
            Self::Ed25519ph => Parameter::Eddsa(CK_EDDSA_PARAMS {
                phFlag: CK_TRUE,
                ulContextDataLen: 0,
                pContextData: ptr::null_mut(),
            }),
        }
    }
}

const fn hash_mechanism(hash: Hash) -> CK_MECHANISM_TYPE {
    match hash {
        Hash::Sha1 => CKM_SHA_1,
        Hash::Sha224 => CKM_SHA224,
        Hash::Sha256 => CKM_SHA256,
        Hash::Sha384 => CKM_SHA384,
        Hash::Sha512 => CKM_SHA512,
    }
}

const fn mask_generation(hash: Hash) -> CK_RSA_PKCS_MGF_TYPE {
    match hash {
        Hash::Sha1 => CKG_MGF1_SHA1,
        Hash::Sha224 => CKG_MGF1_SHA224,
        Hash::Sha256 => CKG_MGF1_SHA256,
        Hash::Sha384 => CKG_MGF1_SHA384,
        Hash::Sha512 => CKG_MGF1_SHA512,
    }
}
