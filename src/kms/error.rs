//! What a caller of the KMS API can be told, and what only the log is told.

use http::StatusCode;

use crate::audit::Unkept;
use crate::domain::kms::{CapabilityRefusal, StateRefusal, WrappingRefusal};
use crate::gate::kms::{ImportRefused, MultiRegionRefused, Refused};
use crate::http::BodyError;
use crate::key_manager::HsmError;
use crate::kms::key_store_error::KeyStoreException;
use crate::store::StoreError;

/// Why a request was not served. Texts are those that AWS KMS answers with, where they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    AccessDenied(String),
    AlreadyExists(String),
    BodyTimedOut,
    BodyTooLarge,
    /// With a cause that is for the log.
    Caused {
        error: Box<Self>,
        cause: String,
    },
    /// The key was changed meanwhile: the request is tried again.
    Conflict,
    Disabled(String),
    /// The client went away while it sent the request.
    Disconnected,
    /// `DryRunOperationException`: the request would have succeeded.
    DryRun,
    ExpiredImportToken,
    ExpiredToken,
    IncompleteSignature(String),
    IncorrectKey,
    /// `IncorrectKeyMaterialException`.
    IncorrectKeyMaterial(&'static str),
    /// Not one of ours: the caller gets no details.
    Internal(String),
    /// `KMSInternalException` with a text that tells the caller what to do.
    InternalWithText(&'static str),
    InvalidAliasName(String),
    InvalidArn(String),
    InvalidCiphertext,
    InvalidGrantId(String),
    InvalidGrantToken(String),
    InvalidImportToken,
    InvalidKeyUsage(String),
    /// `KMSInvalidMacException`: of VerifyMac.
    InvalidMac,
    InvalidMarker(String),
    /// Of the request.
    InvalidSignature(String),
    /// `KMSInvalidSignatureException`: of Verify.
    InvalidSignatureOfMessage,
    InvalidState(String),
    KeyStore(KeyStoreException, String),
    KeyUnavailable(String),
    LimitExceeded(String),
    MalformedPolicyDocument(String),
    MissingAuthenticationToken(String),
    /// `NotAuthorizedException`: a reserved alias name.
    NotAuthorized,
    NotFound(String),
    Serialization(String),
    Tag(String),
    Throttling(String),
    /// The HSM has more to do than it can in time; callers are told as of any throttling.
    TooBusy,
    /// The HSM or the store did not answer in time.
    TimedOut,
    UnknownOperation,
    /// No `POST /`.
    UnknownPath,
    UnrecognizedClient,
    UnsupportedOperation(String),
    Validation(String),
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub status: StatusCode,
    /// `__type`.
    pub name: &'static str,
    pub message: String,
}

const BODY_TIMED_OUT: &str = "the request body did not arrive in time";
const BODY_TOO_LARGE: &str = "the request body is larger than any request of this API";
const INCORRECT_KEY: &str =
    "The key ID in the request does not identify a CMK that can perform this operation.";
const DRY_RUN: &str = "The request would have succeeded, but the DryRun option is set.";
const EXPIRED_TOKEN: &str = "The security token included in the request is expired";
const UNRECOGNIZED_CLIENT: &str = "The security token included in the request is invalid.";
const UNRECORDED: &str = "The audit trail cannot be written, so the request was not served and nothing was changed. Try again later.";
/// AWS KMS Developer Guide, Throttling AWS KMS requests.
pub(super) const THROTTLED: &str =
    "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";

impl Error {
    /// The one place where causes become what AWS KMS calls them.
    #[expect(clippy::too_many_lines, reason = "a table with a row an error")]
    pub fn wire(&self) -> Wire {
        let bad = StatusCode::BAD_REQUEST;
        let (status, name, message) = match self {
            Self::AccessDenied(text) => (bad, "AccessDeniedException", text.as_str()),
            Self::AlreadyExists(text) => (bad, "AlreadyExistsException", text.as_str()),
            Self::BodyTimedOut => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", BODY_TIMED_OUT),
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", BODY_TOO_LARGE)
            }
            Self::Caused { error, .. } => return error.wire(),
            Self::Disabled(text) => (bad, "DisabledException", text.as_str()),
            Self::Disconnected => (bad, "RequestTimeoutException", "the request body ended early"),
            Self::DryRun => (bad, "DryRunOperationException", DRY_RUN),
            Self::ExpiredImportToken => (bad, "ExpiredImportTokenException", EXPIRED_IMPORT_TOKEN),
            Self::ExpiredToken => (bad, "ExpiredTokenException", EXPIRED_TOKEN),
            Self::IncompleteSignature(text) => (bad, "IncompleteSignatureException", text.as_str()),
            Self::IncorrectKeyMaterial(text) => (bad, "IncorrectKeyMaterialException", *text),
            Self::IncorrectKey => (bad, "IncorrectKeyException", INCORRECT_KEY),
            Self::Conflict | Self::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "KMSInternalException", "internal error")
            }
            Self::InternalWithText(text) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "KMSInternalException", *text)
            }
            Self::InvalidAliasName(text) => (bad, "InvalidAliasNameException", text.as_str()),
            Self::InvalidArn(text) => (bad, "InvalidArnException", text.as_str()),
            Self::InvalidCiphertext => (bad, "InvalidCiphertextException", ""),
            Self::InvalidGrantId(text) => (bad, "InvalidGrantIdException", text.as_str()),
            Self::InvalidGrantToken(text) => (bad, "InvalidGrantTokenException", text.as_str()),
            Self::InvalidImportToken => (bad, "InvalidImportTokenException", INVALID_IMPORT_TOKEN),
            Self::InvalidKeyUsage(text) => (bad, "InvalidKeyUsageException", text.as_str()),
            Self::InvalidMac => (bad, "KMSInvalidMacException", ""),
            Self::InvalidMarker(text) => (bad, "InvalidMarkerException", text.as_str()),
            Self::InvalidSignature(text) => (bad, "InvalidSignatureException", text.as_str()),
            Self::InvalidSignatureOfMessage => (bad, "KMSInvalidSignatureException", ""),
            Self::InvalidState(text) => (bad, "KMSInvalidStateException", text.as_str()),
            Self::KeyStore(exception, text) => (bad, exception.as_str(), text.as_str()),
            Self::KeyUnavailable(text) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "KeyUnavailableException", text.as_str())
            }
            Self::LimitExceeded(text) => (bad, "LimitExceededException", text.as_str()),
            Self::MalformedPolicyDocument(text) => (bad, "MalformedPolicyDocumentException", text.as_str()),
            Self::MissingAuthenticationToken(text) => {
                (bad, "MissingAuthenticationTokenException", text.as_str())
            }
            Self::NotAuthorized => (bad, "NotAuthorizedException", ""),
            Self::NotFound(text) => (bad, "NotFoundException", text.as_str()),
            Self::Serialization(text) => (bad, "SerializationException", text.as_str()),
            Self::Tag(text) => (bad, "TagException", text.as_str()),
            Self::Throttling(text) => (bad, "ThrottlingException", text.as_str()),
            Self::TooBusy => (bad, "ThrottlingException", THROTTLED),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "DependencyTimeoutException",
                "The system timed out while trying to fulfill the request. You can retry the request.",
            ),
            Self::UnknownOperation => (bad, "UnknownOperationException", ""),
            Self::UnknownPath => (StatusCode::NOT_FOUND, "UnknownOperationException", ""),
            Self::UnrecognizedClient => (bad, "UnrecognizedClientException", UNRECOGNIZED_CLIENT),
            Self::UnsupportedOperation(text) => (bad, "UnsupportedOperationException", text.as_str()),
            Self::Validation(text) => (bad, "ValidationException", text.as_str()),
        };
        Wire { status, name, message: message.to_owned() }
    }

    /// What the log says beyond the error name.
    pub fn reason(&self) -> String {
        if let Self::Internal(reason) | Self::Caused { cause: reason, .. } = self {
            reason.clone()
        } else {
            self.wire().message
        }
    }

    /// What cannot be recorded is not done.
    pub(super) fn unrecorded(unkept: &Unkept) -> Self {
        Self::Caused { error: Box::new(Self::InternalWithText(UNRECORDED)), cause: unkept.to_string() }
    }

    pub(super) fn validation(text: impl Into<String>) -> Self {
        Self::Validation(text.into())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AliasMissing { arn } => Self::NotFound(format!("Alias {arn} is not found.")),
            Refused::AliasNotAccepted { reference } => Self::NotFound(format!("Invalid keyId '{reference}'")),
            Refused::Capability { arn, refusal } => capability(&arn, refusal),
            Refused::CiphertextKeyMissing => Self::AccessDenied(CIPHERTEXT_KEY.to_owned()),
            Refused::Conflict => Self::Conflict,
            Refused::ContextTooLong => Self::validation(CONTEXT_TOO_LONG),
            Refused::EncryptionsUsedUp { arn } => Self::InvalidState(format!(
                "{arn} has made as many encryptions as its key material may; rotate it."
            )),
            Refused::Forbidden(forbidden) => Self::Caused {
                cause: format!("{forbidden} ({})", forbidden.explanation()),
                error: Box::new(Self::AccessDenied(forbidden.to_string())),
            },
            Refused::Import(refused) => refused.into(),
            Refused::InvalidAttestation(invalid) => {
                Self::validation(format!("The attestation document in Recipient is not valid: {invalid}."))
            }
            Refused::InvalidCiphertext => Self::InvalidCiphertext,
            Refused::InvalidReference { reference } => Self::NotFound(format!("Invalid keyId '{reference}'")),
            Refused::KeyManager(error) => error.into(),
            Refused::KeyStore(refused) => refused.into(),
            Refused::KeyMissing { arn } => Self::NotFound(format!("Key '{arn}' does not exist")),
            Refused::NoAttestationRoots => Self::UnsupportedOperation(NO_ATTESTATION_ROOTS.to_owned()),
            Refused::MultiRegion(refused) => refused.into(),
            Refused::OtherRegion { region } => Self::NotFound(format!("Invalid arn {region}")),
            Refused::State { arn, refusal } => state(&arn, refusal),
            Refused::Store(error) => error.into(),
            Refused::Unkept(unkept) => Self::unrecorded(&unkept),
        }
    }
}

