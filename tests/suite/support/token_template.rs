//! The token that every site begins with is made once for each program and then copied: five commands take longer than
//! most tests.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::Setup;
use super::site::Site;

/// The keys of the official client, and the one that HSMs are probed with.
const KEYS: [(&str, &str); 5] = [
    ("foo", "encrypt,decrypt"),
    ("encrypt_only_key", "encrypt"),
    ("decrypt_only_key", "decrypt"),
    ("impotent_key", "none"),
    ("holdfast-health", "encrypt,decrypt"),
];

/// Puts the token `holdfast` with its keys into this folder.
pub(super) fn copy_to(tokens: &Path) {
    let template = path();
    if !template.exists() {
        make(&template);
    }
    copy(&template, tokens).unwrap();
}

/// Another program may make keys in another way.
fn path() -> PathBuf {
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_holdfast")).unwrap();
    let built = program.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{built}-{}", program.len()))
}

fn make(template: &Path) {
    let site = Site::without_token(&Setup::default());
    site.init_token("holdfast");
    for (id, usage) in KEYS {
        site.create_token_key(id, usage);
    }
    let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    copy(&site.path("tokens"), made.path()).unwrap();
    // Another test may have been faster: then there is one.
    if std::fs::rename(made.path(), template).is_ok() {
        let _ = made.keep();
    }
    assert!(template.exists());
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
