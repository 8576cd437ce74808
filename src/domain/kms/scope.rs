//! Whose a resource is and where: an AWS account and a Region.

use std::fmt;
use std::sync::Arc;

/// A twelve-digit AWS account id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

/// The name of a Region, such as `eu-central-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(Arc<str>);

/// Account and Region: keys and aliases of one scope are invisible in every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub account: AccountId,
    pub region: Region,
}

const ACCOUNT_ID_DIGITS: usize = 12;
/// `RegionType` of the service model.
const REGION_CHARS_MAX: usize = 32;

impl AccountId {
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() == ACCOUNT_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        is_valid.then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Region {
    /// `RegionType` of the service model: `^([a-z]+-){2,3}\d+$`.
    pub fn parse(text: &str) -> Option<Self> {
        let (words, number) = text.rsplit_once('-')?;
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_valid = text.len() <= REGION_CHARS_MAX
            && matches!(words.split('-').count(), 2..=3)
            && words.split('-').all(is_word)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit());
        is_valid.then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that Regions of this name belong to, as in ARNs.
    pub fn partition(&self) -> &'static str {
        if self.0.starts_with("cn-") {
            "aws-cn"
        } else if self.0.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }
}

impl Scope {
    /// `arn:<partition>:kms:<region>:<account>:<resource>`.
    pub fn arn(&self, resource: &str) -> String {
        format!("arn:{}:kms:{}:{}:{resource}", self.region.partition(), self.region, self.account)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{AccountId, Region};

    #[test]
    fn regions_look_like_the_service_model_says() {
        for text in ["us-east-1", "us-gov-west-1", "ap-southeast-12"] {
            assert_eq!(Region::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "us-east", "us-1", "US-east-1", "us--1", "us-east-1a", "a-b-c-d-1", &"a".repeat(40)]
        {
            assert!(Region::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_account_id_is_twelve_digits() {
        assert!(AccountId::parse("123456789012").is_some());
        for text in ["", "12345678901", "1234567890123", "12345678901a"] {
            assert!(AccountId::parse(text).is_none(), "{text}");
        }
    }
}
