//! A worker process from its own side: loads the library, does jobs, obeys the daemon, and ends with it.

use std::collections::HashMap;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::key_manager::pkcs11::engine::{Engine, Shared};
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::module::Module;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::process::codec::Writer;
use crate::key_manager::pkcs11::process::control;
use crate::key_manager::pkcs11::process::job_socket::JobSocket;
use crate::key_manager::pkcs11::process::limits;
use crate::key_manager::pkcs11::process::message::{
    Answer, FromWorker, Moments, OrderMessage, Start, ToWorker,
};
use crate::key_manager::pkcs11::process::reporter::Reporter;
use crate::key_manager::pkcs11::threads::Threads;
use crate::key_manager::pkcs11::watcher::Command;
use crate::metrics::Metrics;
use crate::secret::SecretBytes;

const MESSAGES_MAX: usize = 256;
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// The daemon says at once what it wants.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker process that knows what it is for.
pub struct WorkerSide {
    start: Start,
    control: UnixStream,
    jobs: OwnedFd,
    messages: mpsc::Sender<Writer>,
    outgoing: mpsc::Receiver<Writer>,
}

/// Takes log lines to the daemon. What it does not take in time is lost.
pub struct LineWriter {
    messages: mpsc::Sender<Writer>,
    line: Vec<u8>,
}

impl WorkerSide {
    /// Waits for the daemon at the sockets that it made for this process. Whoever runs it by hand has no such sockets.
    pub fn accept(control: OwnedFd, jobs: OwnedFd) -> io::Result<(Self, LineWriter)> {
        let is_ours = |socket: &OwnedFd, kind| {
            sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX)
                && sockopt::socket_type(socket) == Ok(kind)
        };
        if !is_ours(&control, SocketType::STREAM) || !is_ours(&jobs, SocketType::SEQPACKET) {
            return Err(io::Error::other("only the daemon starts this"));
        }
        let mut control = UnixStream::from(control);
        control.set_nonblocking(false)?;
        control.set_read_timeout(Some(START_TIMEOUT))?;
        let start: Start = control::read_blocking(&mut control)?;
        limits::give_up(start.daemon_pid)?;
        control.set_nonblocking(true)?;
        let (messages, outgoing) = mpsc::channel(MESSAGES_MAX);
        let lines = LineWriter { messages: messages.clone(), line: Vec::new() };
        Ok((Self { start, control, jobs, messages, outgoing }, lines))
    }

    pub fn log_filter(&self) -> &str {
        &self.start.log_filter
    }

    /// Works until the daemon ends it, or itself. In the end nothing of the library runs any more, unless it hangs.
    pub fn run(self, metrics: &Metrics, clock: Arc<dyn Clock>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve(metrics, clock))
    }

    async fn serve(self, metrics: &Metrics, clock: Arc<dyn Clock>) -> io::Result<()> {
        let Self { start, control, jobs, messages, outgoing } = self;
        // A terminal or a service manager signals the whole group; the daemon says when its processes end.
        let _ignored = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        // Open until everything was said: the daemon takes the end of one socket for the end of all.
        let _kept_open = jobs.try_clone()?;
        let (reading, writing) = tokio::net::UnixStream::from_std(control)?.into_split();
        let mut tasks = JoinSet::new();
        let writer = tasks.spawn(write(writing, outgoing));
        match Service::begin(start, jobs, messages.clone(), (metrics, clock)) {
            Ok(service) => {
                let service = Arc::new(service);
                service.reporter.send(&FromWorker::Started).await;
                tasks.spawn(Arc::clone(&service).get_ready());
                tasks.spawn(Arc::clone(&service).report());
                service.obey(reading).await;
                service.module.finalize();
            }
            Err(reason) => {
                let _ = messages.send(Writer::of(&FromWorker::Failed(reason))).await;
            }
        }
        // What was said last is to arrive; who does not listen any more is not waited for.
        let all_sent = async {
            while messages.capacity() < messages.max_capacity() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(REPORT_INTERVAL, all_sent).await;
        tokio::task::yield_now().await;
        writer.abort();
        Ok(())
    }
}

