//! The one place with `unsafe`: what computes and wraps, through the module's own function pointers.
//!
//! cryptoki asks for the output size in a third call, which a network HSM may answer with a round trip, and
//! cannot express the NULL IV that Luna wants. The size of every output is known before. Nor does it know
//! all mechanisms that wrap keys.

mod mechanism;

use std::ffi::CStr;
use std::path::Path;
use std::ptr::{self, NonNull};

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::error::{Rv, RvError};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_C_DeriveKey, CK_C_GetMechanismList, CK_C_GetTokenInfo, CK_C_UnwrapKey,
    CK_C_WrapKey, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CKM_AES_GCM, CKR_OK,
};

use crate::key_manager::pkcs11::quirks::{CAUTIOUS, Quirks};
use crate::key_manager::pkcs11::token_info::TokenInfo;

pub(super) use mechanism::Scheme;

/// Length of the only tag XKS knows (XKS v1, Encrypt).
pub(super) const TAG_BYTES: usize = 16;
const TAG_BITS: CK_ULONG = 128;

type InitFunction = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type SlotFunction = unsafe extern "C" fn(CK_SLOT_ID) -> CK_RV;
type OneShotFunction =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// More than any token has.
const MECHANISMS_MAX: usize = 1024;
/// Room for every wrapped key: that of ML-DSA-87 has 4,896 bytes, besides its seed and what is around them.
const WRAPPED_BYTES_MAX: usize = 8192;

/// The module's GCM functions, and of the others those that it has. The library stays loaded as long as this lives.
pub(super) struct Functions {
    encrypt_init: InitFunction,
    encrypt: OneShotFunction,
    decrypt_init: InitFunction,
    decrypt: OneShotFunction,
    sign_init: Option<InitFunction>,
    sign: Option<OneShotFunction>,
    derive_key: CK_C_DeriveKey,
    wrap_key: CK_C_WrapKey,
    unwrap_key: CK_C_UnwrapKey,
    mechanism_list: CK_C_GetMechanismList,
    token_info: CK_C_GetTokenInfo,
    close_all_sessions: Option<SlotFunction>,
    /// What its failures mean; known once it has said what it is.
    pub(super) quirks: &'static Quirks,
    _library: cryptoki_sys::Pkcs11,
}

/// The IV argument of one call.
pub(super) enum Iv<'a> {
    /// Read by the token, and written by one that makes its own.
    Buffer(&'a mut [u8]),
    /// `pIv` is NULL: only for a token declared to take it; SoftHSM and NSS softokn crash on it.
    Null,
}

/// What goes into an operation: plaintext, or ciphertext and tag, with its IV and AAD.
pub(super) struct Message<'a> {
    pub(super) iv: Iv<'a>,
    pub(super) aad: &'a [u8],
    pub(super) input: &'a [u8],
}

/// Which of the two calls failed matters: after a failed Init no operation is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallFailed {
    pub(super) function: &'static str,
    pub(super) code: RvError,
    /// Of the library, as far as they are known.
    pub(super) quirks: &'static Quirks,
}

impl CallFailed {
    const fn new(function: &'static str, code: RvError) -> Self {
        Self { function, code, quirks: &CAUTIOUS }
    }
}

