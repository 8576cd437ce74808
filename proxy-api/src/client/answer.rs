//! What a proxy answered: read as what was asked for, as an error of the API, or as neither.

use std::fmt;

use http::{HeaderMap, StatusCode, Version};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{ErrorBody, ErrorName};
use crate::wire::{InvalidBody, parse_body};

/// A whole HTTP answer. The body is wiped on drop, since it may hold a plaintext.
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// An answer that is not the response asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The proxy refused, by name. The message is the proxy's, for the log.
    Refused { error: ErrorName, message: Option<String> },
    /// The status is 200, but the body is no such response.
    Uninterpretable(InvalidBody),
    /// The status is not 200, and the body names no error of the API.
    UnknownError { status: u16 },
}

impl Answer {
    /// The response, if this is one. Of an error the name counts, whatever its status.
    pub fn response<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        if self.status == StatusCode::OK {
            return parse_body(&self.body).map_err(Rejection::Uninterpretable);
        }
        let unknown = Rejection::UnknownError { status: self.status.as_u16() };
        let Ok(body) = parse_body::<ErrorBody<'_>>(&self.body) else { return Err(unknown) };
        let message = body.error_message.map(std::borrow::Cow::into_owned);
        Err(ErrorName::from_name(&body.error_name)
            .map_or(unknown, |error| Rejection::Refused { error, message }))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status.as_u16(), self.body.len())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { error, message } => {
                f.write_str(error.wire().1)?;
                message.as_deref().map_or(Ok(()), |message| write!(f, ": {message}"))
            }
            Self::Uninterpretable(error) => write!(f, "uninterpretable response: {error}"),
            Self::UnknownError { status } => write!(f, "status {status} without an error name of the API"),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode, Version};
    use zeroize::Zeroizing;

    use super::{Answer, Rejection};
    use crate::error::ErrorName;
    use crate::wire::DecryptResponse;

    fn rejection(status: u16, body: &str) -> Rejection {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            body: Zeroizing::new(body.into()),
        };
        answer.response::<DecryptResponse<'_>>().unwrap_err()
    }

    #[test]
    fn the_name_decides_and_not_the_status() {
        let body = r#"{"errorName":"ThrottlingException","errorMessage":"slow down","later":1}"#;
        let error = ErrorName::Throttling;
        assert_eq!(rejection(503, body), Rejection::Refused { error, message: Some("slow down".into()) });
    }

    #[test]
    fn anything_else_is_unknown_or_uninterpretable() {
        for body in ["", "<html>", r#"{"errorName":"NoSuchException"}"#, "{}"] {
            assert_eq!(rejection(502, body), Rejection::UnknownError { status: 502 });
        }
        assert!(matches!(rejection(200, "{}"), Rejection::Uninterpretable(_)));
    }
}
