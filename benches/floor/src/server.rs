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
use proxy_api::wire::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, bound_aad, decode_base64,
    encode_base64, parse_body,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::TokenOptions;
use crate::gcm::Token;

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    token: TokenOptions,
    #[arg(long)]
    listen: SocketAddr,
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

enum Job {
    Encrypt(Vec<u8>, Vec<u8>, oneshot::Sender<([u8; 12], Vec<u8>)>),
    Decrypt(Vec<u8>, Vec<u8>, Vec<u8>, oneshot::Sender<Option<Vec<u8>>>),
}

struct Server {
    jobs: Option<Sender<Job>>,
    secret_access_key: String,
    /// Of one day and one Region, which is all a run sees.
    signing_key: std::sync::OnceLock<SigningKey>,
}

pub fn run(options: &Options) {
    let jobs = (!options.without_hsm).then(|| start_workers(&options.token));
    let server = Arc::new(Server {
        jobs,
        secret_access_key: options.secret_access_key.clone(),
        signing_key: std::sync::OnceLock::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let acceptor = TlsAcceptor::from(Arc::new(tls(options)));
        let listener = TcpListener::bind(options.listen).await.unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let (acceptor, server) = (acceptor.clone(), Arc::clone(&server));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let service = service_fn(move |request| {
                    let server = Arc::clone(&server);
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

fn tls(options: &Options) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_file_iter(&options.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&options.private_key).unwrap();
    rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn start_workers(options: &TokenOptions) -> Sender<Job> {
    let token = Box::leak(Box::new(Token::open(options)));
    let (sender, receiver) = crossbeam_channel::bounded::<Job>(256);
    for _ in 0..options.sessions {
        let (session, receiver) = (token.session(), receiver.clone());
        std::thread::spawn(move || {
            while let Ok(job) = receiver.recv() {
                match job {
                    Job::Encrypt(plaintext, aad, reply) => {
                        drop(reply.send(session.encrypt(&plaintext, &aad)))
                    }
                    Job::Decrypt(iv, sealed, aad, reply) => {
                        drop(reply.send(session.decrypt(&iv, &sealed, &aad)))
                    }
                }
            }
        });
    }
    sender
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
        authorization.check(&signed, SERVICE_XKS, now).unwrap().verify(&key).unwrap();
        let answer = match &self.jobs {
            None => br#"{"plaintext":"SGVsbG8="}"#.to_vec(),
            Some(jobs) if head.uri.path().ends_with("/encrypt") => encrypt(jobs, &body).await,
            Some(jobs) => decrypt(jobs, &body).await,
        };
        let response = Response::builder().header("content-type", "application/json");
        response.body(Full::new(Bytes::from(answer))).unwrap()
    }
}

async fn encrypt(jobs: &Sender<Job>, body: &[u8]) -> Vec<u8> {
    let request: EncryptRequest<'_> = parse_body(body).unwrap();
    let aad = decode_base64(request.additional_authenticated_data.as_deref().unwrap_or_default()).unwrap();
    let plaintext = decode_base64(&request.plaintext).unwrap();
    let (reply, answer) = oneshot::channel();
    jobs.send(Job::Encrypt(plaintext, bound_aad(&aad, &[]).unwrap(), reply)).unwrap();
    let (iv, sealed) = answer.await.unwrap();
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    let response = EncryptResponse {
        ciphertext: encode_base64(ciphertext).into(),
        ciphertext_metadata: None,
        initialization_vector: encode_base64(&iv).into(),
        authentication_tag: encode_base64(tag).into(),
        ciphertext_data_integrity_value: None,
    };
    serde_json::to_vec(&response).unwrap()
}

async fn decrypt(jobs: &Sender<Job>, body: &[u8]) -> Vec<u8> {
    let request: DecryptRequest<'_> = parse_body(body).unwrap();
    let aad = decode_base64(request.additional_authenticated_data.as_deref().unwrap_or_default()).unwrap();
    let mut sealed = decode_base64(&request.ciphertext).unwrap();
    sealed.extend(decode_base64(&request.authentication_tag).unwrap());
    let iv = decode_base64(&request.initialization_vector).unwrap();
    let (reply, answer) = oneshot::channel();
    jobs.send(Job::Decrypt(iv, sealed, bound_aad(&aad, &[]).unwrap(), reply)).unwrap();
    let plaintext = answer.await.unwrap().unwrap();
    serde_json::to_vec(&DecryptResponse { plaintext: encode_base64(&plaintext).into() }).unwrap()
}
