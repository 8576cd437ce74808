//! `holdfast check`: is this XKS proxy, ours or anybody's, ready for AWS KMS?
//!
//! Two questions, two ways to run: all cases of `cases`, each judged whole; or, with a rate, a load and its latency.

mod bodies;
mod case;
mod cases;
mod certificates;
mod crypto;
mod finding;
mod judge;
mod load;
mod options;
mod report;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

pub use load::{LoadFault, LoadOptions, LoadReport};
pub use options::Options;
pub use report::{CaseResult, Report, Verdict};
pub use session::InvalidOptions;

use proxy_api::client::Failure;

use crate::check::case::Case;
use crate::check::finding::{Finding, Judged};
use crate::check::session::Session;
use crate::clock::Clock;

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    Failed,
    Passed,
}

/// Why there is no conclusion.
#[derive(Debug)]
pub enum CheckError {
    Load(LoadFault),
    Options(InvalidOptions),
    Output(io::Error),
    /// Every case would fail, and say nothing of the proxy.
    Unreachable {
        host: String,
        failure: Failure,
    },
}

/// Runs what `options` ask for and writes the result to `out`.
pub async fn run(
    options: &Options,
    clock: Arc<dyn Clock>,
    out: &mut dyn Write,
) -> Result<Conclusion, CheckError> {
    let session = Session::new(options, clock).map_err(CheckError::Options)?;
    if options.load.is_wanted() {
        let report = load::run(session, &options.load).await.map_err(CheckError::Load)?;
        report.write(options.json, out).map_err(CheckError::Output)?;
        return Ok(Conclusion::of(report.is_acceptable()));
    }
    session
        .reach()
        .await
        .map_err(|failure| CheckError::Unreachable { host: session.host.clone(), failure })?;
    let report = run_cases(&session, options.only.as_deref()).await;
    report.write(options.json, out).map_err(CheckError::Output)?;
    Ok(Conclusion::of(report.is_conforming()))
}

/// So long a quota that a case fits into takes to be whole again.
const THROTTLED_WAIT: Duration = Duration::from_secs(1);
const THROTTLED_REPEATS_MAX: usize = 3;

/// Runs the cases whose group or name contains `only`, one after the other.
async fn run_cases(session: &Session, only: Option<&str>) -> Report {
    let mut results = Vec::new();
    let mut is_throttled = false;
    for group in cases::GROUPS {
        for case in group.cases {
            if only.is_some_and(|text| !group.name.contains(text) && !case.name.contains(text)) {
                continue;
            }
            let judged = match case.need.unmet(session) {
                Some(missing) => Err(Finding::Skipped(missing)),
                // Once patience was in vain, it will be again.
                None => run_case(session, case, if is_throttled { 0 } else { THROTTLED_REPEATS_MAX }).await,
            };
            is_throttled |= judged.as_ref().is_err_and(Finding::is_throttling);
            results.push(CaseResult::new(group.name, case, judged));
        }
    }
    Report { host: session.host.clone(), prefix: session.prefix.clone(), results, is_throttled }
}

/// No case is about quotas: one that met a quota says nothing of the proxy, and is repeated.
async fn run_case(session: &Session, case: &Case, repeats_max: usize) -> Judged {
    let mut judged = (case.run)(session).await;
    for _ in 0..repeats_max {
        if !judged.as_ref().is_err_and(Finding::is_throttling) {
            break;
        }
        tokio::time::sleep(THROTTLED_WAIT).await;
        judged = (case.run)(session).await;
    }
    judged
}

impl Conclusion {
    const fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "{error}"),
            Self::Options(error) => write!(f, "{error}"),
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
            Self::Unreachable { host, failure } => write!(f, "no connection to `{host}`: {failure}"),
        }
    }
}

impl std::error::Error for CheckError {}
