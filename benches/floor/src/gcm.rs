//! AES-GCM by `C_EncryptInit` and `C_Encrypt` on a key whose handle is known.

use std::sync::Arc;

use aws_lc_rs::rand;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use cryptoki_sys::{
    CK_BYTE, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_ULONG, CKM_AES_GCM, CKR_OK,
};

use crate::TokenOptions;
use crate::signing::{Algorithm, SigningKeys};

const TAG_BYTES: usize = 16;

type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type OneShot =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

pub struct Token {
    pkcs11: Pkcs11,
    slot: Slot,
    key: CK_OBJECT_HANDLE,
    signing: Option<SigningKeys>,
    functions: Arc<CK_FUNCTION_LIST>,
    _library: cryptoki_sys::Pkcs11,
    _login: Session,
}

pub struct KeySession {
    session: Session,
    key: CK_OBJECT_HANDLE,
    signing: Option<SigningKeys>,
    functions: Arc<CK_FUNCTION_LIST>,
}

impl Token {
    pub fn open(options: &TokenOptions) -> Self {
        let (pkcs11, slot, login) = log_in(options);
        let key = if options.session_key { make_session_key(&login) } else { find_key(&login, &options.key) };
        let signing = options.session_key.then(|| SigningKeys::make(&login));
        let library = unsafe { cryptoki_sys::Pkcs11::new(&options.module) }.unwrap();
        let mut list = std::ptr::null_mut();
        assert_eq!(unsafe { library.C_GetFunctionList(&raw mut list) }, CKR_OK);
        let functions = Arc::new(unsafe { *list });
        Self { pkcs11, slot, key, signing, functions, _library: library, _login: login }
    }

    pub fn session(&self) -> KeySession {
        let session = self.pkcs11.open_ro_session(self.slot).unwrap();
        KeySession { session, key: self.key, signing: self.signing, functions: Arc::clone(&self.functions) }
    }
}

fn find_key(session: &Session, label: &str) -> CK_OBJECT_HANDLE {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session.find_objects(&template).unwrap()[0].handle()
}

/// As unwrapped KMS keys are: gone with the session that made it.
fn make_session_key(session: &Session) -> CK_OBJECT_HANDLE {
    let template = [
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap().handle()
}

/// The library, the slot of the token, and a session that is logged in.
fn log_in(options: &TokenOptions) -> (Pkcs11, Slot, Session) {
    let pkcs11 = Pkcs11::new(&options.module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let is_ours = |slot: &Slot| pkcs11.get_token_info(*slot).unwrap().label() == options.token_label;
    let slot = pkcs11.get_slots_with_token().unwrap().into_iter().find(is_ours).unwrap();
    let login = pkcs11.open_rw_session(slot).unwrap();
    let pin = std::fs::read_to_string(&options.pin_file).unwrap();
    login.login(UserType::User, Some(&AuthPin::new(pin.trim().into()))).unwrap();
    (pkcs11, slot, login)
}

/// Adds keys until there are as many as asked for.
pub fn fill(options: &TokenOptions, keys: usize) {
    let (_pkcs11, _slot, session) = log_in(options);
    let all =
        session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true)]).unwrap();
    let labels = all.iter().map(|key| session.get_attributes(*key, &[AttributeType::Label]).unwrap());
    let have = labels
        .filter(|label| matches!(&label[..], [Attribute::Label(label)] if label.starts_with(b"bench-")))
        .count();
    for number in have..keys {
        let template = [
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Label(format!("bench-{number}").into_bytes()),
            Attribute::Id(number.to_be_bytes().to_vec()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    }
}

impl KeySession {
    pub fn random(&self, bytes: usize) -> Vec<u8> {
        let mut random = vec![0; bytes];
        self.session.generate_random_slice(&mut random).unwrap();
        random
    }

    pub fn sign(&self, algorithm: Algorithm, digest: &[u8]) -> Vec<u8> {
        self.signing.unwrap().sign(&self.session, &self.functions, algorithm, digest)
    }

    /// IV, and ciphertext with tag.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> ([u8; 12], Vec<u8>) {
        let mut iv = [0; 12];
        rand::fill(&mut iv).unwrap();
        let mut output = vec![0; plaintext.len() + TAG_BYTES];
        let calls = (self.functions.C_EncryptInit.unwrap(), self.functions.C_Encrypt.unwrap());
        self.call(calls, &mut iv, aad, plaintext, &mut output).unwrap();
        (iv, output)
    }

    pub fn decrypt(&self, iv: &[u8], sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let mut output = vec![0; sealed.len()];
        let calls = (self.functions.C_DecryptInit.unwrap(), self.functions.C_Decrypt.unwrap());
        let written = self.call(calls, &mut iv.to_vec(), aad, sealed, &mut output)?;
        output.truncate(written);
        Some(output)
    }

    fn call(
        &self,
        (init, one_shot): (Init, OneShot),
        iv: &mut [u8],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let mut parameters = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: 8 * iv.len() as CK_ULONG,
            pAAD: aad.as_ptr().cast_mut(),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: 128,
        };
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_AES_GCM,
            pParameter: (&raw mut parameters).cast(),
            ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
        };
        let handle = self.session.handle();
        assert_eq!(unsafe { init(handle, &raw mut mechanism, self.key) }, CKR_OK);
        let mut written = output.len() as CK_ULONG;
        let length = input.len() as CK_ULONG;
        let code = unsafe {
            one_shot(handle, input.as_ptr().cast_mut(), length, output.as_mut_ptr(), &raw mut written)
        };
        (code == CKR_OK).then_some(written as usize)
    }
}
