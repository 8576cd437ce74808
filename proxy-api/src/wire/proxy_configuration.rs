//! The proxy configuration file that the AWS KMS console takes, and the rules for what is in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::path::is_prefix;
use super::{SecretText, URI_PATH_BASE, URI_PATH_CHARS_MAX};

/// The proxy configuration file (XKS v1, XKS proxy configuration). It holds the secret in the clear.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProxyConfiguration<'a> {
    xks_proxy_uri_path: String,
    #[serde(borrow)]
    xks_proxy_authentication_credential: ProxyAuthenticationCredential<'a>,
}

/// The SigV4 credential in a [`ProxyConfiguration`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProxyAuthenticationCredential<'a> {
    access_key_id: String,
    #[serde(borrow)]
    raw_secret_access_key: SecretText<'a>,
}

/// Which value breaks its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidProxyConfiguration {
    AccessKeyId,
    SecretAccessKey,
    UriPathPrefix,
}

impl<'a> ProxyConfiguration<'a> {
    /// `prefix` is what stands before `/kms/xks/v1`, without slashes at either end; may be empty.
    pub fn new(
        prefix: &str,
        access_key_id: &str,
        secret_access_key: impl Into<SecretText<'a>>,
    ) -> Result<Self, InvalidProxyConfiguration> {
        let raw_secret_access_key = secret_access_key.into();
        check_uri_path_prefix(prefix)?;
        check_access_key_id(access_key_id)?;
        check_secret_access_key(&raw_secret_access_key)?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Self {
            xks_proxy_uri_path: format!("{slash}{prefix}{URI_PATH_BASE}"),
            xks_proxy_authentication_credential: ProxyAuthenticationCredential {
                access_key_id: access_key_id.to_owned(),
                raw_secret_access_key,
            },
        })
    }

    /// Ends in `/kms/xks/v1`.
    #[must_use]
    pub fn uri_path(&self) -> &str {
        &self.xks_proxy_uri_path
    }
}

/// A prefix that, with `/kms/xks/v1`, makes a legal `XksProxyUriPath` (XKS v1, API operations).
pub fn check_uri_path_prefix(prefix: &str) -> Result<(), InvalidProxyConfiguration> {
    let path_chars = prefix.len() + usize::from(!prefix.is_empty()) + URI_PATH_BASE.len();
    let is_legal = prefix.is_empty() || is_prefix(prefix) && path_chars <= URI_PATH_CHARS_MAX;
    is_legal.then_some(()).ok_or(InvalidProxyConfiguration::UriPathPrefix)
}

/// 20 to 30 characters of `A–Z` and `2–7` (XKS v1, Appendix A). A rule for configuration: a request with another
/// id is just a request with an unknown one.
pub fn check_access_key_id(text: &str) -> Result<(), InvalidProxyConfiguration> {
    let is_legal = (20..=30).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7'));
    is_legal.then_some(()).ok_or(InvalidProxyConfiguration::AccessKeyId)
}

/// 43 to 64 characters of `A–Z a–z 0–9 / + =` (XKS v1, XKS proxy configuration).
pub fn check_secret_access_key(text: &str) -> Result<(), InvalidProxyConfiguration> {
    let is_legal = (43..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='));
    is_legal.then_some(()).ok_or(InvalidProxyConfiguration::SecretAccessKey)
}

impl fmt::Display for InvalidProxyConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessKeyId => "an access key id is 20 to 30 characters of A-Z and 2-7",
            Self::SecretAccessKey => "a secret access key is 43 to 64 characters of A-Z a-z 0-9 / + =",
            Self::UriPathPrefix => {
                "a path prefix has segments of A-Z a-z 0-9 - _ with single slashes between them, \
                 and is at most 116 characters long"
            }
        })
    }
}

impl std::error::Error for InvalidProxyConfiguration {}

#[cfg(test)]
mod tests {
    use super::{
        InvalidProxyConfiguration, ProxyConfiguration, check_access_key_id, check_secret_access_key,
        check_uri_path_prefix,
    };

    const ID: &str = "ABCDEFGHIJKLMNOP2345";
    const SECRET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM/+9=";

    #[test]
    fn the_file_has_the_names_that_the_console_reads() {
        let file = ProxyConfiguration::new("a/b", ID, SECRET).unwrap();
        assert_eq!(
            serde_json::to_string(&file).unwrap(),
            format!(
                r#"{{"XksProxyUriPath":"/a/b/kms/xks/v1","XksProxyAuthenticationCredential":{{"AccessKeyId":"{ID}","RawSecretAccessKey":"{SECRET}"}}}}"#
            )
        );
        assert_eq!(ProxyConfiguration::new("", ID, SECRET).unwrap().uri_path(), "/kms/xks/v1");
        assert!(!format!("{file:?}").contains(SECRET));
    }

    #[test]
    fn a_bad_value_is_named() {
        for (prefix, id, secret, fault) in [
            ("/a", ID, SECRET, InvalidProxyConfiguration::UriPathPrefix),
            ("", "short", SECRET, InvalidProxyConfiguration::AccessKeyId),
            ("", ID, "short", InvalidProxyConfiguration::SecretAccessKey),
        ] {
            assert_eq!(ProxyConfiguration::new(prefix, id, secret), Err(fault));
        }
    }

    #[test]
    fn lengths_and_characters_are_checked_at_their_edges() {
        let repeated = |text: &str, count| text.repeat(count);
        for (text, legal) in [(19, false), (20, true), (30, true), (31, false)] {
            assert_eq!(check_access_key_id(&repeated("A", text)).is_ok(), legal);
        }
        for (text, legal) in [(42, false), (43, true), (64, true), (65, false)] {
            assert_eq!(check_secret_access_key(&repeated("a", text)).is_ok(), legal);
        }
        for (text, legal) in [(0, true), (116, true), (117, false)] {
            assert_eq!(check_uri_path_prefix(&repeated("a", text)).is_ok(), legal);
        }
        for text in ["ABCDEFGHIJKLMNOP234a", "ABCDEFGHIJKLMNOP2341", "ABCDEFGHIJKLMNOP2348"] {
            assert!(check_access_key_id(text).is_err());
        }
        assert!(check_secret_access_key(&repeated("-", 43)).is_err());
        for text in ["/a", "a/", "a//b", "a.b", "a b", "é"] {
            assert!(check_uri_path_prefix(text).is_err(), "{text}");
        }
    }
}
