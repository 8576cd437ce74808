//! GetHealthStatus.

use std::collections::BTreeSet;

use proxy_api::error::ErrorName;
use proxy_api::wire::{EKM_FLEET_DETAILS_MAX, HealthResponse, HealthStatus, Target};

use crate::check::bodies::Body;
use crate::check::case::Case;
use crate::check::finding::{InVariant as _, Judged, ensure};
use crate::check::judge::{refused, response};
use crate::check::session::Session;

pub(crate) const CASES: &[Case] = &[
    Case::must("KmsHealthCheck has a whole, sound response", |s| Box::pin(is_sound(s))).rows("1"),
    Case::must("an empty body object is refused", |s| Box::pin(empty_object(s))).rows("2"),
    Case::must("an empty requestMetadata is refused", |s| Box::pin(empty_metadata(s))).rows("3"),
    Case::must("each required metadata member is required", |s| Box::pin(required_members(s))),
    Case::must("every kmsOperation is accepted, known or not", |s| Box::pin(any_operation(s))),
    Case::must("unknown members are ignored", |s| Box::pin(unknown_members(s))),
    Case::should("some key manager can serve", |s| Box::pin(can_serve(s))),
];

async fn is_sound(session: &Session) -> Judged {
    let answer = session.post(&session.path(Target::Health), Body::health()).await?;
    let health = response::<HealthResponse<'_>>(&answer)?;
    ensure(health.xks_proxy_fleet_size > 0, "xksProxyFleetSize above zero", "0")?;
    let details = &health.ekm_fleet_details;
    let count = details.len();
    ensure((1..=EKM_FLEET_DETAILS_MAX).contains(&count), "1 to 10 ekmFleetDetails", count.to_string())?;
    let ids: BTreeSet<_> = details.iter().map(|detail| &detail.id).collect();
    ensure(ids.len() == count, "unique ids in ekmFleetDetails", format!("{} ids for {count}", ids.len()))?;
    let texts = [&health.xks_proxy_vendor, &health.xks_proxy_model, &health.ekm_vendor];
    let is_filled = texts.into_iter().chain(ids).all(|text| !text.is_empty());
    ensure(is_filled, "vendor, model and id not empty", "an empty one")
}

async fn empty_object(session: &Session) -> Judged {
    let answer = session.post(&session.path(Target::Health), "{}").await?;
    refused(&answer, &[ErrorName::Validation])
}

async fn empty_metadata(session: &Session) -> Judged {
    let answer = session.post(&session.path(Target::Health), r#"{"requestMetadata":{}}"#).await?;
    refused(&answer, &[ErrorName::Validation])
}

async fn required_members(session: &Session) -> Judged {
    for member in ["kmsOperation", "kmsRequestId"] {
        let body = Body::health().without_metadata(member);
        let answer = session.post(&session.path(Target::Health), body).await?;
        refused(&answer, &[ErrorName::Validation]).in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

async fn any_operation(session: &Session) -> Judged {
    for operation in ["CreateCustomKeyStore", "ConnectCustomKeyStore", "UpdateCustomKeyStore", "NewOperation"]
    {
        let body = Body::health().with_metadata("kmsOperation", operation);
        let answer = session.post(&session.path(Target::Health), body).await?;
        response::<HealthResponse<'_>>(&answer).in_variant(operation)?;
    }
    Ok(())
}

async fn unknown_members(session: &Session) -> Judged {
    let body =
        Body::health().with_metadata("sourceIdentity", serde_json::json!({ "a": [1] })).with("later", 1);
    let answer = session.post(&session.path(Target::Health), body).await?;
    response::<HealthResponse<'_>>(&answer).map(|_| ())
}

async fn can_serve(session: &Session) -> Judged {
    let answer = session.post(&session.path(Target::Health), Body::health()).await?;
    let health = response::<HealthResponse<'_>>(&answer)?;
    let serves = health.ekm_fleet_details.iter().any(|detail| match detail.health_status {
        HealthStatus::Active | HealthStatus::Degraded => true,
        HealthStatus::Unavailable => false,
    });
    ensure(serves, "a key manager that is ACTIVE or DEGRADED", "all UNAVAILABLE")
}
