//! SigV4: what must be signed, what may change afterwards, and when.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use proxy_api::client::Outgoing;
use proxy_api::error::ErrorName;
use proxy_api::sigv4::X_AMZ_DATE;
use proxy_api::wire::{HealthResponse, KeyOperation, Target};

use crate::check::bodies::Body;
use crate::check::case::Case;
use crate::check::crypto::PLAINTEXT;
use crate::check::finding::{Finding, InVariant as _, Judged, ensure, mismatch};
use crate::check::judge::{described, refused, response};
use crate::check::session::{Recipe, Session};

const UNAUTHENTICATED: &[ErrorName] = &[ErrorName::AuthenticationFailed];
/// Well within the five minutes, and well outside: two clocks never agree to the second.
const SKEWS_ACCEPTED_SECONDS: [i64; 2] = [-280, 280];
const SKEWS_REFUSED_SECONDS: [i64; 4] = [-320, 320, -86_400, 86_400];

pub(crate) const CASES: &[Case] = &[
    Case::must("host and x-amz-date are enough to sign", |s| Box::pin(minimal(s))),
    Case::must("extra signed headers are accepted", |s| Box::pin(extra_signed(s))),
    Case::must("headers that are not signed may be added on the way", |s| Box::pin(extra_unsigned(s))),
    Case::must("another body does not verify", |s| Box::pin(other_body(s))),
    Case::must("another path does not verify", |s| Box::pin(other_path(s))),
    Case::must("another host does not verify", |s| Box::pin(other_host(s))),
    Case::must("another value of a signed header does not verify", |s| Box::pin(other_header(s))),
    Case::must("another x-amz-date does not verify", |s| Box::pin(other_date(s))),
    Case::must("a signature for another operation does not verify", |s| Box::pin(replayed(s))),
    Case::must("a signature for another service is refused", |s| Box::pin(other_service(s))),
    Case::must("a clock less than five minutes off is accepted", |s| Box::pin(small_skew(s))),
    Case::should("a clock more than five minutes off is refused", |s| Box::pin(large_skew(s))),
    Case::should("a scope of another day than x-amz-date is refused", |s| Box::pin(other_day(s))),
    Case::should("a signature that leaves out the host is refused", |s| Box::pin(unsigned_host(s))),
    Case::should("a signature that leaves out x-amz-date is refused", |s| Box::pin(unsigned_date(s))),
    Case::should("blanks after the commas of Authorization are optional", |s| Box::pin(no_blanks(s))),
    Case::should("a malformed Authorization is refused", |s| Box::pin(malformed(s))),
    Case::should("two Authorization headers are refused", |s| Box::pin(doubled(s))),
    Case::should("a query string is not let through", |s| Box::pin(query(s))),
];

async fn minimal(session: &Session) -> Judged {
    let mut outgoing = health(session)?;
    session.sign(&mut outgoing, &Recipe { signed_headers: "host;x-amz-date", ..session.recipe() })?;
    accepted(session, outgoing).await
}

async fn extra_signed(session: &Session) -> Judged {
    let mut outgoing = health(session)?;
    let name = HeaderName::from_static("x-check");
    outgoing.headers.append(name.clone(), HeaderValue::from_static("one  two   three"));
    outgoing.headers.append(name, HeaderValue::from_static("four"));
    let signed_headers = "content-type;host;x-amz-date;x-check";
    session.sign(&mut outgoing, &Recipe { signed_headers, ..session.recipe() })?;
    accepted(session, outgoing).await
}

async fn extra_unsigned(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    outgoing.headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    accepted(session, outgoing).await
}

async fn other_body(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    outgoing.body = Vec::from(Body::health().with_metadata("kmsRequestId", "another")).into();
    rejected(session, outgoing).await
}

async fn other_path(session: &Session) -> Judged {
    let mut outgoing = session.signed(&session.path(Target::Health), Body::metadata())?;
    outgoing.path = path(&session.key_path(KeyOperation::Metadata))?;
    rejected(session, outgoing).await
}

async fn other_host(session: &Session) -> Judged {
    let mut outgoing = health(session)?;
    outgoing.headers.insert(HOST, HeaderValue::from_static("other.example.com"));
    session.sign(&mut outgoing, &session.recipe())?;
    let host = HeaderValue::from_str(&session.host).map_err(|_| mismatch("a host", "none"))?;
    outgoing.headers.insert(HOST, host);
    rejected(session, outgoing).await
}

async fn other_header(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    outgoing.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    rejected(session, outgoing).await
}

