//! A small XKS proxy that is right in everything, or wrong in one chosen thing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proxy_api::error::{ErrorBody, ErrorName};
use proxy_api::sigv4::{Authorization, SERVICE_XKS, SigningKey};
use proxy_api::wire::{
    self, DecryptRequest, DecryptResponse, EkmFleetDetail, EncryptRequest, EncryptResponse, HealthRequest,
    HealthResponse, HealthStatus, KeyOperation, KeyStatus, MetadataRequest, MetadataResponse, Operation,
    RequestMetadata, Target, decode_base64, encode_base64, parse_body,
};
use rustls::ServerConfig;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::check::cases::random_bytes;
use crate::clock::{Clock as _, SystemClock};

pub(crate) const PREFIX: &str = "model/proxy";
pub(crate) const ACCESS_KEY_ID: &str = "ABCDEFGHIJKLMNOP2345";
pub(crate) const SECRET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM/+9=";

const BODY_BYTES_MAX: usize = 1024 * 1024;
const PLAINTEXT_BYTES_MAX: usize = 65_536;
const METADATA: &[u8] = b"key_version=1";

/// The one thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    AcceptsAnySignature,
    AcceptsEmptyMetadata,
    AcceptsLooseBase64,
    AcceptsOtherService,
    AcceptsShortTags,
    AlwaysEmptyObject,
    AlwaysInternal,
    AuthenticationIs403,
    CdivOfNothing,
    ConstantIv,
    DecryptsToZeros,
    ErrorMessageHasLines,
    ErrorMessageTooLong,
    GetIs401,
    IgnoresAad,
    IgnoresPrefix,
    IgnoresUsage,
    LimitsAre413,
    LongIvsAreInvalid,
    MetadataIsAad,
    MetadataUnbound,
    NoContentType,
    None,
    PrettyPrints,
    RefusesNewOperations,
    RefusesUnknownMembers,
    RsaEverywhere,
    SmallLimits,
    ThrottlesAlways,
    ThrottlesOnce,
    UnknownKeyIsValidation,
    ValidatesFirst,
}

pub(crate) struct ModelProxy {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl ModelProxy {
    pub(crate) async fn start(fault: Fault, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let has_throttled = Arc::new(AtomicBool::new(false));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, has_throttled) = (tls.clone(), Arc::clone(&has_throttled));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, fault, has_throttled).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serve(stream, fault, has_throttled).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    fault: Fault,
    has_throttled: Arc<AtomicBool>,
) {
    let service = service_fn(move |request| {
        let has_throttled = Arc::clone(&has_throttled);
        async move { Ok::<_, hyper::Error>(answer(request, fault, &has_throttled).await) }
    });
    let connection = auto::Builder::new(TokioExecutor::new());
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

type Answered = Result<Vec<u8>, ErrorName>;

async fn answer(
    request: Request<Incoming>,
    fault: Fault,
    has_throttled: &AtomicBool,
) -> Response<Full<Bytes>> {
    if fault == Fault::AlwaysEmptyObject {
        return respond(StatusCode::OK, b"{}".to_vec(), fault);
    }
    if fault == Fault::ThrottlesAlways
        || (fault == Fault::ThrottlesOnce && !has_throttled.swap(true, Ordering::Relaxed))
    {
        return refuse(ErrorName::Throttling, fault);
    }
    if fault == Fault::AlwaysInternal {
        return refuse(ErrorName::Internal, fault);
    }
    if request.method() != Method::POST {
        let status =
            if fault == Fault::GetIs401 { StatusCode::UNAUTHORIZED } else { StatusCode::METHOD_NOT_ALLOWED };
        return respond(status, Vec::new(), fault);
    }
    match operate(request, fault).await {
        Ok(body) => respond(StatusCode::OK, body, fault),
        Err(error) => refuse(error, fault),
    }
}

fn refuse(error: ErrorName, fault: Fault) -> Response<Full<Bytes>> {
    let (mut status, name) = error.wire();
    if fault == Fault::AuthenticationIs403 && status == 401 {
        status = 403;
    }
    if fault == Fault::LimitsAre413 && status == 501 {
        status = 413;
    }
    let messages = [
        (Fault::ErrorMessageHasLines, "first\nsecond".into()),
        (Fault::ErrorMessageTooLong, "x".repeat(512)),
    ];
    let error_message = messages.into_iter().find(|(is, _)| *is == fault).map(|(_, message)| message.into());
    let body = ErrorBody { error_name: name.into(), error_message };
    respond(StatusCode::from_u16(status).unwrap(), json(&body), fault)
}

fn respond(status: StatusCode, body: Vec<u8>, fault: Fault) -> Response<Full<Bytes>> {
    let body = if fault == Fault::PrettyPrints {
        String::from_utf8(body).unwrap().replace(',', ",\n").into_bytes()
    } else {
        body
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if fault != Fault::NoContentType {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
    }
    response
}

async fn operate(request: Request<Incoming>, fault: Fault) -> Answered {
    let (head, body) = request.into_parts();
    let route = wire::parse_path(head.uri.path()).ok_or(ErrorName::InvalidUriPath)?;
    if route.prefix != PREFIX && fault != Fault::IgnoresPrefix {
        return Err(ErrorName::InvalidUriPath);
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| ErrorName::UnsupportedOperation)?.to_bytes();
    if fault == Fault::ValidatesFirst {
        parse_body::<HealthRequest<'_>>(&body).map_err(|_| ErrorName::Validation)?;
    }
    if fault != Fault::AcceptsAnySignature {
        authenticate(&head, &body, fault).ok_or(ErrorName::AuthenticationFailed)?;
    }
    match route.target {
        Target::Health => health(&body, fault),
        Target::Key { external_key_id, operation } => {
            let key = Key::find(external_key_id);
            match operation {
                KeyOperation::Decrypt => decrypt(key, &body, fault),
                KeyOperation::Encrypt => encrypt(key, &body, fault),
                KeyOperation::Metadata => metadata(key, &body, fault),
            }
        }
    }
}

fn authenticate(head: &http::request::Parts, body: &[u8], fault: Fault) -> Option<()> {
    let authorization = Authorization::parse(&head.headers).ok()?;
    let scope = authorization.scope;
    let service = if fault == Fault::AcceptsOtherService { scope.service } else { SERVICE_XKS };
    let request = proxy_api::sigv4::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        authority: head.uri.authority().map(http::uri::Authority::as_str),
        headers: &head.headers,
        body,
    };
    let is_known = authorization.access_key_id == ACCESS_KEY_ID;
    let claim = authorization.check(&request, service, SystemClock.unix_seconds()).ok()?;
    claim.verify(&SigningKey::derive(SECRET.as_bytes(), &scope)).ok()?;
    is_known.then_some(())
}

#[derive(Clone, Copy)]
struct Key<'a> {
    id: &'a str,
    encrypts: bool,
    decrypts: bool,
}

