//! What a connection is doing, and the watchdog that ends what it has been doing for too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::config::Limits;
use crate::http::connection::Connection;

/// How long a connection that we close is kept, so that what we said last arrives before a reset does.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// What an HTTP/1.1 connection is doing. An HTTP/2 connection, where requests overlap, is in `Serving` from its
/// first request on, and each request enters it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Part of a request head has arrived.
    Head,
    /// Kept open, between two requests.
    Idle,
    /// Closed on our side; what the client still sends is thrown away.
    Lingering,
    /// Nothing has arrived yet.
    New,
    /// The answer is made and not yet taken by the client.
    Responding,
    /// A request has arrived and has no answer yet.
    Serving,
}

/// In the order of their numbers.
const STAGES: [Stage; 6] =
    [Stage::Head, Stage::Idle, Stage::Lingering, Stage::New, Stage::Responding, Stage::Serving];

impl Stage {
    /// Of a client that has not had a request served yet, connections are not kept for long: strangers could
    /// take all there are.
    fn time_max(self, is_served: bool, limits: &Limits) -> Duration {
        match self {
            // A connection has to be used before it may be kept.
            Self::Head | Self::New => limits.header_read_timeout,
            Self::Lingering => LINGER_TIMEOUT,
            Self::Responding => limits.body_read_timeout,
            // A responder keeps its own deadline and reads the body under `body_read_timeout`.
            Self::Idle | Self::Serving if is_served => limits.idle_timeout,
            Self::Idle => limits.header_read_timeout,
            Self::Serving => limits.header_read_timeout + limits.body_read_timeout,
        }
    }
}

/// The stage of one connection. Written by the connection's own task; costs a few plain stores a request.
pub(super) struct Activity {
    stage: AtomicU8,
    has_moved: AtomicBool,
    must_close: AtomicBool,
    /// A request was answered with success.
    is_served: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::New as u8),
            has_moved: AtomicBool::new(true),
            must_close: AtomicBool::new(false),
            is_served: AtomicBool::new(false),
        }
    }

    /// Notes how a request was answered.
    pub(super) fn answered(&self, status: StatusCode) {
        if status.is_success() && !self.is_served.swap(true, Ordering::Relaxed) {
            self.has_moved.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.has_moved.store(true, Ordering::Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        let index = usize::from(self.stage.load(Ordering::Relaxed));
        STAGES.get(index).copied().unwrap_or(Stage::Head)
    }

    /// Bytes came from the client.
    pub(super) fn received(&self) {
        if matches!(self.stage(), Stage::Idle | Stage::New) {
            self.enter(Stage::Head);
        }
    }

    /// Everything written has reached the operating system.
    pub(super) fn flushed(&self) {
        if self.stage() == Stage::Responding {
            self.enter(Stage::Idle);
        }
    }

    /// The connection cannot be used for another request: part of this one will never be read.
    pub(super) fn require_close(&self) {
        self.must_close.store(true, Ordering::Relaxed);
    }

    pub(super) fn must_close(&self) -> bool {
        self.must_close.load(Ordering::Relaxed)
    }

    /// Whether the client may still be sending what nobody will read.
    pub(super) fn is_cut_short(&self) -> bool {
        self.must_close() || self.stage() == Stage::Head
    }

    fn take_moved(&self) -> bool {
        self.has_moved.load(Ordering::Relaxed) && self.has_moved.swap(false, Ordering::Relaxed)
    }
}

/// One timer a connection. It is moved only when a deadline comes nearer, so that a request which arrives whole
/// and is answered at once never touches it; when it runs out early it is set to the deadline that holds then.
pub(super) struct Watchdog {
    connection: Arc<Connection>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Watchdog {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let deadline = Instant::now() + connection.limits().header_read_timeout;
        Self { connection, deadline, timer: Box::pin(tokio::time::sleep_until(deadline)) }
    }

    /// Ready with the stage that has lasted too long. To be polled after the connection, in the same task.
    pub(super) fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<Stage> {
        let activity = self.connection.activity();
        let stage = activity.stage();
        if activity.take_moved() {
            self.deadline = Instant::now()
                + stage.time_max(activity.is_served.load(Ordering::Relaxed), self.connection.limits());
            if self.deadline < self.timer.deadline() {
                self.timer.as_mut().reset(self.deadline);
            }
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            if self.deadline <= self.timer.deadline() {
                return Poll::Ready(stage);
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}
