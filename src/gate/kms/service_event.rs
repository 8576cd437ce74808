//! What KMS does by itself: said to the audit trail before, and recorded when it ended, in the name of KMS.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::Record;
use crate::cloudtrail::{Event, EventType, Origin, RecordError, Resource, Resources, UserIdentity};
use crate::domain::kms::{Key, RotationType, Uuid};
use crate::gate::kms::material::random;
use crate::gate::kms::witness::Announced;
use crate::gate::kms::{Kms, Refused};
use crate::json::Object;

/// Things that no caller asks for, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceAct {
    DeleteExpiredKeyMaterial,
    DeleteKey,
    Rotate(RotationType),
    /// Shared properties of a multi-Region primary key are copied to its replicas.
    Synchronize,
}

/// One such thing, about one key.
pub(super) struct ServiceEvent<'a> {
    kms: &'a Kms,
    act: ServiceAct,
    key: &'a Key,
    arn: String,
    event_id: Uuid,
    /// Of what is recorded as a call.
    request_id: Uuid,
    additional: Option<Vec<u8>>,
    /// It was announced and has not ended.
    owes_end: AtomicBool,
}

const OUTCOME_UNKNOWN: RecordError<'_> =
    RecordError { code: "KMSInternalException", message: "nobody waited for its end; it may have been done" };
const NOT_DONE: RecordError<'_> = RecordError {
    code: "KMSInternalException",
    message: "it could not be done now and will be tried again, unless others have done it",
};

impl ServiceAct {
    const fn name(self) -> &'static str {
        match self {
            Self::DeleteExpiredKeyMaterial => "DeleteExpiredKeyMaterial",
            Self::DeleteKey => "DeleteKey",
            Self::Rotate(_) => "RotateKey",
            Self::Synchronize => "SynchronizeMultiRegionKey",
        }
    }

    /// AWS KMS Developer Guide: as if somebody had called.
    const fn is_call(self) -> bool {
        matches!(self, Self::Synchronize)
    }

    fn details(self, key: &Key) -> Option<Vec<u8>> {
        let Self::Rotate(rotation) = self else { return None };
        let mut details = Vec::new();
        let mut object = Object::begin(&mut details);
        object.text("rotationType", rotation.as_str());
        object.text("keyId", key.id.as_str());
        object.end();
        Some(details)
    }
}

impl Kms {
    pub(super) fn service_event<'a>(
        &'a self,
        act: ServiceAct,
        key: &'a Key,
    ) -> Result<ServiceEvent<'a>, Refused> {
        let event_id = Uuid::from_random(random()?);
        Ok(ServiceEvent {
            kms: self,
            act,
            key,
            arn: key.arn(),
            event_id,
            request_id: Uuid::from_random(random()?),
            additional: None,
            owes_end: AtomicBool::new(false),
        })
    }
}

impl ServiceEvent<'_> {
    /// Before anything is changed.
    pub(super) async fn announce(&self) -> Result<Announced, Refused> {
        self.owes_end.store(true, Ordering::Relaxed);
        self.kms.audit.intend(self.record(None, false)).await.map_err(Refused::Unkept)?;
        Ok(Announced::as_service_event())
    }

    /// `additionalEventData`.
    pub(super) fn add(&mut self, additional: Vec<u8>) {
        self.additional = Some(additional);
    }

    pub(super) fn end<T>(&self, result: &Result<T, Refused>) {
        self.owes_end.store(false, Ordering::Relaxed);
        let error = if result.is_ok() { None } else { Some(NOT_DONE) };
        self.kms.audit.append(self.record(error, result.is_ok()));
    }

    fn record(&self, error: Option<RecordError<'_>>, is_done: bool) -> Record {
        let mut response = Vec::new();
        let mut object = Object::begin(&mut response);
        object.text("keyId", &self.arn);
        object.end();
        let account = &self.key.scope.account;
        let details = self.act.details(self.key);
        let event = Event {
            user_identity: UserIdentity::AwsInternal { account },
            at: self.kms.now(),
            source: "kms.amazonaws.com",
            name: self.act.name(),
            region: Some(self.key.scope.region.as_str()),
            origin: Origin::default(),
            error,
            request_parameters: None,
            response_elements: is_done.then_some(response.as_slice()),
            additional: self.additional.as_deref(),
            request_id: self.act.is_call().then_some(self.request_id),
            event_id: self.event_id,
            read_only: false,
            resources: Resources::Listed(&[Some(Resource {
                account,
                kind: "AWS::KMS::Key",
                arn: &self.arn,
            })]),
            event_type: if self.act.is_call() { EventType::AwsApiCall } else { EventType::AwsServiceEvent },
            service_event_details: details.as_deref(),
            recipient: Some(account),
            shared_event_id: None,
        };
        event.to_record()
    }
}

impl Drop for ServiceEvent<'_> {
    /// A rotation that a caller asked for ends with the caller's patience.
    fn drop(&mut self) {
        if self.owes_end.load(Ordering::Relaxed) {
            self.kms.audit.append(self.record(Some(OUTCOME_UNKNOWN), false));
        }
    }
}
