//! The one place with `unsafe`: AES-GCM through the module's own function pointers, two calls an operation.
//!
//! cryptoki asks for the output size in a third call, which a network HSM may answer with a round trip, and
//! cannot express the NULL IV that Luna wants. The output size of GCM is known: data plus tag.

use std::path::Path;
use std::ptr;

use cryptoki::error::{Rv, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{
    CK_BYTE, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_ULONG, CKM_AES_GCM, CKR_OK,
};

/// Length of the only tag XKS knows (XKS v1, Encrypt).
pub(super) const TAG_BYTES: usize = 16;
const TAG_BITS: CK_ULONG = 128;

type InitFunction = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type OneShotFunction =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// The module's GCM functions. The library stays loaded as long as this lives.
pub(super) struct GcmFunctions {
    encrypt_init: InitFunction,
    encrypt: OneShotFunction,
    decrypt_init: InitFunction,
    decrypt: OneShotFunction,
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
}

impl GcmFunctions {
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
            _library: library,
        })
    }

    /// Encrypts a message into `output` and returns how many bytes the token wrote.
    pub(super) fn encrypt(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let calls =
            Calls { init: (self.encrypt_init, "C_EncryptInit"), one_shot: (self.encrypt, "C_Encrypt") };
        calls.run(on, message, output)
    }

    /// Decrypts a message into `output` and returns how many bytes the token wrote. Some tokens want
    /// room for as many bytes as the input has.
    pub(super) fn decrypt(
        &self,
        on: (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let calls =
            Calls { init: (self.decrypt_init, "C_DecryptInit"), one_shot: (self.decrypt, "C_Decrypt") };
        calls.run(on, message, output)
    }
}

/// A handle that this module gave out earlier.
#[expect(unsafe_code, reason = "cryptoki asks for care with handles that it did not make")]
pub(super) fn object_handle(raw: CK_OBJECT_HANDLE) -> ObjectHandle {
    // SAFETY: a number of the module's own, and the module answers CKR_OBJECT_HANDLE_INVALID to a stale one.
    unsafe { ObjectHandle::new_from_raw(raw) }
}

/// The two calls of an operation, with their names.
struct Calls {
    init: (InitFunction, &'static str),
    one_shot: (OneShotFunction, &'static str),
}

impl Calls {
    #[expect(unsafe_code, reason = "two calls into the PKCS#11 library")]
    fn run(
        self,
        (session, key): (&Session, CK_OBJECT_HANDLE),
        message: Message<'_>,
        output: &mut [u8],
    ) -> Result<usize, CallFailed> {
        let Message { iv, aad, input } = message;
        let (init, name) = self.init;
        let (iv, iv_bytes) = match iv {
            Iv::Buffer(buffer) => (buffer.as_mut_ptr(), buffer.len()),
            Iv::Null => (ptr::null_mut(), 0),
        };
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
        // SAFETY: all pointers are to live data of the given lengths. PKCS#11 does not write to pAAD; a token
        // that makes the IV writes within ulIvLen. Parameters and buffers outlive the second call too, for a
        // token that keeps the pointers until then.
        check(unsafe { init(session.handle(), &raw mut mechanism, key) }, name)?;

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
        usize::try_from(written).map_err(|_| CallFailed { function: name, code: RvError::DataLenRange })
    }
}

fn ulong(length: usize, function: &'static str) -> Result<CK_ULONG, CallFailed> {
    CK_ULONG::try_from(length).map_err(|_| CallFailed { function, code: RvError::DataLenRange })
}

fn check(code: CK_RV, function: &'static str) -> Result<(), CallFailed> {
    match Rv::from(code) {
        Rv::Ok => Ok(()),
        Rv::Error(code) => Err(CallFailed { function, code }),
    }
}
