//! An Encrypt response in bytes, with every rule of the API checked that its receiver can check.

use std::fmt;

use crate::wire::{
    self, CDIV_BYTES, EncryptResponse, IV_BYTES, METADATA_BYTES_MAX, TAG_BYTES, decode_base64,
};

/// The parts of a ciphertext, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub ciphertext: Vec<u8>,
    /// Absent is not the same as empty: what was absent must stay absent on Decrypt.
    pub metadata: Option<Vec<u8>>,
    pub iv: Vec<u8>,
    pub tag: Vec<u8>,
    pub cdiv: Option<[u8; CDIV_BYTES]>,
}

/// Which rule a response breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatFault {
    /// The member is not canonical standard Base64.
    Base64(&'static str),
    CdivAbsent,
    /// The value is not the hash of the parts.
    CdivMismatch,
    CiphertextLength {
        bytes: usize,
        plaintext_bytes: usize,
    },
    IvLength {
        bytes: usize,
    },
    MetadataLength {
        bytes: usize,
    },
    TagLength {
        bytes: usize,
    },
}

impl Sealed {
    /// `plaintext_bytes` is the length of what was encrypted.
    pub fn decode(response: &EncryptResponse<'_>, plaintext_bytes: usize) -> Result<Self, FormatFault> {
        let decode = |text: &str, member| decode_base64(text).map_err(|_| FormatFault::Base64(member));
        let metadata = response.ciphertext_metadata.as_deref();
        let cdiv = response.ciphertext_data_integrity_value.as_deref();
        let sealed = Self {
            ciphertext: decode(&response.ciphertext, "ciphertext")?,
            metadata: metadata.map(|text| decode(text, "ciphertextMetadata")).transpose()?,
            iv: decode(&response.initialization_vector, "initializationVector")?,
            tag: decode(&response.authentication_tag, "authenticationTag")?,
            cdiv: cdiv
                .map(|text| decode(text, "ciphertextDataIntegrityValue"))
                .transpose()?
                .map(|bytes| bytes.try_into().map_err(|_| FormatFault::CdivMismatch))
                .transpose()?,
        };
        sealed.check_lengths(plaintext_bytes)?;
        Ok(sealed)
    }

    /// That the proxy gave a data integrity value, and the right one (XKS v1, Appendix C).
    pub fn check_cdiv(&self, aad: &[u8]) -> Result<(), FormatFault> {
        let given = self.cdiv.ok_or(FormatFault::CdivAbsent)?;
        let metadata = self.metadata.as_deref().unwrap_or_default();
        let expected = wire::cdiv(aad, metadata, &self.iv, &self.ciphertext, &self.tag);
        if given == expected { Ok(()) } else { Err(FormatFault::CdivMismatch) }
    }

    fn check_lengths(&self, plaintext_bytes: usize) -> Result<(), FormatFault> {
        let bytes = self.ciphertext.len();
        if bytes != plaintext_bytes {
            return Err(FormatFault::CiphertextLength { bytes, plaintext_bytes });
        }
        let bytes = self.iv.len();
        if !IV_BYTES.contains(&bytes) {
            return Err(FormatFault::IvLength { bytes });
        }
        let bytes = self.tag.len();
        if bytes != TAG_BYTES {
            return Err(FormatFault::TagLength { bytes });
        }
        let bytes = self.metadata.as_ref().map_or(0, Vec::len);
        if bytes > METADATA_BYTES_MAX {
            return Err(FormatFault::MetadataLength { bytes });
        }
        Ok(())
    }
}

impl fmt::Display for FormatFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64(member) => write!(f, "`{member}` is not standard Base64"),
            Self::CdivAbsent => f.write_str("`ciphertextDataIntegrityValue` is missing"),
            Self::CdivMismatch => f.write_str("`ciphertextDataIntegrityValue` is not the hash of the parts"),
            Self::CiphertextLength { bytes, plaintext_bytes } => {
                write!(f, "{bytes} bytes of ciphertext for {plaintext_bytes} bytes of plaintext")
            }
            Self::IvLength { bytes } => write!(f, "{bytes} bytes of initialization vector"),
            Self::MetadataLength { bytes } => write!(f, "{bytes} bytes of ciphertext metadata"),
            Self::TagLength { bytes } => write!(f, "{bytes} bytes of authentication tag"),
        }
    }
}

impl std::error::Error for FormatFault {}

#[cfg(test)]
mod tests {
    use super::{FormatFault, Sealed};
    use crate::wire::{EncryptResponse, encode_base64};

    /// The response of Appendix C.
    fn response() -> EncryptResponse<'static> {
        EncryptResponse {
            ciphertext: "ghxkK1txeDNn3q8Y".into(),
            ciphertext_metadata: Some("a2V5X3ZlcnNpb249MQ==".into()),
            initialization_vector: "HMrlRw85cAJUd5Ax".into(),
            authentication_tag: "vBxN2ncH1oEkR8WVXpmyYQ==".into(),
            ciphertext_data_integrity_value: Some("qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=".into()),
        }
    }

    #[test]
    fn the_response_of_appendix_c_is_sound() {
        let sealed = Sealed::decode(&response(), 12).unwrap();
        assert_eq!(sealed.check_cdiv(b"project=nile,department=marketing"), Ok(()));
        assert_eq!(sealed.check_cdiv(b"project=nile"), Err(FormatFault::CdivMismatch));
        assert_eq!(Sealed { cdiv: None, ..sealed }.check_cdiv(b""), Err(FormatFault::CdivAbsent));
    }

    #[test]
    fn each_broken_rule_is_named() {
        let base64 = |bytes| encode_base64(&vec![0; bytes]).into();
        for (response, fault) in [
            (
                EncryptResponse { ciphertext: base64(13), ..response() },
                FormatFault::CiphertextLength { bytes: 13, plaintext_bytes: 12 },
            ),
            (
                EncryptResponse { initialization_vector: base64(13), ..response() },
                FormatFault::IvLength { bytes: 13 },
            ),
            (
                EncryptResponse { authentication_tag: base64(12), ..response() },
                FormatFault::TagLength { bytes: 12 },
            ),
            (
                EncryptResponse { ciphertext_metadata: Some(base64(21)), ..response() },
                FormatFault::MetadataLength { bytes: 21 },
            ),
            (
                EncryptResponse { ciphertext: "ghxkK1txeDNn3q8-".into(), ..response() },
                FormatFault::Base64("ciphertext"),
            ),
        ] {
            assert_eq!(Sealed::decode(&response, 12), Err(fault));
        }
    }
}
