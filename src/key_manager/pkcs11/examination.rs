//! A look at one HSM by somebody who wants to know what is wrong with it, and who tries no PIN that was refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{CKM_AES_GCM, CKM_AES_KEY_GEN};

use crate::config;
use crate::domain::KeyUsages;
use crate::key_manager::Lookup;
use crate::key_manager::backing_key::RootKeyId;
use crate::key_manager::external_key::{ExternalKey, KeyVersion};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory::{self, Inventory};
use crate::key_manager::pkcs11::module::{Library, Module};
use crate::key_manager::pkcs11::pin_state::PinState;
use crate::key_manager::pkcs11::refused_pin::{Permission, RefusedPin};
use crate::key_manager::pkcs11::root_key::RootKey;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::secret::SecretBytes;

/// More are not compared with each other.
const COMPARED_MAX: usize = 10_000;

/// How far somebody may look.
pub struct Look<'a> {
    /// Absent: nobody logs in.
    pub pin: Option<&'a SecretBytes>,
    pub root_key: Option<RootKeyId>,
    /// Encryptions and decryptions that are timed.
    pub samples: u32,
    pub now: &'a dyn Fn() -> Instant,
    /// Told now and then that the HSM has answered; whoever waits sees that it lives.
    pub answered: &'a dyn Fn(),
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Maker, model and firmware.
    pub product: String,
    /// What is wrong with the PIN, by the token's own words.
    pub pin_trouble: Option<&'static str>,
    /// The token may be asked to log in.
    pub may_log_in: bool,
    /// Of AES-GCM and key generation, what there is not.
    pub missing_mechanisms: Vec<&'static str>,
    /// Absent if nobody logged in.
    pub inside: Option<Result<Inside, String>>,
}

/// What only a login shows.
#[derive(Clone, Debug)]
pub struct Inside {
    pub self_test: Result<(), String>,
    pub times: Vec<Duration>,
    pub keys: Vec<KeyFacts>,
    /// Ids that several keys answer to.
    pub ambiguous: Vec<String>,
    /// Ids that are one key.
    pub same: Vec<(String, String)>,
    pub root_key: Option<Result<(), String>>,
}

/// The newest version of an external key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    pub id: String,
    pub spec: String,
    pub enabled: bool,
    pub usages: KeyUsages,
    pub versioned: bool,
    /// Absent if the token does not say.
    pub sensitive: Option<bool>,
    pub extractable: Option<bool>,
    check_value: Option<Vec<u8>>,
}

/// Where it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Library(String),
    Token(String),
}

/// Looks at one HSM. Calls into the library, which may hang.
pub fn examine(config: &config::Hsm, look: &Look<'_>) -> Result<Examined, Unreachable> {
    let module = Module::load(&config.module).map_err(Unreachable::Library)?;
    let module = Arc::new(module.with_parameters(config.initialize_parameters.as_deref()));
    module.initialize().map_err(Unreachable::Library)?;
    (look.answered)();
    let token = Token::new(config.clone(), Arc::clone(&module), look.pin);
    let examined = examine_token(&token, look);
    module.finalize();
    examined
}

