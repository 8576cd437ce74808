//! The functions of PKCS#11 2.40 by number of arguments, and the wrapper each of them gets.

use cryptoki_sys::CK_FUNCTION_LIST;
use cryptoki_sys::CK_RV;

use crate::forward::Word;
use crate::forward::call;

macro_rules! functions {
    ($($arguments:tt $($name:ident)*;)*) => {
        /// A function of PKCS#11; its number is its place in [`Function::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(clippy::enum_variant_names, non_camel_case_types, reason = "the names are given by PKCS#11")]
        pub(crate) enum Function { $($($name),*),* }

        impl Function {
            pub(crate) const ALL: &[Self] = &[$($(Self::$name),*),*];
        }

        /// The address of each function of the real module, in the order of [`Function::ALL`].
        pub(crate) fn addresses(real: &CK_FUNCTION_LIST) -> Vec<Option<usize>> {
            vec![$($(real.$name.map(|function| function as usize)),*),*]
        }

        /// `real` with a wrapper for each function it has.
        pub(crate) fn wrapped(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            let mut list = *real;
            $($(if real.$name.is_some() { list.$name = wrapper!($name $arguments); })*)*
            list
        }
    };
}

/// A function of the same type as the one it stands for: the types of its arguments follow from where it is put.
macro_rules! wrapper {
    ($name:ident ($($argument:ident: $Type:ident)*)) => {{
        unsafe extern "C" fn wrapper<$($Type: Word),*>($($argument: $Type),*) -> CK_RV {
            call(Function::$name, &[$($argument.word()),*], |address| {
                // SAFETY: the address is that of the function this wrapper stands for, so it has this type, and
                // the caller keeps the contract of PKCS#11.
                unsafe {
                    let function: unsafe extern "C" fn($($Type),*) -> CK_RV = std::mem::transmute(address);
                    function($($argument),*)
                }
            })
        }
        Some(wrapper)
    }};
}

functions! {
    (a: A) C_CancelFunction C_CloseAllSessions C_CloseSession C_Finalize C_FindObjectsFinal C_GetFunctionStatus
        C_GetInfo C_Initialize C_Logout;
    (a: A b: B) C_DestroyObject C_DigestInit C_DigestKey C_GetSessionInfo C_GetSlotInfo C_GetTokenInfo;
    (a: A b: B c: C) C_DecryptFinal C_DecryptInit C_DigestFinal C_DigestUpdate C_EncryptFinal C_EncryptInit
        C_FindObjectsInit C_GenerateRandom C_GetMechanismInfo C_GetMechanismList C_GetObjectSize C_GetOperationState
        C_GetSlotList C_InitPIN C_SeedRandom C_SignFinal C_SignInit C_SignRecoverInit C_SignUpdate C_VerifyFinal
        C_VerifyInit C_VerifyRecoverInit C_VerifyUpdate C_WaitForSlotEvent;
    (a: A b: B c: C d: D) C_CreateObject C_FindObjects C_GetAttributeValue C_InitToken C_Login C_SetAttributeValue;
    (a: A b: B c: C d: D e: E) C_CopyObject C_Decrypt C_DecryptDigestUpdate C_DecryptUpdate C_DecryptVerifyUpdate
        C_Digest C_DigestEncryptUpdate C_Encrypt C_EncryptUpdate C_GenerateKey C_OpenSession C_SetOperationState C_SetPIN
        C_Sign C_SignEncryptUpdate C_SignRecover C_Verify C_VerifyRecover;
    (a: A b: B c: C d: D e: E f: F) C_DeriveKey C_WrapKey;
    (a: A b: B c: C d: D e: E f: F g: G h: H) C_GenerateKeyPair C_UnwrapKey;
}

impl Function {
    /// Whether the last two arguments are the output and its length.
    pub(crate) fn has_output(self) -> bool {
        matches!(
            self,
            Self::C_Decrypt
                | Self::C_DecryptFinal
                | Self::C_DecryptUpdate
                | Self::C_Digest
                | Self::C_DigestFinal
                | Self::C_Encrypt
                | Self::C_EncryptFinal
                | Self::C_EncryptUpdate
                | Self::C_Sign
                | Self::C_SignFinal
                | Self::C_WrapKey
        )
    }
}
