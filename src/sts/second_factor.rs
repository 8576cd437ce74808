//! `SerialNumber` and `TokenCode`: the second factor that a caller shows.

use crate::identity::kms::{Caller, Directory, MfaError, MfaRefused};
use crate::sts::error::Error;
use crate::sts::parameters::Parameters;

const SERIAL_CHARS: std::ops::RangeInclusive<usize> = 9..=256;
const CODE_CHARS: usize = 6;

/// What is asked for, checked for its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecondFactor<'a> {
    serial: &'a str,
    code: &'a str,
}

impl<'a> SecondFactor<'a> {
    pub(super) fn parse(parameters: &'a Parameters) -> Result<Option<Self>, Error> {
        let (serial, code) = match (parameters.get("SerialNumber"), parameters.get("TokenCode")) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            (Some(_), None) | (None, Some(_)) => {
                return Err(failed("must provide both MFA serial number and one time pass code."));
            }
        };
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "_+=/:,.@-".contains(c);
        let refused = |member: &str, constraint: &str| {
            Error::validation(format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
            ))
        };
        if !SERIAL_CHARS.contains(&serial.len()) || !serial.chars().all(is_legal) {
            return Err(refused(
                "serialNumber",
                "Member must satisfy regular expression pattern: [\\w+=/:,.@-]*",
            ));
        }
        if code.len() != CODE_CHARS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused("tokenCode", "Member must satisfy regular expression pattern: [\\d]*"));
        }
        Ok(Some(Self { serial, code }))
    }

    /// Uses the code up.
    pub(super) fn take(
        self,
        directory: &Directory,
        caller: &Caller,
        now_unix_seconds: u64,
    ) -> Result<(), Error> {
        let Self { serial, code } = self;
        directory.take_mfa_code(caller, (serial, code), now_unix_seconds).map_err(|error| match error {
            MfaError::Code(MfaRefused::Throttled) => Error::Throttling,
            MfaError::Code(MfaRefused::Wrong) => failed("with invalid MFA one time pass code."),
            MfaError::DeviceUnknown => failed(
                "unable to validate MFA code.  Please verify your MFA serial number is valid and associated with \
                 this user.",
            ),
        })
    }
}

fn failed(how: &str) -> Error {
    let separator = if how.starts_with("with") { " " } else { ", " };
    Error::AccessDenied(format!("MultiFactorAuthentication failed{separator}{how}"))
}