const EXPIRED_IMPORT_TOKEN: &str = "The import token has expired. Get a new one with GetParametersForImport, and wrap the \
                                    key material with the public key that comes with it.";
const INVALID_IMPORT_TOKEN: &str = "The import token is invalid or is not for this KMS key.";

impl From<ImportRefused> for Error {
    fn from(refused: ImportRefused) -> Self {
        match refused {
            ImportRefused::ExpiredToken => Self::ExpiredImportToken,
            ImportRefused::IncorrectMaterial(text) => Self::IncorrectKeyMaterial(text),
            ImportRefused::InvalidCiphertext => Self::InvalidCiphertext,
            ImportRefused::InvalidToken => Self::InvalidImportToken,
            ImportRefused::IsPendingRotation => Self::InvalidState(
                "The KMS key has key material that is pending rotation. Rotate the key, or delete that material, before \
                 new key material is imported."
                    .to_owned(),
            ),
            ImportRefused::NotOfThePrimary => Self::InvalidState(
                "The KMS key is a replica key. Import new key material into its primary key first, and then the same key \
                 material into the replica."
                    .to_owned(),
            ),
            ImportRefused::NothingToRotateTo => Self::InvalidState(
                "The KMS key has no key material that is pending rotation. Import new key material with ImportType \
                 NEW_KEY_MATERIAL before the key is rotated."
                    .to_owned(),
            ),
            ImportRefused::UnknownMaterial => {
                Self::NotFound("The KMS key has no key material with this KeyMaterialId.".to_owned())
            }
            ImportRefused::Wrapping(refusal) => Self::UnsupportedOperation(wrapping(refusal).to_owned()),
        }
    }
}