async fn write(mut control: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Writer>) {
    while let Some(message) = outgoing.recv().await {
        if control::write(&mut control, &message).await.is_err() {
            return;
        }
    }
}

/// The library, and what works with it.
struct Service {
    shared: Arc<Shared>,
    module: Arc<Module>,
    engine: Arc<Threads>,
    reporter: Arc<Reporter>,
    moments: Moments,
    /// The PIN of the file, as it was read last.
    file_pin: parking_lot::Mutex<Option<SecretBytes>>,
}

impl Service {
    fn begin(
        start: Start,
        jobs: OwnedFd,
        messages: mpsc::Sender<Writer>,
        (metrics, clock): (&Metrics, Arc<dyn Clock>),
    ) -> Result<Self, String> {
        let Start { config, pin, is_pin_rejected, root_keys, .. } = start;
        let file_pin = config.read_pin().map_err(|error| error.to_string())?;
        let module = Module::load(&config.module)?.with_parameters(config.initialize_parameters.as_deref());
        let module = Arc::new(module);
        let moments = Moments::new(&*clock);
        let metrics = metrics.hsm(&config.name);
        let shared = Shared::new(config, (metrics, clock), HashMap::new());
        // Without its HSM a library may not start; the probes go on trying.
        if let Err(reason) = module.initialize() {
            tracing::error!(hsm = %shared.name, reason, "{reason}");
        }
        let source = Arc::new(JobSocket::new(Arc::clone(&shared), jobs, moments));
        let pin = file_pin.as_ref().or(pin.as_ref());
        let engine = Threads::start(Arc::clone(&shared), Arc::clone(&module), pin, &source);
        let engine = Arc::new(engine.map_err(|error| error.to_string())?);
        if is_pin_rejected && file_pin.is_none() {
            engine.reject_pin();
        }
        if let Some(keys) = root_keys {
            engine.want_root_keys(keys);
        }
        let reporter = Arc::new(Reporter::new(Arc::clone(&shared), Arc::clone(&engine), messages));
        let file_pin = parking_lot::Mutex::new(file_pin);
        Ok(Self { shared, module, engine, reporter, moments, file_pin })
    }

    /// Logs in and reads the keys before the first job comes.
    async fn get_ready(self: Arc<Self>) {
        let (reply, answer) = oneshot::channel();
        let is_well = self.engine.command(Command::Probe(reply)).is_ok() && matches!(answer.await, Ok(Ok(_)));
        self.reporter.report(Some(&FromWorker::Ready(is_well))).await;
    }

