//! A SoftHSM token of our own with the keys of the conformance client.

use std::fs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::rand;
use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::object::ObjectClass;
use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::config::credentials::random_base32;
use crate::config::private_file;
use crate::domain::KeyUsages;
use crate::domain::VersionMarker;
use crate::provision::Error;
use crate::provision::Folder;
use crate::provision::Report;
use crate::provision::io_at;
use crate::provision::write_if_changed;

pub(super) const TOKEN_LABEL: &str = "holdfast";

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
const AES_256_KEY_BYTES: u64 = 32;

pub(super) fn find_module(given: Option<&Path>) -> Result<PathBuf, Error> {
    let places: Vec<PathBuf> = match given {
        Some(path) => vec![std::path::absolute(path).map_err(io_at(path))?],
        None => MODULES.iter().map(PathBuf::from).collect(),
    };
    places.iter().find(|place| place.is_file()).cloned().ok_or(Error::NoSoftHsm(places))
}

/// A first token is made apart and moved into place when it is complete, since SoftHSM, when killed, leaves halves of
/// tokens and keys behind.
pub(super) fn provision(folder: &Folder, module: &Path, report: &mut Report<'_>) -> Result<(), Error> {
    let (tokens, unfinished) = (folder.tokens(), folder.tokens_unfinished());
    if has_entries(&tokens)? {
        let pin = folder.pin();
        let pin = read_pin(&pin)?.ok_or(Error::PinLost(pin))?;
        write_configuration(folder, "tokens")?;
        return complete(module, &pin, report);
    }
    let (so_pin, pin) = (provision_pin(&folder.so_pin())?, provision_pin(&folder.pin())?);
    if unfinished.try_exists().map_err(io_at(&unfinished))? {
        fs::remove_dir_all(&unfinished).map_err(io_at(&unfinished))?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(io_at(&unfinished))?;
    write_configuration(folder, "tokens.unfinished")?;
    make(module, &so_pin, &pin, report)?;
    fs::rename(&unfinished, &tokens).map_err(io_at(&tokens))?;
    private_file::sync_folder(&tokens).map_err(io_at(&tokens))?;
    write_configuration(folder, "tokens")?;
    report.made(&tokens)
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
fn provision_pin(path: &Path) -> Result<AuthPin, Error> {
    if let Some(pin) = read_pin(path)? {
        return Ok(pin);
    }
    let pin = random_base32(PIN_CHARS)?;
    private_file::replace(path, pin.as_bytes()).map_err(io_at(path))?;
    Ok(pin.into())
}

fn read_pin(path: &Path) -> Result<Option<AuthPin>, Error> {
    match private_file::read_line(path) {
        Ok(pin) => Ok(Some(String::from_utf8_lossy(pin.expose()).into_owned().into())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(Error::PrivateFile(error)),
    }
}

/// Gives a PKCS#11 error the step it happened in.
fn hsm(step: &'static str) -> impl Fn(cryptoki::error::Error) -> Error {
    move |error| Error::Hsm(step, error)
}

fn load(module: &Path) -> Result<Pkcs11, Error> {
    let pkcs11 = Pkcs11::new(module).map_err(hsm("load the library"))?;
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(arguments).map_err(hsm("start"))?;
    Ok(pkcs11)
}

fn make(module: &Path, so_pin: &AuthPin, pin: &AuthPin, report: &mut Report<'_>) -> Result<(), Error> {
    let pkcs11 = load(module)?;
    let slot = pkcs11.get_slots_with_token().map_err(hsm("list slots"))?.into_iter().next();
    let slot = slot.ok_or(Error::NoToken)?;
    pkcs11.init_token(slot, so_pin, TOKEN_LABEL).map_err(hsm("make a token"))?;
    // The new token has another slot from now on.
    let session = open(&pkcs11, find_token(&pkcs11)?)?;
    session.login(UserType::So, Some(so_pin)).map_err(hsm("log in as security officer"))?;
    session.init_pin(pin).map_err(hsm("set the PIN"))?;
    session.logout().map_err(hsm("log out"))?;
    make_missing_keys(&session, pin, report)?;
    drop(session);
    pkcs11.finalize().map_err(hsm("stop"))
}

fn complete(module: &Path, pin: &AuthPin, report: &mut Report<'_>) -> Result<(), Error> {
    let pkcs11 = load(module)?;
    let session = open(&pkcs11, find_token(&pkcs11)?)?;
    make_missing_keys(&session, pin, report)?;
    drop(session);
    pkcs11.finalize().map_err(hsm("stop"))
}

fn find_token(pkcs11: &Pkcs11) -> Result<Slot, Error> {
    for slot in pkcs11.get_slots_with_initialized_token().map_err(hsm("list slots"))? {
        if pkcs11.get_token_info(slot).map_err(hsm("read a token's label"))?.label() == TOKEN_LABEL {
            return Ok(slot);
        }
    }
    Err(Error::NoToken)
}

fn open(pkcs11: &Pkcs11, slot: Slot) -> Result<Session, Error> {
    pkcs11.open_rw_session(slot).map_err(hsm("open a session"))
}

fn make_missing_keys(session: &Session, pin: &AuthPin, report: &mut Report<'_>) -> Result<(), Error> {
    session.login(UserType::User, Some(pin)).map_err(hsm("log in"))?;
    for (label, usages) in KEYS {
        let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label.into())];
        if session.find_objects(&template).map_err(hsm("look for a key"))?.is_empty() {
            make_key(session, label, usages)?;
            report.say(format_args!("made key {label}"))?;
        }
    }
    Ok(())
}

fn make_key(session: &Session, label: &str, usages: KeyUsages) -> Result<(), Error> {
    let mut tag = [0; 8];
    rand::fill(&mut tag)?;
    let id = VersionMarker { number: 1, tag }.to_object_id(true);
    let template = [
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
        Attribute::ValueLen(AES_256_KEY_BYTES.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(usages.encrypt),
        Attribute::Decrypt(usages.decrypt),
        Attribute::Derive(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).map(drop).map_err(hsm("make a key"))
}
