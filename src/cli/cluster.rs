//! `holdfast cluster`: what is in the clusters of CloudHSM key stores.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::admin::control::{self, Asked, Topic};
use crate::cli::{ConfigFile, Outcome, World};
use crate::config::Config;
use crate::gate::kms::ClusterFindings;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show key objects without a KMS key, and KMS keys without a key object; exit status 1 if there are any
    Orphans {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, world: &mut World<'_>) -> Outcome {
    let config = Config::load_without_files(&arguments.config.path)?;
    let Command::Orphans { json } = &arguments.command;
    let text = match control::ask(&config.admin.control_socket, Topic::Clusters, "{}")? {
        Asked::Answered(text) => text,
        Asked::NotRunning => return Err("no daemon runs, which alone is logged in to the clusters".into()),
        Asked::Refused(reason) => return Err(reason.into()),
    };
    let findings: Vec<ClusterFindings> = serde_json::from_str(&text)?;
    if *json {
        writeln!(world.out, "{}", *text)?;
    } else {
        findings.iter().try_for_each(|findings| show(findings, world))?;
        if findings.is_empty() {
            writeln!(world.out, "there is no CloudHSM key store")?;
        }
    }
    let is_clean = |findings: &ClusterFindings| {
        findings.orphans.is_empty() && findings.missing.is_empty() && findings.failure.is_none()
    };
    Ok(if findings.iter().all(is_clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(findings: &ClusterFindings, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    let ClusterFindings { custom_key_store_id, custom_key_store_name, cluster_id, .. } = findings;
    writeln!(world.out, "key store {custom_key_store_id} ({custom_key_store_name}), {cluster_id}")?;
    if let Some(failure) = &findings.failure {
        writeln!(world.out, "  cannot be looked at: {failure}")?;
    }
    for orphan in &findings.orphans {
        writeln!(
            world.out,
            "  orphan: key object {} (CKA_ID {}, handle {}) is of no KMS key",
            orphan.label, orphan.backing_key_id, orphan.key_handle
        )?;
    }
    for key in &findings.missing {
        writeln!(world.out, "  missing: KMS key {key} has no key object in the cluster")?;
    }
    if findings.failure.is_none() && findings.orphans.is_empty() && findings.missing.is_empty() {
        writeln!(world.out, "  every key object has its key, and every key its key object")?;
    }
    Ok(())
}
