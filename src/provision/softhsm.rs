//! A SoftHSM token of our own with the keys of the conformance client.

use std::fs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use crate::config::Hsm;
use crate::config::Isolation;
use crate::config::IvMode;
use crate::config::credentials::random_base32;
use crate::config::private_file;
use crate::domain::ExternalKeyId;
use crate::domain::KeyUsages;
use crate::key_manager::Lookup;
use crate::key_manager::pkcs11::KeyAdmin;
use crate::key_manager::pkcs11::NewKey;
use crate::provision::Error;
use crate::provision::Folder;
use crate::provision::Report;
use crate::provision::io_at;
use crate::provision::write_if_changed;
use crate::secret::SecretBytes;

pub(super) const TOKEN_LABEL: &str = "holdfast";
pub(super) const CLUSTER_TOKEN_LABEL: &str = "cluster";

pub(super) const KEY: &str = "foo";
pub(super) const ENCRYPT_ONLY_KEY: &str = "encrypt_only_key";
pub(super) const DECRYPT_ONLY_KEY: &str = "decrypt_only_key";
pub(super) const IMPOTENT_KEY: &str = "impotent_key";
pub(super) const HEALTH_KEY: &str = "holdfast-health";

const KEYS: [(&str, KeyUsages); 5] = [
    (KEY, KeyUsages { encrypt: true, decrypt: true }),
    (ENCRYPT_ONLY_KEY, KeyUsages { encrypt: true, decrypt: false }),
    (DECRYPT_ONLY_KEY, KeyUsages { encrypt: false, decrypt: true }),
    (IMPOTENT_KEY, KeyUsages { encrypt: false, decrypt: false }),
    (HEALTH_KEY, KeyUsages { encrypt: true, decrypt: true }),
];

/// Where Debian, its multiarch, Fedora, a build from source and Homebrew install the library.
const MODULES: [&str; 9] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib64/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/opt/local/lib/softhsm/libsofthsm2.so",
];

/// 160 random bits; SoftHSM takes up to 255 characters.
const PIN_CHARS: usize = 32;

pub(super) fn find_module(given: Option<&Path>) -> Result<PathBuf, Error> {
    let places: Vec<PathBuf> = match given {
        Some(path) => vec![std::path::absolute(path).map_err(io_at(path))?],
        None => MODULES.iter().map(PathBuf::from).collect(),
    };
    places.iter().find(|place| place.is_file()).cloned().ok_or(Error::NoSoftHsm(places))
}

/// A token is made apart and moved into place when it is complete, since SoftHSM, when killed, leaves halves of
/// tokens and keys behind.
pub(super) fn provision(folder: &Folder, module: &Path, report: &mut Report<'_>) -> Result<(), Error> {
    let tokens = folder.tokens();
    if has_entries(&tokens)? {
        let pin = read_pin(&folder.pin())?.ok_or_else(|| Error::PinLost(folder.pin()))?;
        write_configuration(folder, "tokens")?;
        return make_missing_keys(folder, module, &pin, report);
    }
    let (so_pin, pin) = (provision_pin(&folder.so_pin())?, provision_pin(&folder.pin())?);
    begin_token(folder)?;
    make_token(module, TOKEN_LABEL, &so_pin, &pin)?;
    make_missing_keys(folder, module, &pin, report)?;
    finish_token(folder)?;
    report.made(&tokens)
}

/// A token that stands for the HSMs of a cluster; Holdfast makes what it needs in it. The first password of its user.
pub(super) fn provision_cluster(
    folder: &Folder,
    module: &Path,
    report: &mut Report<'_>,
) -> Result<SecretBytes, Error> {
    if has_token(module, CLUSTER_TOKEN_LABEL)? {
        return read_pin(&folder.cluster_pin())?.ok_or_else(|| Error::PinLost(folder.cluster_pin()));
    }
    let (so_pin, pin) = (provision_pin(&folder.so_pin())?, provision_pin(&folder.cluster_pin())?);
    begin_token(folder)?;
    make_token(module, CLUSTER_TOKEN_LABEL, &so_pin, &pin)?;
    finish_token(folder)?;
    report.say(format_args!("made token {CLUSTER_TOKEN_LABEL}"))?;
    Ok(pin)
}