/// AWS KMS Developer Guide, Select a wrapping algorithm.
const fn wrapping(refusal: WrappingRefusal) -> &'static str {
    match refusal {
        WrappingRefusal::NoLongerSupported => {
            "The wrapping algorithm RSAES_PKCS1_V1_5 is no longer supported. Use RSAES_OAEP or RSA_AES_KEY_WRAP."
        }
        WrappingRefusal::NotForRsa => {
            "RSA private keys can only be wrapped with RSA_AES_KEY_WRAP_SHA_256 or RSA_AES_KEY_WRAP_SHA_1."
        }
        WrappingRefusal::Sm2 => "SM2 wrapping keys and SM2PKE are supported in the China Regions only.",
        WrappingRefusal::TooLong => {
            "ECC_NIST_P521 key material does not fit into RSAES_OAEP with the wrapping key spec RSA_2048."
        }
    }
}

const CIPHERTEXT_KEY: &str = "The ciphertext refers to a customer master key that does not exist, does not exist in \
                              this region, or you are not allowed to access.";
const NO_ATTESTATION_ROOTS: &str = "Recipient is not supported, because this service was not told which attestation \
                                    documents to believe: root_certificates_file in [kms.attestation] is not set.";
const CONTEXT_TOO_LONG: &str = "1 validation error detected: Value at 'encryptionContext' failed to satisfy \
                                constraint: Member must be at most 8192 bytes long in total";

