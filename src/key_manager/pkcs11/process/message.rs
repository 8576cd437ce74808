//! What the daemon and a worker process tell each other besides jobs: plain data.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cryptoki::error::{Rv, RvError};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;
use crate::config::{self, Isolation, IvMode};
use crate::domain::kms::KeySpec;
use crate::domain::{ExternalKeyId, KeyUsages};
use crate::key_manager::backing_key::{RootKeyId, RootKeys};
use crate::key_manager::cluster::ClusterKey;
use crate::key_manager::external_key;
use crate::key_manager::pkcs11::capabilities::CapabilityFacts;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::inventory::FoundKey;
use crate::key_manager::pkcs11::process::codec::{
    Malformed, Reader, Wire, Writer, wire_enum, wire_lists, wire_struct,
};
use crate::key_manager::pkcs11::token::Product;
use crate::key_manager::pkcs11::watcher::Vitals;
use crate::secret::SecretBytes;

/// The first that a worker process is told.
pub(super) struct Start {
    pub(super) config: config::Hsm,
    pub(super) log_filter: String,
    /// Whoever has another parent is not wanted any more.
    pub(super) daemon_pid: u32,
    /// Of the member of a cluster whose key store is connected.
    pub(super) pin: Option<SecretBytes>,
    /// That PIN was refused in an earlier worker process. Of a file's PIN it is written down.
    pub(super) is_pin_rejected: bool,
    pub(super) root_keys: Option<RootKeys>,
}

pub(super) enum ToWorker {
    /// Nobody waits for it any more.
    Cancel(u64),
    Disconnect,
    End,
    OfferPin {
        pin: SecretBytes,
        reinitialize: bool,
    },
    Order {
        id: u64,
        order: OrderMessage,
    },
    PinFileChanged,
    Probe {
        id: u64,
        have_keys_changed: bool,
    },
    Refresh {
        id: u64,
        have_keys_changed: bool,
    },
    ReplacePin {
        pin: SecretBytes,
        soon: bool,
    },
    WantRootKeys(RootKeys),
}

pub(super) enum OrderMessage {
    ChangePin { old: SecretBytes, new: SecretBytes },
    DestroyKey(ExternalKeyId),
    ListKeys,
    LogIn(SecretBytes),
    LogOut,
    Look,
    MakeKey { label: ExternalKeyId, deadline: Moment },
    ReadKey(ExternalKeyId),
}

pub(super) enum FromWorker {
    /// Somebody there saw a fault.
    Alarm,
    Answer {
        id: u64,
        answer: Answer,
    },
    /// It cannot work, and ends.
    Failed(String),
    Keys(KeysMessage),
    /// A line of its log, without the end of the line.
    Log(Vec<u8>),
    /// The token was asked once; whether it is well.
    Ready(bool),
    /// What was asked was left out.
    Skipped(u64),
    /// The library is loaded.
    Started,
    Status(Status),
}

pub(super) enum Answer {
    Destroyed(Result<Option<ClusterKey>, Fault>),
    Done(Result<(), Fault>),
    Listed(Result<Vec<ClusterKey>, Fault>),
    Made(Result<ClusterKey, Fault>),
    Probed(Result<Vitals, Fault>),
    Read(Result<bool, Fault>),
}

/// Keys that are others than before; some of them, if more follow.
pub(super) struct KeysMessage {
    pub(super) is_whole: bool,
    pub(super) is_last: bool,
    pub(super) keys: Vec<FoundLabel>,
}

pub(super) struct FoundLabel {
    pub(super) id: ExternalKeyId,
    pub(super) found: Vec<FoundKey>,
}

/// How it is, as a whole. Counts are since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) is_pin_rejected: bool,
    pub(super) open_root_key: Option<RootKeyId>,
    pub(super) capabilities: Option<CapabilityFacts>,
    pub(super) sessions: i64,
    pub(super) keys: i64,
    pub(super) cached_keys: i64,
    pub(super) shows_pin_rejected: bool,
    /// The place of what the token says of the PIN among all that it can say.
    pub(super) pin_state: Option<usize>,
    pub(super) reinitializations: u64,
    pub(super) unwraps: u64,
    pub(super) faults: Vec<(String, u64)>,
}

/// A point in time that means the same in every process of this machine: nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// Knows what the monotonic clock said at some instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    instant: Instant,
    nanoseconds: u64,
}

impl Moments {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let instant = clock.instant();
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let rest = u64::try_from(now.tv_nsec).unwrap_or_default();
        Self { instant, nanoseconds: seconds.saturating_mul(1_000_000_000).saturating_add(rest) }
    }

    pub(super) fn moment(&self, instant: Instant) -> Moment {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let after = nanoseconds(instant.saturating_duration_since(self.instant));
        let before = nanoseconds(self.instant.saturating_duration_since(instant));
        Moment(self.nanoseconds.saturating_add(after).saturating_sub(before))
    }

    /// Too far away to be an instant is as good as now.
    pub(super) fn instant(&self, moment: Moment) -> Instant {
        let after = Duration::from_nanos(moment.0.saturating_sub(self.nanoseconds));
        let before = Duration::from_nanos(self.nanoseconds.saturating_sub(moment.0));
        let later = self.instant.checked_add(after);
        later.and_then(|instant| instant.checked_sub(before)).unwrap_or(self.instant)
    }
}

impl Wire for Moment {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Wire::take(from).map(Self)
    }
}

