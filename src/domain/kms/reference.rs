//! How a request names a key.

use crate::domain::kms::{AccountId, AliasName, KeyId, Region, Scope};

/// A `KeyId` member of a request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// An id alone: of the caller's account and Region.
    Id(KeyId),
    Arn {
        scope: Scope,
        id: KeyId,
    },
    /// An alias name alone: of the caller's account and Region.
    Alias(AliasName),
    AliasArn {
        scope: Scope,
        name: AliasName,
    },
}

impl KeyReference {
    /// None for anything that names no key.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((scope, resource)) = parse_arn(text) {
            return match resource.strip_prefix("key/") {
                Some(id) => Some(Self::Arn { scope, id: KeyId::parse(id)? }),
                None => Some(Self::AliasArn { scope, name: AliasName::parse(resource)? }),
            };
        }
        match AliasName::parse(text) {
            Some(name) => Some(Self::Alias(name)),
            None => KeyId::parse(text).map(Self::Id),
        }
    }

    /// The scope that an ARN names.
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Arn { scope, .. } | Self::AliasArn { scope, .. } => Some(scope),
            Self::Alias(_) | Self::Id(_) => None,
        }
    }
}

/// Scope and resource of `arn:<partition>:kms:<region>:<account>:<resource>`.
fn parse_arn(text: &str) -> Option<(Scope, &str)> {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let scope = Scope { region: Region::parse(region)?, account: AccountId::parse(account)? };
    let is_ours = arn == "arn" && service == "kms" && partition == scope.region.partition();
    is_ours.then_some((scope, resource))
}

#[cfg(test)]
mod tests {
    use super::KeyReference;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn four_ways_to_name_a_key() {
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{ID}");
        assert!(matches!(KeyReference::parse(ID), Some(KeyReference::Id(_))));
        assert!(matches!(KeyReference::parse(&arn), Some(KeyReference::Arn { .. })));
        assert!(matches!(KeyReference::parse("alias/a/b-c_D"), Some(KeyReference::Alias(_))));
        let alias_arn = "arn:aws:kms:us-east-1:123456789012:alias/a";
        assert!(matches!(KeyReference::parse(alias_arn), Some(KeyReference::AliasArn { .. })));
    }

    #[test]
    fn everything_else_names_none() {
        for text in [
            "",
            "not-a-key",
            "alias/",
            "alias/a b",
            "arn:aws:kms:us-east-1:123456789012:key/x",
            "arn:aws:kms:us-east-1:1234:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert_eq!(KeyReference::parse(text), None, "{text}");
        }
    }
}
