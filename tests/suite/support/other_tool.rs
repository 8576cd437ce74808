//! Another program that works on the site's tokens, with the same library in a process of its own.

use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use secrecy::SecretString;

use super::site::{PIN, SO_PIN, SOFTHSM, Site};

const TOKEN: &str = "OTHER_TOOL_TOKEN";
const ORDER: &str = "OTHER_TOOL_ORDER";

impl Site {
    /// Carries out an order on the token `holdfast`, and returns what it printed.
    #[track_caller]
    pub fn other_tool(&self, order: &str) -> String {
        self.other_tool_on("holdfast", order)
    }

    #[track_caller]
    pub fn other_tool_on(&self, token: &str, order: &str) -> String {
        other_tool_in(self.folder.path(), token, order)
    }
}

/// In the folder of a site.
#[track_caller]
pub fn other_tool_in(folder: &Path, token: &str, order: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "support::other_tool::obeys_an_order", "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .env(TOKEN, token)
        .env(ORDER, order)
        .output()
        .unwrap();
    assert!(output.status.success(), "{order}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "other tests run it as another program"]
fn obeys_an_order() {
    let variable = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let order = variable(ORDER);
    if order == "reset-pin" {
        return reset_pin(&variable(TOKEN));
    }
    let session = log_in(&variable(TOKEN));
    match *order.split(' ').collect::<Vec<_>>() {
        ["change-pin", pin] => {
            session.set_pin(&PIN.into(), &pin.into()).unwrap();
        }
        ["destroy", label] => session.destroy_object(find(&session, label)).unwrap(),
        ["destroy-root", id] => destroy_root(&session, id),
        ["forbid-encryption", label] => {
            session.update_attributes(find(&session, label), &[Attribute::Encrypt(false)]).unwrap();
        }
        ["import", label, value] => {
            let mut template = template(label);
            template.push(Attribute::KeyType(cryptoki::object::KeyType::AES));
            template.push(Attribute::Value(value.as_bytes().to_vec()));
            session.create_object(&template).unwrap();
        }
        ["import-root", id, value] => import_root(&session, id, value),
        ["make", label] => make(&session, label, 32),
        ["make", label, bytes] => make(&session, label, bytes.parse().unwrap()),
        ["make-many", label, count] => {
            (0..count.parse().unwrap())
                .for_each(|number: u32| make(&session, &format!("{label}{number}"), 32));
        }
        ["rename", label, to] => {
            let label_to = Attribute::Label(to.as_bytes().to_vec());
            session.update_attributes(find(&session, label), &[label_to]).unwrap();
        }
        ["show", label] => show(&session, label),
        _ => panic!("no such order: {order}"),
    }
}

fn log_in(token: &str) -> Session {
    let session = open(token);
    session.login(UserType::User, Some(&SecretString::from(PIN))).unwrap();
    session
}

/// Gives the user the PIN of the tests again, as the administrator of the token can.
fn reset_pin(token: &str) {
    let session = open(token);
    session.login(UserType::So, Some(&SecretString::from(SO_PIN))).unwrap();
    session.init_pin(&PIN.into()).unwrap();
}

fn open(token: &str) -> Session {
    let pkcs11 = Pkcs11::new(SOFTHSM).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let is_it = |slot: &cryptoki::slot::Slot| pkcs11.get_token_info(*slot).unwrap().label() == token;
    let slot = pkcs11.get_slots_with_token().unwrap().into_iter().find(is_it).unwrap();
    pkcs11.open_rw_session(slot).unwrap()
}

/// A key as other tools make it: without an id, and for any use.
fn template(label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

fn make(session: &Session, label: &str, bytes: u64) {
    let mut template = template(label);
    template.push(Attribute::ValueLen(bytes.into()));
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
}

/// A root key of the daemon, as the tool of an HSM's maker copies it to another HSM.
fn hexadecimal(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn destroy_root(session: &Session, id: &str) {
    let id = hexadecimal(id);
    for id in [id.clone(), [id, vec![1]].concat()] {
        let found = session.find_objects(&[Attribute::Id(id)]).unwrap();
        session.destroy_object(found[0]).unwrap();
    }
}

fn import_root(session: &Session, id: &str, value: &str) {
    let id = hexadecimal(id);
    for (label, id, wraps) in
        [("holdfast-root", id.clone(), true), ("holdfast-seal", [id, vec![1]].concat(), false)]
    {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(cryptoki::object::KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id),
            Attribute::Wrap(wraps),
            Attribute::Unwrap(wraps),
            Attribute::Encrypt(!wraps),
            Attribute::Decrypt(!wraps),
            Attribute::Value(value.as_bytes().to_vec()),
        ];
        session.create_object(&template).unwrap();
    }
}

fn find(session: &Session, label: &str) -> ObjectHandle {
    session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).unwrap()[0]
}

/// Every attribute that says what can be done with the keys of a label, and whether the value can be read.
#[expect(clippy::print_stdout, reason = "whoever gave the order reads it")]
fn show(session: &Session, label: &str) {
    let wanted = [
        AttributeType::AlwaysSensitive,
        AttributeType::Decrypt,
        AttributeType::Derive,
        AttributeType::Encrypt,
        AttributeType::Extractable,
        AttributeType::Local,
        AttributeType::NeverExtractable,
        AttributeType::Private,
        AttributeType::Sensitive,
        AttributeType::Sign,
        AttributeType::Unwrap,
        AttributeType::Value,
        AttributeType::Verify,
        AttributeType::Wrap,
    ];
    for key in session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).unwrap() {
        let attributes = session.get_attributes(key, &wanted).unwrap();
        println!("{attributes:?}");
    }
}
