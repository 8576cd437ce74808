//! What callers are told of custom key stores, their proxies and clusters: one table of exceptions and texts.

use proxy_api::error::ErrorName;

use crate::domain::kms::{ConnectionState, KeyStoreConflict, words};
use crate::gate::kms::{ClusterRefused, KeyStoreRefused, ProxyUse, VpcEndpointServiceRefused};
use crate::key_manager::HsmError;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::xks_proxy::ProxyFailure;
use crate::kms::error::{Error, THROTTLED};

words! {
    /// Exceptions that only custom key stores have. All have the status 400.
    pub enum KeyStoreException {
        CloudHsmClusterInUse = "CloudHsmClusterInUseException",
        CloudHsmClusterInvalidConfiguration = "CloudHsmClusterInvalidConfigurationException",
        CloudHsmClusterNotActive = "CloudHsmClusterNotActiveException",
        CloudHsmClusterNotFound = "CloudHsmClusterNotFoundException",
        CloudHsmClusterNotRelated = "CloudHsmClusterNotRelatedException",
        CustomKeyStoreHasCmks = "CustomKeyStoreHasCMKsException",
        CustomKeyStoreInvalidState = "CustomKeyStoreInvalidStateException",
        CustomKeyStoreNameInUse = "CustomKeyStoreNameInUseException",
        CustomKeyStoreNotFound = "CustomKeyStoreNotFoundException",
        IncorrectTrustAnchor = "IncorrectTrustAnchorException",
        XksKeyAlreadyInUse = "XksKeyAlreadyInUseException",
        XksKeyInvalidConfiguration = "XksKeyInvalidConfigurationException",
        XksKeyNotFound = "XksKeyNotFoundException",
        XksProxyIncorrectAuthenticationCredential = "XksProxyIncorrectAuthenticationCredentialException",
        XksProxyInvalidConfiguration = "XksProxyInvalidConfigurationException",
        XksProxyInvalidResponse = "XksProxyInvalidResponseException",
        XksProxyUriEndpointInUse = "XksProxyUriEndpointInUseException",
        XksProxyUriInUse = "XksProxyUriInUseException",
        XksProxyUriUnreachable = "XksProxyUriUnreachableException",
        XksProxyVpcEndpointServiceInUse = "XksProxyVpcEndpointServiceInUseException",
        XksProxyVpcEndpointServiceInvalidConfiguration = "XksProxyVpcEndpointServiceInvalidConfigurationException",
        XksProxyVpcEndpointServiceNotFound = "XksProxyVpcEndpointServiceNotFoundException",
    }
}

// XKS v1, Error codes: clients match on these texts, so they are word for word those of the specification.
const NOT_INTERPRETED: &str = "AWS KMS cannot interpret the response from the external key store proxy. If you see \
                               this error repeatedly, report it to your external key store proxy administrator.";
const KEY_NOT_ENABLED: &str = "The external key associated with this KMS key in an external key store is not enabled \
                               in the external key manager. Enable the external key in the external key manager and \
                               retry the request.";
/// The wording of the AWS KMS Developer Guide, which answers of AWS KMS have.
const CIPHERTEXT_REJECTED: &str = "The external key store proxy rejected the request because the specified \
                                   ciphertext or additional authenticated data is corrupted, missing, or otherwise \
                                   invalid.";
const INNER_LAYER: &str = "The ciphertext that the external key store proxy submitted for decryption, or the \
                           encryption context, is corrupted, missing, or otherwise invalid.";
const USAGE_REJECTED: &str = "The external key associated with this KMS key in an external key store does not support \
                              the requested operation. Enable the operation on the key in your external key manager, \
                              and try the request again.";
const NOT_AUTHENTICATED: &str = "The external key store proxy rejected the request because it could not authenticate \
                                 AWS KMS. Verify the XKS proxy authentication credentials for your external key store \
                                 and update if necessary.";
const ACCESS_DENIED: &str = "The external key store proxy denied access to the operation. Verify that the user and \
                             the external key are both authorized for this operation, and try the request again.";
const KEY_NOT_FOUND: &str = "The external key associated with this KMS key in an external key store was not found in \
                             its external key manager. If the external key ID associated with this KMS key is \
                             incorrect, create a new KMS key with the correct external key ID.";
const URI_PATH: &str = "The external key store proxy rejected the request because of an invalid URI path. Verify the \
                        URI path for your external key store and update if necessary.";
const UNSUPPORTED: &str = "The external key store proxy rejected the request because it does not support the \
                           requested operation. If you see this error repeatedly, report it to your external key \
                           store proxy administrator.";
const DEPENDENCY_TIMED_OUT: &str = "The external key store proxy did not respond to the request in the time allotted. \
                                    Retry the request. If you see this error repeatedly, report it to your external \
                                    key store proxy administrator.";
