//! KMS keys over kryoptic, a token of PKCS #11 3.2, which `tests/kryoptic/build.sh` builds.

use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use secrecy::SecretString;

use super::site::{PIN, SO_PIN, SOFTHSM, Setup, Site};
use super::wrapped::{FOLDER, Keys, story};

/// Names the module, if it is not where the script puts it.
const MODULE: &str = "HOLDFAST_KRYOPTIC";
/// With it, a module that was not built is a failure.
const REQUIRED: &str = "HOLDFAST_KRYOPTIC_REQUIRED";

pub(super) fn module() -> PathBuf {
    let built = "target/kryoptic/release/libkryoptic_pkcs11.so";
    std::env::var_os(MODULE).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(built), PathBuf::from)
}

/// Runs the story of the test of this name on a fresh kryoptic token; without the module it is left out.
#[track_caller]
pub fn kryoptic_story(test: &str, tell: impl FnOnce(&Keys)) {
    let module = module();
    if !module.exists() {
        assert!(std::env::var_os(REQUIRED).is_none(), "{} is not built", module.display());
        eprintln!("left out: {} is not built; tests/kryoptic/build.sh builds it", module.display());
        return;
    }
    if let Some(folder) = std::env::var_os(FOLDER) {
        init_token(&module, Path::new(&folder));
    }
    story(test, || site(&module), tell);
}

fn site(module: &Path) -> Site {
    let site =
        Site::prepare(&Setup { hsm: "sessions = 1\ncached_keys_max = 100".to_owned(), ..Setup::default() });
    let settings = write_settings(&site);
    site.edit_configuration(|text| {
        text.replace(SOFTHSM, &module.display().to_string()).replace(
            "[hsm.environment]\n",
            &format!("[hsm.environment]\nKRYOPTIC_CONF = \"{}\"\n", settings.display()),
        )
    });
    site
}

/// A file that names the file of the token.
pub(super) fn write_settings(site: &Site) -> PathBuf {
    let settings = site.path("kryoptic.toml");
    let database = site.path("kryoptic.sql");
    let slot = format!("[[slots]]\nslot = 0\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display());
    std::fs::write(&settings, slot).unwrap();
    settings
}

/// A token of the same label and PIN as that of SoftHSM, with a health key.
pub(super) fn init_token(module: &Path, folder: &Path) {
    if folder.join("kryoptic.sql").exists() {
        return;
    }
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_token().unwrap()[0];
    let [so_pin, pin] = [SO_PIN, PIN].map(|pin| SecretString::from(pin.to_owned()));
    pkcs11.init_token(slot, &so_pin, "holdfast").unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&so_pin)).unwrap();
    session.init_pin(&pin).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&pin)).unwrap();
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
        Attribute::Label(b"holdfast-health".to_vec()),
        Attribute::Id(b"holdfast-health".to_vec()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    session.close().unwrap();
    pkcs11.finalize().unwrap();
}