fn capability(arn: &str, refusal: CapabilityRefusal) -> Error {
    match refusal {
        CapabilityRefusal::Algorithm { algorithm, spec } => {
            Error::InvalidKeyUsage(format!("Algorithm {algorithm} is incompatible with key spec {spec}."))
        }
        CapabilityRefusal::NoKeyPair { spec } => Error::UnsupportedOperation(format!(
            "{arn} key KeySpec is {spec} which is not valid for GetPublicKey."
        )),
        CapabilityRefusal::NotSymmetric { spec, operation } => {
            Error::InvalidKeyUsage(format!("{arn} key KeySpec is {spec} which is not valid for {operation}."))
        }
        CapabilityRefusal::Origin(origin) => Error::UnsupportedOperation(format!(
            "{arn} origin is {origin} which is not valid for this operation."
        )),
        CapabilityRefusal::NotPrimary => MultiRegionRefused::NotPrimary { arn: arn.to_owned() }.into(),
        CapabilityRefusal::Spec => Error::UnsupportedOperation(String::new()),
        CapabilityRefusal::Usage { usage, operation } => {
            Error::InvalidKeyUsage(format!("{arn} key usage is {usage} which is not valid for {operation}."))
        }
    }
}

impl From<MultiRegionRefused> for Error {
    fn from(refused: MultiRegionRefused) -> Self {
        match refused {
            MultiRegionRefused::AlreadyThere { arn } => {
                Self::AlreadyExists(format!("There is a key with this ID in the Region already: {arn}"))
            }
            MultiRegionRefused::NotPrimary { arn } => {
                Self::UnsupportedOperation(format!("{arn} is not a multi-Region primary key."))
            }
            MultiRegionRefused::NotReplica { arn } => {
                Self::UnsupportedOperation(format!("{arn} is the multi-Region primary key already."))
            }
            MultiRegionRefused::OtherPartition { region } => Self::UnsupportedOperation(format!(
                "Multi-Region keys are related within one partition, and {region} is in another."
            )),
            MultiRegionRefused::TooMany { arn } => {
                Self::LimitExceeded(format!("{arn} has as many related keys as it may have."))
            }
        }
    }
}

/// The notes of the key state table.
fn state(arn: &str, refusal: StateRefusal) -> Error {
    use crate::domain::kms::KeyState;
    let text = |what: &str| format!("{arn} is {what}.");
    match refusal {
        StateRefusal::Disabled => Error::Disabled(text("disabled")),
        StateRefusal::NotPendingDeletion => Error::InvalidState(text("not pending deletion")),
        StateRefusal::State(state) => Error::InvalidState(text(match state {
            KeyState::Creating => "creating",
            KeyState::Disabled => "disabled",
            KeyState::Enabled => "enabled",
            KeyState::PendingDeletion => "pending deletion",
            KeyState::PendingImport => "pending import",
            KeyState::PendingReplicaDeletion => "pending replica deletion",
            KeyState::Unavailable => "unavailable",
            KeyState::Updating => "updating",
        })),
    }
}

/// A fault of the HSM is never blamed on the key, the ciphertext or the caller.
impl From<HsmError> for Error {
    fn from(error: HsmError) -> Self {
        match error {
            HsmError::BadCiphertext => Self::InvalidCiphertext,
            HsmError::BadKeyMaterial => Self::Internal(error.to_string()),
            HsmError::Busy => Self::TooBusy,
            HsmError::DeadlineExceeded => Self::TimedOut,
            HsmError::Unsupported(reason) => Self::UnsupportedOperation(reason),
            HsmError::TooLong => Self::validation("longer than the HSM takes in one call"),
            HsmError::Corrupted(_)
            | HsmError::Device(_)
            | HsmError::KeyMissing
            | HsmError::Unavailable(_)
            | HsmError::UsageRefused => Self::Internal(error.to_string()),
        }
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Disconnected => Self::Disconnected,
            BodyError::TimedOut => Self::BodyTimedOut,
            BodyError::TooLarge => Self::BodyTooLarge,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod tests;
