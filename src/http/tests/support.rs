//! What the tests share: a certificate authority, a listener with a small application, clients.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::SystemClock;
use crate::config::ClientAuth;
use crate::config::Limits;
use crate::http::BodyError;
use crate::http::Connection;
use crate::http::Counters;
use crate::http::Drained;
use crate::http::HandshakeFailure;
use crate::http::Incoming;
use crate::http::Listener;
use crate::http::Protocol;
use crate::http::Responder;
use crate::http::Response;
use crate::http::Settings;
use crate::http::TimeOut;
use crate::http::TlsFacts;
use crate::http::TlsFiles;
use crate::http::TlsSettings;
use crate::http::TlsSwitch;
use crate::http::connection;

pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) fn limits() -> Limits {
    Limits {
        request_deadline: Duration::from_millis(230),
        plaintext_bytes_max: 4096,
        aad_bytes_max: 8192,
        connections_max: 64,
        tls_handshake_timeout: Duration::from_secs(10),
        header_read_timeout: Duration::from_secs(10),
        body_read_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(600),
        shutdown_timeout: Duration::from_secs(10),
    }
}

/// Certificates and keys in a folder of their own.
pub(super) struct Pki {
    pub(super) folder: TempDir,
    pub(super) authority: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate_file: PathBuf,
    pub(super) key_file: PathBuf,
}

impl Pki {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            CertifiedIssuer::self_signed(authority_params("Test CA"), KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { folder, authority }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(super) fn server(&self) -> Identity {
        self.issue("server", &server_params(), KeyPair::generate().unwrap())
    }

    pub(super) fn client(&self, common_name: &str) -> Identity {
        self.issue(common_name, &client_params(Some(common_name), &[]), KeyPair::generate().unwrap())
    }

    pub(super) fn issue(&self, file: &str, params: &CertificateParams, key: KeyPair) -> Identity {
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(file, &certificate.pem(), &key.serialize_pem())
    }

    pub(super) fn write(&self, file: &str, certificate: &str, key: &str) -> Identity {
        let identity = Identity {
            certificate_file: self.folder.path().join(format!("{file}.pem")),
            key_file: self.folder.path().join(format!("{file}-key.pem")),
        };
        std::fs::write(&identity.certificate_file, certificate).unwrap();
        std::fs::write(&identity.key_file, key).unwrap();
        identity
    }

    pub(super) fn tls_files(&self) -> TlsFiles {
        let server = self.server();
        TlsFiles {
            certificate_file: server.certificate_file,
            private_key_file: server.key_file,
            client_auth: None,
        }
    }

    /// TLS that wants a client certificate from this authority with one of `subjects`.
    pub(super) fn mutual_tls_files(&self, subjects: &[&str]) -> TlsFiles {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        TlsFiles { client_auth: Some(ClientAuth { ca_file: self.ca_file(), subjects }), ..self.tls_files() }
    }
}

pub(super) fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub(super) fn server_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

pub(super) fn client_params(common_name: Option<&str>, dns_names: &[&str]) -> CertificateParams {
    let dns_names: Vec<String> = dns_names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(dns_names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(common_name) = common_name {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(super) fn load(files: &TlsFiles) -> TlsSettings {
    TlsSettings::load(files, Arc::new(SystemClock)).unwrap()
}

/// What a listener counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Closed,
    Exhausted,
    HandshakeCompleted { is_resumed: bool },
    HandshakeFailed(HandshakeFailure),
    Opened,
    Panicked,
    TimedOut(TimeOut),
}

/// Keeps what was counted, and lets a test wait for it.
pub(super) struct Recorder(watch::Sender<Vec<Event>>);

impl Recorder {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Vec::new())))
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.0.borrow().clone()
    }

    pub(super) async fn saw(&self, event: Event) {
        self.saw_times(event, 1).await;
    }

    pub(super) async fn saw_times(&self, event: Event, times: usize) {
        let mut events = self.0.subscribe();
        let seen = events.wait_for(|events| events.iter().filter(|seen| **seen == event).count() >= times);
        let seen = tokio::time::timeout(Duration::from_secs(20), seen).await.is_ok();
        assert!(seen, "waited for {event:?} and saw {:?}", self.events());
    }

    fn add(&self, event: Event) {
        self.0.send_modify(|events| events.push(event));
    }
}

impl Counters for Recorder {
    fn connection_closed(&self) {
        self.add(Event::Closed);
    }

    fn connection_opened(&self) {
        self.add(Event::Opened);
    }

    fn connections_exhausted(&self) {
        self.add(Event::Exhausted);
    }

    fn handshake_completed(&self, tls: &TlsFacts) {
        self.add(Event::HandshakeCompleted { is_resumed: tls.is_resumed });
    }

