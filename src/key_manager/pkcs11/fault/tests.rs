//! The table of return codes and remedies as a golden file, and what holds for all of it.

use std::fmt::Write;
use std::path::Path;

use cryptoki::error::{Rv, RvError};

use crate::key_manager::pkcs11::fault::{Blame, Call, Doing, Fault};
use crate::key_manager::pkcs11::quirks::{CAUTIOUS, Quirks, VENDORS};
use crate::key_manager::pkcs11::return_code;

/// One more than the largest code of PKCS#11 3.2.
const CODES_END: u64 = 0x210;
const VENDOR_DEFINED: u64 = 0x8000_0000;
/// No code of PKCS#11 so far.
const UNKNOWN: u64 = 0x7fff_0000;
const BLAMES: [Blame; 16] = [
    Blame::Data,
    Blame::Length,
    Blame::Usage,
    Blame::ForeignKey,
    Blame::Unsupported,
    Blame::Busy,
    Blame::Disconnected,
    Blame::DataOrToken,
    Blame::Material,
    Blame::Missing,
    Blame::Handle,
    Blame::Session,
    Blame::Login,
    Blame::Token,
    Blame::Library,
    Blame::Pin,
];

fn codes() -> impl Iterator<Item = (u64, RvError)> {
    (0..CODES_END).chain([UNKNOWN, VENDOR_DEFINED]).filter_map(|number| match Rv::from(number) {
        Rv::Error(code @ RvError::UnknownErrorCode(_)) => {
            let is_known = return_code::label(code) != "Unknown" || number == UNKNOWN;
            is_known.then_some((number, code))
        }
        Rv::Error(code) => Some((number, code)),
        Rv::Ok => None,
    })
}

/// What every library says, as one without quirks would.
fn blame(code: RvError, doing: Doing) -> Blame {
    Blame::of(code, doing, Call::Rest, &VENDORS[3])
}

fn remedies() -> String {
    let mut table = format!("{:<14}WHAT IS DONE\n", "TO BLAME");
    for blame in BLAMES {
        writeln!(table, "{:<14}{:?}", format!("{blame:?}"), blame.remedy()).unwrap();
    }
    table
}

/// Every code, and what is blamed for it when decrypting, unwrapping, logging in and otherwise.
fn return_codes() -> String {
    let mut table = format!(
        "{:<12}{:<32}{:<14}{:<14}{:<14}OTHERWISE\n",
        "CODE", "NAME", "DECRYPTING", "UNWRAPPING", "LOGGING IN"
    );
    for (number, code) in codes() {
        let [decrypting, unwrapping, logging_in, otherwise] =
            [Doing::Decrypting, Doing::Unwrapping, Doing::LoggingIn, Doing::Other]
                .map(|doing| format!("{:?}", blame(code, doing)));
        let (number, name) = (format!("{number:#x}"), return_code::label(code));
        writeln!(table, "{number:<12}{name:<32}{decrypting:<14}{unwrapping:<14}{logging_in:<14}{otherwise}")
            .unwrap();
    }
    table
}

/// Where libraries differ from that table.
fn vendors() -> String {
    let mut table = format!("{:<14}{:<12}{:<14}{:<18}BLAME\n", "VENDOR", "DOING", "CALL", "NAME");
    for quirks in VENDORS.iter().chain([&CAUTIOUS]) {
        let (vendor, pin) = (quirks.vendor, quirks.remembers_pin);
        let curves = quirks.curve_attribute.map_or("none".to_owned(), |attribute| format!("{attribute:#x}"));
        writeln!(table, "{vendor:<14}remembers the PIN: {pin}, attribute for curves: {curves}").unwrap();
        for (_, code) in codes() {
            for doing in [Doing::Decrypting, Doing::Unwrapping, Doing::Other] {
                for call in [Call::Start, Call::Rest] {
                    differing(&mut table, quirks, (code, doing, call));
                }
            }
        }
    }
    table
}

fn differing(table: &mut String, quirks: &Quirks, (code, doing, call): (RvError, Doing, Call)) {
    let theirs = Blame::of(code, doing, call, quirks);
    if theirs != blame(code, doing) {
        let (doing, call, name) = (format!("{doing:?}"), format!("{call:?}"), return_code::label(code));
        writeln!(table, "{:<14}{doing:<12}{call:<14}{name:<18}{theirs:?}", quirks.vendor).unwrap();
    }
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[test]
fn every_return_code_blames_what_the_golden_table_says() {
    let table = [remedies(), return_codes(), vendors()].join("\n");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pkcs11_return_codes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn a_vendors_own_code_blames_the_token_but_for_a_login_the_pin() {
    for code in [RvError::VendorDefined(u64::MAX), RvError::UnknownErrorCode(CODES_END)] {
        for quirks in VENDORS.iter().chain([&CAUTIOUS]) {
            for doing in [Doing::Decrypting, Doing::Unwrapping, Doing::Other] {
                assert_eq!(Blame::of(code, doing, Call::Rest, quirks), Blame::Token);
            }
            assert_eq!(Blame::of(code, Doing::LoggingIn, Call::Rest, quirks), Blame::Pin);
        }
    }
}

#[test]
fn what_may_not_be_wrapped_again_is_no_fault_of_the_token() {
    let after = |code| Fault::returned(Blame::Token, "C_UnwrapKey", code).or_not_to_wrap();
    let lacking = after(RvError::TemplateInconsistent);
    assert_eq!(lacking.blame, Blame::Unsupported);
    assert!(lacking.what.contains("CKA_EXTRACTABLE") && lacking.what.contains("TemplateInconsistent"));
    assert_eq!(after(RvError::KeyUnextractable).blame, Blame::Unsupported);
    assert_eq!(after(RvError::DeviceError).blame, Blame::Token);
}
