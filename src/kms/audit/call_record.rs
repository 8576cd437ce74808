//! The record of one call: what is known of it so far, and how it becomes a record when the call ends.

mod second_half;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use proxy_api::sigv4::Request;

use crate::audit::{AuditLog, Record, Strangers};
use crate::cloudtrail::{Event, EventType, Origin, RecordError, Resource, Resources, UserIdentity};
use crate::domain::kms::{AccountId, KeyPlace, Region, UnixMillis, Uuid};
use crate::gate::kms::{
    RequestId, Things, Touched, TouchedKey, Witness, backing_key_text, backing_keys_text,
};
use crate::identity::kms::{Caller, Claim};
use crate::json::{Object, push_text};
use crate::kms::audit::call_record::second_half::Side;
use crate::kms::audit::parameters::{Parameter, recorded};
use crate::kms::audit::recipient::with_recipient;
use crate::kms::audit::table::{Adds, Order, ResponseElements, Row, request_parameters, row};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;
use crate::kms::request_id::RequestIds;

const EVENT_SOURCE: &str = "kms.amazonaws.com";
const KEY: &str = "AWS::KMS::Key";
/// What the errors of authorization are called: whose key it is, hears nothing of it.
const ACCESS_DENIED: &str = "AccessDeniedException";

/// How a call came in.
#[derive(Clone, Copy)]
pub(in crate::kms) struct Received<'a> {
    /// Nothing is recorded of a request that names no operation.
    pub(in crate::kms) operation: Option<OperationName>,
    pub(in crate::kms) id: RequestId,
    /// KMS time.
    pub(in crate::kms) at: UnixMillis,
    pub(in crate::kms) origin: Origin<'a>,
    /// Where the ids of records come from.
    pub(in crate::kms) ids: &'a RequestIds,
}

/// One call. It is filled in by whoever knows something, and shared meanwhile.
pub(in crate::kms) struct CallRecord<'a> {
    received: Received<'a>,
    event_id: Uuid,
    claim: OnceLock<Claim>,
    caller: OnceLock<Caller>,
    /// `requestParameters`.
    parameters: OnceLock<Vec<u8>>,
    /// Of `responseElements`, what is answered.
    answer: OnceLock<Vec<u8>>,
    /// Of what is done in another Region.
    second_parameters: OnceLock<Vec<u8>>,
    second_answer: OnceLock<Vec<u8>>,
    touched: Touched,
    /// The trail was asked to keep what is about to be changed.
    announced: AtomicBool,
}

impl<'a> CallRecord<'a> {
    pub(in crate::kms) fn new(received: Received<'a>) -> Self {
        Self {
            received,
            event_id: received.ids.next().uuid(),
            claim: OnceLock::new(),
            caller: OnceLock::new(),
            parameters: OnceLock::new(),
            answer: OnceLock::new(),
            second_parameters: OnceLock::new(),
            second_answer: OnceLock::new(),
            touched: Touched::default(),
            announced: AtomicBool::new(false),
        }
    }