fn examine_token(token: &Token, look: &Look<'_>) -> Result<Examined, Unreachable> {
    let library = token.module.library();
    let lost = |fault: crate::key_manager::pkcs11::fault::Fault| Unreachable::Token(fault.what);
    let (slot, info) = token.find_slot(&library).map_err(lost)?;
    (look.answered)();
    let state = PinState::of(&info);
    let was_refused = RefusedPin::of(&token.config).permission() == Permission::Refused;
    let pin_trouble = if was_refused { Some("the PIN was refused before") } else { state.words() };
    let may_log_in = !was_refused && matches!(state, PinState::Fine | PinState::ToBeChanged);
    let mechanisms = library.functions.mechanisms(slot).unwrap_or_default();
    let wanted = [(CKM_AES_GCM, "CKM_AES_GCM"), (CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN")];
    let missing = wanted.iter().filter(|(mechanism, _)| !mechanisms.contains(mechanism));
    let inside = (may_log_in && look.pin.is_some()).then(|| look_inside(token, &library, look));
    Ok(Examined {
        product: format!("{} {}, firmware {}", info.manufacturer, info.model, info.firmware),
        pin_trouble,
        may_log_in,
        missing_mechanisms: missing.map(|(_, name)| *name).collect(),
        inside,
    })
}

fn look_inside(token: &Token, library: &Library, look: &Look<'_>) -> Result<Inside, String> {
    let open = token.open_session(library).map_err(|fault| fault.what)?;
    let ready = Ready { session: open.session(), login: open.login, objects: &token.objects };
    (look.answered)();
    let read = Inventory::read_telling(ready, &Inventory::default(), look.answered);
    let inventory = read.map_err(|fault| fault.what)?;
    let (self_test, times) = try_health_key(token, library, (ready, &inventory), look);
    let mut newest: Vec<(KeyFacts, Arc<ExternalKey>)> = inventory
        .keys()
        .filter(|key| key.id.as_str() != token.config.health_key)
        .filter_map(|key| Some((facts(key, key.newest()?, ready), Arc::clone(key))))
        .inspect(|_| (look.answered)())
        .collect();
    newest.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    let root_key = look
        .root_key
        .map(|id| RootKey::open(&id, token, library, ready).map(drop).map_err(|fault| fault.what));
    let inside = Inside {
        self_test,
        times,
        same: same_keys(&newest, |one, other| {
            (look.answered)();
            decrypts(token, library, ready, (one, other))
        }),
        keys: newest.into_iter().map(|(facts, _)| facts).collect(),
        ambiguous: inventory.ambiguous().map(|id| id.as_str().to_owned()).collect(),
        root_key,
    };
    open.close(token, library);
    Ok(inside)
}

type Tried = (Result<(), String>, Vec<Duration>);

fn try_health_key(
    token: &Token,
    library: &Library,
    (ready, inventory): (Ready<'_>, &Inventory),
    look: &Look<'_>,
) -> Tried {
    let key = match inventory.find(&token.config.health_key) {
        Lookup::Found(key) => key,
        Lookup::Missing => {
            let config::Hsm { name, health_key, .. } = &token.config;
            let reason = format!(
                "there is no health key `{health_key}`: `holdfast key create --hsm {name} {health_key}` makes it"
            );
            return (Err(reason), Vec::new());
        }
        Lookup::Ambiguous => {
            return (Err(format!("several keys are `{}`", token.config.health_key)), Vec::new());
        }
    };
    let Some(newest) = key.newest() else {
        return (Err("the health key has no version".to_owned()), Vec::new());
    };
    let gcm = match Gcm::new(&library.functions, ready, &newest.object, token.config.iv_mode) {
        Ok(gcm) => gcm,
        Err(fault) => return (Err(fault.what), Vec::new()),
    };
    if let Err(fault) = gcm.self_test() {
        return (Err(fault.what), Vec::new());
    }
    let mut times = Vec::new();
    for _ in 0..look.samples {
        let started = (look.now)();
        if let Err(fault) = gcm.round_trip() {
            return (Err(fault.what), times);
        }
        // Two operations each.
        times.push(((look.now)() - started) / 2);
        (look.answered)();
    }
    times.sort();
    (Ok(()), times)
}

fn facts(key: &ExternalKey, newest: &KeyVersion, ready: Ready<'_>) -> KeyFacts {
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::CheckValue];
    let mut facts = KeyFacts {
        id: key.id.as_str().to_owned(),
        spec: newest.spec.as_str().to_owned(),
        enabled: newest.enabled,
        usages: newest.usages,
        versioned: newest.marker.is_some(),
        sensitive: None,
        extractable: None,
        check_value: None,
    };
    let handle = inventory::find_object(ready.session, ready.objects, &newest.object.name).ok().flatten();
    for attribute in
        handle.and_then(|handle| ready.session.get_attributes(handle, &wanted).ok()).unwrap_or_default()
    {
        if let Attribute::Sensitive(value) = attribute {
            facts.sensitive = Some(value);
        } else if let Attribute::Extractable(value) = attribute {
            facts.extractable = Some(value);
        } else if let Attribute::CheckValue(value) = attribute {
            facts.check_value = Some(value).filter(|value| !value.is_empty());
        }
    }
    facts
}

/// Pairs with one check value, which is three bytes, that a trial proves to be one key.
fn same_keys(
    keys: &[(KeyFacts, Arc<ExternalKey>)],
    are_one: impl Fn(&ExternalKey, &ExternalKey) -> bool,
) -> Vec<(String, String)> {
    let mut by_value: Vec<_> = keys
        .iter()
        .take(COMPARED_MAX)
        .filter_map(|(facts, key)| Some((facts.check_value.as_ref()?, key)))
        .collect();
    by_value.sort_by_key(|(value, _)| *value);
    let pairs = by_value.windows(2).filter_map(|pair| match pair {
        [(one, first), (other, second)] if one == other => Some((first, second)),
        _ => None,
    });
    pairs
        .filter(|(first, second)| are_one(first, second))
        .map(|(first, second)| (first.id.as_str().to_owned(), second.id.as_str().to_owned()))
        .collect()
}

fn decrypts(
    token: &Token,
    library: &Library,
    ready: Ready<'_>,
    (one, other): (&ExternalKey, &ExternalKey),
) -> bool {
    const KNOWN: &[u8] = b"holdfast doctor";
    let gcm = |key: &ExternalKey| {
        let newest = key.newest()?;
        Gcm::new(&library.functions, ready, &newest.object, token.config.iv_mode).ok()
    };
    let trial = || {
        let encrypted = gcm(one)?.encrypt(KNOWN, KNOWN).ok()?;
        let sealed = [encrypted.ciphertext.as_slice(), &encrypted.tag].concat();
        gcm(other)?.decrypt(&encrypted.iv, &sealed, KNOWN).ok()
    };
    trial().is_some_and(|plaintext| plaintext.expose() == KNOWN)
}
