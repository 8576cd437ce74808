//! `holdfast provision`: what the quick start needs, made once and kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::Outcome;
use crate::cli::World;
use crate::cli::environment::ensure_environment;
use crate::provision;
use crate::provision::AccountId;
use crate::provision::Folder;
use crate::provision::Plan;
use crate::provision::Ports;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder for all of it; made if absent
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The first of five ports: XKS proxy, XKS proxy with mTLS, KMS API twice, admin
    #[arg(long, value_name = "N", default_value_t = 8440, value_parser = clap::value_parser!(u16).range(1..=65531))]
    port_base: u16,
    /// The AWS account in which the caller of `env` is an administrator
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    account_id: AccountId,
    /// The SoftHSM library; default: where distributions install it
    #[arg(long, env = "SOFTHSM2_MODULE", value_name = "FILE")]
    module: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments, world: &mut World<'_>) -> Outcome {
    let folder = Folder::new(&arguments.dir)?;
    ensure_environment(&BTreeMap::from([folder.softhsm_variable()]))?;
    let plan = Plan {
        folder,
        ports: Ports::from_base(arguments.port_base),
        account_id: arguments.account_id,
        module: arguments.module,
    };
    provision::provision(&plan, world.clock, world.out)?;
    Ok(ExitCode::SUCCESS)
}