impl Wire for ExternalKeyId {
    fn put(&self, to: &mut Writer) {
        to.counted(self.as_str().as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = str::from_utf8(from.counted()?).map_err(|_| Malformed)?;
        Self::parse(text).map_err(|_| Malformed)
    }
}

/// As PKCS#11 numbers it. What cryptoki knows by name only is looked for among all that have names.
impl Wire for RvError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "cryptoki has a name for each of a hundred codes")]
    fn put(&self, to: &mut Writer) {
        const NAMED_END: u64 = 0x1000;
        let number = match self {
            Self::UnknownErrorCode(number) | Self::VendorDefined(number) => Some(*number),
            _ => (0..NAMED_END).find(|number| matches!(Rv::from(*number), Rv::Error(code) if code == *self)),
        };
        number.unwrap_or(u64::MAX).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match Rv::from(u64::take(from)?) {
            Rv::Error(code) => Ok(code),
            Rv::Ok => Err(Malformed),
        }
    }
}

wire_enum!(external_key::KeySpec { 0 => Aes256, 1 => Other(name) });
wire_enum!(Isolation { 0 => Process, 1 => Thread });
wire_enum!(IvMode { 0 => Host, 1 => Hsm, 2 => Appended });
wire_enum!(Blame {
    0 => Data,
    1 => Length,
    2 => Usage,
    3 => Handle,
    4 => Missing,
    5 => Session,
    6 => Login,
    7 => Pin,
    8 => Token,
    9 => Material,
    10 => Disconnected,
    11 => Busy,
    12 => ForeignKey,
    13 => Unsupported,
    14 => DataOrToken,
    15 => Library,
});

wire_struct!(config::Hsm {
    name,
    module,
    token_label,
    token_serial,
    pin_file,
    refused_pin_file,
    initialize_parameters,
    sessions,
    queue_length_max,
    cached_keys_max,
    session_copies,
    iv_mode,
    check_encryptions,
    health_key,
    environment,
    isolation,
    worker_memory_max_bytes,
});
wire_struct!(Start { config, log_filter, daemon_pid, pin, is_pin_rejected, root_keys });
wire_struct!(Fault { blame, what, code, return_code });
wire_struct!(Vitals { product, duration });
wire_struct!(Product { vendor, model });
wire_struct!(ClusterKey { label, backing_key_id, key_handle });
wire_struct!(KeyUsages { encrypt, decrypt });
wire_struct!(FoundKey { name, spec, usages });
wire_struct!(FoundLabel { id, found });
wire_struct!(KeysMessage { is_whole, is_last, keys });
wire_struct!(CapabilityFacts { mechanisms, refused });
wire_struct!(Status {
    is_pin_rejected,
    open_root_key,
    capabilities,
    sessions,
    keys,
    cached_keys,
    shows_pin_rejected,
    pin_state,
    reinitializations,
    unwraps,
    faults,
});

wire_lists!(ClusterKey, FoundKey, FoundLabel, u64, (KeySpec, String), (String, u64));

wire_enum!(OrderMessage {
    0 => ChangePin { old, new },
    1 => DestroyKey(label),
    2 => ListKeys,
    3 => LogIn(pin),
    4 => LogOut,
    5 => Look,
    6 => MakeKey { label, deadline },
    7 => ReadKey(label),
});

wire_enum!(ToWorker {
    0 => Cancel(id),
    1 => Disconnect,
    2 => End,
    3 => OfferPin { pin, reinitialize },
    4 => Order { id, order },
    5 => PinFileChanged,
    6 => Probe { id, have_keys_changed },
    7 => Refresh { id, have_keys_changed },
    8 => ReplacePin { pin, soon },
    9 => WantRootKeys(keys),
});

wire_enum!(Answer {
    0 => Destroyed(result),
    1 => Done(result),
    2 => Listed(result),
    3 => Made(result),
    4 => Probed(result),
    5 => Read(result),
});

wire_enum!(FromWorker {
    0 => Alarm,
    1 => Answer { id, answer },
    2 => Failed(reason),
    3 => Keys(keys),
    4 => Log(line),
    5 => Ready(is_well),
    6 => Skipped(id),
    7 => Started,
    8 => Status(status),
});

impl KeysMessage {
    pub(super) fn into_map(self) -> HashMap<ExternalKeyId, Vec<FoundKey>> {
        self.keys.into_iter().map(|label| (label.id, label.found)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cryptoki::error::RvError;

    use super::{Moments, Status};
    use crate::clock::{Clock, SystemClock};
    use crate::key_manager::pkcs11::process::codec::{Reader, Wire, Writer};

    fn crossed<T: Wire>(value: &T) -> T {
        Reader::message(Writer::of(value).as_bytes()).unwrap()
    }

    #[test]
    fn return_codes_keep_their_meaning() {
        for code in [
            RvError::PinIncorrect,
            RvError::PinLocked,
            RvError::UserAlreadyLoggedIn,
            RvError::CurveNotSupported,
            RvError::VendorDefined(0x8000_0001),
            RvError::UnknownErrorCode(0x42),
        ] {
            assert_eq!(crossed(&code), code);
        }
    }

    #[test]
    fn a_status_crosses_whole() {
        let faults = vec![("DeviceError".to_owned(), 3)];
        let status = Status { is_pin_rejected: true, sessions: 4, faults, ..Status::default() };
        assert_eq!(crossed(&status), status);
    }

    #[test]
    fn a_moment_is_the_same_instant_for_everybody() {
        let now = SystemClock.instant();
        let (here, there) = (Moments::new(&SystemClock), Moments::new(&SystemClock));
        for instant in [now + Duration::from_secs(5), now, now - Duration::from_millis(5)] {
            let seen = there.instant(crossed(&here.moment(instant)));
            let apart = seen.max(instant) - seen.min(instant);
            assert!(apart < Duration::from_millis(1), "{apart:?}");
        }
    }
}
