//! Records of the trail about itself.

use std::time::SystemTime;

use aws_lc_rs::rand;
use serde::Serialize;

use crate::audit::Record;
use crate::domain::kms::Uuid;
use crate::logging;

const OURSELVES: &str = "AWS Internal";

/// Why the trail begins or ends to be written, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    pub(super) reason: String,
    pub(super) version: &'static str,
    /// Of a line that was not whole, and was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torn_bytes: Option<u64>,
    /// Calls whose outcome is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interrupted_calls: Option<usize>,
    /// Lines that the store knows of and the folder lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing_lines: Option<Missing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_version: &'static str,
    user_identity: Identity,
    event_time: String,
    event_source: &'static str,
    event_name: &'static str,
    aws_region: &'static str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'static str,
    user_agent: &'static str,
    request_parameters: (),
    response_elements: (),
    #[serde(rename = "eventID")]
    event_id: &'a str,
    read_only: bool,
    event_type: &'static str,
    management_event: bool,
    event_category: &'static str,
    service_event_details: &'a Details,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    invoked_by: &'static str,
}

pub(super) fn start_logging(now: SystemTime, details: &Details) -> Record {
    record("StartLogging", now, details)
}

pub(super) fn stop_logging(now: SystemTime, details: &Details) -> Record {
    record("StopLogging", now, details)
}

fn record(event_name: &'static str, now: SystemTime, details: &Details) -> Record {
    let event_id = random_id();
    let event = Event {
        event_version: "1.11",
        user_identity: Identity { invoked_by: OURSELVES },
        event_time: seconds(now),
        event_source: "cloudtrail.amazonaws.com",
        event_name,
        aws_region: "aws-global",
        source_ip_address: OURSELVES,
        user_agent: OURSELVES,
        request_parameters: (),
        response_elements: (),
        event_id: event_id.as_str(),
        read_only: false,
        event_type: "AwsServiceEvent",
        management_event: true,
        event_category: "Management",
        service_event_details: details,
    };
    // Texts and numbers: nothing that JSON lacks.
    Record { event_id, json: serde_json::to_vec(&event).unwrap_or_default() }
}

/// CloudTrail's times have no fractions.
fn seconds(now: SystemTime) -> String {
    let time = logging::timestamp(now);
    time.split_once('.').map_or(time.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Version and variant bits as RFC 9562, section 5.4, wants them of a random UUID.
pub(super) fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    // Without randomness there is no id that could be told from others, but still a record.
    let _ = rand::fill(&mut bytes);
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    Uuid::of(&bytes)
}
