//! HTTP and TLS themselves.

use http::{Method, StatusCode, Version};
use proxy_api::client::{Connection, Endpoint, HttpVersions, Pool, TlsTrust};
use proxy_api::error::ErrorName;
use proxy_api::wire::{HealthResponse, KeyOperation, Target};
use rustls::{CipherSuite, SupportedProtocolVersion};

use crate::check::bodies::Body;
use crate::check::case::{Case, Need};
use crate::check::finding::{Finding, InVariant as _, Judged, ensure, mismatch};
use crate::check::judge::{described, refused, response};
use crate::check::session::{Session, TlsFiles};

/// At least one of these (XKS v1, API content type).
const REQUIRED_SUITES: &[CipherSuite] = &[
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];
/// The same without ChaCha20, which GovCloud does not offer.
const GOVCLOUD_SUITES: &[CipherSuite] = &[
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

pub(crate) const CASES: &[Case] = &[
    Case::must("GET gets 405 on all four operations", |s| Box::pin(get(s))),
    Case::should("PUT and DELETE get 405", |s| Box::pin(other_methods(s))),
    Case::should("paths beside the API are no paths", |s| Box::pin(other_paths(s))),
    Case::should("a connection is kept for a second request", |s| Box::pin(keeps_connections(s))),
    Case::must("HTTP/1.1 for a client that offers nothing else", |s| Box::pin(only_http1(s))),
    Case::must("a client that offers HTTP/2 as well is served", |s| Box::pin(both_versions(s))),
    Case::must("TLS 1.2 or later with a required cipher suite", |s| Box::pin(required_suites(s)))
        .needs(Need::Https),
    Case::should("a cipher suite other than ChaCha20", |s| Box::pin(govcloud_suites(s))).needs(Need::Https),
    Case::should("TLS 1.3", |s| Box::pin(tls_1_3(s))).needs(Need::Https),
];

async fn get(session: &Session) -> Judged {
    for path in operation_paths(session) {
        expect_405(session, &path, Method::GET).await?;
    }
    Ok(())
}

async fn other_methods(session: &Session) -> Judged {
    for method in [Method::PUT, Method::DELETE] {
        expect_405(session, &session.path(Target::Health), method.clone())
            .await
            .in_variant(method.as_str())?;
    }
    Ok(())
}

/// Unsigned: no signature is needed to know that the method is wrong.
async fn expect_405(session: &Session, path: &str, method: Method) -> Judged {
    let mut outgoing = session.unsigned(path, "")?;
    outgoing.method = method;
    let answer = session.exchange(outgoing).await?;
    ensure(answer.status == StatusCode::METHOD_NOT_ALLOWED, "405", described(&answer))
}

fn operation_paths(session: &Session) -> [String; 4] {
    [
        session.path(Target::Health),
        session.key_path(KeyOperation::Metadata),
        session.key_path(KeyOperation::Encrypt),
        session.key_path(KeyOperation::Decrypt),
    ]
}

async fn other_paths(session: &Session) -> Judged {
    let health = session.path(Target::Health);
    let encrypt = session.key_path(KeyOperation::Encrypt);
    for path in [
        format!("{health}/"),
        health.replace("/health", "/ping"),
        health.replace("/v1/", "/v2/"),
        encrypt.replace("/encrypt", "/sign"),
        encrypt.replace("/keys/", "/key/"),
    ] {
        let answer = session.post(&path, Body::health()).await?;
        refused(&answer, &[ErrorName::InvalidUriPath]).in_variant(&path)?;
    }
    Ok(())
}

async fn keeps_connections(session: &Session) -> Judged {
    let endpoint = endpoint(session, HttpVersions::Http1)?;
    let failed = |failure: proxy_api::client::Failure| mismatch("an HTTP answer", failure.to_string());
    let mut connection = Connection::open(&endpoint).await.map_err(failed)?;
    for _ in 0..2 {
        let outgoing = session.signed(&session.path(Target::Health), Body::health())?;
        let answer = connection.send(outgoing).await.map_err(failed)?;
        response::<HealthResponse<'_>>(&answer)?;
    }
    Ok(())
}

async fn only_http1(session: &Session) -> Judged {
    for versions in [HttpVersions::Http1, HttpVersions::Http1WithoutAlpn] {
        let pool = session.pool(endpoint(session, versions)?);
        let version = healthy(session, &pool).await.in_variant(&format!("{versions:?}"))?;
        ensure(version == Version::HTTP_11, "HTTP/1.1", format!("{version:?}"))?;
    }
    Ok(())
}

/// Under HTTP/2 the signature is over `:authority`; a proxy that chooses HTTP/1.1 passes as well.
async fn both_versions(session: &Session) -> Judged {
    let pool = session.pool(endpoint(session, HttpVersions::Both)?);
    healthy(session, &pool).await.map(|_| ())
}

async fn required_suites(session: &Session) -> Judged {
    with_trust(session, |trust| TlsTrust { cipher_suites: REQUIRED_SUITES, ..trust }).await
}

async fn govcloud_suites(session: &Session) -> Judged {
    with_trust(session, |trust| TlsTrust { cipher_suites: GOVCLOUD_SUITES, ..trust }).await
}

async fn tls_1_3(session: &Session) -> Judged {
    const ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    with_trust(session, |trust| TlsTrust { tls_versions: ONLY, ..trust }).await
}

async fn with_trust(session: &Session, edit: impl FnOnce(TlsTrust<'_>) -> TlsTrust<'_> + Send) -> Judged {
    let endpoint = session.tls().map(TlsFiles::trust).map(edit).map(|trust| {
        Endpoint::https(&session.host, &trust, HttpVersions::Http1)
            .map_err(|error| mismatch("TLS settings that fit together", error.to_string()))
    });
    let Some(endpoint) = endpoint.transpose()? else { return Err(Finding::Skipped("plain HTTP")) };
    healthy(session, &session.pool(endpoint)).await.map(|_| ())
}

async fn healthy(session: &Session, pool: &Pool) -> Result<Version, Finding> {
    let outgoing = session.signed(&session.path(Target::Health), Body::health())?;
    let answer =
        pool.exchange(outgoing).await.map_err(|failure| mismatch("an HTTP answer", failure.to_string()))?;
    response::<HealthResponse<'_>>(&answer)?;
    Ok(answer.version)
}

fn endpoint(session: &Session, versions: HttpVersions) -> Result<Endpoint, Finding> {
    session.endpoint(versions).map_err(|error| mismatch("an endpoint", error.to_string()))
}