    fn handshake_failed(&self, failure: HandshakeFailure) {
        self.add(Event::HandshakeFailed(failure));
    }

    fn responder_panicked(&self) {
        self.add(Event::Panicked);
    }

    fn timed_out(&self, what: TimeOut) {
        self.add(Event::TimedOut(what));
    }
}

/// An application with an answer for each path that a test needs.
pub(super) struct Application {
    /// One permit lets one `/wait` go on.
    pub(super) gate: Semaphore,
    /// Requests that have come to `/wait`.
    pub(super) waiting: watch::Sender<usize>,
}

impl Application {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { gate: Semaphore::new(0), waiting: watch::Sender::new(0) })
    }
}

impl Responder for Application {
    async fn respond(&self, request: Incoming) -> Response {
        match request.uri.path() {
            "/authority" => answer(StatusCode::OK, request.authority().unwrap_or("none").to_owned()),
            "/facts" => answer(StatusCode::OK, format!("{:?}", request.connection.tls)),
            "/ignore" => answer(StatusCode::NOT_FOUND, "ignored"),
            "/panic" => panic!("the application's fault"),
            "/wait" => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.gate.acquire().await.unwrap().forget();
                answer(StatusCode::OK, "waited")
            }
            _ => match request.body.read(BODY_BYTES_MAX).await {
                Ok(body) => answer(StatusCode::OK, body.expose().to_vec()),
                Err(BodyError::TooLarge) => answer(StatusCode::PAYLOAD_TOO_LARGE, "too large"),
                Err(BodyError::TimedOut) => answer(StatusCode::REQUEST_TIMEOUT, "too slow"),
                Err(BodyError::Disconnected) => answer(StatusCode::BAD_REQUEST, "gone"),
            },
        }
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// A listener in service.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) application: Arc<Application>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) tls: Option<Arc<TlsSwitch>>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Drained>,
}

impl Site {
    pub(super) fn plain(limits: Limits) -> Self {
        Self::start(None, limits)
    }

    pub(super) fn tls(files: &TlsFiles) -> Self {
        Self::start(Some(Arc::new(TlsSwitch::new(load(files)))), limits())
    }

    #[expect(clippy::disallowed_methods, reason = "the test is where this task is started and stopped")]
    pub(super) fn start(tls: Option<Arc<TlsSwitch>>, limits: Limits) -> Self {
        let recorder = Recorder::new();
        let settings = settings(tls.clone(), limits, recorder.clone());
        let listener = Listener::bind(settings).unwrap();
        let address = listener.local_addr().unwrap();
        let application = Application::new();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(Arc::clone(&application), stopped));
        Self { address, application, recorder, tls, stop, serving }
    }

    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) fn stop(&self) {
        self.stop.send(true).unwrap();
    }

    pub(super) async fn ended(self) -> Drained {
        self.serving.await.unwrap()
    }
}

/// One HTTP/1.1 connection through a pipe: no socket, so that a clock that stands still moves only for it.
pub(super) struct Pipe {
    pub(super) client: DuplexStream,
    pub(super) application: Arc<Application>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) serving: JoinHandle<()>,
    /// The connection stops when this goes.
    _stop: watch::Sender<bool>,
}

impl Pipe {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_bytes_max(limits, 64 * 1024)
    }

    /// A pipe that holds `bytes_max` in each direction.
    #[expect(clippy::disallowed_methods, reason = "the test is where this task is started and stopped")]
    pub(super) fn with_bytes_max(limits: Limits, bytes_max: usize) -> Self {
        let (client, server) = tokio::io::duplex(bytes_max);
        let recorder = Recorder::new();
        let settings = Arc::new(settings(None, limits, recorder.clone()));
        let connection = Connection::new(settings.listen, Protocol::Http1, None, settings);
        let application = Application::new();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(connection::serve(server, Arc::clone(&application), connection, stopped));
        Self { client, application, recorder, serving, _stop: stop }
    }
}

pub(super) fn settings(tls: Option<Arc<TlsSwitch>>, limits: Limits, counters: Arc<dyn Counters>) -> Settings {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings { name: "test".to_owned(), listen, tls, limits, counters, clock: Arc::new(SystemClock) }
}

/// Runs curl; its status line, headers, body and diagnostics in one.
pub(super) async fn curl(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let output = Command::new("curl").args(["-sS", "-v", "--max-time", "20"]).args(arguments).output();
        let output = output.expect("curl is installed");
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
    })
    .await
    .unwrap()
}

/// Reads from `stream` up to and including `end`.
pub(super) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(char::from(byte));
    }
    text
}

/// Everything up to the end of `stream`; an error if it was reset.
pub(super) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
