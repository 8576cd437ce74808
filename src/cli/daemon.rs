//! Tells the running daemon that a command changed something, and says what came of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::admin::control::{self, Asked, Change, Notified, Topic};
use crate::cli::World;
use crate::config::Config;

/// What another user makes in a token that is a folder, the daemon cannot read, and would not say so.
pub(super) fn require_daemon_user(config: &Config) -> Result<(), String> {
    // Without it no daemon ran yet.
    let Ok(facts) = std::fs::metadata(&config.state_dir) else { return Ok(()) };
    let owner = facts.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let dir = config.state_dir.display();
    Err(format!("{dir} belongs to user {owner}, whom the daemon runs as: `sudo -u '#{owner}' holdfast …`"))
}

/// Returns when the change is in force, and says that `what` is done; a daemon that does not take it up is an
/// error. The daemon comes first: a kill switch must not fail to work because nobody can be told that it does.
pub(super) fn tell_daemon(
    socket: &Path,
    change: Change,
    what: &str,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    let told = control::notify(socket, change);
    writeln!(world.out, "{what}")?;
    say(told, socket, world)
}

/// The same of keys in the HSM of this name. That the daemon cannot read another is worth a line, and no failure.
pub(super) fn tell_of_keys(
    socket: &Path,
    hsm: &str,
    what: &str,
    world: &mut World<'_>,
) -> Result<(), Box<dyn Error>> {
    let asked = control::ask(socket, Topic::Keys, "");
    writeln!(world.out, "{what}")?;
    let mut unread = BTreeMap::<String, String>::new();
    let told = match asked {
        Ok(Asked::Answered(json)) => {
            unread = serde_json::from_str(&json)?;
            Ok(unread.remove(hsm).map_or(Notified::Done, Notified::Refused))
        }
        Ok(Asked::NotRunning) => Ok(Notified::NotRunning),
        Ok(Asked::Refused(reason)) => Ok(Notified::Refused(reason)),
        Err(error) => Err(error),
    };
    for (other, reason) in unread {
        writeln!(world.out, "apart from this: the daemon cannot read the keys of HSM {other} ({reason})")?;
    }
    say(told, socket, world)
}

fn say(told: io::Result<Notified>, socket: &Path, world: &mut World<'_>) -> Result<(), Box<dyn Error>> {
    match told {
        Ok(Notified::Done) => writeln!(world.out, "the running daemon has taken it up")?,
        Ok(Notified::NotRunning) => {
            writeln!(world.out, "no daemon is running; it is in force when one starts")?
        }
        Ok(Notified::Refused(reason)) => {
            return Err(format!("it is done, but the running daemon does not take it up: {reason}").into());
        }
        Err(error) => {
            let socket = socket.display();
            return Err(
                format!("it is done, but the running daemon cannot be told ({socket}): {error}").into()
            );
        }
    }
    Ok(())
}
