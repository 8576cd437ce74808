//! A proxy that requires client certificates: the right one is served, any other gets no HTTP answer at all.

use proxy_api::client::{Connection, Endpoint, Failure, HttpVersions, Outgoing, TlsTrust};
use proxy_api::wire::{HealthResponse, Target};
use rustls::{AlertDescription, SupportedProtocolVersion};
use tokio::time::timeout;

use crate::check::bodies::Body;
use crate::check::case::{Case, Need};
use crate::check::certificates::Certificate;
use crate::check::finding::{Finding, InVariant as _, Judged, ensure, mismatch};
use crate::check::judge::{described, response};
use crate::check::session::Session;

pub(crate) const CASES: &[Case] = &[
    Case::must("our certificate is accepted", |s| Box::pin(own(s))).needs(Need::MutualTls),
    Case::must("an expired certificate gets the alert handshake_failure", |s| Box::pin(expired(s)))
        .rows("50")
        .needs(Need::MutualTls),
    Case::must("a self-signed certificate gets the alert handshake_failure", |s| Box::pin(self_signed(s)))
        .rows("51")
        .needs(Need::MutualTls),
    Case::must("a certificate of a foreign CA with the right name is refused", |s| Box::pin(foreign(s)))
        .needs(Need::MutualTls),
    Case::must("no certificate is refused", |s| Box::pin(none(s))).needs(Need::MutualTls),
];

async fn own(session: &Session) -> Judged {
    let Some(tls) = session.tls() else { return Err(Finding::Skipped("plain HTTP")) };
    let endpoint = Endpoint::https(host(session), &tls.trust(), HttpVersions::Http1)
        .map_err(|error| mismatch("a usable client certificate", error.to_string()))?;
    let pool = session.pool(endpoint);
    let answer = pool.exchange(health(session)?).await;
    let answer = answer.map_err(|failure| mismatch("an HTTP answer", failure.to_string()))?;
    response::<HealthResponse<'_>>(&answer).map(|_| ())
}

async fn expired(session: &Session) -> Judged {
    with_alert_40(session, &generated(Certificate::expired())?).await
}

async fn self_signed(session: &Session) -> Judged {
    with_alert_40(session, &generated(Certificate::self_signed())?).await
}

async fn foreign(session: &Session) -> Judged {
    refused_in_each_version(session, Some(&generated(Certificate::foreign())?), |_| true).await
}

async fn none(session: &Session) -> Judged {
    refused_in_each_version(session, None, |_| true).await
}

/// What the official client looks for in curl's output.
async fn with_alert_40(session: &Session, certificate: &Certificate) -> Judged {
    let is_alert_40 = |failure: &Failure| {
        matches!(failure, Failure::Tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)))
    };
    refused_in_each_version(session, Some(certificate), is_alert_40).await
}

const VERSIONS: [(&str, &[&SupportedProtocolVersion]); 2] =
    [("TLS 1.3", &[&rustls::version::TLS13]), ("TLS 1.2", &[&rustls::version::TLS12])];

async fn refused_in_each_version(
    session: &Session,
    certificate: Option<&Certificate>,
    is_right: impl Fn(&Failure) -> bool + Send + Sync,
) -> Judged {
    let Some(tls) = session.tls() else { return Err(Finding::Skipped("plain HTTP")) };
    for (name, tls_versions) in VERSIONS {
        let identity = certificate.map(Certificate::identity);
        let trust = TlsTrust { identity, tls_versions, ..TlsTrust::new(&tls.ca_pem) };
        let endpoint = Endpoint::https(host(session), &trust, HttpVersions::Http1)
            .map_err(|error| mismatch("a usable client certificate", error.to_string()))?;
        let failure = refusal(session, &endpoint).await.in_variant(name)?;
        if is_other_version(&failure) {
            continue;
        }
        ensure(is_right(&failure), "TLS alert handshake_failure", failure.to_string()).in_variant(name)?;
    }
    Ok(())
}

/// A proxy need not have both versions.
const fn is_other_version(failure: &Failure) -> bool {
    matches!(failure, Failure::Tls(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)))
}

/// How the server ends the connection. Under TLS 1.3 our handshake is complete before the server has looked at
/// the certificate, so its alert comes when we read.
async fn refusal(session: &Session, endpoint: &Endpoint) -> Result<Failure, Finding> {
    let idle = async {
        match Connection::open(endpoint).await {
            Ok(mut connection) => connection.closed().await,
            Err(failure) => failure,
        }
    };
    if let Ok(failure @ Failure::Tls(_)) = timeout(session.deadline(), idle).await {
        return Ok(failure);
    }
    // Only a request shows whether a server that said nothing, or just closed, would serve us.
    match session.pool(endpoint.clone()).exchange(health(session)?).await {
        Ok(answer) => Err(mismatch("no HTTP answer", described(&answer))),
        Err(failure) => Ok(failure),
    }
}

fn health(session: &Session) -> Result<Outgoing, Finding> {
    let mut outgoing = session.unsigned(&session.path(Target::Health), Body::health())?;
    if let Ok(host) = http::HeaderValue::from_str(host(session)) {
        outgoing.headers.insert(http::header::HOST, host);
    }
    session.sign(&mut outgoing, &session.recipe())?;
    Ok(outgoing)
}

fn host(session: &Session) -> &str {
    session.mtls_host.as_deref().unwrap_or(&session.host)
}

fn generated(certificate: Result<Certificate, rcgen::Error>) -> Result<Certificate, Finding> {
    certificate.map_err(|error| mismatch("a certificate to test with", error.to_string()))
}