impl<'a> Key<'a> {
    fn find(id: &'a str) -> Option<Self> {
        let (encrypts, decrypts) = match id {
            "both" => (true, true),
            "encrypt_only" => (true, false),
            "decrypt_only" => (false, true),
            "impotent" => (false, false),
            _ => return None,
        };
        Some(Self { id, encrypts, decrypts })
    }

    fn aead(&self) -> LessSafeKey {
        let key = digest(&SHA256, self.id.as_bytes());
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap())
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8], fault: Fault) -> Result<T, ErrorName> {
    if fault == Fault::RefusesUnknownMembers {
        let body: serde_json::Value = serde_json::from_slice(body).map_err(|_| ErrorName::Validation)?;
        if body.get("later").is_some() {
            return Err(ErrorName::Validation);
        }
    }
    parse_body(body).map_err(|_| ErrorName::Validation)
}

fn check_metadata(
    metadata: &RequestMetadata<'_>,
    operation: Operation,
    fault: Fault,
) -> Result<(), ErrorName> {
    let is_new = metadata
        .kms_operation
        .as_deref()
        .is_some_and(|name| name.starts_with("New") || name.starts_with("Bulk"));
    let is_missing = fault != Fault::AcceptsEmptyMetadata && metadata.missing_member(operation).is_some();
    if is_missing || is_new && fault == Fault::RefusesNewOperations {
        return Err(ErrorName::Validation);
    }
    Ok(())
}

fn found(key: Option<Key<'_>>, fault: Fault) -> Result<Key<'_>, ErrorName> {
    let error =
        if fault == Fault::UnknownKeyIsValidation { ErrorName::Validation } else { ErrorName::KeyNotFound };
    key.ok_or(error)
}

fn health(body: &[u8], fault: Fault) -> Answered {
    let request: HealthRequest<'_> = parse(body, fault)?;
    check_metadata(&request.request_metadata, Operation::GetHealthStatus, fault)?;
    Ok(json(&HealthResponse {
        xks_proxy_fleet_size: 1,
        xks_proxy_vendor: "test".into(),
        xks_proxy_model: "model".into(),
        ekm_vendor: "test".into(),
        ekm_fleet_details: vec![EkmFleetDetail {
            id: "1".into(),
            model: "memory".into(),
            health_status: HealthStatus::Active,
        }],
    }))
}

fn metadata(key: Option<Key<'_>>, body: &[u8], fault: Fault) -> Answered {
    let request: MetadataRequest<'_> = parse(body, fault)?;
    check_metadata(&request.request_metadata, Operation::GetKeyMetadata, fault)?;
    let key = found(key, fault)?;
    if fault == Fault::RsaEverywhere {
        return Ok(json(&MetadataResponse {
            key_spec: "RSA_0".into(),
            key_usage: vec![],
            key_status: KeyStatus::Enabled,
        }));
    }
    let usages = [("ENCRYPT", key.encrypts), ("DECRYPT", key.decrypts)];
    Ok(json(&MetadataResponse {
        key_spec: "AES_256".into(),
        key_usage: usages.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.into()).collect(),
        key_status: KeyStatus::Enabled,
    }))
}

