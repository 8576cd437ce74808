//! Who can read and change the files of the daemon.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::config::{Config, Events, private_file};
use crate::doctor::diagnoses::machine::files as diagnosis;
use crate::doctor::finding::{Findings, Verdict};

const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;
const GOOD: &str = "only its owner can change it";

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    findings.judge(&diagnosis::CONFIGURATION, name(&config.path), (changeable(&config.path), GOOD));
    examine_modules(config, findings);
    let owner = std::fs::metadata(&config.state_dir).ok().and_then(|folder| other_owner(&facts(&folder)));
    if let Some(owner) = owner {
        return say_owner(config, owner, findings);
    }
    for path in secrets(config) {
        let bad = match private_file::version(&path) {
            Ok(_) => None,
            Err(error) if error.is_not_found() => Some((Verdict::Error, "there is no such file".to_owned())),
            Err(error) => Some((Verdict::Error, error.to_string())),
        };
        findings.judge(&diagnosis::SECRETS, name(&path), (bad, "only its owner can read it"));
    }
    examine_state_dir(&config.state_dir, findings);
    examine_socket(&config.admin.control_socket, findings);
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn changeable(path: &Path) -> Option<(Verdict, String)> {
    match std::fs::metadata(path) {
        Ok(metadata) => may_others_change(&facts(&metadata)),
        Err(error) => Some((Verdict::Error, error.to_string())),
    }
}

fn examine_modules(config: &Config, findings: &mut Findings) {
    let mut modules: Vec<_> = config.hsms.iter().map(|hsm| &hsm.module).collect();
    modules.extend(config.clusters.iter().flat_map(|cluster| cluster.members.iter().map(|hsm| &hsm.module)));
    modules.sort();
    modules.dedup();
    for module in modules {
        findings.judge(&diagnosis::MODULE, name(module), (changeable(module), GOOD));
    }
}

/// Root sees everything, but not as the daemon's user does.
pub(super) fn other_owner(state_dir: &FileFacts) -> Option<u32> {
    (state_dir.user == 0 && state_dir.owner != 0).then_some(state_dir.owner)
}

fn say_owner(config: &Config, owner: u32, findings: &mut Findings) {
    let seen =
        format!("belongs to user {owner}: run this as its owner, `sudo -u '#{owner}' holdfast doctor`");
    findings.warning(&diagnosis::STATE_DIR, name(&config.state_dir), seen);
    let rest = [&diagnosis::SECRETS, &diagnosis::SOCKET];
    findings.all_unchecked(&rest, &name(&config.state_dir), "root is not the user of the daemon");
}

/// The files that only the daemon's user may read.
fn secrets(config: &Config) -> Vec<PathBuf> {
    let keys = config.tls_listeners().map(|listener| listener.private_key_file.clone());
    let pins = config.hsms.iter().filter_map(|hsm| hsm.pin_file.clone());
    let credentials = config.key_stores.iter().map(|store| store.credentials_file.clone());
    let client = config.kms.iter().filter_map(|kms| kms.external_key_stores.tls.client_files.as_ref());
    let identities = config.kms.iter().filter_map(|kms| kms.identities_file.clone());
    let headers = config.traces.iter().filter_map(|traces| traces.headers_file.clone());
    let webhook = config.kms.iter().filter_map(|kms| match &kms.events {
        Some(Events::Webhook(webhook)) => Some(webhook.secret_file.clone()),
        Some(Events::File(_)) | None => None,
    });
    let others = identities.chain(headers).chain(webhook);
    let mut files: Vec<_> =
        keys.chain(pins).chain(credentials).chain(client.map(|(_, key)| key.clone())).chain(others).collect();
    files.sort();
    files.dedup();
    files
}

/// What the judging needs of a file.
pub(super) struct FileFacts {
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) user: u32,
}

fn facts(metadata: &Metadata) -> FileFacts {
    FileFacts {
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        user: rustix::process::geteuid().as_raw(),
    }
}

pub(super) fn may_others_change(file: &FileFacts) -> Option<(Verdict, String)> {
    let FileFacts { mode, owner, user } = file;
    if mode & OTHERS_WRITE != 0 {
        return Some((Verdict::Error, format!("mode {mode:04o}: others can change it")));
    }
    let is_foreign = *owner != 0 && owner != user;
    is_foreign.then(|| (Verdict::Warning, format!("belongs to user {owner}, who can change it")))
}

fn examine_state_dir(path: &Path, findings: &mut Findings) {
    let bad = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Some((Verdict::Error, "not a folder".to_owned())),
        Ok(metadata) => {
            let FileFacts { mode, owner, user } = facts(&metadata);
            if owner != user {
                Some((Verdict::Error, format!("belongs to user {owner}, and this is user {user}")))
            } else {
                (mode & OTHERS != 0)
                    .then(|| (Verdict::Warning, format!("mode {mode:04o}: others can look into it")))
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = private_file::folder(path);
            let is_there = std::fs::metadata(folder).is_ok();
            (!is_there).then(|| (Verdict::Error, format!("{error}, and no folder to make it in")))
        }
        Err(error) => Some((Verdict::Error, error.to_string())),
    };
    findings.judge(
        &diagnosis::STATE_DIR,
        path.display().to_string(),
        (bad, "ours alone, or made at the start"),
    );
}

fn examine_socket(path: &Path, findings: &mut Findings) {
    let looked_at = path.display().to_string();
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return findings.unchecked(&diagnosis::SOCKET, looked_at, "there is none: no daemon runs");
        }
        Err(error) => return findings.error(&diagnosis::SOCKET, looked_at, error.to_string()),
    };
    let FileFacts { mode, owner, user } = facts(&metadata);
    let bad = if !metadata.file_type().is_socket() {
        Some("something else than a socket".to_owned())
    } else if mode & OTHERS != 0 {
        Some(format!("mode {mode:04o}: others can tell the daemon what to do"))
    } else {
        (owner != user).then(|| format!("belongs to user {owner}, and this is user {user}"))
    };
    findings.judge(
        &diagnosis::SOCKET,
        looked_at,
        (bad.map(|bad| (Verdict::Error, bad)), "the daemon's user alone"),
    );
}
