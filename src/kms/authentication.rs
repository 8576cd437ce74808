//! Why a caller is not believed, in the words of AWS.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use proxy_api::sigv4::{Refusal, Timestamp, X_AMZ_DATE};

use crate::identity::kms::Unauthenticated;
use crate::kms::error::Error;

/// What a caller must be told to find its mistake.
pub(super) struct Presented<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) now_unix_seconds: u64,
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your \
                        AWS Secret Access Key and signing method. Consult the service documentation for details.";
const MINUTES_MAX: i64 = proxy_api::sigv4::CLOCK_SKEW_SECONDS_MAX / 60;

impl Presented<'_> {
    pub(super) fn error(&self, unauthenticated: Unauthenticated) -> Error {
        match unauthenticated {
            Unauthenticated::AccessKeyUnknown => Error::UnrecognizedClient,
            Unauthenticated::RegionUnknown => {
                Error::InvalidSignature("Credential should be scoped to a valid region. ".to_owned())
            }
            Unauthenticated::Service(refused) => Error::AccessDenied(refused.to_string()),
            Unauthenticated::Signature(refusal) => self.refusal(refusal),
            Unauthenticated::TokenExpired => Error::ExpiredToken,
        }
    }

    fn refusal(&self, refusal: Refusal) -> Error {
        let invalid = |text: &str| Error::InvalidSignature(text.to_owned());
        let incomplete = |text: &str| Error::IncompleteSignature(text.to_owned());
        match refusal {
            Refusal::AlgorithmUnsupported => incomplete("Unsupported AWS 'algorithm'."),
            Refusal::AuthorizationDuplicated => incomplete("Only one Authorization header is allowed."),
            Refusal::AuthorizationMalformed => Error::IncompleteSignature(self.what_is_missing()),
            Refusal::AuthorizationMissing => {
                Error::MissingAuthenticationToken("Missing Authentication Token".to_owned())
            }
            Refusal::ClockSkew { seconds } => Error::InvalidSignature(self.skew(seconds)),
            Refusal::DateDuplicated => incomplete("Only one X-Amz-Date header is allowed."),
            Refusal::DateMalformed => incomplete(
                "Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601",
            ),
            Refusal::DateMissing => incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ),
            Refusal::DateOutsideScope => invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
            ),
            Refusal::DateUnsigned => {
                invalid("'x-amz-date' must be a 'SignedHeader' in the AWS Authorization.")
            }
            Refusal::HeaderUnsigned => {
                invalid("Every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.")
            }
            Refusal::HostUnsigned => {
                invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
            }
            Refusal::ServiceWrong => invalid("Credential should be scoped to correct service: 'kms'. "),
            Refusal::HostAmbiguous
            | Refusal::QueryPresent
            | Refusal::SignatureMismatch
            | Refusal::SignedHeaderAbsent => invalid(MISMATCH),
        }
    }

    fn what_is_missing(&self) -> String {
        let value = self.headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
        let value = String::from_utf8_lossy(value);
        let has = |name: &str| {
            let members = value.split_once(' ').map_or("", |(_, members)| members);
            members.split(',').any(|member| member.trim().split_once('=').is_some_and(|(is, _)| is == name))
        };
        let missing: Vec<_> = ["Credential", "Signature", "SignedHeaders"]
            .into_iter()
            .filter(|name| !has(name))
            .map(|name| format!("Authorization header requires '{name}' parameter."))
            .chain((!self.headers.contains_key(X_AMZ_DATE)).then(|| {
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                    .to_owned()
            }))
            .collect();
        if missing.is_empty() {
            return "Credential, SignedHeaders or Signature of the Authorization header is malformed."
                .to_owned();
        }
        missing.join(" ")
    }

    fn skew(&self, seconds: i64) -> String {
        let now = i64::try_from(self.now_unix_seconds).unwrap_or(i64::MAX);
        let allowed = MINUTES_MAX * 60;
        let time = |unix_seconds: i64| {
            Timestamp::from_unix_seconds(unix_seconds)
                .map_or_else(String::new, |time| time.as_str().to_owned())
        };
        let (signed, current) = (time(now.saturating_add(seconds)), time(now));
        if seconds < 0 {
            let earliest = time(now.saturating_sub(allowed));
            format!(
                "Signature expired: {signed} is now earlier than {earliest} ({current} - {MINUTES_MAX} min.)"
            )
        } else {
            let latest = time(now.saturating_add(allowed));
            format!(
                "Signature not yet current: {signed} is still later than {latest} ({current} + {MINUTES_MAX} min.)"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Error, Presented, Refusal};

    const NOW: u64 = 1_440_938_160;

    #[test]
    fn a_wrong_clock_is_told_in_times() {
        let headers = HeaderMap::new();
        let presented = Presented { headers: &headers, now_unix_seconds: NOW };
        assert_eq!(
            presented.refusal(Refusal::ClockSkew { seconds: -360 }),
            Error::InvalidSignature(
                "Signature expired: 20150830T123000Z is now earlier than 20150830T123100Z \
                 (20150830T123600Z - 5 min.)"
                    .to_owned()
            )
        );
        assert_eq!(
            presented.refusal(Refusal::ClockSkew { seconds: 360 }),
            Error::InvalidSignature(
                "Signature not yet current: 20150830T124200Z is still later than 20150830T124100Z \
                 (20150830T123600Z + 5 min.)"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_a_header_lacks_is_named() {
        let value = HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=a/b, Signature=00");
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
        let presented = Presented { headers: &headers, now_unix_seconds: NOW };
        assert_eq!(
            presented.refusal(Refusal::AuthorizationMalformed),
            Error::IncompleteSignature(
                "Authorization header requires 'SignedHeaders' parameter. Authorization header requires \
                 existence of either a 'X-Amz-Date' or a 'Date' header."
                    .to_owned()
            )
        );
    }
}
