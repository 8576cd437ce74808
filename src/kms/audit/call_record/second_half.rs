//! The record of what KMS does in another Region for a call: CreateKey for ReplicateKey, UpdatePrimaryRegion for itself.

use std::sync::Arc;

use crate::audit::Record;
use crate::cloudtrail::{Event, EventType, Resource, Resources, UserIdentity};
use crate::gate::kms::SecondHalf;
use crate::identity::kms::{Caller, Via};
use crate::json::Object;
use crate::kms::audit::call_record::{CallRecord, EVENT_SOURCE, KEY, object};
use crate::kms::audit::parameters::recorded;
use crate::kms::audit::table::{CREATED_REPLICA, REPLICA_PARAMETERS};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;

/// Of ReplicateKey, what its CreateKey has of request and answer.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Answer,
    Request,
}

impl Side {
    /// Nothing of other operations.
    pub(super) fn of(self, operation: Option<OperationName>, document: &Document<'_>) -> Option<Vec<u8>> {
        let members = match self {
            Self::Answer => CREATED_REPLICA,
            Self::Request => REPLICA_PARAMETERS,
        };
        (operation == Some(OperationName::ReplicateKey)).then(|| recorded(members, document))
    }
}

impl CallRecord<'_> {
    /// Of a call that was served, if part of it was done elsewhere.
    pub(super) fn second(&self, caller: &Caller) -> Option<Record> {
        let things = self.touched.things();
        let half = things.second_half.as_ref()?;
        let via = Via { service: Arc::from(EVENT_SOURCE) };
        let passed_on = Caller { region: half.region.clone(), via: Some(Arc::new(via)), ..caller.clone() };
        let operation = self.received.operation?;
        let (name, parameters, response) = if operation == OperationName::ReplicateKey {
            let answer = self.second_answer.get().cloned();
            (OperationName::CreateKey, self.creation_parameters(half), answer)
        } else {
            let parameters = object(|object| {
                object.text("keyId", &half.arn);
                object.text("primaryRegion", half.region.as_str());
            });
            (operation, parameters, Some(object(|object| object.text("keyId", &half.arn))))
        };
        let account = &caller.account;
        let event = Event {
            user_identity: UserIdentity::Caller(&passed_on),
            at: self.received.at,
            source: EVENT_SOURCE,
            name: name.as_str(),
            region: Some(half.region.as_str()),
            origin: self.received.origin,
            error: None,
            request_parameters: Some(&parameters),
            response_elements: response.as_deref(),
            additional: None,
            request_id: Some(self.received.id.uuid()),
            event_id: self.received.ids.next().uuid(),
            read_only: false,
            resources: Resources::Listed(&[Some(Resource { account, kind: KEY, arn: &half.arn })]),
            event_type: EventType::AwsApiCall,
            service_event_details: None,
            recipient: Some(account),
            shared_event_id: None,
        };
        Some(event.to_record())
    }

    /// What the replica has in common with its primary, and then what the request said.
    fn creation_parameters(&self, half: &SecondHalf) -> Vec<u8> {
        let shared = |object: &mut Object<'_>| {
            object.text("keyUsage", half.usage.as_str());
            object.text("origin", half.origin.as_str());
            object.json("multiRegion", b"true");
            object.text("keySpec", half.spec.as_str());
            object.text("customerMasterKeySpec", half.spec.as_str());
        };
        let mut parameters = object(shared);
        if let Some([b'{', own @ ..]) = self.second_parameters.get().map(Vec::as_slice) {
            // Neither is empty: three of the own ones have a default.
            parameters.pop();
            parameters.push(b',');
            parameters.extend_from_slice(own);
        }
        parameters
    }
}
