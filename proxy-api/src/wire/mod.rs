//! Everything that travels: paths, request and response bodies, literals, limits, and what binds the parts together.

mod base64;
mod binding;
mod body;
mod path;
mod proxy_configuration;
mod request;
mod response;
mod secret_text;

pub use base64::{InvalidBase64, decode_base64, decoded_bytes, encode_base64};
pub use binding::{bound_aad, cdiv};
pub use body::{InvalidBody, parse_body};
pub use path::{KeyOperation, Operation, Route, Target, is_external_key_id, parse_path};
pub use proxy_configuration::{
    InvalidProxyConfiguration, ProxyAuthenticationCredential, ProxyConfiguration, check_access_key_id,
    check_secret_access_key, check_uri_path_prefix,
};
pub use request::{DecryptRequest, EncryptRequest, HealthRequest, MetadataRequest, RequestMetadata};
pub use response::{
    DecryptResponse, EkmFleetDetail, EncryptResponse, HealthResponse, HealthStatus, KeyStatus,
    MetadataResponse,
};
pub use secret_text::SecretText;

/// `Content-Type` of every request and response (XKS v1, API content type).
pub const CONTENT_TYPE: &str = "application/json";

/// The only `encryptionAlgorithm` of version 1.
pub const ENCRYPTION_ALGORITHM: &str = "AES_GCM";
/// The only `ciphertextDataIntegrityValueAlgorithm` of version 1.
pub const CDIV_ALGORITHM: &str = "SHA_256";
/// `keySpec` of a 256-bit AES key.
pub const KEY_SPEC_AES_256: &str = "AES_256";
/// `keyUsage` of a key that may encrypt.
pub const KEY_USAGE_ENCRYPT: &str = "ENCRYPT";
/// `keyUsage` of a key that may decrypt.
pub const KEY_USAGE_DECRYPT: &str = "DECRYPT";

/// Plaintext, and so ciphertext, that every proxy must take (XKS v1, Encrypt).
pub const PLAINTEXT_BYTES_MIN_SUPPORTED: usize = 4300;
/// Additional authenticated data that every proxy must take (XKS v1, Encrypt).
pub const AAD_BYTES_MIN_SUPPORTED: usize = 8192;
/// Additional authenticated data that the two-byte length of [`bound_aad`] can still express.
pub const AAD_BYTES_MAX_EXPRESSIBLE: usize = 65_535;
/// `ciphertextMetadata`, before Base64.
pub const METADATA_BYTES_MAX: usize = 20;
/// `authenticationTag`, before Base64; always exactly this.
pub const TAG_BYTES: usize = 16;
/// `initializationVector`, before Base64: either of these.
pub const IV_BYTES: [usize; 2] = [12, 16];
/// The ciphertext data integrity value, before Base64.
pub const CDIV_BYTES: usize = 32;
/// ARNs that every proxy must take (XKS v1, API operations).
pub const ARN_CHARS_MIN_SUPPORTED: usize = 2048;
/// `errorMessage` is shorter than 512 characters (XKS v1, Error codes).
pub const ERROR_MESSAGE_CHARS_MAX: usize = 511;
/// Values in `keyUsage`.
pub const KEY_USAGES_MAX: usize = 10;
/// Entries in `ekmFleetDetails`; at least one.
pub const EKM_FLEET_DETAILS_MAX: usize = 10;
/// An external key id (XKS v1, API operations).
pub const EXTERNAL_KEY_ID_CHARS_MAX: usize = 128;
/// `XksProxyUriPath`: the prefix and `/kms/xks/v1` (XKS v1, API operations).
pub const URI_PATH_CHARS_MAX: usize = 128;
/// The fixed part of every path, after the prefix.
pub const URI_PATH_BASE: &str = "/kms/xks/v1";
