//! The folder of the daemon: room, lock, database.

use std::path::Path;

use rustix::fs::{FlockOperation, flock, statvfs};

use crate::config::Config;
use crate::doctor::Patient;
use crate::doctor::diagnoses::machine::state as diagnosis;
use crate::doctor::finding::{Findings, Verdict};
use crate::store::sqlite::{self, BackupError, SchemaError};

const MEBIBYTE: u64 = 1 << 20;
/// Below it nothing is recorded, and nothing changed.
const FREE_MIN: u64 = 64 * MEBIBYTE;
const FREE_COMFORTABLE: u64 = 1024 * MEBIBYTE;

pub(super) fn examine(patient: &Patient<'_>, config: &Config, findings: &mut Findings) {
    let looked_at = config.state_dir.display().to_string();
    examine_disks(config, findings);
    let lock = config.state_dir.join("daemon.lock");
    match (is_held(&lock), patient.samples.is_some()) {
        (Some(true), true) => findings.ok(&diagnosis::LOCK, &looked_at, "the daemon runs and answers"),
        (Some(true), false) => {
            findings.error(
                &diagnosis::LOCK,
                &looked_at,
                "a process holds it and its admin listener does not answer",
            );
        }
        (Some(false), true) => findings.error(
            &diagnosis::LOCK,
            &looked_at,
            "another daemon answers at the address of `[admin]`, with another `state_dir`",
        ),
        (Some(false), false) => findings.warning(&diagnosis::LOCK, &looked_at, "no daemon runs"),
        (None, _) => findings.unchecked(&diagnosis::LOCK, &looked_at, "the lock cannot be opened"),
    }
    for record in config.hsms.iter().filter_map(|hsm| hsm.refused_pin_file.as_ref()) {
        let bad = record
            .exists()
            .then(|| (Verdict::Error, "the token refused the PIN: it is not tried again".to_owned()));
        findings.judge(&diagnosis::REFUSED_PIN, record.display().to_string(), (bad, "nothing was refused"));
    }
    examine_database(config, &looked_at, findings);
}

/// Those of `state_dir` and of the audit trail, which may be elsewhere.
fn examine_disks(config: &Config, findings: &mut Findings) {
    let audit = config.kms.as_ref().map(|kms| &kms.audit).filter(|audit| audit.enabled);
    let (inside, elsewhere): (Vec<_>, Vec<_>) =
        audit.into_iter().partition(|audit| audit.dir.starts_with(&config.state_dir));
    let free_min = inside.iter().fold(FREE_MIN, |min, audit| min.max(audit.limits.free_bytes_min));
    examine_disk(&config.state_dir, free_min, findings);
    for audit in elsewhere {
        examine_disk(&audit.dir, audit.limits.free_bytes_min, findings);
    }
}

fn examine_disk(folder: &Path, free_min: u64, findings: &mut Findings) {
    let looked_at = folder.display().to_string();
    match statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let total = disk.f_blocks.saturating_mul(disk.f_frsize);
            let good = format!("{} MiB free", free / MEBIBYTE);
            findings.judge(&diagnosis::DISK, looked_at, (judge_disk(free, total, free_min), good));
        }
        Err(error) => findings.unchecked(&diagnosis::DISK, looked_at, error.to_string()),
    }
}

pub(super) fn judge_disk(free: u64, total: u64, free_min: u64) -> Option<(Verdict, String)> {
    let seen = format!("{} MiB free of {}", free / MEBIBYTE, total / MEBIBYTE);
    if free < free_min {
        Some((Verdict::Error, seen))
    } else if free < FREE_COMFORTABLE || free < total / 20 {
        Some((Verdict::Warning, seen))
    } else {
        None
    }
}

/// Whether somebody holds the lock; nobody does if there is no file.
fn is_held(lock: &Path) -> Option<bool> {
    match std::fs::File::open(lock) {
        Ok(file) => Some(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn examine_database(config: &Config, looked_at: &str, findings: &mut Findings) {
    if config.kms.is_none() {
        let why = "the configuration has no `[kms]`";
        return findings.all_unchecked(&[&diagnosis::SCHEMA, &diagnosis::INTEGRITY], looked_at, why);
    }
    match sqlite::examine(&config.state_dir) {
        Ok(None) => {
            let why = "there is no database yet: the daemon makes it";
            findings.all_unchecked(&[&diagnosis::SCHEMA, &diagnosis::INTEGRITY], looked_at, why);
        }
        Ok(Some(facts)) => {
            let seen = format!("version {}", facts.schema_version);
            findings.ok(&diagnosis::SCHEMA, looked_at, seen);
            let keys: u64 = facts.keys_by_state.iter().map(|(_, count)| count).sum();
            findings.ok(&diagnosis::INTEGRITY, looked_at, format!("whole, with {keys} keys"));
        }
        Err(BackupError::Schema(_, error @ (SchemaError::Newer { .. } | SchemaError::NotOurs))) => {
            findings.error(&diagnosis::SCHEMA, looked_at, error.to_string());
            findings.unchecked(
                &diagnosis::INTEGRITY,
                looked_at,
                "it is not a database that this release knows",
            );
        }
        Err(error @ BackupError::Damaged(..)) => {
            findings.error(&diagnosis::INTEGRITY, looked_at, error.to_string());
        }
        // A lock, rights, a full disk: a backup would not mend it.
        Err(
            error @ (BackupError::Exists(_)
            | BackupError::InUse(_)
            | BackupError::Io(..)
            | BackupError::Schema(_, SchemaError::Sql(_))
            | BackupError::Stopped),
        ) => {
            let all = [&diagnosis::SCHEMA, &diagnosis::INTEGRITY];
            findings.all_unchecked(&all, looked_at, &error.to_string());
        }
    }
}
