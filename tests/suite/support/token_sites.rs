//! Sites over other tokens than SoftHSM: NSS softokn, kryoptic and openCryptoki, each as its maker ships it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::kryoptic;
use super::site::{PIN, SOFTHSM, Setup, Site};

const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
const OPENCRYPTOKI: &str = "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0";
const FOLDER: &str = "TOKEN_SITE_FOLDER";
/// With it, a token that is not installed is a failure.
const REQUIRED: &str = "HOLDFAST_TOKENS_REQUIRED";
/// What openCryptoki calls its soft token before it was initialized.
const OPENCRYPTOKI_LABEL: &str = "IBM OS PKCS#11";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    SoftHsm,
    Nss,
    Kryoptic,
    OpenCryptoki,
}

impl Token {
    pub const ALL: [Self; 4] = [Self::SoftHsm, Self::Nss, Self::Kryoptic, Self::OpenCryptoki];

    /// In the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "SoftHSM 2.6",
            Self::Nss => "NSS softokn 3.87",
            Self::Kryoptic => "kryoptic 1.5",
            Self::OpenCryptoki => "openCryptoki 3.8",
        }
    }

    fn module(self) -> PathBuf {
        match self {
            Self::SoftHsm => SOFTHSM.into(),
            Self::Nss => NSS.into(),
            Self::Kryoptic => kryoptic::module(),
            Self::OpenCryptoki => OPENCRYPTOKI.into(),
        }
    }

    /// False, and a word about it, if it is not installed and need not be.
    #[track_caller]
    pub fn is_here(self) -> bool {
        let module = self.module();
        let is_here = module.exists();
        if !is_here {
            assert!(std::env::var_os(REQUIRED).is_none(), "{} is not there", module.display());
            eprintln!("left out: {} is not there; tests/run.sh installs it", module.display());
        }
        is_here
    }

    /// A site whose one token it is, with the keys of the official client; the daemon does not run yet.
    pub fn prepare(self, setup: &Setup) -> Site {
        let site = Site::prepare(setup);
        let module = self.module();
        let (before, after) = if setup.shim {
            (SOFTHSM.to_owned(), module.display().to_string())
        } else {
            (format!("module = \"{SOFTHSM}\""), format!("module = \"{}\"", module.display()))
        };
        site.edit_configuration(|text| text.replace(&before, &after));
        match self {
            Self::SoftHsm => return site,
            Self::Nss => make_nss_token(&site),
            Self::Kryoptic => make_kryoptic_token(&site),
            Self::OpenCryptoki => {
                let label = format!("token_label = \"{OPENCRYPTOKI_LABEL}\"");
                site.edit_configuration(|text| text.replace("token_label = \"holdfast\"", &label));
                return site;
            }
        }
        for (id, usage) in [
            ("foo", "encrypt,decrypt"),
            ("encrypt_only_key", "encrypt"),
            ("decrypt_only_key", "decrypt"),
            ("impotent_key", "none"),
        ] {
            site.holdfast_ok(&["key", "create", id, "--usage", usage, "--hsm", "softhsm"]);
        }
        if self != Self::Kryoptic {
            site.holdfast_ok(&["key", "create", "holdfast-health", "--hsm", "softhsm"]);
        }
        site
    }
}

/// certutil makes the database, and NSS takes where it is when it is initialized.
fn make_nss_token(site: &Site) {
    let database = site.path("nss");
    std::fs::create_dir(&database).unwrap();
    std::fs::write(site.path("nss-pin"), PIN).unwrap();
    let output = Command::new("certutil")
        .args(["-N", "-d", &format!("sql:{}", database.display()), "-f"])
        .arg(site.path("nss-pin"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let parameters = format!("configdir='sql:{}' dbTokenDescription='holdfast'", database.display());
    site.edit_configuration(|text| {
        text.replace(
            "pin_file = \"pin\"\n",
            &format!("pin_file = \"pin\"\ninitialize_parameters = \"{parameters}\"\n"),
        )
    });
}

fn make_kryoptic_token(site: &Site) {
    let settings = kryoptic::write_settings(site);
    site.edit_configuration(|text| {
        text.replace(
            "[hsm.environment]\n",
            &format!("[hsm.environment]\nKRYOPTIC_CONF = \"{}\"\n", settings.display()),
        )
    });
    // It reads its settings from the environment, once a process.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "support::token_sites::makes_a_kryoptic_token", "--ignored", "--nocapture"])
        .env("KRYOPTIC_CONF", settings)
        .env(FOLDER, site.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "other tests run it as another program"]
fn makes_a_kryoptic_token() {
    let folder = std::env::var_os(FOLDER).unwrap();
    kryoptic::init_token(&kryoptic::module(), Path::new(&folder));
}

/// openCryptoki's daemon; one that runs already is taken as it is.
pub struct SlotDaemon(Option<Child>);

impl SlotDaemon {
    pub fn start(site: &Site) -> Self {
        if is_running("pkcsslotd") {
            return Self(None);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokens/opencryptoki.sh");
        let daemon = Command::new(script)
            .arg(site.path("opencryptoki.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        site.wait_until("pkcsslotd", || is_running("pkcsslotd"));
        Self(Some(daemon))
    }
}

impl Drop for SlotDaemon {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.0.take() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
            // It removes its socket and shared memory.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            // While it has clients it does not listen.
            for _ in 0..100 {
                if let Ok(Some(_)) = daemon.try_wait() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn is_running(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok())
        .any(|comm| comm.trim() == name)
}
