//! Judges one answer whole: status, headers, shape of the body, error name, error message.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use proxy_api::client::Answer;
use proxy_api::error::{ErrorBody, ErrorName};
use proxy_api::wire::{self, ERROR_MESSAGE_CHARS_MAX, parse_body};
use serde::Deserialize;

use crate::check::finding::{Finding, Judged, ensure, mismatch};

/// Enough of a foreign error name to recognise it.
const FOREIGN_NAME_CHARS_MAX: usize = 60;

/// The response, in an answer that is right as a whole.
pub(crate) fn response<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Finding> {
    if answer.status != StatusCode::OK {
        return Err(mismatch("200", described(answer)));
    }
    check_form(answer)?;
    parse_body(&answer.body)
        .map_err(|error| mismatch("200 with the members of the response", error.to_string()))
}

/// That the proxy refused with one of `errors`, in an answer that is right as a whole.
pub(crate) fn refused(answer: &Answer, errors: &[ErrorName]) -> Judged {
    let is_expected = |name: &str| errors.iter().any(|error| error.wire() == (answer.status.as_u16(), name));
    match parse_body::<ErrorBody<'_>>(&answer.body) {
        Ok(body) if is_expected(&body.error_name) => {
            check_form(answer)?;
            body.error_message.as_deref().map_or(Ok(()), check_message)
        }
        Ok(_) | Err(_) => Err(mismatch(expected(errors), described(answer))),
    }
}

/// Content-Type, and a body of one line: the official client takes the last line for the body.
fn check_form(answer: &Answer) -> Judged {
    let content_type =
        answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ensure(essence.eq_ignore_ascii_case(wire::CONTENT_TYPE), "Content-Type application/json", content_type)?;
    ensure(!answer.body.contains(&b'\n'), "a body of one line", "several lines")
}

fn check_message(message: &str) -> Judged {
    let chars = message.chars().count();
    ensure(
        chars <= ERROR_MESSAGE_CHARS_MAX,
        "errorMessage below 512 characters",
        format!("{chars} characters"),
    )?;
    let is_printable = message.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    ensure(is_printable, "errorMessage in printable ASCII", "other characters")
}

fn expected(errors: &[ErrorName]) -> String {
    let names: Vec<_> =
        errors.iter().map(|error| error.wire()).map(|(status, name)| format!("{status} {name}")).collect();
    names.join(" or ")
}

/// Status and error name; of a success only the status, since the body may hold a plaintext.
pub(crate) fn described(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    match parse_body::<ErrorBody<'_>>(&answer.body) {
        Ok(body) if answer.status != StatusCode::OK => {
            let printable = |character: char| if character.is_ascii_graphic() { character } else { '?' };
            let name: String = body.error_name.chars().take(FOREIGN_NAME_CHARS_MAX).map(printable).collect();
            format!("{status} {name}")
        }
        Ok(_) => status.to_string(),
        Err(_) if answer.status == StatusCode::OK => status.to_string(),
        Err(_) => format!("{status} without errorName"),
    }
}
