//! `holdfast doctor`: what is wrong with this installation, and what to do about it.
//!
//! Facts are gathered first and judged then, so that judging is pure. `diagnoses` is the table of all that can be found.

mod certificates;
mod clock;
mod configuration;
mod credentials;
mod daemon;
mod diagnoses;
mod diagnosis;
mod endpoint;
mod files;
mod finding;
mod hsm;
mod keys;
mod kms;
mod options;
mod plain_http;
mod probe;
mod report;
mod requests;
mod samples;
mod state;
#[cfg(test)]
mod tests;
mod trusted;

use std::path::Path;
use std::sync::Arc;

pub use diagnoses::all as diagnoses;
pub use diagnosis::{Diagnosis, Group};
pub use finding::{Finding, Verdict};
pub use kms::CONNECTION_ERRORS;
pub use options::Options;
pub use report::Report;
pub use trusted::authorities;

use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::finding::Findings;
use crate::doctor::samples::Samples;

/// What everything looks at.
struct Patient<'a> {
    options: &'a Options,
    /// With its files, if they could be read; absent if not even the file itself can.
    config: Option<Config>,
    /// What the running daemon counts; absent: none answers.
    samples: Option<Samples>,
    clock: Arc<dyn Clock>,
}

impl Patient<'_> {
    fn now(&self) -> u64 {
        self.clock.unix_seconds()
    }
}

/// Looks at everything that is wanted; `begins` is told what comes next.
pub fn run(path: &Path, options: &Options, clock: Arc<dyn Clock>, begins: &mut dyn FnMut(Group)) -> Report {
    let mut findings = Findings::default();
    let config = configuration::examine(path, options, &mut findings);
    let samples = config.as_ref().and_then(|config| daemon::metrics(config.admin.listen, &*clock));
    let patient = Patient { options, config, samples, clock };
    for group in Group::ALL {
        if options.wants(group) {
            begins(group);
            examine(group, &patient, &mut findings);
        }
    }
    let mut findings = findings.0;
    findings.retain(|finding| options.wants(finding.diagnosis.group));
    Report { findings }
}

fn examine(group: Group, patient: &Patient<'_>, findings: &mut Findings) {
    match group {
        // It came first: all the others need it.
        Group::Configuration => {}
        Group::Endpoint => endpoint::examine(patient, findings),
        Group::Clock => clock::examine(patient, findings),
        Group::Files
        | Group::State
        | Group::Daemon
        | Group::Certificates
        | Group::Credentials
        | Group::Hsm
        | Group::Keys
        | Group::Kms => {
            let Some(config) = &patient.config else {
                let diagnoses: Vec<_> =
                    diagnoses::all().filter(|diagnosis| diagnosis.group == group).collect();
                return findings.all_unchecked(&diagnoses, "-", "there is no configuration to look at");
            };
            examine_configured(group, (patient, config), findings);
        }
    }
}

fn examine_configured(group: Group, (patient, config): (&Patient<'_>, &Config), findings: &mut Findings) {
    match group {
        Group::Files => files::examine(config, findings),
        Group::State => state::examine(patient, config, findings),
        Group::Daemon => daemon::examine(patient, config, findings),
        Group::Certificates => certificates::examine(patient, config, findings),
        Group::Credentials => credentials::examine(patient, config, findings),
        Group::Hsm => hsm::examine(patient, config, findings),
        Group::Keys => keys::examine(patient, config, findings),
        Group::Kms => kms::examine(patient, config, findings),
        Group::Configuration | Group::Clock | Group::Endpoint => {}
    }
}
