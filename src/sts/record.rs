//! The records of a call to STS: in the trail of the caller's account, and of the account whose role was assumed.

use crate::audit::Record;
use crate::cloudtrail::{Event, EventType, Origin, RecordError, Resource, Resources, UserIdentity};
use crate::domain::kms::{AccountId, Region, UnixMillis, Uuid};
use crate::identity::kms::{Caller, Claim};
use crate::json::{Object, push_array, push_text};
use crate::sts::parameters::Parameters;

const EVENT_SOURCE: &str = "sts.amazonaws.com";
const ROLE: &str = "AWS::IAM::Role";

/// What is recorded of a request: never the code of a second factor.
const RECORDED: [(&str, &str); 7] = [
    ("RoleArn", "roleArn"),
    ("RoleSessionName", "roleSessionName"),
    ("DurationSeconds", "durationSeconds"),
    ("ExternalId", "externalId"),
    ("Policy", "policy"),
    ("SerialNumber", "serialNumber"),
    ("SourceIdentity", "sourceIdentity"),
];

/// A call of a known caller that ended.
pub(super) struct Ended<'a> {
    pub(super) operation: &'static str,
    pub(super) caller: &'a Caller,
    pub(super) at: UnixMillis,
    pub(super) origin: Origin<'a>,
    pub(super) request_id: Uuid,
    pub(super) recorded: &'a Recorded,
    pub(super) error: Option<RecordError<'a>>,
}

/// Of a request and its answer, what is recorded.
#[derive(Default)]
pub(super) struct Recorded {
    /// JSON; absent if nothing was given.
    pub(super) parameters: Option<Vec<u8>>,
    /// JSON.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) role_arn: Option<String>,
}

impl Recorded {
    pub(super) fn of(parameters: &Parameters) -> Self {
        let mut json = Vec::new();
        let mut object = Object::begin(&mut json);
        let given = RECORDED.into_iter().filter_map(|(name, shown)| Some((shown, parameters.get(name)?)));
        let mut is_empty = true;
        for (shown, value) in given {
            is_empty = false;
            if shown == "durationSeconds" && value.parse::<u32>().is_ok() {
                object.json(shown, value.as_bytes());
            } else {
                object.text(shown, value);
            }
        }
        let tags = parameters.pairs("Tags");
        if !tags.is_empty() {
            push_array(object.member("tags"), tags, |out, (key, value)| {
                let mut tag = Object::begin(out);
                tag.text("key", key);
                tag.text("value", value);
                tag.end();
            });
        }
        let transitive = parameters.list("TransitiveTagKeys");
        if !transitive.is_empty() {
            push_array(object.member("transitiveTagKeys"), transitive, push_text);
        }
        object.end();
        let role_arn = parameters.get("RoleArn").map(str::to_owned);
        Self { parameters: (!is_empty).then_some(json), answer: None, role_arn }
    }
}

/// One, or two if the role is of another account and was assumed.
pub(super) fn records(ended: &Ended<'_>, fresh_id: impl Fn() -> Uuid) -> Vec<Record> {
    let Ended { operation, caller, at, origin, request_id, recorded, error } = ended;
    let role = recorded.role_arn.as_deref().and_then(|arn| Some((arn, account_of(arn)?)));
    let owner = role.as_ref().map(|(_, owner)| owner).filter(|owner| **owner != caller.account);
    let owner = owner.filter(|_| error.is_none());
    let shared_event_id = owner.map(|_| fresh_id());
    let resources = [role.as_ref().map(|(arn, account)| Resource { account, kind: ROLE, arn })];
    let event = Event {
        user_identity: UserIdentity::Caller(caller),
        at: *at,
        source: EVENT_SOURCE,
        name: operation,
        region: Some(caller.region.as_str()),
        origin: *origin,
        error: *error,
        request_parameters: recorded.parameters.as_deref(),
        response_elements: recorded.answer.as_deref().filter(|_| error.is_none()),
        additional: None,
        request_id: Some(*request_id),
        event_id: fresh_id(),
        read_only: true,
        resources: if role.is_some() { Resources::Listed(&resources) } else { Resources::Absent },
        event_type: EventType::AwsApiCall,
        service_event_details: None,
        recipient: Some(&caller.account),
        shared_event_id,
    };
    let foreign = owner.map(|owner| Event {
        user_identity: UserIdentity::ForeignCaller(caller),
        event_id: fresh_id(),
        recipient: Some(owner),
        ..event
    });
    std::iter::once(event).chain(foreign).map(|event| event.to_record()).collect()
}

/// A call of nobody knows whom.
pub(super) struct Strange<'a> {
    pub(super) operation: &'static str,
    pub(super) claim: &'a Claim,
    pub(super) at: UnixMillis,
    pub(super) origin: Origin<'a>,
    pub(super) request_id: Uuid,
    pub(super) error: Option<RecordError<'a>>,
}

pub(super) fn record_of_stranger(strange: &Strange<'_>, event_id: Uuid) -> Record {
    let Strange { operation, claim, at, origin, request_id, error } = strange;
    let event = Event {
        user_identity: UserIdentity::Unknown { access_key_id: claim.access_key_id.as_deref() },
        at: *at,
        source: EVENT_SOURCE,
        name: operation,
        region: claim.region.as_ref().map(Region::as_str),
        origin: *origin,
        error: *error,
        request_parameters: None,
        response_elements: None,
        additional: None,
        request_id: Some(*request_id),
        event_id,
        read_only: true,
        resources: Resources::Absent,
        event_type: EventType::AwsApiCall,
        service_event_details: None,
        recipient: None,
        shared_event_id: None,
    };
    event.to_record()
}

/// Whose role it is.
fn account_of(arn: &str) -> Option<AccountId> {
    arn.split(':').nth(4).and_then(AccountId::parse)
}
