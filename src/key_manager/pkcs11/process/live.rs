//! One worker process, as the daemon sees it: its two sockets, and what it has been given to do.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::inventory::KeyChanges;
use crate::key_manager::pkcs11::job_queue::NotTaken;
use crate::key_manager::pkcs11::module::HANG_LIMIT;
use crate::key_manager::pkcs11::orders::{Order, Reply};
use crate::key_manager::pkcs11::process::LogLine;
use crate::key_manager::pkcs11::process::awaited::{Awaited, Awaiting, Effect, destroy};
use crate::key_manager::pkcs11::process::codec::{Malformed, Writer};
use crate::key_manager::pkcs11::process::control;
use crate::key_manager::pkcs11::process::in_flight::{InFlight, Reserved, Waiting, fail};
use crate::key_manager::pkcs11::process::job_socket::{AnswerMessage, Inbox, Sent, job_message, send_now};
use crate::key_manager::pkcs11::process::message::{FromWorker, Moments, Start, Status, ToWorker};
use crate::key_manager::pkcs11::process::mirror::Mirror;
use crate::key_manager::pkcs11::worker::{Completed, Job, Output, Task, observe};
use crate::secret::SecretBytes;

/// Messages that wait to be read by it. Who does not read them does not work either.
const MESSAGES_MAX: usize = 128;
/// Answers that are taken before others have a turn.
const ANSWERS_AT_ONCE: usize = 32;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// When every session has been in one call for so long, only another process can help.
const STUCK_LIMIT: Duration = HANG_LIMIT.saturating_mul(4);
/// A daemon that had no time to read its answers is no reason to end anybody.
const STUCK_LOOKS: u32 = 3;
/// Reading ten thousand keys of a slow HSM takes its time.
const WATCHER_LIMIT: Duration = Duration::from_secs(40);
/// It says every second how it is.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Why a worker process is not to be used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its sockets are closed, or closed to us.
    Closed,
    /// It does not work, and it says why.
    Failed(String),
    Hangs(&'static str),
    Protocol(&'static str),
}

/// How far a worker process has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Started,
    Ready,
    Ended(Ended),
}

pub(super) struct Live {
    pub(super) pid: u32,
    mirror: Arc<Mirror>,
    jobs: AsyncFd<OwnedFd>,
    moments: Moments,
    in_flight: InFlight,
    awaited: Awaited,
    outgoing: mpsc::Sender<Writer>,
    /// The queue to it is full.
    is_deaf: Notify,
    /// Others have its work: it may end.
    is_retired: AtomicBool,
    /// What its token said when it was asked first.
    is_well: AtomicBool,
    stage: watch::Sender<Stage>,
    heard: Mutex<Heard>,
    log: LogLine,
}

/// What it has said.
struct Heard {
    last: Instant,
    status: Status,
    keys: KeyChanges,
}

/// What the tasks around a worker process need besides it.
pub(super) struct Ends {
    control: UnixStream,
    messages: mpsc::Receiver<Writer>,
}

impl Live {
    /// In the runtime that will serve it.
    pub(super) fn new(
        mirror: Arc<Mirror>,
        (control, jobs): (UnixStream, OwnedFd),
        pid: u32,
        log: LogLine,
        start: &Start,
    ) -> std::io::Result<(Self, Ends)> {
        let (outgoing, messages) = mpsc::channel(MESSAGES_MAX);
        let _ = outgoing.try_send(Writer::of(start));
        let clock = Arc::clone(&mirror.shared.clock);
        let sessions = mirror.shared.config.sessions;
        #[expect(deprecated, reason = "the other way is unsafe; an owned descriptor stays what it is")]
        let jobs = AsyncFd::with_interest(jobs, Interest::READABLE)?;
        let live = Self {
            pid,
            jobs,
            moments: Moments::new(&*clock),
            in_flight: InFlight::new(sessions, clock.instant()),
            awaited: Awaited::default(),
            outgoing,
            is_deaf: Notify::new(),
            is_retired: AtomicBool::new(false),
            is_well: AtomicBool::new(false),
            stage: watch::Sender::new(Stage::Starting),
            heard: Mutex::new(Heard {
                last: clock.instant(),
                status: Status::default(),
                keys: KeyChanges::default(),
            }),
            mirror,
            log,
        };
        Ok((live, Ends { control, messages }))
    }

