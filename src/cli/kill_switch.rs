//! Blocks and gives back keys and key stores, of a daemon that the configuration or its control socket names.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::admin::control::{self, Asked, Change, Topic};
use crate::cli::daemon::tell_daemon;
use crate::cli::{ConfigFile, World};
use crate::config::Config;
use crate::gate::matches_pattern;
use crate::kill_switch::{self, Blockable, Whereabouts};

#[derive(Args, Debug)]
pub(super) struct Daemon {
    /// The control socket of the running daemon; with it no configuration is read
    #[arg(long, env = "HOLDFAST_CONTROL_SOCKET", value_name = "PATH")]
    control_socket: Option<PathBuf>,
}

/// Where a block is written down, and who is told of it.
struct Place {
    state_dir: PathBuf,
    control_socket: PathBuf,
    /// Whether there is what shall be blocked, as far as who named the place can tell.
    is_known: bool,
}

pub(super) fn block(
    daemon: &Daemon,
    file: &ConfigFile,
    what: &Blockable,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    let place = Place::find(daemon, file, what)?;
    kill_switch::change(&place.state_dir, |blocked| blocked.insert(what))?;
    tell_daemon(&place.control_socket, Change::Blocks, &format!("{what} is blocked"), world)?;
    // Last: nothing may come between somebody and the block.
    if let Some(doubt) = place.doubt(what) {
        writeln!(world.out, "{doubt}")?;
    }
    Ok(())
}

pub(super) fn unblock(
    daemon: &Daemon,
    file: &ConfigFile,
    what: &Blockable,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    let place = Place::find(daemon, file, what)?;
    let was_blocked = kill_switch::change(&place.state_dir, |blocked| blocked.remove(what))?;
    let said = if was_blocked { "is not blocked any more" } else { "was not blocked" };
    tell_daemon(&place.control_socket, Change::Blocks, &format!("{what} {said}"), world)
}

impl Place {
    fn find(daemon: &Daemon, file: &ConfigFile, what: &Blockable) -> Result<Self, Box<dyn Error>> {
        let place = match &daemon.control_socket {
            Some(socket) => Self::told_by_daemon(socket, what)?,
            None => Self::configured(&file.path, what)?,
        };
        match what {
            // An id may be blocked before it has a key.
            Blockable::Key(_) => Ok(place),
            Blockable::KeyStore(_) if place.is_known => Ok(place),
            Blockable::KeyStore(name) => {
                Err(format!("no key store is named `{name}`; `holdfast store list` shows them").into())
            }
        }
    }

    fn told_by_daemon(socket: &Path, what: &Blockable) -> Result<Self, String> {
        let refuse =
            |reason: &dyn fmt::Display| format!("nothing is changed: {}: {reason}", socket.display());
        let found = ask(socket, what).map_err(|reason| refuse(&reason))?;
        let Whereabouts { state_dir, is_known } = found.ok_or_else(|| refuse(&"no daemon listens"))?;
        Ok(Self { state_dir, control_socket: socket.to_owned(), is_known })
    }

    fn configured(path: &Path, what: &Blockable) -> Result<Self, String> {
        let config = Config::load_without_files(path).map_err(|error| {
            format!(
                "{error}\nnothing is changed; a daemon that runs needs no configuration for this: name its control \
                 socket, such as `--control-socket /var/lib/holdfast/control.sock`"
            )
        })?;
        let is_known = config.key_stores.iter().any(|store| match what {
            Blockable::Key(id) => store.keys.iter().any(|pattern| matches_pattern(pattern, id)),
            Blockable::KeyStore(name) => &store.name == name,
        });
        Ok(Self { state_dir: config.state_dir, control_socket: config.admin.control_socket, is_known })
    }

    /// What makes one look again whether the right thing is blocked: the daemon knows best, if one runs.
    fn doubt(&self, what: &Blockable) -> Option<&'static str> {
        let is_known = match ask(&self.control_socket, what) {
            Ok(Some(found)) => found.is_known,
            Ok(None) | Err(_) => self.is_known,
        };
        (!is_known).then_some("no key store has a key with this id now; `holdfast key list` shows the ids")
    }
}

/// Nothing if no daemon listens.
fn ask(socket: &Path, what: &Blockable) -> Result<Option<Whereabouts>, String> {
    let request = serde_json::to_string(what).map_err(|error| error.to_string())?;
    match control::ask(socket, Topic::KillSwitch, &request).map_err(|error| error.to_string())? {
        Asked::Answered(json) => serde_json::from_str(&json).map(Some).map_err(|error| error.to_string()),
        Asked::NotRunning => Ok(None),
        Asked::Refused(reason) => Err(reason),
    }
}
