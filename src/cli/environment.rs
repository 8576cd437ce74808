//! Gives this process the environment that PKCS#11 libraries read when they are loaded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process;

use crate::config::environment;

/// Holds the id of the process that has started itself anew already; starting anew keeps the id.
const RESTARTED: &str = "HOLDFAST_RESTARTED";

/// Returns if all the variables have these values, else starts this program anew with them set.
///
/// A process with threads cannot change its environment soundly, and libraries read it with `getenv`.
pub fn ensure_environment(variables: &BTreeMap<String, String>) -> io::Result<()> {
    let is_set =
        |(name, value): (&String, &String)| environment::variable(name).as_deref() == Some(OsStr::new(value));
    if variables.iter().all(is_set) {
        return Ok(());
    }
    let process_id = process::id().to_string();
    if environment::variable(RESTARTED).as_deref() == Some(OsStr::new(&process_id)) {
        return Err(io::Error::other("the environment variables of the HSMs do not hold across a restart"));
    }
    let mut arguments = std::env::args_os();
    let mut program = process::Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    // On success this process is the new program, and there is nothing to return to.
    Err(program.args(arguments).envs(variables).env(RESTARTED, process_id).exec())
}
