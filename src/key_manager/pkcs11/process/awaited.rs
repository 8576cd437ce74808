//! Who waits for what a worker process was told to do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::domain::ExternalKeyId;
use crate::key_manager::cluster::ClusterKey;
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::job_queue::NotTaken;
use crate::key_manager::pkcs11::orders::{Order, Reply};
use crate::key_manager::pkcs11::process::codec::Malformed;
use crate::key_manager::pkcs11::process::message::{Answer, Moments, OrderMessage};
use crate::key_manager::pkcs11::watcher::Vitals;
use crate::secret::SecretBytes;

/// As many of each kind may wait for the watcher as in a daemon that has the library itself.
const COMMANDS_MAX: usize = 4;
const ORDERS_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Awaited(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    all: HashMap<u64, Entry>,
}

struct Entry {
    since: Instant,
    kind: Kind,
    is_cancelled: bool,
    waiting: Awaiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Order,
    Search,
}

pub(super) enum Awaiting {
    ChangePin { new: SecretBytes, reply: Reply<()> },
    Destroyed(Reply<Option<ClusterKey>>),
    Done(Reply<()>),
    LoggedOut(Reply<()>),
    Listed(Reply<Vec<ClusterKey>>),
    LogIn { pin: SecretBytes, pin_changes: u64, reply: Reply<()> },
    Made(Reply<ClusterKey>),
    Probed(oneshot::Sender<Result<Vitals, Fault>>),
    Read(Reply<bool>),
    Refreshed(watch::Sender<Option<Result<(), Fault>>>),
}

/// What the daemon has to do about an answer.
pub(super) enum Effect {
    None,
    /// The token is logged in with this PIN: to be known before whoever asked for it is told.
    LoggedIn {
        pin: SecretBytes,
        pin_changes: u64,
        reply: Reply<()>,
    },
    PinChanged(SecretBytes),
    /// It was made for nobody.
    UnwantedKey(String),
}

impl Awaited {
    pub(super) fn add(&self, waiting: Awaiting, now: Instant) -> Result<u64, NotTaken> {
        let kind = waiting.kind();
        let mut state = self.0.lock();
        let max = if kind == Kind::Command { COMMANDS_MAX } else { ORDERS_MAX };
        if state.all.values().filter(|entry| entry.kind == kind).count() >= max {
            return Err(NotTaken::Full);
        }
        state.next += 1;
        let id = state.next;
        state.all.insert(id, Entry { since: now, kind, is_cancelled: false, waiting });
        Ok(id)
    }

    /// It was left out: whoever waits is told by the end of the channel.
    pub(super) fn skip(&self, id: u64) {
        let skipped = self.0.lock().all.remove(&id);
        drop(skipped);
    }

    pub(super) fn settle(&self, id: u64, answer: Answer) -> Result<Effect, Malformed> {
        let entry = self.0.lock().all.remove(&id).ok_or(Malformed)?;
        match (entry.waiting, answer) {
            (Awaiting::ChangePin { new, reply }, Answer::Done(result)) => {
                let effect = if result.is_ok() { Effect::PinChanged(new) } else { Effect::None };
                let _ = reply.send(result);
                Ok(effect)
            }
            (Awaiting::LogIn { pin, pin_changes, reply }, Answer::Done(Ok(()))) => {
                Ok(Effect::LoggedIn { pin, pin_changes, reply })
            }
            (Awaiting::LogIn { reply, .. }, Answer::Done(result)) => Ok(told(reply.send(result))),
            (Awaiting::Made(reply), Answer::Made(result)) => Ok(match reply.send(result) {
                Err(Ok(unwanted)) => Effect::UnwantedKey(unwanted.label),
                Ok(()) | Err(Err(_)) => Effect::None,
            }),
            (Awaiting::Destroyed(reply), Answer::Destroyed(result)) => Ok(told(reply.send(result))),
            (Awaiting::Done(reply) | Awaiting::LoggedOut(reply), Answer::Done(result)) => {
                Ok(told(reply.send(result)))
            }
            (Awaiting::Listed(reply), Answer::Listed(result)) => Ok(told(reply.send(result))),
            (Awaiting::Probed(reply), Answer::Probed(result)) => Ok(told(reply.send(result))),
            (Awaiting::Read(reply), Answer::Read(result)) => Ok(told(reply.send(result))),
            (Awaiting::Refreshed(reply), Answer::Done(result)) => {
                reply.send_replace(Some(result));
                Ok(Effect::None)
            }
            _ => Err(Malformed),
        }
    }

