//! `[[hsm]]`, and what a member of a cluster has in common with it, checked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Hsm;
use crate::config::Isolation;
use crate::config::IvMode;
use crate::config::review::Review;
use crate::config::schema;

/// PKCS#11, CK_TOKEN_INFO: how long a label and a serial number can be.
const TOKEN_LABEL_BYTES_MAX: usize = 32;
const TOKEN_SERIAL_BYTES_MAX: usize = 16;

const SESSIONS_MAX: usize = 1024;
const QUEUE_LENGTH_MAX: usize = 65536;
const CACHED_KEYS_MAX: usize = 1_000_000;
const MEBIBYTE: u64 = 1 << 20;
/// A worker process without any key takes about as much as the least.
const MEMORY_MB: std::ops::RangeInclusive<u64> = 16..=1 << 20;
const MEMORY_MB_DEFAULT: u64 = 2048;

impl From<schema::IvMode> for IvMode {
    fn from(raw: schema::IvMode) -> Self {
        match raw {
            schema::IvMode::Appended => Self::Appended,
            schema::IvMode::Host => Self::Host,
            schema::IvMode::Hsm => Self::Hsm,
        }
    }
}

/// What the HSMs so far have taken.
#[derive(Default)]
pub(super) struct Declared {
    names: BTreeSet<String>,
    environment: BTreeMap<String, String>,
    /// By library.
    initialize_parameters: BTreeMap<PathBuf, Option<String>>,
}

/// What to say of an entry of `hsms` that names none of them.
pub(super) fn unknown(place: usize, name: &str, hsms: &[Hsm]) -> String {
    let names: Vec<_> = hsms.iter().map(|hsm| hsm.name.as_str()).collect();
    let (entry, name) = (place + 1, name.escape_debug());
    format!("`hsms` entry {entry}: no hsm is named `{name}`; there are: {}", names.join(", "))
}

pub(super) fn hsms(
    review: &mut Review<'_>,
    raw: Vec<schema::Hsm>,
    state_dir: &Path,
    declared: &mut Declared,
) -> Vec<Hsm> {
    review.require(!raw.is_empty(), "hsm", "there must be at least one");
    let mut checked: Vec<Hsm> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let table = review.named_table("hsm", index, &raw.name);
        let pin_file = review.path(&table, "pin_file", &raw.pin_file);
        let module = raw.module.clone();
        let refused_pin_file = Some(state_dir.join(format!("refused-pin-{}", raw.name)));
        let token = token(review, &table, &module, raw.into_member(), declared);
        let hsm = Hsm { pin_file: Some(pin_file), refused_pin_file, ..token };
        if let Some(twin) = checked.iter().find(|other| same_token(other, &hsm)) {
            review.refuse(&table, format_args!("this is the token of hsm `{}`", twin.name));
        }
        checked.push(hsm);
    }
    checked
}

/// A token without the file of its PIN; `module` counts if the token names none itself.
pub(super) fn token(
    review: &mut Review<'_>,
    table: &str,
    module: &Path,
    raw: schema::Member,
    declared: &mut Declared,
) -> Hsm {
    review.unique(table, "name", &mut declared.names, raw.name.clone());
    check_environment(review, table, &mut declared.environment, &raw);
    let mut within = |member, text: &str, max| {
        let reason = format_args!("`{member}` must be 1 to {max} bytes long");
        review.require((1..=max).contains(&text.len()), table, reason);
    };
    within("token_label", &raw.token_label, TOKEN_LABEL_BYTES_MAX);
    within("token_serial", raw.token_serial.as_deref().unwrap_or("-"), TOKEN_SERIAL_BYTES_MAX);
    within("health_key", &raw.health_key, 128);
    let module = review.path(table, "module", raw.module.as_deref().unwrap_or(module));
    let parameters =
        initialize_parameters(review, table, declared, (&module, raw.initialize_parameters.clone()));
    let memory_mb = raw.worker_memory_max_mb.unwrap_or(MEMORY_MB_DEFAULT);
    Hsm {
        name: raw.name,
        module,
        token_label: raw.token_label,
        token_serial: raw.token_serial,
        pin_file: None,
        refused_pin_file: None,
        initialize_parameters: parameters,
        sessions: review.within(table, "sessions", raw.sessions, 1..=SESSIONS_MAX),
        queue_length_max: review.within(
            table,
            "queue_length_max",
            raw.queue_length_max,
            1..=QUEUE_LENGTH_MAX,
        ),
        cached_keys_max: review.within(table, "cached_keys_max", raw.cached_keys_max, 1..=CACHED_KEYS_MAX),
        session_copies: raw.session_copies,
        iv_mode: raw.iv_mode.into(),
        check_encryptions: raw.check_encryptions,
        health_key: raw.health_key,
        environment: raw.environment,
        isolation: raw.isolation,
        worker_memory_max_bytes: review
            .within(table, "worker_memory_max_mb", memory_mb, MEMORY_MB)
            .saturating_mul(MEBIBYTE),
    }
}

/// A library is initialized once for all its tokens: who says nothing has what another of its tokens said before.
fn initialize_parameters(
    review: &mut Review<'_>,
    table: &str,
    declared: &mut Declared,
    (module, parameters): (&Path, Option<String>),
) -> Option<String> {
    let is_text = parameters.as_ref().is_none_or(|text| !text.is_empty() && !text.contains('\0'));
    review.require(is_text, table, "`initialize_parameters` is empty or has a NUL in it");
    let first = declared.initialize_parameters.entry(real_path(module)).or_insert_with(|| parameters.clone());
    let reason = "`initialize_parameters` has another value in an earlier hsm of the same module";
    review.require(parameters.is_none() || *first == parameters, table, reason);
    first.clone()
}

/// A process has one environment, so two HSMs in it cannot have different values for one variable.
fn check_environment(
    review: &mut Review<'_>,
    table: &str,
    seen: &mut BTreeMap<String, String>,
    raw: &schema::Member,
) {
    let table = format!("{table} environment");
    for (name, value) in &raw.environment {
        let is_legal = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        if !is_legal {
            review.refuse(&table, "a name is empty or has `=` in it, or a name or value has a NUL in it");
            continue;
        }
        if raw.isolation == Isolation::Process {
            continue;
        }
        let first = seen.entry(name.clone()).or_insert_with(|| value.clone());
        let reason = format_args!("`{}` has another value in another hsm", name.escape_debug());
        review.require(first == value, &table, reason);
    }
}

impl Hsm {
    /// Its keys are files of this machine.
    pub fn is_softhsm(&self) -> bool {
        is_softhsm(&self.module)
    }
}

pub(super) fn is_softhsm(module: &Path) -> bool {
    module.file_name().is_some_and(|name| name.to_string_lossy().contains("softhsm"))
}

pub(super) fn same_token(one: &Hsm, other: &Hsm) -> bool {
    let same_serial = match (&one.token_serial, &other.token_serial) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    };
    same_serial && one.token_label == other.token_label && real_path(&one.module) == real_path(&other.module)
}

/// Distributions install one library under several names.
fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
