//! What libraries do differently: a field for each quirk, and a value for each vendor.
//!
//! Where codes are listed, they stand besides those that `fault.rs` has for every library. One that is not known here is
//! taken to do what any of the others does, where a trial decides: that costs a few calls and is never wrong.

use cryptoki::error::RvError;
use cryptoki_sys::CK_ATTRIBUTE_TYPE;

/// Chosen by what the library says of itself in `C_GetInfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quirks {
    /// For logs and tables.
    pub(super) vendor: &'static str,
    /// In the manufacturer or the description of the library, in lower case.
    marks: &'static [&'static str],
    /// What it may say to a ciphertext, tag, IV or AAD that is wrong.
    pub(super) bad_data: &'static [RvError],
    /// What it may say to an RSA ciphertext whose padding is wrong.
    pub(super) bad_padding: &'static [RvError],
    /// What it may say to key material that was wrapped otherwise, or corrupted.
    pub(super) bad_material: &'static [RvError],
    /// What it says to the handle of an object that another program destroyed, when an operation starts.
    pub(super) stale_handle: &'static [RvError],
    /// Compares PINs with what it read when it was initialized: a PIN that another program changed is refused until then.
    pub(super) remembers_pin: bool,
    /// An attribute of its own that it wants when it unwraps a private key on a curve, with any value that is not empty.
    pub(super) curve_attribute: Option<CK_ATTRIBUTE_TYPE>,
}

/// Does what PKCS#11 says and `fault.rs` expects.
const PLAIN: Quirks = Quirks {
    vendor: "",
    marks: &[],
    bad_data: &[],
    bad_padding: &[],
    bad_material: &[],
    stale_handle: &[],
    remembers_pin: false,
    curve_attribute: None,
};

/// 2.6. Its GENERAL_ERROR to a wrong tag and to corrupted key material is nothing special.
const SOFTHSM: Quirks = Quirks { vendor: "SoftHSM", marks: &["softhsm"], remembers_pin: true, ..PLAIN };

const NSS: Quirks = Quirks {
    vendor: "NSS softokn",
    marks: &["mozilla", "nss "],
    // To an IV of no bytes.
    bad_data: &[RvError::HostMemory],
    // CKA_NSS_DB: where its database would have the public point.
    curve_attribute: Some(0xD5A0_DB00),
    ..PLAIN
};

const KRYOPTIC: Quirks = Quirks {
    vendor: "kryoptic",
    marks: &["kryoptic"],
    // To an IV that is too long.
    bad_data: &[RvError::DeviceError],
    bad_padding: &[RvError::DeviceError],
    // To a key that another process destroyed.
    stale_handle: &[RvError::GeneralError],
    ..PLAIN
};

/// Its GENERAL_ERROR to a wrong tag, which its sample proxy knows, is nothing special; it asks for IVs of its own by
/// `iv_mode`, and for no more than 16 KB by DATA_LEN_RANGE.
const CLOUDHSM: Quirks =
    Quirks { vendor: "AWS CloudHSM", marks: &["cloudhsm", "amazon", "cavium", "marvell"], ..PLAIN };

/// Its FUNCTION_FAILED to a wrong tag is nothing special.
const NSHIELD: Quirks = Quirks { vendor: "nShield", marks: &["ncipher", "nshield"], ..PLAIN };

const LUNA: Quirks = Quirks { vendor: "Luna", marks: &["safenet", "chrystoki", "luna"], ..PLAIN };

pub(super) static CAUTIOUS: Quirks = Quirks {
    vendor: "any other",
    bad_data: &[RvError::DeviceError, RvError::HostMemory],
    bad_padding: &[RvError::DeviceError],
    ..PLAIN
};

/// In the order in which they are looked for.
pub(super) static VENDORS: [Quirks; 6] = [SOFTHSM, NSS, KRYOPTIC, CLOUDHSM, NSHIELD, LUNA];

impl Quirks {
    /// By the manufacturer and the description of the library.
    pub(super) fn of(manufacturer: &str, description: &str) -> &'static Self {
        let says = format!("{manufacturer} {description} ").to_lowercase();
        VENDORS.iter().find(|known| known.marks.iter().any(|mark| says.contains(mark))).unwrap_or(&CAUTIOUS)
    }
}

#[cfg(test)]
mod tests {
    use super::{CAUTIOUS, Quirks};

    #[test]
    fn a_library_is_known_by_what_it_says_of_itself() {
        for (manufacturer, description, vendor) in [
            ("SoftHSM", "Implementation of PKCS11", "SoftHSM"),
            ("Mozilla Foundation", "NSS Internal Crypto Services", "NSS softokn"),
            ("Kryoptic", "Kryoptic PKCS11 Module", "kryoptic"),
            ("nCipher Corp. Ltd", "nCipher PKCS#11", "nShield"),
            ("SafeNet", "Chrystoki", "Luna"),
            ("Somebody", "Cryptoki", CAUTIOUS.vendor),
            ("", "", CAUTIOUS.vendor),
        ] {
            assert_eq!(Quirks::of(manufacturer, description).vendor, vendor);
        }
    }
}
