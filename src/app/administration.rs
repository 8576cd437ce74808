//! Changes of identities, by whoever has the control socket: recorded before and after, as AWS IAM would.

use std::future::Future;
use std::time::SystemTime;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::audit::{Act, AuditLog, Record};
use crate::clock::Clock;
use crate::cloudtrail::{
    Administration, Event, EventType, Object, Origin, RecordError, Resources, UserIdentity, administration,
};
use crate::domain::kms::{UnixMillis, Uuid};

type Answer = Result<Zeroizing<String>, String>;

#[derive(Default)]
struct Outcome<'a> {
    /// `responseElements`.
    answer: Option<Vec<u8>>,
    error: Option<RecordError<'a>>,
}

/// Of the answer to CreateAccessKey, the part that is no secret.
#[derive(Deserialize)]
struct Made {
    new_access_key: MadeAccessKey,
}

#[derive(Deserialize)]
struct MadeAccessKey {
    access_key_id: String,
}

fn made_access_key(answer: &str) -> Option<Vec<u8>> {
    let made: Made = serde_json::from_str(answer).ok()?;
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    object.object("accessKey", |key| key.text("accessKeyId", &made.new_access_key.access_key_id));
    object.end();
    Some(json)
}

/// Does what changes something only if the audit trail takes the record of it.
pub(super) async fn audited(
    request: &str,
    (audit, clock): (&dyn AuditLog, &dyn Clock),
    administered: impl Future<Output = Answer>,
) -> Answer {
    // What cannot be read is refused by whoever is asked.
    let change = serde_json::from_str(request).ok().and_then(|request| administration(&request));
    let Some(change) = change else { return administered.await };
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| "the system gave no random bytes".to_owned())?;
    let since_epoch = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
    let record = |outcome| record(&change, (at, Uuid::from_random(id)), outcome);
    audit.admits(Act::Change).map_err(|unkept| unkept.to_string())?;
    audit.intend(record(Outcome::default())).await.map_err(|unkept| unkept.to_string())?;
    let result = administered.await;
    audit.append(record(match &result {
        Ok(answer) => Outcome { answer: made_access_key(answer), error: None },
        Err(reason) => Outcome {
            answer: None,
            error: Some(RecordError { code: "InvalidInputException", message: reason }),
        },
    }));
    result
}

fn record(change: &Administration, (at, event_id): (UnixMillis, Uuid), outcome: Outcome<'_>) -> Record {
    let account = change.account.as_ref();
    let event = Event {
        user_identity: UserIdentity::LocalAdministrator { account },
        at,
        source: "iam.amazonaws.com",
        name: change.name,
        region: Some("us-east-1"),
        origin: Origin { user_agent: Some("holdfast identity"), ..Origin::default() },
        error: outcome.error,
        request_parameters: Some(&change.parameters),
        response_elements: outcome.answer.as_deref(),
        additional: None,
        request_id: None,
        event_id,
        read_only: false,
        resources: Resources::Absent,
        event_type: EventType::AwsApiCall,
        service_event_details: None,
        recipient: account,
        shared_event_id: None,
    };
    event.to_record()
}
