//! One call through the shim: count it, harm it if it is its turn, forward it.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use cryptoki_sys::CK_BBOOL;
use cryptoki_sys::CK_FUNCTION_LIST;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_TOKEN_INFO;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED;
use cryptoki_sys::CKR_OK;
use cryptoki_sys::Pkcs11;

use crate::control::Control;
use crate::control::Fault;
use crate::functions::Function;
use crate::functions::addresses;
use crate::functions::wrapped;
use crate::settings::Settings;

const HANG_POLL: Duration = Duration::from_millis(2);

pub(crate) struct Shim {
    pub(crate) functions: CK_FUNCTION_LIST,
    real: Vec<Option<usize>>,
    control: Control,
    /// Keeps the real module loaded.
    _module: Pkcs11,
}

/// The shim of this process, made at the first call.
pub(crate) fn shim() -> Result<&'static Shim, &'static str> {
    static SHIM: OnceLock<Result<Shim, String>> = OnceLock::new();
    SHIM.get_or_init(Shim::load).as_ref().map_err(String::as_str)
}

impl Shim {
    fn load() -> Result<Self, String> {
        let Settings { module, control, counts } = Settings::read()?;
        let mut list = std::ptr::null_mut();
        // SAFETY: the module is one the test chose; the list it returns lives as long as the module is loaded.
        let (module, real) = unsafe {
            let module = Pkcs11::new(&module).map_err(|error| error.to_string())?;
            match module.C_GetFunctionList(&raw mut list) {
                CKR_OK => (module, *list),
                code => return Err(format!("C_GetFunctionList of the real module returned {code:#x}")),
            }
        };
        let mut functions = wrapped(&real);
        functions.C_GetFunctionList = Some(crate::C_GetFunctionList);
        let control = Control::open(control, counts.as_deref()).map_err(|error| error.to_string())?;
        Ok(Self { functions, real: addresses(&real), control, _module: module })
    }
}

/// `forward` calls the function at an address with the same arguments.
pub(crate) fn call(function: Function, arguments: &[usize], forward: impl FnOnce(usize) -> CK_RV) -> CK_RV {
    let Ok(Shim { real, control, .. }) = shim() else { return CKR_FUNCTION_NOT_SUPPORTED };
    let Some(address) = real[function as usize] else { return CKR_FUNCTION_NOT_SUPPORTED };
    let Some(fault) = control.enter(function, arguments.first().copied()) else { return forward(address) };
    if fault.crash && !fault.after {
        std::process::abort();
    }
    thread::sleep(fault.delay);
    while fault.hang && control.still_names(&fault) {
        thread::sleep(HANG_POLL);
    }
    match fault.code {
        Some(code) if !fault.after => code,
        code => {
            let result = forward(address);
            if fault.crash {
                std::process::abort();
            }
            if result == CKR_OK {
                // SAFETY: the token has just filled these buffers, which the caller vouches for.
                unsafe { harm_output(&fault, function, arguments) };
            }
            code.unwrap_or(result)
        }
    }
}

/// # Safety
/// The arguments are those of a call of `function` that has succeeded.
unsafe fn harm_output(fault: &Fault, function: Function, arguments: &[usize]) {
    if fault.forget
        && let [.., count] = arguments
    {
        // SAFETY: the last argument of C_FindObjects points to how many objects were found.
        unsafe { *(*count as *mut CK_ULONG) = 0 };
    }
    if fault.flags != 0
        && let [_, info] = arguments
    {
        // SAFETY: the last argument of C_GetTokenInfo points to what it has filled.
        unsafe { (*(*info as *mut CK_TOKEN_INFO)).flags |= fault.flags };
    }
    if let [.., output, length] = arguments
        && function.has_output()
        && *output != 0
    {
        let (output, length) = (*output as *mut u8, *length as *mut CK_ULONG);
        // SAFETY: the output is not null, so it has the length that the token has just written.
        unsafe {
            if fault.corrupt && *length > 0 {
                *output ^= 1;
            }
            if fault.short {
                *length = (*length).saturating_sub(1);
            }
        }
    }
}

/// What fits a machine word: every argument of PKCS#11 does.
pub(crate) trait Word: Copy {
    fn word(self) -> usize;
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self as usize
    }
}

impl Word for CK_ULONG {
    #[expect(clippy::cast_possible_truncation, reason = "on Linux an unsigned long is a word")]
    fn word(self) -> usize {
        self as usize
    }
}

impl Word for CK_BBOOL {
    fn word(self) -> usize {
        usize::from(self)
    }
}

/// The callback of C_OpenSession.
impl<F: Copy> Word for Option<F> {
    fn word(self) -> usize {
        usize::from(self.is_some())
    }
}