    /// Whether the call was about to change something.
    pub(in crate::kms) fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }

    pub(in crate::kms) fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    pub(in crate::kms) fn note_caller(&self, caller: Caller) -> &Caller {
        self.caller.get_or_init(|| caller)
    }

    /// The signature does not verify, or was never looked at.
    pub(in crate::kms) fn note_stranger(&self, signed: &Request<'_>) {
        self.claim.get_or_init(|| Claim::of(signed));
    }

    pub(in crate::kms) fn note_request(&self, document: &Document<'_>) {
        let operation = self.received.operation;
        if let Some(parameters) = operation.and_then(|name| request_parameters(name, document)) {
            self.parameters.get_or_init(|| parameters);
        }
        if let Some(parameters) = Side::Request.of(operation, document) {
            self.second_parameters.get_or_init(|| parameters);
        }
    }

    /// The call is served; this is the body of its answer.
    pub(in crate::kms) fn note_answer(&self, body: &[u8]) {
        let answered = |members: &[Parameter]| Some(recorded(members, &Document::parse(body).ok()?));
        let answer = match self.row().map(|row| row.response) {
            Some(ResponseElements::Answer(members) | ResponseElements::AnswerAndKeyArn(members)) => {
                answered(members)
            }
            Some(ResponseElements::KeyArn | ResponseElements::Null) | None => None,
        };
        if let Some(answer) = answer {
            self.answer.get_or_init(|| answer);
        }
        let of_second = || Side::Answer.of(self.received.operation, &Document::parse(body).ok()?);
        if self.touched.things().second_half.is_some()
            && let Some(answer) = of_second()
        {
            self.second_answer.get_or_init(|| answer);
        }
    }

    /// The call ended, with this error or well. Its record goes to the trail of the caller's account, and to that of
    /// each account whose key was used.
    pub(in crate::kms) fn end(
        &self,
        (audit, strangers): (&dyn AuditLog, &Strangers),
        error: Option<RecordError<'_>>,
    ) {
        let Some(row) = self.row() else { return };
        let Some(caller) = self.caller.get() else {
            if self.claim.get().is_some() && strangers.admit() {
                audit.append(self.write(row, None, error));
            }
            return;
        };
        let owners = self.other_owners(caller, error);
        let shared_event_id = owners.iter().flatten().next().map(|_| self.received.ids.next().uuid());
        let own = View { account: &caller.account, event_id: self.event_id, shared_event_id };
        audit.append(self.write(row, Some((caller, own)), error));
        if let Some(second) = error.is_none().then(|| self.second(caller)).flatten() {
            audit.append(second);
        }
        for account in owners.iter().flatten() {
            let view = View { account, event_id: self.received.ids.next().uuid(), shared_event_id };
            audit.append(self.write(row, Some((caller, view)), error));
        }
    }

    fn row(&self) -> Option<Row> {
        self.received.operation.map(row)
    }

    /// Accounts of keys that were used, but the caller's own.
    fn other_owners(&self, caller: &Caller, error: Option<RecordError<'_>>) -> [Option<AccountId>; 2] {
        if error.is_some_and(|error| error.code == ACCESS_DENIED) {
            return [None, None];
        }
        let things = self.touched.things();
        let owner = |key: &Option<TouchedKey>| {
            key.as_ref().map(TouchedKey::account).filter(|account| **account != caller.account).cloned()
        };
        let (first, second) = (owner(&things.key), owner(&things.destination));
        let second = second.filter(|second| first.as_ref() != Some(second));
        [first, second]
    }

    fn write(&self, row: Row, seen: Option<(&Caller, View<'_>)>, error: Option<RecordError<'_>>) -> Record {
        let things = self.touched.things();
        let claim = self.claim.get();
        let caller = seen.as_ref().map(|(caller, _)| *caller);
        let is_denied = error.is_some_and(|error| error.code == ACCESS_DENIED);
        let visible =
            |account: &AccountId| !is_denied || caller.is_some_and(|caller| caller.account == *account);
        let resources = resources(row.resources, &things, visible);
        let additional = with_recipient(additional(row.adds, &things), things.recipient.as_deref());
        let response = if error.is_some() { None } else { self.response(row, &things) };
        let event = Event {
            user_identity: match &seen {
                Some((caller, view)) if *view.account == caller.account => UserIdentity::Caller(caller),
                Some((caller, _)) => UserIdentity::ForeignCaller(caller),
                None => UserIdentity::Unknown {
                    access_key_id: claim.and_then(|claim| claim.access_key_id.as_deref()),
                },
            },
            at: self.received.at,
            source: EVENT_SOURCE,
            name: self.received.operation.map_or("", OperationName::as_str),
            region: caller
                .map(|caller| &caller.region)
                .or_else(|| claim?.region.as_ref())
                .map(Region::as_str),
            origin: self.received.origin,
            error,
            request_parameters: self.parameters.get().map(Vec::as_slice),
            response_elements: response.as_deref(),
            additional: additional.as_deref(),
            request_id: Some(self.received.id.uuid()),
            event_id: seen.as_ref().map_or(self.event_id, |(_, view)| view.event_id),
            read_only: row.read_only,
            resources: match row.resources {
                Order::Absent => Resources::Absent,
                Order::AliasThenKey | Order::KeyThenAlias | Order::Keys => Resources::Listed(&resources),
            },
            event_type: EventType::AwsApiCall,
            service_event_details: None,
            recipient: seen.as_ref().map(|(_, view)| view.account),
            shared_event_id: seen.as_ref().and_then(|(_, view)| view.shared_event_id),
        };
        event.to_record()
    }

    fn response(&self, row: Row, things: &Things) -> Option<Vec<u8>> {
        let answer = || self.answer.get().cloned();
        match row.response {
            ResponseElements::Answer(_) => answer(),
            ResponseElements::AnswerAndKeyArn(_) => {
                let mut answer = answer()?;
                let arn = things.key.as_ref()?.arn();
                // It has a member at least: what is answered here is an id.
                answer.pop();
                answer.extend_from_slice(b",\"keyId\":");
                push_text(&mut answer, arn);
                answer.push(b'}');
                Some(answer)
            }
            ResponseElements::KeyArn => {
                let arn = things.key.as_ref()?.arn();
                Some(object(|object| object.text("keyId", arn)))
            }
            ResponseElements::Null => None,
        }
    }
}

