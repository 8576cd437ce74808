//! What is changed by whoever has the machine: recorded before and after, that of identities as AWS IAM would.

use std::future::Future;
use std::time::SystemTime;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::audit::{Act, AuditLog, Record};
use crate::clock::Clock;
use crate::cloudtrail::{Event, EventType, Origin, RecordError, Resources, UserIdentity, administration};
use crate::domain::kms::{AccountId, UnixMillis, Uuid};
use crate::json::Object;

/// Where records go, and what time it is.
pub(super) type Trail<'a> = (&'a dyn AuditLog, &'a dyn Clock);

/// A change, as it is recorded.
pub(super) struct LocalChange {
    /// `eventSource`.
    pub(super) source: &'static str,
    /// `eventName`.
    pub(super) name: &'static str,
    /// `userAgent`.
    pub(super) by: &'static str,
    pub(super) account: Option<AccountId>,
    /// `requestParameters`.
    pub(super) parameters: Option<Vec<u8>>,
}

/// How it ended.
#[derive(Default)]
struct Outcome<'a> {
    /// `responseElements`.
    answer: Option<Vec<u8>>,
    error: Option<&'a str>,
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

/// A request of `holdfast identity`: does what changes something only if the audit trail takes the record of it.
pub(super) async fn audited(
    request: &str,
    trail: Trail<'_>,
    administered: impl Future<Output = Result<Zeroizing<String>, String>>,
) -> Result<Zeroizing<String>, String> {
    // What cannot be read is refused by whoever is asked.
    let change = serde_json::from_str(request).ok().and_then(|request| administration(&request));
    let Some(change) = change else { return administered.await };
    let change = LocalChange {
        source: "iam.amazonaws.com",
        name: change.name,
        by: "holdfast identity",
        account: change.account,
        parameters: Some(change.parameters),
    };
    change.recorded(trail, administered, |answer| made_access_key(answer)).await
}

impl LocalChange {
    /// Does it, if the audit trail takes the record of it.
    pub(super) async fn recorded<T>(
        &self,
        (audit, clock): Trail<'_>,
        done: impl Future<Output = Result<T, String>>,
        answer: impl FnOnce(&T) -> Option<Vec<u8>>,
    ) -> Result<T, String> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "the system gave no random bytes".to_owned())?;
        let since_epoch = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
        let record = |outcome| self.record((at, Uuid::from_random(id)), outcome);
        audit.admits(Act::Change).map_err(|unkept| unkept.to_string())?;
        audit.intend(record(Outcome::default())).await.map_err(|unkept| unkept.to_string())?;
        let result = done.await;
        audit.append(record(match &result {
            Ok(value) => Outcome { answer: answer(value), error: None },
            Err(reason) => Outcome { answer: None, error: Some(reason) },
        }));
        result
    }

    fn record(&self, (at, event_id): (UnixMillis, Uuid), outcome: Outcome<'_>) -> Record {
        let account = self.account.as_ref();
        let event = Event {
            user_identity: UserIdentity::LocalAdministrator { account },
            at,
            source: self.source,
            name: self.name,
            region: Some("us-east-1"),
            origin: Origin { user_agent: Some(self.by), ..Origin::default() },
            error: outcome.error.map(|message| RecordError { code: "InvalidInputException", message }),
            request_parameters: self.parameters.as_deref(),
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
}