    /// Orders whose answer nobody waits for any more, each once. Probes are waited for nevertheless: that one does not
    /// return says what the watcher does.
    pub(super) fn abandoned(&self) -> Vec<u64> {
        let mut state = self.0.lock();
        let abandoned = state.all.iter_mut().filter(|(_, entry)| {
            entry.kind != Kind::Command
                && !entry.is_cancelled
                && !entry.waiting.is_done_anyway()
                && entry.waiting.is_closed()
        });
        abandoned
            .map(|(id, entry)| {
                entry.is_cancelled = true;
                *id
            })
            .collect()
    }

    /// For how long the oldest has waited.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let state = self.0.lock();
        let ages = state.all.values().map(|entry| now.saturating_duration_since(entry.since));
        ages.max().unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().all.is_empty()
    }

    /// Nobody will answer.
    pub(super) fn fail_all(&self, fault: &Fault) {
        let all = std::mem::take(&mut self.0.lock().all);
        all.into_values().for_each(|entry| entry.waiting.fail(fault));
    }
}

/// Whoever is told, or is not there any more.
fn told<E>(_: Result<(), E>) -> Effect {
    Effect::None
}

impl Awaiting {
    fn kind(&self) -> Kind {
        match self {
            Self::Probed(_) | Self::Refreshed(_) => Kind::Command,
            Self::Read(_) => Kind::Search,
            Self::ChangePin { .. }
            | Self::Destroyed(_)
            | Self::Done(_)
            | Self::Listed(_)
            | Self::LogIn { .. }
            | Self::LoggedOut(_)
            | Self::Made(_) => Kind::Order,
        }
    }

    /// Whoever gave up wants it to be done all the same.
    fn is_done_anyway(&self) -> bool {
        match self {
            Self::Destroyed(_) | Self::LoggedOut(_) | Self::Read(_) => true,
            Self::ChangePin { .. }
            | Self::Done(_)
            | Self::Listed(_)
            | Self::LogIn { .. }
            | Self::Made(_)
            | Self::Probed(_)
            | Self::Refreshed(_) => false,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::ChangePin { reply, .. }
            | Self::Done(reply)
            | Self::LogIn { reply, .. }
            | Self::LoggedOut(reply) => reply.is_closed(),
            Self::Destroyed(reply) => reply.is_closed(),
            Self::Listed(reply) => reply.is_closed(),
            Self::Made(reply) => reply.is_closed(),
            Self::Probed(reply) => reply.is_closed(),
            Self::Read(reply) => reply.is_closed(),
            Self::Refreshed(_) => false,
        }
    }

    pub(super) fn fail(self, fault: &Fault) {
        let fault = fault.clone();
        match self {
            Self::ChangePin { reply, .. }
            | Self::Done(reply)
            | Self::LogIn { reply, .. }
            | Self::LoggedOut(reply) => {
                drop(reply.send(Err(fault)));
            }
            Self::Destroyed(reply) => drop(reply.send(Err(fault))),
            Self::Listed(reply) => drop(reply.send(Err(fault))),
            Self::Made(reply) => drop(reply.send(Err(fault))),
            Self::Probed(reply) => drop(reply.send(Err(fault))),
            Self::Read(reply) => drop(reply.send(Err(fault))),
            Self::Refreshed(reply) => drop(reply.send_replace(Some(Err(fault)))),
        }
    }

    /// What is said to the worker process, and who waits for its answer.
    pub(super) fn of(order: Order, pin_changes: u64, moments: &Moments) -> (OrderMessage, Self) {
        match order {
            Order::ChangePin { old, new, reply } => {
                (OrderMessage::ChangePin { old, new: new.clone() }, Self::ChangePin { new, reply })
            }
            Order::DestroyKey { label, reply } => (OrderMessage::DestroyKey(label), Self::Destroyed(reply)),
            Order::ListKeys(reply) => (OrderMessage::ListKeys, Self::Listed(reply)),
            Order::LogIn { pin, reply } => {
                (OrderMessage::LogIn(pin.clone()), Self::LogIn { pin, pin_changes, reply })
            }
            Order::LogOut(reply) => (OrderMessage::LogOut, Self::LoggedOut(reply)),
            Order::Look(reply) => (OrderMessage::Look, Self::Done(reply)),
            Order::MakeKey { label, deadline, reply } => {
                let deadline = moments.moment(deadline);
                (OrderMessage::MakeKey { label, deadline }, Self::Made(reply))
            }
            Order::ReadKey { label, reply } => (OrderMessage::ReadKey(label), Self::Read(reply)),
        }
    }
}

/// An order that nobody waits for.
pub(super) fn destroy(label: &str) -> Option<Order> {
    let (reply, _) = oneshot::channel();
    ExternalKeyId::parse(label).ok().map(|label| Order::DestroyKey { label, reply })
}