/// A record in the trail of one account.
struct View<'v> {
    account: &'v AccountId,
    event_id: Uuid,
    shared_event_id: Option<Uuid>,
}

impl Witness for CallRecord<'_> {
    fn touched(&self) -> &Touched {
        &self.touched
    }

    fn intent(&self) -> Record {
        self.announced.store(true, Ordering::Relaxed);
        let seen = self.caller.get().map(|caller| {
            (caller, View { account: &caller.account, event_id: self.event_id, shared_event_id: None })
        });
        match self.row() {
            Some(row) => self.write(row, seen, None),
            None => Record { event_id: self.event_id, json: b"{}".to_vec() },
        }
    }
}

/// What was touched, as `resources` shows it: keys of others only to who was let use them.
fn resources(
    order: Order,
    things: &Things,
    is_visible: impl Fn(&AccountId) -> bool,
) -> [Option<Resource<'_>>; 2] {
    let alias = || {
        let alias = things.alias.as_ref()?;
        Some(Resource { account: &alias.account, kind: KEY, arn: &alias.arn })
    };
    let key = || things.key.as_ref().filter(|key| is_visible(key.account())).map(resource);
    let destination = || things.destination.as_ref().filter(|key| is_visible(key.account())).map(resource);
    match order {
        Order::Absent => [None, None],
        Order::AliasThenKey => [alias(), key()],
        Order::KeyThenAlias => [key(), alias()],
        Order::Keys => [key(), destination()],
    }
}

fn resource(key: &TouchedKey) -> Resource<'_> {
    Resource { account: key.account(), kind: KEY, arn: key.arn() }
}

/// `additionalEventData`; nothing, if there is nothing to add.
fn additional(adds: Adds, things: &Things) -> Option<Vec<u8>> {
    match adds {
        Adds::Nothing => None,
        Adds::BackingKey => {
            let made = things.backing_keys.first()?;
            Some(object(|object| object.text("backingKey", &backing_key_text(made))))
        }
        Adds::BackingKeys => {
            let key_store = things.key_store.as_ref()?;
            let cluster_id = key_store.cluster_id()?;
            Some(object(|object| {
                object.text("customKeyStoreId", key_store.id().as_str());
                object.text("clusterId", cluster_id);
                if !things.backing_keys.is_empty() {
                    object.text("backingKeys", &backing_keys_text(&things.backing_keys));
                }
            }))
        }
        Adds::Grant => {
            let grant = things.grant.as_ref()?;
            Some(object(|object| object.text("grantId", &grant.0)))
        }
        Adds::KeyStore => {
            let key_store = things.key_store.as_ref()?;
            Some(object(|object| {
                object.text("customKeyStoreName", key_store.name());
                object.text_if("clusterId", key_store.cluster_id());
            }))
        }
        Adds::Place => place(things),
        Adds::Provider => is_software(things).then(|| object(|object| object.text(PROVIDER, SOFTWARE))),
        Adds::RandomSource => {
            let key_store = things.key_store.as_ref()?;
            Some(object(|object| object.text("customKeyStoreId", key_store.id().as_str())))
        }
    }
}

const PROVIDER: &str = "keyProvider";
const SOFTWARE: &str = "software";

fn is_software(things: &Things) -> bool {
    things.key.as_ref().is_some_and(TouchedKey::is_software)
}

/// Of ReEncrypt, the names are those of the source, if that is in a custom key store.
fn place(things: &Things) -> Option<Vec<u8>> {
    let in_store = |key: &'_ Option<TouchedKey>| -> Option<KeyPlace> {
        key.as_ref().map(TouchedKey::place).filter(|place| place.custom_key_store().is_some()).cloned()
    };
    let (source, destination) = (in_store(&things.key), in_store(&things.destination));
    if source.is_none() && destination.is_none() && !is_software(things) {
        return None;
    }
    let has_both = source.is_some() && destination.is_some();
    Some(object(|object| {
        for (place, is_second) in [(source, false), (destination, has_both)] {
            let Some(place) = place else { continue };
            let [store, key] = if is_second {
                ["destinationCustomKeyStoreId", "destinationXksKeyId"]
            } else {
                ["customKeyStoreId", "xksKeyId"]
            };
            object.text_if(store, place.custom_key_store().map(|id| id.as_str()));
            object.text_if(key, place.xks_key_id().map(|id| id.as_str()));
        }
        object.text_if(PROVIDER, is_software(things).then_some(SOFTWARE));
    }))
}

pub(super) fn object(write: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    write(&mut object);
    object.end();
    json
}
