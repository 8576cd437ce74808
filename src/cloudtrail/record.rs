//! One record: its fields, in the order of CloudTrail.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::audit::Record;
use crate::authorizer::facts::RequestFacts;
use crate::cloudtrail::date::push_event_time;
use crate::cloudtrail::tls::Tls;
use crate::cloudtrail::user_identity::UserIdentity;
use crate::domain::kms::{AccountId, UnixMillis, Uuid};
use crate::http::TlsFacts;
use crate::json::{Object, push_array, push_text};

/// The first version with everything that is written here.
const EVENT_VERSION: &str = "1.11";
/// CloudTrail User Guide, record contents: `requestParameters` and `responseElements` are left out when longer.
pub const FIELD_BYTES_MAX: usize = 100 * 1024;
/// The same: `userAgent` and `errorMessage` are cut.
const TEXT_BYTES_MAX: usize = 1024;
/// Room for a record of a cryptographic operation of a role session over TLS.
const RECORD_BYTES_USUAL: usize = 2048;

/// One thing that was done, or was tried. Parts in JSON are written as they are.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub user_identity: UserIdentity<'a>,
    pub at: UnixMillis,
    /// `eventSource`, such as `kms.amazonaws.com`.
    pub source: &'static str,
    pub name: &'a str,
    pub region: Option<&'a str>,
    pub origin: Origin<'a>,
    pub error: Option<RecordError<'a>>,
    /// JSON.
    pub request_parameters: Option<&'a [u8]>,
    /// JSON.
    pub response_elements: Option<&'a [u8]>,
    /// JSON; absent: not even the field.
    pub additional: Option<&'a [u8]>,
    pub request_id: Option<Uuid>,
    pub event_id: Uuid,
    pub read_only: bool,
    pub resources: Resources<'a>,
    pub event_type: EventType,
    /// JSON; absent: not even the field.
    pub service_event_details: Option<&'a [u8]>,
    /// In whose trail it belongs; unknown of a stranger.
    pub recipient: Option<&'a AccountId>,
    /// Of two records of one call in the trails of two accounts.
    pub shared_event_id: Option<Uuid>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Unknown of what came over no network.
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<&'a str>,
    pub vpc_endpoint_id: Option<&'a str>,
    /// Absent on a plain listener.
    pub tls: Option<Tls<'a>>,
}

impl<'a> Origin<'a> {
    /// Of a request that came over the network.
    pub fn of(
        facts: &RequestFacts<'a>,
        (uri, headers): (&'a Uri, &'a HeaderMap),
        tls: Option<&'a TlsFacts>,
    ) -> Self {
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        Self {
            source_ip: Some(facts.source_ip),
            user_agent: facts.user_agent,
            vpc_endpoint_id: facts.vpc.map(|vpc| vpc.id),
            tls: tls.map(|tls| Tls {
                version: tls.version,
                cipher_suite: tls.cipher_suite,
                key_exchange_group: tls.key_exchange_group,
                host: host.or_else(|| uri.authority().map(http::uri::Authority::as_str)),
            }),
        }
    }
}

/// What the caller was told.
#[derive(Clone, Copy, Debug)]
pub struct RecordError<'a> {
    pub code: &'a str,
    /// Absent where it is empty.
    pub message: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    AwsApiCall,
    AwsServiceEvent,
}

/// What it was done to, in the order that the operation has.
#[derive(Clone, Copy, Debug)]
pub enum Resources<'a> {
    /// Not even the field.
    Absent,
    Listed(&'a [Option<Resource<'a>>]),
}

#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub account: &'a AccountId,
    /// `AWS::KMS::Key` also of an alias.
    pub kind: &'static str,
    pub arn: &'a str,
}

impl Event<'_> {
    pub fn to_record(&self) -> Record {
        let mut json = Vec::with_capacity(RECORD_BYTES_USUAL);
        self.write(&mut json);
        Record { event_id: self.event_id, json }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut event = Object::begin(out);
        event.text("eventVersion", EVENT_VERSION);
        event.object("userIdentity", |identity| self.user_identity.write(identity));
        let out = event.member("eventTime");
        out.push(b'"');
        push_event_time(out, self.at);
        out.push(b'"');
        event.text("eventSource", self.source);
        event.text("eventName", self.name);
        event.text_if("awsRegion", self.region);
        self.write_origin(&mut event);
        if let Some(RecordError { code, message }) = self.error {
            event.text("errorCode", code);
            event.text_if("errorMessage", Some(cut(message)).filter(|message| !message.is_empty()));
        }
        event.json("requestParameters", bounded(self.request_parameters));
        event.json("responseElements", bounded(self.response_elements));
        if let Some(additional) = self.additional {
            event.json("additionalEventData", additional);
        }
        event.text_if("requestID", self.request_id.as_ref().map(Uuid::as_str));
        event.text("eventID", self.event_id.as_str());
        event.boolean("readOnly", self.read_only);
        self.write_resources(&mut event);
        event.text("eventType", self.event_type.as_str());
        event.boolean("managementEvent", true);
        event.text_if("recipientAccountId", self.recipient.map(AccountId::as_str));
        event.text_if("sharedEventID", self.shared_event_id.as_ref().map(Uuid::as_str));
        if let Some(details) = self.service_event_details {
            event.json("serviceEventDetails", details);
        }
        event.text_if("vpcEndpointId", self.origin.vpc_endpoint_id);
        event.text("eventCategory", "Management");
        if let Some(tls) = self.origin.tls {
            event.object("tlsDetails", |details| tls.write(details));
        }
        event.end();
    }

    /// Of what a service does or passes on, its name.
    fn write_origin(&self, event: &mut Object<'_>) {
        if let Some(service) = self.user_identity.invoked_by() {
            event.text("sourceIPAddress", service);
            event.text("userAgent", service);
            return;
        }
        match self.origin.source_ip {
            Some(source_ip) => write_ip(event.member("sourceIPAddress"), source_ip),
            None => event.text("sourceIPAddress", "localhost"),
        }
        event.text_if("userAgent", self.origin.user_agent.map(cut));
    }

    fn write_resources(&self, event: &mut Object<'_>) {
        let Resources::Listed(resources) = self.resources else { return };
        push_array(event.member("resources"), resources.iter().flatten(), |out, resource| {
            let mut entry = Object::begin(out);
            entry.text("accountId", resource.account.as_str());
            entry.text("type", resource.kind);
            entry.text("ARN", resource.arn);
            entry.end();
        });
    }
}

impl EventType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AwsApiCall => "AwsApiCall",
            Self::AwsServiceEvent => "AwsServiceEvent",
        }
    }
}

fn bounded(json: Option<&[u8]>) -> &[u8] {
    json.filter(|json| json.len() <= FIELD_BYTES_MAX).unwrap_or(b"null")
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.get(..end).unwrap_or(text)
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(b'"');
            for (index, byte) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                for place in [100, 10, 1] {
                    if byte >= place || place == 1 {
                        out.push(b'0' + byte / place % 10);
                    }
                }
            }
            out.push(b'"');
        }
        IpAddr::V6(ip) => push_text(out, &ip.to_string()),
    }
}
