//! Kinds of work that take about the same time, and which of them may be done twice.

use std::time::Duration;

use crate::key_manager::backing_key::{Computation, ComputeUnder};
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::worker::Task;

/// Times are learned for each apart: RSA takes a hundred times as long as AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// With AES, a decryption that checks it included.
    CheckedEncrypt,
    Curve,
    Decrypt,
    Encrypt,
    /// Makes or destroys keys, or asks for the root key.
    KeyManagement,
    Lattice,
    Mac,
    Random,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Class {
    pub(super) const COUNT: usize = 11;

    pub(super) const fn index(self) -> usize {
        match self {
            Self::CheckedEncrypt => 0,
            Self::Curve => 1,
            Self::Decrypt => 2,
            Self::Encrypt => 3,
            Self::KeyManagement => 4,
            Self::Lattice => 5,
            Self::Mac => 6,
            Self::Random => 7,
            Self::Rsa2048 => 8,
            Self::Rsa3072 => 9,
            Self::Rsa4096 => 10,
        }
    }

    /// What one takes, as long as nothing was learned.
    pub(super) const fn usual(self) -> Duration {
        match self {
            Self::CheckedEncrypt | Self::Decrypt | Self::Encrypt | Self::Mac | Self::Random => {
                Duration::from_micros(500)
            }
            Self::Curve | Self::Lattice | Self::Rsa2048 => Duration::from_millis(2),
            Self::Rsa3072 | Self::Rsa4096 => Duration::from_millis(8),
            Self::KeyManagement => Duration::from_millis(20),
        }
    }

    fn of(request: &ComputeUnder) -> Self {
        match &request.computation {
            Computation::Mac { .. } => Self::Mac,
            Computation::Decapsulate { .. } => Self::Lattice,
            Computation::Agree { .. } => Self::Curve,
            Computation::Sign { .. } | Computation::DecryptOaep { .. } => {
                match request.key.kind.spec.rsa_bits() {
                    Some(..=2048) => Self::Rsa2048,
                    Some(..=3072) => Self::Rsa3072,
                    Some(_) => Self::Rsa4096,
                    None => Self::Curve,
                }
            }
        }
    }
}

impl Task {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Encrypt { request, .. } if request.integrity_value => Class::CheckedEncrypt,
            Self::Encrypt { .. } => Class::Encrypt,
            Self::Decrypt { .. } => Class::Decrypt,
            Self::Backing(task) => match task {
                BackingTask::Compute(request) => Class::of(request),
                BackingTask::DataKey(_) | BackingTask::Encrypt(_) | BackingTask::Seal(_) => Class::Encrypt,
                BackingTask::Decrypt(_) | BackingTask::Unseal(_) => Class::Decrypt,
                BackingTask::Random(_) => Class::Random,
                BackingTask::Sign(_) => Class::Curve,
                BackingTask::Destroy(_)
                | BackingTask::DestroyRootKey(_)
                | BackingTask::Generate(_)
                | BackingTask::Import(_)
                | BackingTask::ImportSoftware(_)
                | BackingTask::KeyPair(_)
                | BackingTask::ListRootKeys
                | BackingTask::MakeSigningKey
                | BackingTask::MakeSoftware(_)
                | BackingTask::OpenRootKey(_)
                | BackingTask::ProveRootKey(_)
                | BackingTask::Reseal(_)
                | BackingTask::Rewrap(_)
                | BackingTask::Sweep(_)
                | BackingTask::WrappingKey(_) => Class::KeyManagement,
            },
        }
    }

    /// Whether doing it twice, in two HSMs, leaves nothing behind: whatever makes or destroys keys is done once.
    pub(super) fn is_idempotent(&self) -> bool {
        self.class() != Class::KeyManagement
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn every_class_has_a_place_of_its_own() {
        let all = [
            Class::CheckedEncrypt,
            Class::Curve,
            Class::Decrypt,
            Class::Encrypt,
            Class::KeyManagement,
            Class::Lattice,
            Class::Mac,
            Class::Random,
            Class::Rsa2048,
            Class::Rsa3072,
            Class::Rsa4096,
        ];
        assert_eq!(all.map(Class::index), std::array::from_fn::<_, { Class::COUNT }, _>(|index| index));
    }
}
