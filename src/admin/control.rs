//! The control socket: how a `holdfast` command tells the running daemon that something changed.
//!
//! The file is the truth, the daemon keeps a copy; a command changes the file and then asks the daemon to take it
//! up, and succeeds only when the daemon has. Whoever can open the socket is the daemon's own user.

use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// The longest request, in bytes: one about identities has a policy in it.
const REQUEST_BYTES_MAX: u64 = 128 * 1024;
/// The longest answer: a list of many identities with their policies.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a request for a backup starts with; the path of the new file follows.
const BACKUP: &str = "backup ";
/// What the answer to one starts with; JSON follows.
const ANSWERED: &str = "answer ";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading ten thousand keys of a slow HSM takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A kill switch is a file that is read, and its user must not be kept waiting by a daemon that hangs.
const BLOCKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Copying a large database takes its time, too.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(3600);

const CLIENTS_MAX: usize = 16;

/// What the daemon is asked to take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The kill switch.
    Blocks,
    /// The configuration and every file that it names.
    Configuration,
}

impl Change {
    const ALL: [Self; 2] = [Self::Blocks, Self::Configuration];

    const fn timeout(self) -> Duration {
        match self {
            Self::Blocks => BLOCKS_TIMEOUT,
            Self::Configuration => ANSWER_TIMEOUT,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Configuration => "configuration",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notified {
    /// The daemon has taken the change up.
    Done,
    /// No daemon listens: it will read the change when it starts.
    NotRunning,
    /// The daemon refused the change, and why.
    Refused(String),
}

/// Tells the daemon behind `socket` about a change and waits until it is in force.
pub fn notify(socket: &Path, change: Change) -> io::Result<Notified> {
    let Some(answer) = exchange(socket, change.word(), change.timeout())? else {
        return Ok(Notified::NotRunning);
    };
    match answer.as_str() {
        "ok" => Ok(Notified::Done),
        refusal => Ok(Notified::Refused(refusal.to_owned())),
    }
}

/// Asks the daemon behind `socket` for a backup in a new file at this absolute path, and waits until it is there.
pub fn back_up(socket: &Path, to: &Path) -> io::Result<Notified> {
    let path = to.to_str().filter(|path| !path.contains('\n'));
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the path is not one line of UTF-8");
    let request = format!("{BACKUP}{}", path.ok_or_else(invalid)?);
    let Some(answer) = exchange(socket, &request, BACKUP_TIMEOUT)? else { return Ok(Notified::NotRunning) };
    match answer.as_str() {
        "ok" => Ok(Notified::Done),
        refusal => Ok(Notified::Refused(refusal.to_owned())),
    }
}

/// What the daemon can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What is in the clusters of CloudHSM key stores.
    Clusters,
    /// Users, roles and access keys: reading and changing them.
    Identity,
    /// To read the keys in the HSMs anew: those that could not be read, by their names, and why.
    Keys,
    /// Where the kill switch is written down, and whether there is what shall be blocked.
    KillSwitch,
    /// The root keys of the KMS API: reading and changing them.
    RootKey,
    /// What policies would decide.
    Simulation,
}

impl Topic {
    const ALL: [Self; 6] =
        [Self::Clusters, Self::Identity, Self::Keys, Self::KillSwitch, Self::RootKey, Self::Simulation];

    /// What a request starts with; JSON follows.
    const fn word(self) -> &'static str {
        match self {
            Self::Clusters => "clusters ",
            Self::Identity => "identity ",
            Self::Keys => "keys ",
            Self::KillSwitch => "kill-switch ",
            Self::RootKey => "root-key ",
            Self::Simulation => "simulation ",
        }
    }

    const fn timeout(self) -> Duration {
        match self {
            Self::KillSwitch => BLOCKS_TIMEOUT,
            Self::Clusters | Self::Identity | Self::Keys | Self::RootKey | Self::Simulation => ANSWER_TIMEOUT,
        }
    }
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Asked {
    /// JSON; it may hold a secret.
    Answered(Zeroizing<String>),
    NotRunning,
    Refused(String),
}

/// Asks the daemon behind `socket`, in JSON of one line.
pub fn ask(socket: &Path, topic: Topic, request: &str) -> io::Result<Asked> {
    let line = format!("{}{request}", topic.word());
    if line.len() as u64 >= REQUEST_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
    }
    let Some(answer) = exchange(socket, &line, topic.timeout())? else { return Ok(Asked::NotRunning) };
    Ok(match answer.strip_prefix(ANSWERED) {
        Some(json) => Asked::Answered(Zeroizing::new(json.to_owned())),
        None => Asked::Refused(answer.to_string()),
    })
}

/// A line there and a line back; nothing if no daemon listens.
fn exchange(socket: &Path, request: &str, timeout: Duration) -> io::Result<Option<Zeroizing<String>>> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = Zeroizing::new(String::new());
    let read = BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer);
    read.map_err(|error| {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return error;
        }
        let reason = format!("it has not answered for {} s", timeout.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, reason)
    })?;
    if !answer.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon gave no whole answer"));
    }
    let end = answer.trim_end().len();
    answer.truncate(end);
    Ok(Some(answer))
}