const THROTTLED_BY_PROXY: &str = "The external key store proxy rejected the request due to a very high request rate. \
                                  Reduce the frequency of your calls using KMS keys in this external key store.";
const KEY_MANAGER_FAILED: &str = "The external key store proxy rejected the request because it cannot communicate \
                                  with the external key manager. Verify that the external key store proxy \
                                  configuration is correct and that the external key manager is available.";
const NOT_REACHED: &str = "AWS KMS cannot communicate with the external key store proxy. This might be a transient \
                           network issue. If you see this error repeatedly, verify that your external key store proxy \
                           is active and is connected to the network, and that its endpoint URI is correct in your \
                           external key store.";
const NO_TLS: &str = "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS \
                      configuration, including its certificate.";
const TIMED_OUT: &str = "AWS KMS rejected the request because the external key store proxy did not respond in time. \
                         Retry the request. If you see this error repeatedly, report it to your external key store \
                         proxy administrator.";
const UNHEALTHY: &str = "The external key store proxy is in an unhealthy state. If you see this message repeatedly, \
                         notify your external key store proxy administrator.";
const NOT_CONNECTED: &str = "This KMS key is in a custom key store that is not connected to its external key store \
                             proxy. Connect the external key store and try the request again.";
// AWS KMS Developer Guide, How to respond to a cryptographic operation failure.
const CLUSTER_NOT_REACHED: &str = "KMS cannot communicate with your CloudHSM cluster. This might be a transient \
                                   network issue. If you see this error repeatedly, verify that the Network ACLs and \
                                   the security group rules for the VPC of your AWS CloudHSM cluster are correct.";
const CLUSTER_LOCKED_OUT: &str = "KMS cannot communicate with your AWS CloudHSM cluster because the kmsuser is locked \
                                  out. If you see this error repeatedly, disconnect the AWS CloudHSM key store and \
                                  reset the kmsuser account password. Update the kmsuser password for the custom key \
                                  store and try the request again.";
const CLUSTER_SESSIONS: &str = "The AWS CloudHSM cluster has no available PKCS #11 sessions. Back off and retry the \
                                request.";
const CLUSTER_KEY_MISSING: &str =
    "The key material of this KMS key was not found in its AWS CloudHSM cluster.";
const CLUSTER_NOT_CONNECTED: &str = "The AWS CloudHSM key store is not connected to its AWS CloudHSM cluster. Connect \
                                     the key store and try the request again.";

impl From<KeyStoreRefused> for Error {
    fn from(refused: KeyStoreRefused) -> Self {
        use KeyStoreException as E;
        match refused {
            KeyStoreRefused::Cluster(refused) => cluster(refused),
            KeyStoreRefused::ClusterNotConnected => of(E::CustomKeyStoreInvalidState, CLUSTER_NOT_CONNECTED),
            KeyStoreRefused::Conflict(conflict) => conflicting(conflict),
            KeyStoreRefused::HasKeys => of(
                E::CustomKeyStoreHasCmks,
                "The custom key store contains KMS keys. Schedule their deletion, and delete it when they are gone.",
            ),
            KeyStoreRefused::InnerLayer => Self::InvalidState(INNER_LAYER.to_owned()),
            KeyStoreRefused::InvalidState(state) => invalid_state(state),
            KeyStoreRefused::Missing { named } => {
                of(E::CustomKeyStoreNotFound, format!("Custom key store {named} does not exist."))
            }
            KeyStoreRefused::NotConnected { while_ } => match while_ {
                ProxyUse::CreateKey | ProxyUse::Management => {
                    of(E::CustomKeyStoreInvalidState, NOT_CONNECTED)
                }
                ProxyUse::Cryptography => Self::InvalidState(NOT_CONNECTED.to_owned()),
            },
            KeyStoreRefused::OtherType(wanted) => Self::UnsupportedOperation(format!(
                "The custom key store is not of the type {wanted}, which this request needs."
            )),
            KeyStoreRefused::Parameters(text) => Self::validation(text),
            KeyStoreRefused::Proxy { while_, failure } => {
                Self::Caused { error: Box::new(proxy(while_, &failure)), cause: failure.to_string() }
            }
            KeyStoreRefused::ProxyUnhealthy => of(E::XksProxyUriUnreachable, UNHEALTHY),
            KeyStoreRefused::Throttled => Self::Throttling(THROTTLED.to_owned()),
            KeyStoreRefused::VpcEndpointService(refused) => vpc_endpoint_service(refused),
            KeyStoreRefused::XksKeyInUse => of(
                E::XksKeyAlreadyInUse,
                "The external key is already associated with another KMS key in this external key store.",
            ),
            KeyStoreRefused::XksKeyNotEnabled => of(
                E::XksKeyInvalidConfiguration,
                "The status of the external key must be ENABLED. The status of specified external key is DISABLED.",
            ),
            KeyStoreRefused::XksKeySpec { spec } => of(
                E::XksKeyInvalidConfiguration,
                format!(
                    "The key spec of the external key must be AES_256. The key spec of specified external key is {spec}."
                ),
            ),
            KeyStoreRefused::XksKeyUsage { usage } => of(
                E::XksKeyInvalidConfiguration,
                format!(
                    "The key usage of the external key must include ENCRYPT and DECRYPT. The key use of specified \
                     external key is {usage}."
                ),
            ),
        }
    }
}