    /// Tells of alarms at once, and of the rest soon.
    async fn report(self: Arc<Self>) {
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shared.alarm.raised() => self.reporter.report(Some(&FromWorker::Alarm)).await,
                _ = interval.tick() => self.reporter.report(None).await,
            }
        }
    }

    /// Until the daemon is gone or says that this is the end.
    async fn obey(self: &Arc<Self>, mut control: tokio::net::unix::OwnedReadHalf) {
        let mut tasks = JoinSet::new();
        let mut cancellable: HashMap<u64, AbortHandle> = HashMap::new();
        while let Ok(Some(message)) = control::read::<ToWorker>(&mut control).await {
            while tasks.try_join_next().is_some() {}
            cancellable.retain(|_, task| !task.is_finished());
            match message {
                ToWorker::Cancel(id) => {
                    if let Some(task) = cancellable.remove(&id) {
                        task.abort();
                    }
                    self.reporter.send(&FromWorker::Skipped(id)).await;
                }
                ToWorker::Disconnect => self.engine.disconnect(),
                ToWorker::End => return,
                ToWorker::OfferPin { pin, reinitialize } => self.engine.offer_pin(&pin, reinitialize),
                ToWorker::Order { id, order } => {
                    let task = tasks.spawn(Arc::clone(self).order(id, order));
                    cancellable.insert(id, task);
                }
                ToWorker::PinFileChanged => self.read_pin_again(),
                ToWorker::Probe { id, have_keys_changed } => {
                    self.note(have_keys_changed);
                    tasks.spawn(Arc::clone(self).probe(id));
                }
                ToWorker::Refresh { id, have_keys_changed } => {
                    self.note(have_keys_changed);
                    tasks.spawn(Arc::clone(self).refresh(id));
                }
                ToWorker::ReplacePin { pin, soon } => self.engine.replace_pin(&pin, soon),
                ToWorker::WantRootKeys(keys) => self.engine.want_root_keys(keys),
            }
        }
    }

    fn note(&self, have_keys_changed: bool) {
        if have_keys_changed {
            self.shared.alarm.note_keys_changed();
        }
    }

    fn read_pin_again(&self) {
        let config = &self.shared.config;
        match config.read_pin() {
            Ok(Some(pin)) => {
                let former = self.file_pin.lock().replace(pin.clone());
                // Whoever touches the file wants a PIN that was refused to be tried once more.
                if former.as_ref() != Some(&pin) || self.engine.is_pin_rejected() {
                    self.engine.offer_pin(&pin, true);
                }
            }
            Err(error) => {
                let (hsm, reason) = (&self.shared.name, error.to_string());
                tracing::error!(%hsm, reason, "the PIN of HSM {hsm} stays as it is: {reason}");
            }
            Ok(None) => {}
        }
    }

    async fn probe(self: Arc<Self>, id: u64) {
        let (reply, answer) = oneshot::channel();
        let answer = match self.engine.command(Command::Probe(reply)) {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        self.answer(id, answer.map(Answer::Probed)).await;
    }

    async fn refresh(self: Arc<Self>, id: u64) {
        let (reply, mut outcome) = watch::channel(None);
        let answer = match self.engine.command(Command::Refresh(reply)) {
            Ok(()) => outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()),
            Err(_) => None,
        };
        self.answer(id, answer.map(Answer::Done)).await;
    }

    async fn order(self: Arc<Self>, id: u64, order: OrderMessage) {
        let answer = match order {
            OrderMessage::ChangePin { old, new } => {
                self.put(|reply| Order::ChangePin { old, new, reply }).await.map(Answer::Done)
            }
            OrderMessage::DestroyKey(label) => {
                self.put(|reply| Order::DestroyKey { label, reply }).await.map(Answer::Destroyed)
            }
            OrderMessage::ListKeys => self.put(Order::ListKeys).await.map(Answer::Listed),
            OrderMessage::LogIn(pin) => self.put(|reply| Order::LogIn { pin, reply }).await.map(Answer::Done),
            OrderMessage::LogOut => self.put(Order::LogOut).await.map(Answer::Done),
            OrderMessage::Look => self.put(Order::Look).await.map(Answer::Done),
            OrderMessage::MakeKey { label, deadline } => {
                let deadline = self.moments.instant(deadline);
                self.put(|reply| Order::MakeKey { label, deadline, reply }).await.map(Answer::Made)
            }
            OrderMessage::ReadKey(label) => {
                self.put(|reply| Order::ReadKey { label, reply }).await.map(Answer::Read)
            }
        };
        self.answer(id, answer).await;
    }

    /// Nothing if the watcher has too much to do, or leaves it out.
    async fn put<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> Order,
    ) -> Option<Result<T, Fault>> {
        let (reply, answer) = oneshot::channel();
        match self.engine.order(order(reply)) {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        }
    }

    /// The keys it has found out about come first.
    async fn answer(&self, id: u64, answer: Option<Answer>) {
        let message = match answer {
            Some(answer) => FromWorker::Answer { id, answer },
            None => FromWorker::Skipped(id),
        };
        self.reporter.report(Some(&message)).await;
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let rest = self.line.split_off(end.saturating_add(1));
            let mut line = std::mem::replace(&mut self.line, rest);
            line.truncate(end);
            let _ = self.messages.try_send(Writer::of(&FromWorker::Log(line)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