fn begin_token(folder: &Folder) -> Result<(), Error> {
    let unfinished = folder.tokens_unfinished();
    if unfinished.try_exists().map_err(io_at(&unfinished))? {
        fs::remove_dir_all(&unfinished).map_err(io_at(&unfinished))?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(io_at(&unfinished))?;
    write_configuration(folder, "tokens.unfinished")
}

/// The first token brings the folder with it.
fn finish_token(folder: &Folder) -> Result<(), Error> {
    let (tokens, unfinished) = (folder.tokens(), folder.tokens_unfinished());
    if has_entries(&tokens)? {
        for entry in fs::read_dir(&unfinished).map_err(io_at(&unfinished))? {
            let entry = entry.map_err(io_at(&unfinished))?;
            fs::rename(entry.path(), tokens.join(entry.file_name())).map_err(io_at(&tokens))?;
        }
        fs::remove_dir(&unfinished).map_err(io_at(&unfinished))?;
    } else {
        fs::rename(&unfinished, &tokens).map_err(io_at(&tokens))?;
    }
    private_file::sync_folder(&tokens).map_err(io_at(&tokens))?;
    write_configuration(folder, "tokens")
}

fn has_entries(path: &Path) -> Result<bool, Error> {
    if !path.try_exists().map_err(io_at(path))? {
        return Ok(false);
    }
    Ok(fs::read_dir(path).map_err(io_at(path))?.next().is_some())
}

fn write_configuration(folder: &Folder, tokens: &str) -> Result<(), Error> {
    let tokens = folder.text_of(tokens);
    let text = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
    write_if_changed(&folder.softhsm_configuration(), text.as_bytes())
}

/// The PIN is on disk before the token needs it.
fn provision_pin(path: &Path) -> Result<SecretBytes, Error> {
    if let Some(pin) = read_pin(path)? {
        return Ok(pin);
    }
    let pin = SecretBytes::new(random_base32(PIN_CHARS)?.into_bytes());
    private_file::replace(path, pin.expose()).map_err(io_at(path))?;
    Ok(pin)
}

fn read_pin(path: &Path) -> Result<Option<SecretBytes>, Error> {
    match private_file::read_line(path) {
        Ok(pin) => Ok(Some(pin)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(Error::PrivateFile(error)),
    }
}

fn initialized(module: &Path) -> Result<Pkcs11, Error> {
    let pkcs11 = Pkcs11::new(module).map_err(Error::Token)?;
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(Error::Token)?;
    Ok(pkcs11)
}

fn has_token(module: &Path, label: &str) -> Result<bool, Error> {
    let pkcs11 = initialized(module)?;
    let mut is_there = false;
    for slot in pkcs11.get_slots_with_initialized_token().map_err(Error::Token)? {
        is_there |= pkcs11.get_token_info(slot).map_err(Error::Token)?.label().trim_end() == label;
    }
    pkcs11.finalize().map_err(Error::Token)?;
    Ok(is_there)
}

/// Makes the one token of a new token directory, and gives it its PIN.
fn make_token(module: &Path, label: &str, so_pin: &SecretBytes, pin: &SecretBytes) -> Result<(), Error> {
    let [so_pin, pin] =
        [so_pin, pin].map(|pin| AuthPin::from(String::from_utf8_lossy(pin.expose()).as_ref()));
    let pkcs11 = initialized(module)?;
    let free = pkcs11.get_slots_with_token().map_err(Error::Token)?.into_iter().next();
    pkcs11.init_token(free.ok_or(Error::NoSlot)?, &so_pin, label).map_err(Error::Token)?;
    // The token has another slot from now on.
    let made = pkcs11.get_slots_with_initialized_token().map_err(Error::Token)?.into_iter().next();
    let session = pkcs11.open_rw_session(made.ok_or(Error::NoSlot)?).map_err(Error::Token)?;
    session.login(UserType::So, Some(&so_pin)).map_err(Error::Token)?;
    session.init_pin(&pin).map_err(Error::Token)?;
    drop(session);
    pkcs11.finalize().map_err(Error::Token)
}

fn make_missing_keys(
    folder: &Folder,
    module: &Path,
    pin: &SecretBytes,
    report: &mut Report<'_>,
) -> Result<(), Error> {
    let admin = KeyAdmin::open(&hsm(folder, module), pin).map_err(Error::Key)?;
    let inventory = admin.inventory().map_err(Error::Key)?;
    for (name, usages) in KEYS {
        let Ok(id) = ExternalKeyId::parse(name) else { continue };
        if matches!(inventory.find(name), Lookup::Missing) {
            admin.create(&NewKey { id, usages }).map_err(Error::Key)?;
            report.say(format_args!("made key {name}"))?;
        }
    }
    Ok(())
}

/// The token as `holdfast.toml` will name it.
fn hsm(folder: &Folder, module: &Path) -> Hsm {
    Hsm {
        name: "softhsm".into(),
        module: module.to_owned(),
        token_label: TOKEN_LABEL.into(),
        token_serial: None,
        pin_file: Some(folder.pin()),
        refused_pin_file: None,
        initialize_parameters: None,
        sessions: 1,
        queue_length_max: 1,
        cached_keys_max: 1,
        session_copies: false,
        iv_mode: IvMode::Host,
        check_encryptions: false,
        health_key: HEALTH_KEY.into(),
        environment: [folder.softhsm_variable()].into(),
        isolation: Isolation::Thread,
        worker_memory_max_bytes: u64::MAX,
    }
}
