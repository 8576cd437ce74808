//! The shim over SoftHSM: it forwards, counts, and does to a call what the control file says.
//!
//! The shim, like SoftHSM, takes its settings from the environment once a process, so each test runs itself again
//! as a child process with an environment and a token of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const DIRECTORY: &str = "SHIM_TEST_DIRECTORY";
/// The line of the control file, for the test that ends a process.
const LINE: &str = "SHIM_TEST_LINE";
const IV: [u8; 16] = [7; 16];
const BLOCK: [u8; 16] = *b"sixteen bytes ok";

/// Runs the test of this name once more, in a child process that has a token.
fn run_in_child(test: &str, environment: &[(&str, &str)]) -> ExitStatus {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("tokens")).unwrap();
    let configuration = format!("directories.tokendir = {}\nlog.level = ERROR\n", path("tokens").display());
    std::fs::write(path("softhsm2.conf"), configuration).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIRECTORY, directory.path())
        .env("SOFTHSM2_CONF", path("softhsm2.conf"))
        .env("PKCS11_SHIM_MODULE", SOFTHSM)
        .env("PKCS11_SHIM_CONTROL", path("control"))
        .env("PKCS11_SHIM_COUNTS", path("counts"))
        .envs(environment.iter().copied())
        .status()
        .unwrap()
}

/// In the parent, runs the test in a child; in the child, gives it its token.
fn in_child(test: &str, story: impl FnOnce(&Fixture)) {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => story(&Fixture::new(directory.into())),
        None => assert!(run_in_child(test, &[]).success()),
    }
}

struct Fixture {
    directory: PathBuf,
    pkcs11: Pkcs11,
    session: Session,
    key: ObjectHandle,
}

impl Fixture {
    fn new(directory: PathBuf) -> Self {
        let pkcs11 = load(&shim_library());
        let slot = pkcs11.get_all_slots().unwrap()[0];
        let pin = AuthPin::new("1234".into());
        pkcs11.init_token(slot, &pin, "shim").unwrap();
        let session = pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&pin)).unwrap();
        session.init_pin(&pin).unwrap();
        session.logout().unwrap();
        session.login(UserType::User, Some(&pin)).unwrap();
        let template = [
            Attribute::ValueLen(32.into()),
            Attribute::Label(b"k".to_vec()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        let key = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
        Self { directory, pkcs11, session, key }
    }

    fn control(&self, lines: &str) {
        let draft = self.directory.join("control.new");
        std::fs::write(&draft, lines).unwrap();
        std::fs::rename(draft, self.directory.join("control")).unwrap();
    }

    fn calls(&self, function: &str) -> u64 {
        let counts = std::fs::read_to_string(self.directory.join("counts")).unwrap();
        let mut lines = counts.lines().map(|line| line.split_once(' ').unwrap());
        lines.find(|(name, _)| *name == function).unwrap().1.trim().parse().unwrap()
    }

    fn encrypt(&self) -> Result<Vec<u8>, Error> {
        self.session.encrypt(&Mechanism::AesCbc(IV), self.key, &BLOCK)
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        self.session.decrypt(&Mechanism::AesCbc(IV), self.key, ciphertext)
    }
}

fn load(library: &Path) -> Pkcs11 {
    let pkcs11 = Pkcs11::new(library).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    pkcs11
}

/// Cargo puts the library beside the binary of this test or one folder up.
fn shim_library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let places = test.ancestors().skip(1).take(2).map(|folder| folder.join("libpkcs11_shim.so"));
    places.into_iter().find(|place| place.exists()).expect("libpkcs11_shim.so is built")
}