/// Takes changes up.
pub trait Controlled: Send + Sync + 'static {
    fn take_up(&self, change: Change) -> impl Future<Output = Result<(), String>> + Send;

    /// Writes a consistent copy of what the KMS API keeps to a new file; refuses where there is no KMS API.
    fn back_up(&self, to: PathBuf) -> impl Future<Output = Result<(), String>> + Send {
        drop(to);
        std::future::ready(
            Err("this daemon has nothing to back up: it does not serve the KMS API".to_owned()),
        )
    }

    /// Answers a request, both JSON of one line; refuses where there is no KMS API.
    fn answer(
        &self,
        topic: Topic,
        request: Zeroizing<String>,
    ) -> impl Future<Output = Result<Zeroizing<String>, String>> + Send {
        drop(request);
        std::future::ready(Err(format!("{topic:?}: this daemon does not serve the KMS API")))
    }
}

/// Binds the socket, in place of one that a killed daemon left behind, for the daemon's user alone.
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match UnixStream::connect(socket) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens on it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) if std::fs::symlink_metadata(socket)?.file_type().is_socket() => std::fs::remove_file(socket)?,
        Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something else than a socket",
            ));
        }
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is dropped, several clients at once: a block must not wait until a slow HSM has read out its
/// keys for somebody else.
pub async fn serve(listener: UnixListener, controlled: Arc<impl Controlled>) {
    let mut answers = JoinSet::new();
    loop {
        while answers.len() >= CLIENTS_MAX {
            answers.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let controlled = Arc::clone(&controlled);
                answers.spawn(async move { answer(stream, &*controlled).await });
            }
            Err(error) => {
                tracing::warn!(reason = %error, "cannot accept on the control socket: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        while answers.try_join_next().is_some() {}
    }
}

async fn answer(stream: tokio::net::UnixStream, controlled: &impl Controlled) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut request = Zeroizing::new(String::new());
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut request)).await??;
    let question =
        Topic::ALL.into_iter().find_map(|topic| Some((topic, request.strip_prefix(topic.word())?)));
    if let Some((topic, json)) = question {
        let json = Zeroizing::new(json.trim_end().to_owned());
        let mut answer = match controlled.answer(topic, json).await {
            Ok(json) => Zeroizing::new(format!("{ANSWERED}{}", *json)),
            Err(reason) => Zeroizing::new(reason.replace('\n', "; ")),
        };
        answer.push('\n');
        return writer.write_all(answer.as_bytes()).await;
    }
    if let Some(path) = request.strip_prefix(BACKUP) {
        let result = controlled.back_up(PathBuf::from(path.trim_end_matches('\n'))).await;
        return writer.write_all(format!("{}\n", one_line(result)).as_bytes()).await;
    }
    let change = Change::ALL.into_iter().find(|change| change.word() == request.trim_end());
    let result = match change {
        Some(change) => controlled.take_up(change).await,
        None => Err("there is no such request".to_owned()),
    };
    writer.write_all(format!("{}\n", one_line(result)).as_bytes()).await
}