fn encrypt(key: Option<Key<'_>>, body: &[u8], fault: Fault) -> Answered {
    let request: EncryptRequest<'_> = parse(body, fault)?;
    check_metadata(&request.request_metadata, Operation::Encrypt, fault)?;
    let cdiv = match request.ciphertext_data_integrity_value_algorithm.as_deref() {
        None => false,
        Some("SHA_256") => true,
        Some(_) => return Err(ErrorName::Validation),
    };
    let key = found(key, fault)?;
    if fault != Fault::IgnoresUsage && (!key.encrypts || cdiv && !key.decrypts) {
        return Err(ErrorName::InvalidKeyUsage);
    }
    let mut ciphertext = decode(&request.plaintext, fault)?;
    let aad = decode(request.additional_authenticated_data.as_deref().unwrap_or_default(), fault)?;
    check(&request.encryption_algorithm, (ciphertext.len(), aad.len()), fault)?;
    let iv = if fault == Fault::ConstantIv { vec![0; 12] } else { random_bytes(12).unwrap() };
    let nonce = Nonce::try_assume_unique_for_key(&iv).unwrap();
    let bound = bound(&aad, METADATA, fault)?;
    let tag = key.aead().seal_in_place_separate_tag(nonce, Aad::from(bound), &mut ciphertext).unwrap();
    let aad = if fault == Fault::CdivOfNothing { Vec::new() } else { aad };
    let value = wire::cdiv(&aad, METADATA, &iv, &ciphertext, tag.as_ref());
    Ok(json(&EncryptResponse {
        ciphertext: encode_base64(&ciphertext).into(),
        ciphertext_metadata: Some(encode_base64(METADATA).into()),
        initialization_vector: encode_base64(&iv).into(),
        authentication_tag: encode_base64(tag.as_ref()).into(),
        ciphertext_data_integrity_value: cdiv.then(|| encode_base64(&value).into()),
    }))
}

fn decrypt(key: Option<Key<'_>>, body: &[u8], fault: Fault) -> Answered {
    let request: DecryptRequest<'_> = parse(body, fault)?;
    check_metadata(&request.request_metadata, Operation::Decrypt, fault)?;
    let key = found(key, fault)?;
    if fault != Fault::IgnoresUsage && !key.decrypts {
        return Err(ErrorName::InvalidKeyUsage);
    }
    let mut ciphertext = decode(&request.ciphertext, fault)?;
    let metadata = decode(request.ciphertext_metadata.as_deref().unwrap_or_default(), fault)?;
    let aad = decode(request.additional_authenticated_data.as_deref().unwrap_or_default(), fault)?;
    let iv = decode(&request.initialization_vector, fault)?;
    let mut tag = decode(&request.authentication_tag, fault)?;
    check(&request.encryption_algorithm, (ciphertext.len(), aad.len()), fault)?;
    if fault == Fault::AcceptsShortTags && tag.len() < 16 {
        tag.resize(16, 0);
        return Ok(json(&DecryptResponse { plaintext: "".into() }));
    }
    let bound = bound(&aad, &metadata, fault)?;
    if iv.len() == 16 && fault != Fault::LongIvsAreInvalid {
        return Err(ErrorName::InvalidCiphertext);
    }
    let nonce = Nonce::try_assume_unique_for_key(&iv).map_err(|_| ErrorName::Validation)?;
    if tag.len() != 16 {
        return Err(ErrorName::Validation);
    }
    ciphertext.extend_from_slice(&tag);
    let opened = key.aead().open_in_place(nonce, Aad::from(bound), &mut ciphertext);
    let plaintext = opened.map_err(|_| ErrorName::InvalidCiphertext)?;
    if fault == Fault::DecryptsToZeros {
        plaintext.fill(0);
    }
    Ok(json(&DecryptResponse { plaintext: encode_base64(plaintext).into() }))
}

fn check(algorithm: &str, lengths: (usize, usize), fault: Fault) -> Result<(), ErrorName> {
    if algorithm != "AES_GCM" {
        return Err(ErrorName::Validation);
    }
    let plaintext_bytes_max = if fault == Fault::SmallLimits { 4096 } else { PLAINTEXT_BYTES_MAX };
    if lengths.0 > plaintext_bytes_max || lengths.1 > wire::AAD_BYTES_MAX_EXPRESSIBLE {
        return Err(ErrorName::UnsupportedOperation);
    }
    Ok(())
}

fn bound(aad: &[u8], metadata: &[u8], fault: Fault) -> Result<Vec<u8>, ErrorName> {
    if fault == Fault::MetadataIsAad {
        return Ok([aad, metadata].concat());
    }
    let aad = if fault == Fault::IgnoresAad { b"" } else { aad };
    let metadata = if fault == Fault::MetadataUnbound { b"" } else { metadata };
    wire::bound_aad(aad, metadata).ok_or(ErrorName::Validation)
}

fn decode(text: &str, fault: Fault) -> Result<Vec<u8>, ErrorName> {
    let is_loose = fault == Fault::AcceptsLooseBase64;
    let text = if is_loose { text.replace('-', "+").replace('_', "/") } else { text.to_owned() };
    decode_base64(&text).map_err(|_| ErrorName::Validation)
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap()
}
