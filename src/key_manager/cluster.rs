//! The seam to HSM clusters behind CloudHSM-style key stores: a cluster keeps users and keys of its HSMs in step.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::key_manager::backing_key::DataKey;
use crate::key_manager::{Answer, Encrypted, HsmError, MemberHealth};
use crate::secret::SecretBytes;

pub type Managed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClusterError>> + Send + 'a>>;

/// The clusters that the configuration declares.
pub trait Clusters: Send + Sync {
    fn find(&self, cluster_id: &str) -> Option<Arc<dyn Cluster>>;
}

/// HSMs that hold the same keys, used as their crypto user `kmsuser`. Nothing here blocks an async thread.
pub trait Cluster: Send + Sync {
    fn id(&self) -> &str;

    /// The PEM certificate that signed the cluster's, as the configuration has it.
    fn trust_anchor(&self) -> &str;

    /// How many HSMs answer now, logged in or not.
    fn active_hsms(&self, deadline: Instant) -> Managed<'_, usize>;

    /// Logs in to every active HSM, and keeps sessions on those that come back later. Each password is tried once,
    /// in this order, since HSMs lock users: on one HSM, and on the next if that fails or does not answer. SoftHSM,
    /// which locks nobody and may remember an old PIN, is asked once more. Answers with the place of the right one.
    fn log_in(&self, passwords: Vec<SecretBytes>, deadline: Instant) -> Managed<'_, usize>;

    /// Changes the password of `kmsuser`, who is logged in.
    fn change_password(&self, old: SecretBytes, new: SecretBytes, deadline: Instant) -> Managed<'_, ()>;

    /// Ends every session of ours.
    fn log_out(&self) -> Managed<'_, ()>;

    /// Makes an AES-256 token key, sensitive and never extractable, in at least two HSMs. A label that is taken is
    /// an error.
    fn create_key<'a>(&'a self, label: &'a str, deadline: Instant) -> Managed<'a, ClusterKey>;

    /// Destroys the key with this label; `Ok(None)` if there is none.
    fn destroy_key<'a>(&'a self, label: &'a str, deadline: Instant) -> Managed<'a, Option<ClusterKey>>;

    /// Every secret key that `kmsuser` can see, but for our own health key.
    fn keys(&self, deadline: Instant) -> Managed<'_, Vec<ClusterKey>>;

    /// AES-256-GCM with the key of this label and a fresh IV.
    fn encrypt<'a>(
        &'a self,
        label: &'a str,
        plaintext: SecretBytes,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, Encrypted>;

    /// AES-256-GCM.
    fn decrypt<'a>(
        &'a self,
        label: &'a str,
        sealed: ClusterSealed<'a>,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, SecretBytes>;

    /// Fresh random bytes, in the clear and encrypted.
    fn generate_data_key<'a>(
        &'a self,
        label: &'a str,
        bytes: usize,
        aad: &'a [u8],
        deadline: Instant,
    ) -> Answer<'a, DataKey>;

    /// Bytes from the generator of an HSM (`C_GenerateRandom`).
    fn random(&self, bytes: usize, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// Whether the last login was refused, or an HSM refused the password that was right before, and so `kmsuser`; no
    /// I/O.
    fn is_user_locked_out(&self) -> bool;

    /// The latest known health of each HSM; no I/O.
    fn health(&self) -> Vec<MemberHealth>;
}

/// What [`Cluster::decrypt`] takes.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSealed<'a> {
    pub iv: &'a [u8],
    pub ciphertext_and_tag: &'a [u8],
}

/// A key object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKey {
    /// `CKA_LABEL`: the id of the KMS key.
    pub label: String,
    /// `CKA_ID`, in hexadecimal digits.
    pub backing_key_id: String,
    /// The object handle, as of now: it helps to find the object with a tool of the HSM's maker.
    pub key_handle: String,
}

/// Why a cluster could not be managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// The password is wrong.
    InvalidCredentials,
    /// Anything else that the HSMs answer; for the log.
    Hsm(HsmError),
    /// Nobody has logged in, or has logged out since.
    NotLoggedIn,
    /// There are too few active HSMs for this.
    TooFewHsms { active: usize },
    /// `kmsuser` is locked out.
    UserLockedOut,
    /// `kmsuser` is logged in from elsewhere, so its password cannot be changed.
    UserLoggedIn,
    /// There is no `kmsuser`.
    UserNotFound,
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hsm(error) => error.fmt(f),
            Self::InvalidCredentials => f.write_str("the cluster refused the password of kmsuser"),
            Self::NotLoggedIn => f.write_str("kmsuser is not logged in to the cluster"),
            Self::TooFewHsms { active } => {
                write!(f, "{active} HSMs of the cluster are active, which is too few")
            }
            Self::UserLockedOut => f.write_str("kmsuser is locked out"),
            Self::UserLoggedIn => f.write_str("kmsuser is logged in elsewhere"),
            Self::UserNotFound => f.write_str("the cluster has no kmsuser"),
        }
    }
}

impl std::error::Error for ClusterError {}

impl From<HsmError> for ClusterError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}