fn one_line(result: Result<(), String>) -> String {
    result.map_or_else(|reason| reason.replace('\n', "; "), |()| "ok".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, JoinSet};

    use zeroize::Zeroizing;

    use super::{Asked, Change, Controlled, Notified, Topic, ask, bind, notify, serve};

    struct Fussy;

    impl Controlled for Fussy {
        async fn take_up(&self, change: Change) -> Result<(), String> {
            if change == Change::Configuration { Err("two\nlines".to_owned()) } else { Ok(()) }
        }
    }

    /// Reads files until something is blocked.
    #[derive(Default)]
    struct Slow {
        reading: Notify,
        blocked: Notify,
    }

    impl Controlled for Slow {
        async fn take_up(&self, change: Change) -> Result<(), String> {
            match change {
                Change::Configuration => {
                    self.reading.notify_one();
                    self.blocked.notified().await;
                }
                Change::Blocks => self.blocked.notify_one(),
            }
            Ok(())
        }
    }

    fn notify_in_background(socket: &Path, change: Change) -> JoinHandle<Notified> {
        let socket = PathBuf::from(socket);
        tokio::task::spawn_blocking(move || notify(&socket, change).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_is_answered_when_it_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/control.sock");
        assert_eq!(notify(&socket, Change::Blocks).unwrap(), Notified::NotRunning);
        let listener = bind(&socket).unwrap();
        assert!(bind(&socket).is_err(), "a second daemon must not take the socket over");
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::new(Fussy)));
        assert_eq!(notify_in_background(&socket, Change::Blocks).await.unwrap(), Notified::Done);
        let refused = Notified::Refused("two; lines".to_owned());
        assert_eq!(notify_in_background(&socket, Change::Configuration).await.unwrap(), refused);
        serving.shutdown().await;
        assert_eq!(notify(&socket, Change::Blocks).unwrap(), Notified::NotRunning);
        assert!(bind(&socket).is_ok(), "the socket of a daemon that is gone is replaced");
    }

    /// Says back what it is asked.
    struct Echo;

    impl Controlled for Echo {
        async fn take_up(&self, _change: Change) -> Result<(), String> {
            Ok(())
        }

        async fn answer(
            &self,
            _topic: Topic,
            request: Zeroizing<String>,
        ) -> Result<Zeroizing<String>, String> {
            if request.contains("no") { Err("a\nreason".to_owned()) } else { Ok(request) }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn identities_are_asked_about_in_one_line_each_way() {
        let folder = tempfile::tempdir().unwrap();
        let (echo, none) = (folder.path().join("echo.sock"), folder.path().join("none.sock"));
        let mut serving = JoinSet::new();
        serving.spawn(serve(bind(&echo).unwrap(), Arc::new(Echo)));
        serving.spawn(serve(bind(&none).unwrap(), Arc::new(Fussy)));
        let ask = |socket: &Path, request: &str| {
            let (socket, request) = (socket.to_owned(), request.to_owned());
            tokio::task::spawn_blocking(move || ask(&socket, Topic::Identity, &request).unwrap())
        };
        let long = "x".repeat(100_000);
        assert!(ask(&echo, &long).await.unwrap() == Asked::Answered(Zeroizing::new(long)));
        assert!(ask(&echo, "no").await.unwrap() == Asked::Refused("a; reason".to_owned()));
        assert!(matches!(ask(&none, "{}").await.unwrap(), Asked::Refused(_)));
        assert!(ask(&folder.path().join("x"), "{}").await.unwrap() == Asked::NotRunning);
        assert!(super::ask(&echo, Topic::Clusters, &"x".repeat(200_000)).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_block_does_not_wait_for_a_slow_reload() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let slow = Arc::new(Slow::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(bind(&socket).unwrap(), Arc::clone(&slow)));
        let reload = notify_in_background(&socket, Change::Configuration);
        slow.reading.notified().await;
        assert_eq!(notify_in_background(&socket, Change::Blocks).await.unwrap(), Notified::Done);
        assert_eq!(reload.await.unwrap(), Notified::Done);
    }
}
