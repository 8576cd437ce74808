//! A PKCS#11 module that forwards to a real one and injects the faults a control file names.
//!
//! # Use
//! Point the program under test at `libpkcs11_shim.so` and set
//! - `PKCS11_SHIM_MODULE`: the real module, for example `/usr/lib/softhsm/libsofthsm2.so`;
//! - `PKCS11_SHIM_CONTROL`: the control file; it may be absent, appear and change at any time;
//! - `PKCS11_SHIM_COUNTS`: a file the shim writes; a line `C_Name count` for each function, always up to date.
//!
//! Two shims in one process need two copies of the library, and of the real one. A copy `b.so` reads the same
//! three settings from `b.so.conf` beside it, if that exists: lines `PKCS11_SHIM_MODULE=…` and so on.
//!
//! # Control file
//! One fault a line; `#` starts a comment line. A line the shim does not understand ends the process, so that no
//! test passes by a misspelling. Write the file beside and rename it: a call may read it at any moment.
//! ```text
//! C_Encrypt code=CKR_DEVICE_ERROR from=3 count=2    the third and fourth call fail and never reach the token
//! C_Encrypt code=0x30 after                         the token does its work, the answer is lost
//! C_Encrypt delay_ms=500                            slow
//! C_Decrypt hang                                    until this line disappears from the file, then goes on
//! C_Encrypt crash                                   ends the process; with `after`, once the token has done its work
//! C_Encrypt corrupt                                 one bit of the output is flipped
//! C_Encrypt short                                   the output lacks its last byte
//! C_FindObjects forget                              no objects
//! C_GetTokenInfo flags=0x20000                      the token has these flags too (CKF_USER_PIN_FINAL_TRY)
//! * code=CKR_DEVICE_REMOVED session=5               any function, with 5 as its first argument
//! ```
//! Words can be combined. The first line whose turn it is decides a call. Calls are counted for `from` and `count`
//! from when the line appears; a line that stays while others change keeps its count.

#![expect(unsafe_code, reason = "PKCS#11 is an interface of C")]

mod control;
mod forward;
mod functions;
mod return_codes;
mod settings;

use cryptoki_sys::CK_FUNCTION_LIST_PTR_PTR;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CKR_ARGUMENTS_BAD;
use cryptoki_sys::CKR_LIBRARY_LOAD_FAILED;
use cryptoki_sys::CKR_OK;

/// The only symbol: without `C_GetInterface` programs fall back to PKCS#11 2.40.
///
/// # Safety
/// As PKCS#11 says: `list` points to where the address of the function list goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match forward::shim() {
        Ok(shim) => {
            // SAFETY: not null, and the caller vouches for the rest. The list is never written to.
            unsafe { *list = (&raw const shim.functions).cast_mut() };
            CKR_OK
        }
        Err(reason) => {
            eprintln!("pkcs11-shim: {reason}");
            CKR_LIBRARY_LOAD_FAILED
        }
    }
}
