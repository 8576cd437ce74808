//! The bare server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use crossbeam_channel::Sender;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proxy_api::sigv4::{self, Authorization, SERVICE_XKS, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::workers::Job;
use crate::{TokenOptions, kms, workers, xks};

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    token: TokenOptions,
    #[arg(long)]
    listen: SocketAddr,
    /// Without TLS, beside the other
    #[arg(long)]
    listen_http: Option<SocketAddr>,
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    private_key: PathBuf,
    #[arg(long, env = "SIGV4_SECRET_ACCESS_KEY")]
    secret_access_key: String,
    /// Answer at once after the signature was verified
    #[arg(long)]
    without_hsm: bool,
}

struct Server {
    jobs: Option<Sender<Job>>,
    service: &'static str,
    secret_access_key: String,
    /// Of one day and one Region, which is all a run sees.
    signing_key: std::sync::OnceLock<SigningKey>,
}

pub fn run(options: &Options) {
    let server = Arc::new(Server {
        jobs: (!options.without_hsm).then(|| workers::start(&options.token)),
        service: if options.token.session_key { kms::SERVICE } else { SERVICE_XKS },
        secret_access_key: options.secret_access_key.clone(),
        signing_key: std::sync::OnceLock::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(address) = options.listen_http {
            let listener = TcpListener::bind(address).await.unwrap();
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                loop {
                    tokio::spawn(serve(accept(&listener).await, Arc::clone(&server)));
                }
            });
        }
        let acceptor = TlsAcceptor::from(Arc::new(tls(options)));
        let listener = TcpListener::bind(options.listen).await.unwrap();
        loop {
            let (socket, acceptor) = (accept(&listener).await, acceptor.clone());
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                serve(stream, server).await;
            });
        }
    });
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, server: Arc<Server>) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn tls(options: &Options) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_file_iter(&options.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&options.private_key).unwrap();
    rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let signed = sigv4::Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: None,
            authority: None,
            headers: &head.headers,
            body: &body,
        };
        let authorization = Authorization::parse(&head.headers).unwrap();
        let scope = authorization.scope;
        let key = self
            .signing_key
            .get_or_init(|| SigningKey::derive(self.secret_access_key.as_bytes(), &scope))
            .clone();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        authorization.check(&signed, self.service, now).unwrap().verify(&key).unwrap();
        let answer = match &self.jobs {
            None => br#"{"plaintext":"SGVsbG8="}"#.to_vec(),
            Some(jobs) if self.service == kms::SERVICE => kms::answer(jobs, &body).await,
            Some(jobs) if head.uri.path().ends_with("/encrypt") => xks::encrypt(jobs, &body).await,
            Some(jobs) => xks::decrypt(jobs, &body).await,
        };
        let response = Response::builder().header("content-type", "application/json");
        response.body(Full::new(Bytes::from(answer))).unwrap()
    }
}