    fn now(&self) -> Instant {
        self.mirror.shared.clock.instant()
    }

    pub(super) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.stage.borrow() == Stage::Ready
    }

    /// Whether it came into service with a token that works.
    pub(super) fn came_well(&self) -> bool {
        self.is_ready() && self.is_well.load(Ordering::Acquire)
    }

    pub(super) fn stuck(&self, now: Instant, limit: Duration) -> usize {
        self.in_flight.stuck(now, limit)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.awaited.is_empty()
    }

    /// Whoever has more to do asks another.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Sends as many of the waiting jobs as it takes.
    pub(super) fn send_jobs(&self) {
        if !self.is_ready() || self.is_retired.load(Ordering::Acquire) {
            return;
        }
        while let Some(reserved) = self.in_flight.reserve() {
            let now = self.now();
            let is_sent = match self.mirror.next_job(now) {
                Some(job) => self.send_job(&reserved, job, now),
                None => {
                    self.in_flight.release(&reserved);
                    false
                }
            };
            if !is_sent {
                return;
            }
        }
    }

    /// False if it takes no more for now.
    fn send_job(&self, reserved: &Reserved, job: Job, now: Instant) -> bool {
        if !self.mirror.is_connected() {
            self.in_flight.release(reserved);
            fail(job.reply, HsmError::Unavailable(Fault::disconnected().what));
            return true;
        }
        let deadline = self.moments.moment(job.deadline);
        let message = match job_message(reserved.id, deadline, self.mirror.wanted_roots(), &job.task) {
            Ok(message) => message,
            Err(error) => {
                self.in_flight.release(reserved);
                fail(job.reply, error);
                return true;
            }
        };
        let allowance = job.allowance(now);
        let Job { task, enqueued, deadline, reply } = job;
        let waiting = Waiting { id: reserved.id, reply, enqueued, operation: task.operation() };
        if let Err(waiting) = self.in_flight.start(reserved, waiting, now, allowance) {
            return self.put_back(Job { task, enqueued, deadline, reply: waiting.reply });
        }
        let sent = send_now(self.jobs.get_ref(), &message);
        match sent {
            Sent::Yes => {
                if let Task::Encrypt { object, .. } = &task {
                    object.count_invocation();
                }
                true
            }
            Sent::TooLong => {
                self.in_flight.take(reserved.id).into_iter().for_each(|job| job.fail(HsmError::TooLong));
                true
            }
            Sent::Full | Sent::Broken => match self.in_flight.take(reserved.id) {
                Some(Waiting { reply, .. }) => self.put_back(Job { task, enqueued, deadline, reply }),
                None => false,
            },
        }
    }

    /// For the next answer that comes, or the next process.
    fn put_back(&self, job: Job) -> bool {
        let displaced = self.mirror.stalled.lock().replace(job);
        if let Some(displaced) = displaced {
            fail(displaced.reply, HsmError::Busy);
        }
        false
    }

    /// Has it do something; whoever waits is told if it cannot be told.
    pub(super) fn ask(
        &self,
        waiting: Awaiting,
        message: impl FnOnce(u64) -> ToWorker,
    ) -> Result<(), NotTaken> {
        let id = self.awaited.add(waiting, self.now())?;
        self.tell(&message(id));
        if matches!(*self.stage.borrow(), Stage::Ended(_)) {
            self.awaited.fail_all(&gone());
        }
        Ok(())
    }

    pub(super) fn order(&self, order: Order) -> Result<(), NotTaken> {
        let (message, waiting) = Awaiting::of(order, self.mirror.pin_changes(), &self.moments);
        self.ask(waiting, |id| ToWorker::Order { id, order: message })
    }

    pub(super) fn tell(&self, message: &ToWorker) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outgoing.try_send(Writer::of(message)) {
            self.is_deaf.notify_one();
        }
    }

    /// Serves it until it is not to be used any more. Nobody waits for it then.
    pub(super) async fn serve(self: Arc<Self>, ends: Ends) -> Ended {
        let Ends { control, messages } = ends;
        let (reading, writing) = control.into_split();
        let mut tasks = JoinSet::new();
        tasks.spawn(Self::read_answers(Arc::clone(&self)));
        tasks.spawn(Self::read_messages(Arc::clone(&self), reading));
        tasks.spawn(write_messages(writing, messages));
        tasks.spawn(Self::look(Arc::clone(&self)));
        let ended = match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Ended::Closed,
        };
        tasks.shutdown().await;
        // What it said last may be the reason.
        let ended = match &*self.stage.borrow() {
            Stage::Ended(earlier) => earlier.clone(),
            Stage::Starting | Stage::Started | Stage::Ready => ended,
        };
        self.stage.send_replace(Stage::Ended(ended.clone()));
        self.in_flight.close("the worker process of the HSM has ended");
        self.awaited.fail_all(&gone());
        ended
    }

    async fn read_answers(live: Arc<Self>) -> Ended {
        let mut inbox = Inbox::new();
        loop {
            let Ok(mut ready) = live.jobs.readable().await else { return Ended::Closed };
            for _ in 0..ANSWERS_AT_ONCE {
                let received = ready.try_io(|socket| {
                    inbox.receive(socket.get_ref(), RecvFlags::DONTWAIT, AnswerMessage::read)
                });
                match received {
                    Err(_would_block) => break,
                    Ok(Ok(Some(Ok(answer)))) => {
                        if live.take_answer(answer).is_err() {
                            return Ended::Protocol("it answered a job that it does not have");
                        }
                        live.send_jobs();
                    }
                    Ok(Ok(Some(Err(Malformed)))) => return Ended::Protocol("an answer cannot be read"),
                    Ok(Ok(None) | Err(_)) => return Ended::Closed,
                }
            }
            drop(ready);
            tokio::task::consume_budget().await;
        }
    }

    fn take_answer(&self, answer: AnswerMessage) -> Result<(), Malformed> {
        let Waiting { reply, enqueued, operation, .. } = self.in_flight.take(answer.id).ok_or(Malformed)?;
        let total = self.now().saturating_duration_since(enqueued);
        let hsm_time = answer.hsm_time.min(total);
        let queue_wait = total.saturating_sub(hsm_time);
        observe(&self.mirror.shared.metrics, operation, queue_wait, hsm_time);
        if let Ok(Output::RootKey(id)) = &answer.result {
            self.mirror.root_opened(*id);
        }
        reply.send(Completed { result: answer.result, queue_wait, hsm_time });
        Ok(())
    }

    async fn read_messages(live: Arc<Self>, mut control: OwnedReadHalf) -> Ended {
        loop {
            match control::read(&mut control).await {
                Ok(Some(message)) => {
                    if let Err(ended) = live.hear(message) {
                        return ended;
                    }
                }
                Ok(None) => return Ended::Closed,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Ended::Protocol("a message cannot be read");
                }
                Err(_) => return Ended::Closed,
            }
        }
    }

    fn hear(&self, message: FromWorker) -> Result<(), Ended> {
        self.heard.lock().last = self.now();
        match message {
            FromWorker::Alarm => self.mirror.shared.alarm.raise(),
            FromWorker::Answer { id, answer } => match self.awaited.settle(id, answer) {
                Ok(effect) => self.apply(effect),
                Err(Malformed) => return Err(Ended::Protocol("it answered what it was not asked")),
            },
            FromWorker::Failed(reason) => return Err(Ended::Failed(reason)),
            // Who is replaced does not know any more what is so.
            FromWorker::Keys(_) | FromWorker::Status(_) if self.is_retired.load(Ordering::Acquire) => {}
            FromWorker::Keys(keys) => {
                let taken = self.mirror.take_up_keys(keys, &mut self.heard.lock().keys);
                taken
                    .map_err(|_| Ended::Protocol("it says that the token has more keys than it can have"))?;
            }
            FromWorker::Log(line) => (self.log)(&line),
            FromWorker::Ready(is_well) => {
                self.is_well.store(is_well, Ordering::Release);
                self.come_to(Stage::Ready);
            }
            FromWorker::Skipped(id) => self.awaited.skip(id),
            FromWorker::Started => self.come_to(Stage::Started),
            FromWorker::Status(status) => {
                let mut heard = self.heard.lock();
                self.mirror.take_up(&status, &heard.status);
                heard.status = status;
            }
        }
        Ok(())
    }

    fn come_to(&self, stage: Stage) {
        self.stage.send_if_modified(|present| {
            let is_next = matches!(
                (&*present, &stage),
                (Stage::Starting, Stage::Started) | (Stage::Started, Stage::Ready)
            );
            if is_next {
                *present = stage;
            }
            is_next
        });
    }

    fn apply(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::LoggedIn { pin, pin_changes, reply } => self.logged_in(&pin, pin_changes, reply),
            Effect::PinChanged(pin) => self.mirror.replace_pin(&pin),
            Effect::UnwantedKey(label) => {
                if let Some(order) = destroy(&label) {
                    let _ = self.order(order);
                }
            }
        }
    }

    fn logged_in(&self, pin: &SecretBytes, pin_changes: u64, reply: Reply<()>) {
        if self.mirror.pin_changes() != pin_changes {
            // Whatever was said since holds.
            let _ = reply.send(Ok(()));
            return;
        }
        self.mirror.give_pin(pin);
        if reply.send(Ok(())).is_err() {
            self.mirror.forget_pin();
            self.tell(&ToWorker::Disconnect);
            let (reply, _) = oneshot::channel();
            let _ = self.order(Order::LogOut(reply));
        }
    }

    /// Looks now and then whether it still works.
    async fn look(live: Arc<Self>) -> Ended {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stuck_looks = 0;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = live.is_deaf.notified() => return Ended::Hangs("it does not read what it is told"),
            }
            for id in live.awaited.abandoned() {
                live.tell(&ToWorker::Cancel(id));
            }
            let now = live.now();
            let is_stuck = live.stuck(now, STUCK_LIMIT) >= live.mirror.shared.config.sessions;
            stuck_looks = if is_stuck { stuck_looks + 1 } else { 0 };
            if stuck_looks >= STUCK_LOOKS {
                return Ended::Hangs("all sessions hang in PKCS#11 calls");
            }
            if live.awaited.age(now) > WATCHER_LIMIT {
                return Ended::Hangs("a probe or order has not returned");
            }
            // Who waits for it to start has a limit of its own: a library may look for its HSM for long.
            let is_starting = *live.stage.borrow() == Stage::Starting;
            if !is_starting && now.saturating_duration_since(live.heard.lock().last) > SILENCE_MAX {
                return Ended::Hangs("it gives no sign of life");
            }
            // A message that did not fit may have been the only one in flight.
            live.send_jobs();
        }
    }
}

async fn write_messages(mut control: OwnedWriteHalf, mut messages: mpsc::Receiver<Writer>) -> Ended {
    while let Some(message) = messages.recv().await {
        if control::write(&mut control, &message).await.is_err() {
            break;
        }
    }
    // The other socket may still have answers; their end is the end.
    std::future::pending().await
}

pub(super) fn gone() -> Fault {
    Fault::new(Blame::Token, "the worker process of the HSM has ended")
}
