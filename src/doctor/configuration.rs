//! The configuration file: read as the daemon would, all errors at once.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::app;
use crate::config::Config;
use crate::doctor::Options;
use crate::doctor::diagnoses::machine::configuration as diagnosis;
use crate::doctor::finding::Findings;

pub(super) fn examine(path: &Path, options: &Options, findings: &mut Findings) -> Option<Config> {
    // As its problems name it.
    let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    if !options.endpoints.is_empty() && !path.exists() {
        // From outside, on another machine.
        findings.all_unchecked(
            diagnosis::ALL,
            &name,
            "there is no such file; only the endpoint is looked at",
        );
        return None;
    }
    let bare = match Config::load_without_files(path) {
        Ok(config) => config,
        Err(error) => {
            for problem in error.problems() {
                findings.error(&diagnosis::PARSE, &name, problem.to_string());
            }
            return None;
        }
    };
    findings.ok(&diagnosis::PARSE, &name, "every member is known and in its range");
    let config = match app::check(path) {
        Ok(config) => {
            findings.ok(&diagnosis::FILES, &name, "the daemon would start with it");
            config
        }
        Err(problems) => {
            problems.lines().for_each(|problem| findings.error(&diagnosis::FILES, &name, problem));
            Config::load(path).unwrap_or(bare)
        }
    };
    examine_meaning(&config, &name, findings);
    Some(config)
}

fn examine_meaning(config: &Config, name: &str, findings: &mut Findings) {
    let warnings = config.warnings();
    for warning in &warnings {
        findings.warning(&diagnosis::WARNINGS, name, warning);
    }
    if warnings.is_empty() {
        findings.ok(&diagnosis::WARNINGS, name, "nothing to say");
    }
    if config.dev.clock_control {
        findings.warning(&diagnosis::DEVELOPMENT, name, "`clock_control` is on: time can be moved");
    } else {
        findings.ok(&diagnosis::DEVELOPMENT, name, "nothing of `[dev]` is on");
    }
    let state_dir = config.state_dir.display().to_string();
    match disk_model(&config.state_dir) {
        Some(model) if model.contains("Elastic Block Store") => findings.warning(
            &diagnosis::CIRCULAR,
            state_dir,
            "on a volume of Amazon EBS: if a KMS key encrypts it, that key must not be in these key stores",
        ),
        Some(model) => {
            findings.ok(&diagnosis::CIRCULAR, state_dir, format!("on {model}, no volume of Amazon EBS"))
        }
        None => findings.unchecked(
            &diagnosis::CIRCULAR,
            state_dir,
            "the kind of its disk cannot be seen; see that no KMS key of these key stores unlocks it",
        ),
    }
}

/// What the disk under a path says that it is.
fn disk_model(path: &Path) -> Option<String> {
    let device = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let block = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    // A partition is in the folder of its disk.
    let model = ["device/model", "../device/model"]
        .into_iter()
        .find_map(|model| std::fs::read_to_string(block.join(model)).ok())?;
    let model: String = model.trim().chars().take(64).collect();
    (!model.is_empty()).then_some(model)
}
