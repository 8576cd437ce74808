//! Names of condition keys, compared without regard to case and at the cost of comparing numbers.

/// A condition key that a policy tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConditionKey {
    name: Box<str>,
    fingerprint: Fingerprint,
    is_multivalued: bool,
}

/// Keys of which a request can have several values; all others have one (IAM User Guide, AWS global condition context
/// keys; AWS KMS Developer Guide, Condition keys for AWS KMS).
const MULTIVALUED: [&str; 9] = [
    "aws:CalledVia",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceNamesList",
    "aws:ResourceOrgPaths",
    "aws:SourceOrgPaths",
    "aws:TagKeys",
    "kms:EncryptionContextKeys",
    "kms:GrantOperations",
    "kms:ResourceAliases",
];

/// Equal for names that differ in case only, and hardly ever for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// FNV-1a, 64 bits.
const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Fingerprint {
    pub(super) fn of(name: &str) -> Self {
        let step =
            |hash: u64, byte: u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(FNV_PRIME);
        Self(name.bytes().fold(FNV_OFFSET_BASIS, step))
    }
}

impl ConditionKey {
    pub(super) fn new(name: &str) -> Self {
        let is_multivalued = MULTIVALUED.iter().any(|key| key.eq_ignore_ascii_case(name));
        Self { fingerprint: Fingerprint::of(name), name: name.into(), is_multivalued }
    }

    pub(super) fn is_multivalued(&self) -> bool {
        self.is_multivalued
    }

    pub(super) fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether a name with this fingerprint is the same.
    pub(super) fn is(&self, fingerprint: Fingerprint, name: &str) -> bool {
        self.fingerprint == fingerprint && self.name.eq_ignore_ascii_case(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{ConditionKey, Fingerprint};

    #[test]
    fn names_that_differ_in_case_are_the_same_key() {
        let key = ConditionKey::new("kms:ViaService");
        for (name, is_same) in
            [("KMS:viaservice", true), ("kms:ViaService", true), ("kms:ViaServices", false)]
        {
            assert_eq!(key.is(Fingerprint::of(name), name), is_same, "{name}");
        }
    }
}