impl Functions {
    /// Loads the library a second time under the same path, which gives the same library.
    #[expect(unsafe_code, reason = "loading a shared library runs its initializers")]
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: the operator named this library as the PKCS#11 module to run in this process.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(|error| error.to_string())?;
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        if library.C_GetFunctionList.is_err() {
            return Err("it does not export C_GetFunctionList".to_owned());
        }
        // SAFETY: the symbol is present, and the argument points to a live variable.
        let code = unsafe { library.C_GetFunctionList(&raw mut list) };
        if code != CKR_OK || list.is_null() {
            return Err(format!("C_GetFunctionList returned {code:#x}"));
        }
        // SAFETY: PKCS#11 2.40, 5.4: the list is static and lives as long as the library is loaded.
        let list = unsafe { *list };
        let missing = || "it has no AES-GCM functions".to_owned();
        Ok(Self {
            encrypt_init: list.C_EncryptInit.ok_or_else(missing)?,
            encrypt: list.C_Encrypt.ok_or_else(missing)?,
            decrypt_init: list.C_DecryptInit.ok_or_else(missing)?,
            decrypt: list.C_Decrypt.ok_or_else(missing)?,
            sign_init: list.C_SignInit,
            sign: list.C_Sign,
            derive_key: list.C_DeriveKey,
            wrap_key: list.C_WrapKey,
            unwrap_key: list.C_UnwrapKey,
            mechanism_list: list.C_GetMechanismList,
            token_info: list.C_GetTokenInfo,
            close_all_sessions: list.C_CloseAllSessions,
            quirks: &CAUTIOUS,
            _library: library,
        })
    }

    /// Ends every session of this process with the token, and the login (PKCS#11 3.1, C_CloseAllSessions).
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn close_all_sessions(&self, slot: Slot) -> Result<(), CallFailed> {
        const NAME: &str = "C_CloseAllSessions";
        let close = self.close_all_sessions.ok_or(absent(NAME))?;
        // SAFETY: a number goes in and nothing comes out.
        check(unsafe { close(slot.id()) }, NAME)
    }

    /// Wraps a key under the one of `on`, with a mechanism that has no parameter.
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn wrap(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        mechanism: u64,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Vec<u8>, CallFailed> {
        const NAME: &str = "C_WrapKey";
        let wrap = self.wrap_key.ok_or(absent(NAME))?;
        let mut output = vec![0; WRAPPED_BYTES_MAX];
        let mut written = ulong(output.len(), NAME)?;
        let code = Scheme::Plain(mechanism).with(|mechanism| {
            // SAFETY: the pointers are to live data, the output of the given length.
            unsafe { wrap(on.0.handle(), mechanism, on.1, key, output.as_mut_ptr(), &raw mut written) }
        });
        check(code, NAME)?;
        output.truncate(usize::try_from(written).unwrap_or(usize::MAX));
        Ok(output)
    }

    /// Unwraps a key with the one of `on` into an object with these attributes.
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn unwrap_key(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        (scheme, wrapped): (Scheme<'_>, &[u8]),
        attributes: &[Attribute],
    ) -> Result<CK_OBJECT_HANDLE, CallFailed> {
        const NAME: &str = "C_UnwrapKey";
        let unwrap = self.unwrap_key.ok_or(absent(NAME))?;
        let wrapped_bytes = ulong(wrapped.len(), NAME)?;
        let mut template: Vec<CK_ATTRIBUTE> = attributes.iter().map(Into::into).collect();
        let attributes = ulong(template.len(), NAME)?;
        let mut handle = 0;
        let code = scheme.with(|mechanism| {
            // SAFETY: the pointers are to live data of the given lengths; PKCS#11 does not write to the wrapped key.
            // The template points into `attributes`, which outlives the call.
            unsafe {
                unwrap(
                    on.0.handle(),
                    mechanism,
                    on.1,
                    wrapped.as_ptr().cast_mut(),
                    wrapped_bytes,
                    template.as_mut_ptr(),
                    attributes,
                    &raw mut handle,
                )
            }
        });
        self.known(check(code, NAME))?;
        Ok(handle)
    }

    /// Derives a key from the one of `on` into an object with these attributes.
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn derive_key(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        scheme: Scheme<'_>,
        attributes: &[Attribute],
    ) -> Result<CK_OBJECT_HANDLE, CallFailed> {
        const NAME: &str = "C_DeriveKey";
        let derive = self.derive_key.ok_or(absent(NAME))?;
        let mut template: Vec<CK_ATTRIBUTE> = attributes.iter().map(Into::into).collect();
        let attributes = ulong(template.len(), NAME)?;
        let mut handle = 0;
        let code = scheme.with(|mechanism| {
            // SAFETY: the pointers are to live data of the given lengths, and PKCS#11 writes to the handle alone.
            unsafe {
                derive(on.0.handle(), mechanism, on.1, template.as_mut_ptr(), attributes, &raw mut handle)
            }
        });
        check(code, NAME)?;
        Ok(handle)
    }

    /// What the token in a slot says of itself; cryptoki refuses one whose clock it cannot read.
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn token_info(&self, slot: Slot) -> Result<TokenInfo, CallFailed> {
        const NAME: &str = "C_GetTokenInfo";
        let ask = self.token_info.ok_or(absent(NAME))?;
        let mut raw = CK_TOKEN_INFO::default();
        // SAFETY: the pointer is to a live structure, which the library fills.
        check(unsafe { ask(slot.id(), &raw mut raw) }, NAME)?;
        Ok(TokenInfo::new(&raw))
    }

    /// The numbers of all mechanisms of a token; cryptoki leaves out those that it does not know.
    #[expect(unsafe_code, reason = "a call into the PKCS#11 library")]
    pub(super) fn mechanisms(&self, slot: Slot) -> Result<Vec<u64>, CallFailed> {
        const NAME: &str = "C_GetMechanismList";
        let list = self.mechanism_list.ok_or(absent(NAME))?;
        let mut numbers = vec![0; MECHANISMS_MAX];
        let mut found = ulong(numbers.len(), NAME)?;
        // SAFETY: the pointers are to live data, the output of the given length.
        check(unsafe { list(slot.id(), numbers.as_mut_ptr(), &raw mut found) }, NAME)?;
        numbers.truncate(usize::try_from(found).unwrap_or(usize::MAX));
        Ok(numbers)
    }

    /// Signs, or makes a MAC, into `output`, and returns how many bytes the token wrote.
    pub(super) fn sign(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        scheme: Scheme<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let init = (self.sign_init.ok_or(absent("C_SignInit"))?, "C_SignInit");
        let one_shot = (self.sign.ok_or(absent("C_Sign"))?, "C_Sign");
        self.known(scheme.with(|mechanism| Calls { init, one_shot }.run(on, mechanism, input, output)))
    }

    /// A failure, of a library that may be known.
    fn known<T>(&self, result: Result<T, CallFailed>) -> Result<T, CallFailed> {
        result.map_err(|failed| CallFailed { quirks: self.quirks, ..failed })
    }

    const fn encryption(&self) -> Calls {
        Calls { init: (self.encrypt_init, "C_EncryptInit"), one_shot: (self.encrypt, "C_Encrypt") }
    }

    const fn decryption(&self) -> Calls {
        Calls { init: (self.decrypt_init, "C_DecryptInit"), one_shot: (self.decrypt, "C_Decrypt") }
    }

    /// Encrypts other than by GCM.
    pub(super) fn encrypt_by(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        scheme: Scheme<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        self.known(scheme.with(|mechanism| self.encryption().run(on, mechanism, input, output)))
    }

    /// Decrypts other than by GCM.
    pub(super) fn decrypt_by(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        scheme: Scheme<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        self.known(scheme.with(|mechanism| self.decryption().run(on, mechanism, input, output)))
    }

    /// Encrypts a message into `output` and returns how many bytes the token wrote.
    pub(super) fn encrypt(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        self.known(self.encryption().run_gcm(on, message, output))
    }

    /// Decrypts a message into `output` and returns how many bytes the token wrote. Some tokens want
    /// room for as many bytes as the input has.
    pub(super) fn decrypt(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        self.known(self.decryption().run_gcm(on, message, output))
    }
}

const fn absent(function: &'static str) -> CallFailed {
    CallFailed::new(function, RvError::FunctionNotSupported)
}

/// A handle that this module gave out earlier.
#[expect(unsafe_code, reason = "cryptoki asks for care with handles that it did not make")]
pub(super) fn object_handle(raw: CK_OBJECT_HANDLE) -> ObjectHandle {
    // SAFETY: a number of the module's own, and the module answers CKR_OBJECT_HANDLE_INVALID to a stale one.
    unsafe { ObjectHandle::new_from_raw(raw) }
}

/// With a text in `pReserved`, as NSS takes it; no library but those that ask for one gets one.
#[expect(unsafe_code, reason = "cryptoki cannot know what a library expects there")]
pub(super) fn initialize_arguments(flags: CInitializeFlags, parameters: Option<&CStr>) -> CInitializeArgs {
    match parameters.and_then(|text| NonNull::new(text.as_ptr().cast_mut().cast())) {
        // SAFETY: the text ends with a NUL and outlives the call, in which the library reads it; the operator said that
        // this one does.
        Some(text) => unsafe { CInitializeArgs::new_with_reserved(flags, text) },
        None => CInitializeArgs::new(flags),
    }
}

/// The two calls of an operation, with their names.
struct Calls {
    init: (InitFunction, &'static str),
    one_shot: (OneShotFunction, &'static str),
}

impl Calls {
    fn run_gcm(
        self,
        on: (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let Message { iv, aad, input } = message;
        let name = self.init.1;
        let (iv, iv_bytes) = match iv {
            Iv::Buffer(buffer) => (buffer.as_mut_ptr(), buffer.len()),
            Iv::Null => (ptr::null_mut(), 0),
        };
        // PKCS#11 does not write to pAAD; a token that makes the IV writes within ulIvLen.
        let mut parameters = CK_GCM_PARAMS {
            pIv: iv,
            ulIvLen: ulong(iv_bytes, name)?,
            ulIvBits: ulong(iv_bytes * 8, name)?,
            pAAD: aad.as_ptr().cast_mut(),
            ulAADLen: ulong(aad.len(), name)?,
            ulTagBits: TAG_BITS,
        };
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_AES_GCM,
            pParameter: (&raw mut parameters).cast(),
            ulParameterLen: ulong(size_of::<CK_GCM_PARAMS>(), name)?,
        };
        self.run(on, &mut mechanism, input, output)
    }

    #[expect(unsafe_code, reason = "two calls into the PKCS#11 library")]
    fn run(
        self,
        (session, key): (&Session, CK_OBJECT_HANDLE),
        mechanism: &mut CK_MECHANISM,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let (init, name) = self.init;
        // SAFETY: the mechanism's pointer is to live data of the given length, which outlives the second call too, for a
        // token that keeps the pointer until then.
        check(unsafe { init(session.handle(), mechanism, key) }, name)?;

        let (one_shot, name) = self.one_shot;
        let input_bytes = ulong(input.len(), name)?;
        let mut written = ulong(output.len(), name)?;
        // SAFETY: both buffers are live and of the given lengths; PKCS#11 does not write to the input.
        let code = unsafe {
            one_shot(
                session.handle(),
                input.as_ptr().cast_mut(),
                input_bytes,
                output.as_mut_ptr(),
                &raw mut written,
            )
        };
        check(code, name)?;
        usize::try_from(written).map_err(|_| CallFailed::new(name, RvError::DataLenRange))
    }
}

fn ulong(length: usize, function: &'static str) -> Result<CK_ULONG, CallFailed> {
    CK_ULONG::try_from(length).map_err(|_| CallFailed::new(function, RvError::DataLenRange))
}

fn check(code: CK_RV, function: &'static str) -> Result<(), CallFailed> {
    match Rv::from(code) {
        Rv::Ok => Ok(()),
        Rv::Error(code) => Err(CallFailed::new(function, code)),
    }
}