fn code(result: Result<Vec<u8>, Error>) -> Option<RvError> {
    match result {
        Err(Error::Pkcs11(code, _)) => Some(code),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

#[test]
fn without_a_control_file_it_forwards_and_counts() {
    in_child("without_a_control_file_it_forwards_and_counts", |token| {
        let before = token.calls("C_Encrypt");
        let ciphertext = token.encrypt().unwrap();
        assert_eq!(token.decrypt(&ciphertext).unwrap(), BLOCK);
        // cryptoki asks for the length first.
        assert_eq!(token.calls("C_Encrypt"), before + 2);
        assert_eq!(token.calls("C_EncryptInit"), 1);
        assert_eq!(token.calls("C_FindObjects"), 0);
        assert_eq!(token.session.find_objects(&[Attribute::Label(b"k".to_vec())]).unwrap(), [token.key]);
        assert!(token.calls("C_FindObjects") > 0);
        assert!(token.pkcs11.get_library_info().unwrap().manufacturer_id().starts_with("SoftHSM"));
    });
}

#[test]
fn the_named_calls_fail_with_the_named_code() {
    in_child("the_named_calls_fail_with_the_named_code", |token| {
        token.control(
            "# a comment\nC_EncryptInit code=CKR_DEVICE_ERROR from=2 count=2\n\nC_Verify code=0x30\n",
        );
        let codes: Vec<_> = (0..4).map(|_| code(token.encrypt())).collect();
        assert_eq!(codes, [None, Some(RvError::DeviceError), Some(RvError::DeviceError), None]);
        // A changed file is noticed by the next call.
        token.control("* code=CKR_DEVICE_REMOVED");
        assert_eq!(code(token.encrypt()), Some(RvError::DeviceRemoved));
        token.control("");
        assert_eq!(code(token.encrypt()), None);
    });
}

#[test]
fn a_line_that_stays_keeps_its_count() {
    in_child("a_line_that_stays_keeps_its_count", |token| {
        token.control("C_EncryptInit code=48 count=1");
        assert_eq!(code(token.encrypt()), Some(RvError::DeviceError));
        token.control("C_EncryptInit code=48 count=1\nC_DecryptInit code=48");
        assert_eq!(code(token.encrypt()), None);
    });
}

#[test]
fn a_call_is_lost_before_the_token_or_its_answer_after() {
    in_child("a_call_is_lost_before_the_token_or_its_answer_after", |token| {
        token.control("C_GenerateRandom code=CKR_GENERAL_ERROR");
        let mut bytes = [0; 16];
        assert!(token.session.generate_random_slice(&mut bytes).is_err());
        assert_eq!(bytes, [0; 16]);
        token.control("C_GenerateRandom code=CKR_GENERAL_ERROR after");
        assert!(token.session.generate_random_slice(&mut bytes).is_err());
        assert_ne!(bytes, [0; 16]);
    });
}

#[test]
fn outputs_are_harmed_and_objects_forgotten() {
    in_child("outputs_are_harmed_and_objects_forgotten", |token| {
        let sound = token.encrypt().unwrap();
        token.control("C_Encrypt corrupt");
        let corrupt = token.encrypt().unwrap();
        assert_eq!((corrupt[0] ^ 1, &corrupt[1..]), (sound[0], &sound[1..]));
        token.control("C_Encrypt short");
        assert_eq!(token.encrypt().unwrap(), sound[..15]);
        token.control("C_FindObjects forget");
        assert_eq!(token.session.find_objects(&[]).unwrap(), []);
    });
}

/// Asks for the library's information in another thread; the receiver hears when it has come.
fn ask_elsewhere(token: &Fixture) -> mpsc::Receiver<()> {
    let (done, is_done) = mpsc::channel();
    let pkcs11 = token.pkcs11.clone();
    thread::spawn(move || {
        pkcs11.get_library_info().unwrap();
        done.send(()).unwrap();
    });
    is_done
}

#[test]
fn a_slow_call_is_slow() {
    in_child("a_slow_call_is_slow", |token| {
        token.control("C_GetInfo delay_ms=200");
        let is_done = ask_elsewhere(token);
        assert_eq!(is_done.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
        token.encrypt().unwrap();
        is_done.recv().unwrap();
    });
}

#[test]
fn a_fault_can_be_for_one_session() {
    in_child("a_fault_can_be_for_one_session", |token| {
        token.control(&format!("* code=CKR_SESSION_HANDLE_INVALID session={}", u64::MAX));
        assert_eq!(code(token.encrypt()), None);
        // SoftHSM numbers its sessions from one.
        token.control("* code=CKR_SESSION_HANDLE_INVALID session=1");
        assert_eq!(code(token.encrypt()), Some(RvError::SessionHandleInvalid));
    });
}

#[test]
fn a_hung_call_goes_on_when_its_line_is_gone() {
    in_child("a_hung_call_goes_on_when_its_line_is_gone", |token| {
        token.control("C_GetInfo hang");
        let is_done = ask_elsewhere(token);
        while token.calls("C_GetInfo") == 0 {
            thread::yield_now();
        }
        // Other calls pass, and other lines may come.
        token.encrypt().unwrap();
        token.control("C_GetInfo hang\nC_Verify hang");
        assert_eq!(is_done.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
        token.control("C_Verify hang");
        is_done.recv().unwrap();
    });
}

#[test]
fn a_crash_or_a_line_not_understood_ends_the_process() {
    const TEST: &str = "a_crash_or_a_line_not_understood_ends_the_process";
    const SIGABRT: i32 = 6;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let token = Fixture::new(directory.into());
        token.control(std::env::var_os(LINE).unwrap().to_str().unwrap());
        token.encrypt().unwrap();
        return;
    }
    for (line, ends) in [
        ("C_EncryptInit crash", true),
        ("C_DecryptInit crash", false),
        ("C_Verify code=CKR_OOPS", true),
        ("C_Verify code=1 until=2", true),
        ("C_Verify", true),
        ("C_Verify after", true),
        ("C_Verify corrupt", true),
        ("C_Verify forget", true),
        ("C_Verfiy hang", true),
        ("C_Verify hang", false),
    ] {
        let status = run_in_child(TEST, &[(LINE, line)]);
        assert_eq!(status.signal(), ends.then_some(SIGABRT), "{line}");
        assert_eq!(status.success(), !ends, "{line}");
    }
}

#[test]
fn a_copy_takes_its_settings_from_the_file_beside_it() {
    in_child("a_copy_takes_its_settings_from_the_file_beside_it", |token| {
        let path = |name: &str| token.directory.join(name);
        let copies = [(shim_library(), path("b.so")), (SOFTHSM.into(), path("softhsm-b.so"))];
        for (from, to) in copies {
            std::fs::copy::<PathBuf, _>(from, to).unwrap();
        }
        let settings = format!(
            "PKCS11_SHIM_MODULE={}\nPKCS11_SHIM_CONTROL={}\n",
            path("softhsm-b.so").display(),
            path("control-b").display(),
        );
        std::fs::write(path("b.so.conf"), settings).unwrap();
        let other = load(&path("b.so"));
        std::fs::write(path("control-b"), "C_GetInfo code=CKR_DEVICE_ERROR").unwrap();
        assert!(other.get_library_info().is_err());
        assert!(token.pkcs11.get_library_info().is_ok());
    });
}
