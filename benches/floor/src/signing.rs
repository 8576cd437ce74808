//! Sign by `C_SignInit` and `C_Sign` on session keys whose handles are known.

use std::str::FromStr;
use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_MECHANISM, CK_OBJECT_HANDLE, CK_ULONG, CKM_ECDSA, CKM_RSA_PKCS, CKR_OK,
};

/// The object identifier of P-256 in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What goes before a SHA-256 in a PKCS #1 signature (RFC 8017, 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
const SIGNATURE_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    EcdsaSha256,
    RsassaPkcs1V15Sha256,
}

impl FromStr for Algorithm {
    type Err = String;

    /// As the KMS API calls them.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ECDSA_SHA_256" => Ok(Self::EcdsaSha256),
            "RSASSA_PKCS1_V1_5_SHA_256" => Ok(Self::RsassaPkcs1V15Sha256),
            _ => Err(format!("{text} is not measured")),
        }
    }
}

/// A private key for each algorithm.
#[derive(Clone, Copy)]
pub struct SigningKeys {
    rsa: CK_OBJECT_HANDLE,
    p256: CK_OBJECT_HANDLE,
}

impl SigningKeys {
    /// As unwrapped KMS keys are: gone with the session that made them.
    pub fn make(session: &Session) -> Self {
        let private = [
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let make = |mechanism: &Mechanism<'_>, public: &[Attribute]| {
            session.generate_key_pair(mechanism, public, &private).unwrap().1.handle()
        };
        let rsa = [
            Attribute::Token(false),
            Attribute::Verify(true),
            Attribute::ModulusBits(2048.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        let p256 = [Attribute::Token(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
        Self { rsa: make(&Mechanism::RsaPkcsKeyPairGen, &rsa), p256: make(&Mechanism::EccKeyPairGen, &p256) }
    }

    /// What the token makes of a SHA-256: of ECDSA without DER.
    pub fn sign(
        &self,
        session: &Session,
        functions: &Arc<CK_FUNCTION_LIST>,
        algorithm: Algorithm,
        digest: &[u8],
    ) -> Vec<u8> {
        let (mechanism, key, input) = match algorithm {
            Algorithm::EcdsaSha256 => (CKM_ECDSA, self.p256, digest.to_vec()),
            Algorithm::RsassaPkcs1V15Sha256 => (CKM_RSA_PKCS, self.rsa, [&DIGEST_INFO, digest].concat()),
        };
        let mut mechanism = CK_MECHANISM { mechanism, pParameter: std::ptr::null_mut(), ulParameterLen: 0 };
        let handle = session.handle();
        let code = unsafe { functions.C_SignInit.unwrap()(handle, &raw mut mechanism, key) };
        assert_eq!(code, CKR_OK);
        let mut signature = vec![0; SIGNATURE_BYTES_MAX];
        let mut written = signature.len() as CK_ULONG;
        let code = unsafe {
            functions.C_Sign.unwrap()(
                handle,
                input.as_ptr().cast_mut(),
                input.len() as CK_ULONG,
                signature.as_mut_ptr(),
                &raw mut written,
            )
        };
        assert_eq!(code, CKR_OK);
        signature.truncate(written as usize);
        signature
    }
}
