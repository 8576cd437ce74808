//! What a token says of itself: the part that matters here, read without an opinion on the rest, such as its clock.

use cryptoki_sys::{CK_FLAGS, CK_TOKEN_INFO, CK_VERSION, CKF_ERROR_STATE};

#[derive(Clone, Debug)]
pub(super) struct TokenInfo {
    pub(super) label: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) serial_number: String,
    pub(super) hardware: String,
    pub(super) firmware: String,
    flags: CK_FLAGS,
}

impl TokenInfo {
    pub(super) fn new(raw: &CK_TOKEN_INFO) -> Self {
        Self {
            label: text(&raw.label),
            manufacturer: text(&raw.manufacturerID),
            model: text(&raw.model),
            serial_number: text(&raw.serialNumber),
            hardware: version(raw.hardwareVersion),
            firmware: version(raw.firmwareVersion),
            flags: raw.flags,
        }
    }

    pub(super) const fn has(&self, flag: CK_FLAGS) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn error_state(&self) -> bool {
        self.has(CKF_ERROR_STATE)
    }
}

/// Filled up with blanks, by some tokens with zeros.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches([' ', '\0']).to_owned()
}

fn version(raw: CK_VERSION) -> String {
    format!("{}.{}", raw.major, raw.minor)
}