fn of(exception: KeyStoreException, text: impl Into<String>) -> Error {
    Error::KeyStore(exception, text.into())
}

fn vpc_endpoint_service(refused: VpcEndpointServiceRefused) -> Error {
    use KeyStoreException as E;
    match refused {
        VpcEndpointServiceRefused::InvalidConfiguration(rule) => of(
            E::XksProxyVpcEndpointServiceInvalidConfiguration,
            format!("The VPC endpoint service breaks a rule: {rule}."),
        ),
        VpcEndpointServiceRefused::NotFound { name } => of(
            E::XksProxyVpcEndpointServiceNotFound,
            format!(
                "The VPC endpoint service {name} was not found in this Region, or does not admit AWS KMS."
            ),
        ),
    }
}

fn invalid_state(state: ConnectionState) -> Error {
    let text = match state {
        ConnectionState::Connected => "Disconnect it first.",
        ConnectionState::Connecting => "Wait until it is connected, or disconnect it.",
        ConnectionState::Disconnected => "It is not connected.",
        ConnectionState::Disconnecting => "Wait until it is disconnected.",
        ConnectionState::Failed => "Its last connection attempt failed; disconnect it first.",
    };
    let text = format!("The connection state of the custom key store is {state}. {text}");
    of(KeyStoreException::CustomKeyStoreInvalidState, text)
}

fn conflicting(conflict: KeyStoreConflict) -> Error {
    use KeyStoreException as E;
    match conflict {
        KeyStoreConflict::Cluster => of(
            E::CloudHsmClusterInUse,
            "The AWS CloudHSM cluster, or one that shares its backups, is associated with a custom key store already.",
        ),
        KeyStoreConflict::Name => of(
            E::CustomKeyStoreNameInUse,
            "The custom key store name is in use by another custom key store in this account and Region.",
        ),
        KeyStoreConflict::Uri => of(
            E::XksProxyUriInUse,
            "The XksProxyUriEndpoint and XksProxyUriPath are in use by another external key store in this account and \
             Region.",
        ),
        KeyStoreConflict::UriEndpoint => of(
            E::XksProxyUriEndpointInUse,
            "The XksProxyUriEndpoint is in use by another external key store in this Region.",
        ),
        KeyStoreConflict::VpcEndpointService => of(
            E::XksProxyVpcEndpointServiceInUse,
            "The VPC endpoint service is in use by another external key store in this Region.",
        ),
    }
}

/// XKS v1, Error codes, and AWS KMS Developer Guide, Troubleshooting external key stores: the text is the same in
/// every API, the exception is not.
fn proxy(while_: ProxyUse, failure: &ProxyFailure) -> Error {
    use KeyStoreException as E;
    let (text, management, create_key) = match failure {
        ProxyFailure::AnswerTimedOut => (TIMED_OUT, E::XksProxyUriUnreachable, E::CustomKeyStoreInvalidState),
        ProxyFailure::Malformed(_) => {
            (NOT_INTERPRETED, E::XksProxyInvalidResponse, E::CustomKeyStoreInvalidState)
        }
        ProxyFailure::Refused { error, .. } => return rejected(while_, *error),
        ProxyFailure::Tls(_) => (NO_TLS, E::XksProxyUriUnreachable, E::CustomKeyStoreInvalidState),
        ProxyFailure::Unreachable(_) => {
            (NOT_REACHED, E::XksProxyUriUnreachable, E::CustomKeyStoreInvalidState)
        }
    };
    told(while_, text, (management, of(create_key, text)))
}

