//! `GetSessionToken`: temporary credentials of a user or root user, with a second factor or without.

use crate::authorizer::facts::RequestFacts;
use crate::identity::kms::{Caller, Directory, NewUserSession, SessionCredentials, SessionTime};
use crate::sts::error::Error;
use crate::sts::parameters::Parameters;
use crate::sts::second_factor::SecondFactor;

const DURATION_SECONDS: std::ops::RangeInclusive<u32> = 900..=129_600;
const DURATION_SECONDS_DEFAULT: u32 = 43_200;
/// Of root users; more is not refused, but not given.
const ROOT_SECONDS_MAX: u32 = 3600;

/// Needs no permission, so no policy is asked.
pub(super) fn execute(
    directory: &Directory,
    caller: &Caller,
    facts: &RequestFacts<'_>,
    parameters: &Parameters,
) -> Result<SessionCredentials, Error> {
    let has_long_term_key = caller.user_name().is_some() || caller.is_root();
    if !has_long_term_key || caller.temporary.is_some() || caller.via.is_some() {
        return Err(Error::AccessDenied("Cannot call GetSessionToken with session credentials".to_owned()));
    }
    let duration_seconds = duration(parameters)?;
    let factor = SecondFactor::parse(parameters)?;
    if let Some(factor) = factor {
        factor.take(directory, caller, facts.unix_seconds)?;
    }
    let most = if caller.is_root() { ROOT_SECONDS_MAX } else { *DURATION_SECONDS.end() };
    let time =
        SessionTime { now_unix_seconds: facts.unix_seconds, duration_seconds: duration_seconds.min(most) };
    Ok(directory.make_user_session(&NewUserSession { caller, time, mfa: factor.is_some() })?)
}

fn duration(parameters: &Parameters) -> Result<u32, Error> {
    let Some(text) = parameters.get("DurationSeconds") else { return Ok(DURATION_SECONDS_DEFAULT) };
    let seconds = text.parse().ok().filter(|seconds| DURATION_SECONDS.contains(seconds));
    seconds.ok_or_else(|| {
        Error::validation(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member \
             must have value between 900 and 129600"
        ))
    })
}
