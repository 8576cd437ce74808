//! An event as Amazon EventBridge delivers it (AWS KMS Developer Guide, Monitoring KMS keys with Amazon EventBridge).

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::domain::kms::LifecycleEvent;

const TIME: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope<'a> {
    version: &'static str,
    id: &'a str,
    detail_type: &'static str,
    source: &'static str,
    account: &'a str,
    time: String,
    region: &'a str,
    resources: [String; 1],
    detail: Detail<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    key_id: &'a str,
}

/// In JSON, without a line break.
pub(super) fn of(event: &LifecycleEvent) -> Result<Vec<u8>, String> {
    let time = OffsetDateTime::from_unix_timestamp(event.at.0.div_euclid(1000)).map_err(|_| NO_TIME)?;
    let envelope = Envelope {
        version: "0",
        id: event.id.as_str(),
        detail_type: event.kind.as_str(),
        source: "aws.kms",
        account: event.scope.account.as_str(),
        time: time.format(TIME).map_err(|_| NO_TIME)?,
        region: event.scope.region.as_str(),
        resources: [event.scope.arn(&format!("key/{}", event.key_id))],
        detail: Detail { key_id: event.key_id.as_str() },
    };
    serde_json::to_vec(&envelope).map_err(|error| error.to_string())
}

const NO_TIME: &str = "the time of the event cannot be written";

#[cfg(test)]
mod tests {
    use crate::domain::kms::{
        AccountId, KeyId, LifecycleEvent, LifecycleEventKind, Region, Scope, UnixMillis, Uuid,
    };

    #[test]
    fn an_event_is_written_as_eventbridge_writes_it() {
        let event = LifecycleEvent {
            id: Uuid::of(&[0x6a; 16]),
            kind: LifecycleEventKind::Rotation,
            scope: Scope {
                account: AccountId::parse("111122223333").unwrap(),
                region: Region::parse("us-west-2").unwrap(),
            },
            key_id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
            at: UnixMillis(1_472_151_055_999),
        };
        let expected = concat!(
            r#"{"version":"0","id":"6a6a6a6a-6a6a-6a6a-6a6a-6a6a6a6a6a6a","detail-type":"KMS CMK Rotation","#,
            r#""source":"aws.kms","account":"111122223333","time":"2016-08-25T18:50:55Z","region":"us-west-2","#,
            r#""resources":["arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"],"#,
            r#""detail":{"key-id":"1234abcd-12ab-34cd-56ef-1234567890ab"}}"#,
        );
        assert_eq!(String::from_utf8(super::of(&event).unwrap()).unwrap(), expected);
    }
}