/// What is not documented for CreateCustomKeyStore and UpdateCustomKeyStore is an answer that makes no sense there.
fn rejected(while_: ProxyUse, error: ErrorName) -> Error {
    use KeyStoreException as E;
    let store = |text| of(E::CustomKeyStoreInvalidState, text);
    let (text, management, create_key) = match error {
        ErrorName::AccessDenied => (ACCESS_DENIED, E::XksProxyInvalidResponse, store(ACCESS_DENIED)),
        ErrorName::AuthenticationFailed => {
            (NOT_AUTHENTICATED, E::XksProxyIncorrectAuthenticationCredential, store(NOT_AUTHENTICATED))
        }
        ErrorName::DependencyTimeout => {
            (DEPENDENCY_TIMED_OUT, E::XksProxyUriUnreachable, store(DEPENDENCY_TIMED_OUT))
        }
        ErrorName::Internal => (KEY_MANAGER_FAILED, E::XksProxyInvalidResponse, store(KEY_MANAGER_FAILED)),
        ErrorName::InvalidCiphertext => {
            (CIPHERTEXT_REJECTED, E::XksProxyInvalidResponse, store(CIPHERTEXT_REJECTED))
        }
        ErrorName::InvalidKeyUsage => {
            (USAGE_REJECTED, E::XksProxyInvalidResponse, of(E::XksKeyInvalidConfiguration, USAGE_REJECTED))
        }
        ErrorName::InvalidState => {
            (KEY_NOT_ENABLED, E::XksProxyInvalidResponse, of(E::XksKeyInvalidConfiguration, KEY_NOT_ENABLED))
        }
        ErrorName::InvalidUriPath => (URI_PATH, E::XksProxyInvalidConfiguration, store(URI_PATH)),
        ErrorName::KeyNotFound => {
            (KEY_NOT_FOUND, E::XksProxyInvalidResponse, of(E::XksKeyNotFound, KEY_NOT_FOUND))
        }
        ErrorName::Throttling => (THROTTLED_BY_PROXY, E::XksProxyUriUnreachable, store(THROTTLED_BY_PROXY)),
        ErrorName::UnsupportedOperation => {
            (UNSUPPORTED, E::XksProxyInvalidResponse, Error::UnsupportedOperation(UNSUPPORTED.to_owned()))
        }
        ErrorName::Validation => (NOT_INTERPRETED, E::XksProxyInvalidResponse, store(NOT_INTERPRETED)),
    };
    told(while_, text, (management, create_key))
}

fn told(while_: ProxyUse, text: &str, (management, create_key): (KeyStoreException, Error)) -> Error {
    match while_ {
        ProxyUse::CreateKey => create_key,
        ProxyUse::Cryptography => Error::InvalidState(text.to_owned()),
        ProxyUse::Management => of(management, text),
    }
}

fn cluster(refused: ClusterRefused) -> Error {
    use KeyStoreException as E;
    match refused {
        ClusterRefused::Error(error) => cluster_error(&error),
        ClusterRefused::NoActiveHsm => {
            of(E::CloudHsmClusterNotActive, "The AWS CloudHSM cluster has no active HSM.")
        }
        ClusterRefused::NotFound { cluster_id } => {
            of(E::CloudHsmClusterNotFound, format!("The AWS CloudHSM cluster {cluster_id} was not found."))
        }
        ClusterRefused::NotRelated { cluster_id } => of(
            E::CloudHsmClusterNotRelated,
            format!(
                "The AWS CloudHSM cluster {cluster_id} does not share a backup history with the original cluster."
            ),
        ),
        ClusterRefused::TrustAnchor => of(
            E::IncorrectTrustAnchor,
            "The trust anchor certificate is not the one that the AWS CloudHSM cluster was initialized with.",
        ),
        ClusterRefused::Use(error) => match error {
            HsmError::BadCiphertext => Error::InvalidCiphertext,
            HsmError::Busy => Error::InternalWithText(CLUSTER_SESSIONS),
            HsmError::KeyMissing => Error::InvalidState(CLUSTER_KEY_MISSING.to_owned()),
            HsmError::TooLong => Error::validation("longer than the HSM takes in one call"),
            HsmError::BadKeyMaterial
            | HsmError::Corrupted(_)
            | HsmError::DeadlineExceeded
            | HsmError::Device(_)
            | HsmError::Unavailable(_)
            | HsmError::Unsupported(_)
            | HsmError::UsageRefused => Error::Caused {
                error: Box::new(Error::InvalidState(CLUSTER_NOT_REACHED.to_owned())),
                cause: error.to_string(),
            },
        },
        ClusterRefused::LockedOut => Error::InvalidState(CLUSTER_LOCKED_OUT.to_owned()),
    }
}

/// What CreateKey and the management of key stores meet.
fn cluster_error(error: &ClusterError) -> Error {
    use KeyStoreException as E;
    match error {
        // The key store is connected; the daemon is still on its way there after a restart.
        ClusterError::NotLoggedIn => of(E::CustomKeyStoreInvalidState, CLUSTER_NOT_CONNECTED),
        ClusterError::TooFewHsms { active } => of(
            E::CloudHsmClusterInvalidConfiguration,
            format!("The AWS CloudHSM cluster must have at least two active HSMs; {active} of them answer."),
        ),
        ClusterError::Hsm(_)
        | ClusterError::InvalidCredentials
        | ClusterError::UserLockedOut
        | ClusterError::UserLoggedIn
        | ClusterError::UserNotFound => Error::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