async fn other_date(session: &Session) -> Judged {
    let (mut outgoing, mut later) = (signed_health(session)?, health(session)?);
    session.sign(&mut later, &Recipe { shift_seconds: 1, ..session.recipe() })?;
    if let Some(date) = later.headers.remove(X_AMZ_DATE) {
        outgoing.headers.insert(X_AMZ_DATE, date);
    }
    rejected(session, outgoing).await
}

async fn replayed(session: &Session) -> Judged {
    let body = Body::encrypt(PLAINTEXT, None);
    let mut outgoing = session.signed(&session.key_path(KeyOperation::Encrypt), body)?;
    outgoing.path = path(&session.key_path(KeyOperation::Decrypt))?;
    rejected(session, outgoing).await
}

async fn other_service(session: &Session) -> Judged {
    with_recipe(session, &Recipe { service: "kms", ..session.recipe() }).await
}

async fn small_skew(session: &Session) -> Judged {
    for shift_seconds in SKEWS_ACCEPTED_SECONDS {
        let mut outgoing = health(session)?;
        session.sign(&mut outgoing, &Recipe { shift_seconds, ..session.recipe() })?;
        accepted(session, outgoing).await.in_variant(&format!("{shift_seconds} s"))?;
    }
    Ok(())
}

async fn large_skew(session: &Session) -> Judged {
    for shift_seconds in SKEWS_REFUSED_SECONDS {
        let recipe = Recipe { shift_seconds, ..session.recipe() };
        with_recipe(session, &recipe).await.in_variant(&format!("{shift_seconds} s"))?;
    }
    Ok(())
}

async fn other_day(session: &Session) -> Judged {
    for scope_shift_days in [-1, 1] {
        with_recipe(session, &Recipe { scope_shift_days, ..session.recipe() }).await?;
    }
    Ok(())
}

async fn unsigned_host(session: &Session) -> Judged {
    with_recipe(session, &Recipe { signed_headers: "content-type;x-amz-date", ..session.recipe() }).await
}

async fn unsigned_date(session: &Session) -> Judged {
    with_recipe(session, &Recipe { signed_headers: "content-type;host", ..session.recipe() }).await
}

async fn no_blanks(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    edit_authorization(&mut outgoing, |text| text.replace(", ", ","))?;
    accepted(session, outgoing).await
}

async fn malformed(session: &Session) -> Judged {
    type Edit = fn(&str) -> String;
    let edits: [(&str, Edit); 6] = [
        ("no members", |_| "AWS4-HMAC-SHA256".into()),
        ("another algorithm", |text| text.replace("SHA256 ", "SHA1 ")),
        ("no signature", |text| text.split(", Signature=").next().unwrap_or_default().into()),
        ("a short signature", |text| text.get(..text.len() - 2).unwrap_or_default().into()),
        ("a short scope", |text| text.replace("/aws4_request", "")),
        ("basic authentication", |_| "Basic dTpw".into()),
    ];
    for (variant, edit) in edits {
        let mut outgoing = signed_health(session)?;
        edit_authorization(&mut outgoing, edit)?;
        rejected(session, outgoing).await.in_variant(variant)?;
    }
    Ok(())
}

async fn doubled(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    outgoing.headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
    rejected(session, outgoing).await
}

async fn query(session: &Session) -> Judged {
    let mut outgoing = signed_health(session)?;
    outgoing.path = path(&format!("{}?a=b", session.path(Target::Health)))?;
    let answer = session.exchange(outgoing).await?;
    ensure(answer.status.is_client_error(), "a refusal", described(&answer))
}

fn health(session: &Session) -> Result<Outgoing, Finding> {
    session.unsigned(&session.path(Target::Health), Body::health())
}

fn signed_health(session: &Session) -> Result<Outgoing, Finding> {
    session.signed(&session.path(Target::Health), Body::health())
}

fn path(text: &str) -> Result<PathAndQuery, Finding> {
    PathAndQuery::try_from(text).map_err(|_| mismatch("a path that HTTP can carry", text))
}

fn edit_authorization(outgoing: &mut Outgoing, edit: impl Fn(&str) -> String) -> Judged {
    let text = outgoing.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = HeaderValue::from_str(&edit(text)).map_err(|_| mismatch("a header value", "none"))?;
    outgoing.headers.insert(AUTHORIZATION, value);
    Ok(())
}

async fn with_recipe(session: &Session, recipe: &Recipe<'_>) -> Judged {
    let mut outgoing = health(session)?;
    session.sign(&mut outgoing, recipe)?;
    rejected(session, outgoing).await
}

async fn accepted(session: &Session, outgoing: Outgoing) -> Judged {
    response::<HealthResponse<'_>>(&session.exchange(outgoing).await?).map(|_| ())
}

async fn rejected(session: &Session, outgoing: Outgoing) -> Judged {
    refused(&session.exchange(outgoing).await?, UNAUTHENTICATED)
}
