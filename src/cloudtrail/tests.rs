//! What every record has: escapes, dates, names of TLS, identities.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cloudtrail::date::push_event_time;
use crate::cloudtrail::{
    Event, EventType, FIELD_BYTES_MAX, Origin, RecordError, Resources, Tls, UserIdentity, administration,
    date_text,
};
use crate::domain::kms::{UnixMillis, Uuid};
use crate::identity::kms::{
    AdminRequest, Caller, Holder, HolderKind, Principal, ServiceCall, Session, TemporaryCredentials, Via,
};
use crate::json::{Object, push_text};

const ACCOUNT: &str = "111122223333";

fn event(user_identity: UserIdentity<'_>) -> Event<'_> {
    Event {
        user_identity,
        at: UnixMillis(1_660_171_107_999),
        source: "kms.amazonaws.com",
        name: "CreateKey",
        region: Some("us-west-2"),
        origin: Origin::default(),
        error: None,
        request_parameters: None,
        response_elements: None,
        additional: None,
        request_id: None,
        event_id: Uuid::of(&[7; 16]),
        read_only: false,
        resources: Resources::Absent,
        event_type: EventType::AwsApiCall,
        service_event_details: None,
        recipient: None,
        shared_event_id: None,
    }
}

fn written(event: &Event<'_>) -> Value {
    serde_json::from_slice(&event.to_record().json).unwrap()
}

fn identity(user_identity: UserIdentity<'_>) -> Value {
    written(&event(user_identity))["userIdentity"].clone()
}

#[test]
fn what_is_written_is_what_another_parser_reads() {
    for text in ["", "plain", "\"quoted\" and \\", "line\nline\r\t\u{1}\u{1f}", "é \u{1f600} \u{7f}\u{2028}"]
    {
        let mut out = Vec::new();
        push_text(&mut out, text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        assert!(!out.contains(&b'\n'));
    }
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.text("a", "b");
    object.text_if("c", None);
    object.object("d", |inner| inner.boolean("e", true));
    object.end();
    assert_eq!(out, br#"{"a":"b","d":{"e":true}}"#);
}

proptest! {
    #[test]
    fn any_text_is_read_back(text in r#"[\x00-\x7f"\\ é\u{1f600}a-z]{0,40}"#) {
        let mut out = Vec::new();
        push_text(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        prop_assert!(!out.contains(&b'\n'));
    }
}

#[test]
fn dates_are_written_as_cloudtrail_writes_them() {
    for (seconds, date, of_event) in [
        (1_660_171_107, "Aug 10, 2022, 10:38:27 PM", "2022-08-10T22:38:27Z"),
        (1_609_459_200, "Jan 1, 2021, 12:00:00 AM", "2021-01-01T00:00:00Z"),
        (1_609_502_400, "Jan 1, 2021, 12:00:00 PM", "2021-01-01T12:00:00Z"),
        (0, "Jan 1, 1970, 12:00:00 AM", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(date_text(UnixMillis(seconds * 1000 + 999)), date);
        let mut out = Vec::new();
        push_event_time(&mut out, UnixMillis(seconds * 1000));
        assert_eq!(String::from_utf8(out).unwrap(), of_event);
    }
}

#[test]
fn a_user_the_root_user_and_a_role_session_are_told_apart() {
    let user = Caller {
        principal: Principal::User { name: Arc::from("Alice") },
        arn: Arc::from("arn:aws:iam::111122223333:user/Alice"),
        user_id: Arc::from("AIDA1"),
        ..Caller::of_root_user(ACCOUNT, "us-west-2")
    };
    let expected = json!({
        "type": "IAMUser", "principalId": "AIDA1", "arn": "arn:aws:iam::111122223333:user/Alice",
        "accountId": ACCOUNT, "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "userName": "Alice",
    });
    assert_eq!(identity(UserIdentity::Caller(&user)), expected);
    let root = identity(UserIdentity::Caller(&Caller::of_root_user(ACCOUNT, "us-west-2")));
    assert_eq!((&root["type"], &root["principalId"]), (&json!("Root"), &json!(ACCOUNT)));
    assert!(root.get("userName").is_none());
    let session = Caller {
        principal: Principal::Session(Arc::new(Session {
            role_arn: Arc::from("arn:aws:iam::111122223333:role/Admin"),
            role_name: Arc::from("Admin"),
            name: "s".to_owned(),
            policies: Arc::from([]),
            transitive_tags: Vec::new(),
        })),
        arn: Arc::from("arn:aws:sts::111122223333:assumed-role/Admin/s"),
        user_id: Arc::from("AROA1:s"),
        temporary: Some(Arc::new(TemporaryCredentials {
            issued_unix_seconds: 1_660_171_107,
            ..TemporaryCredentials::default()
        })),
        ..Caller::of_root_user(ACCOUNT, "us-west-2")
    };
    let shown = identity(UserIdentity::Caller(&session));
    assert_eq!((&shown["type"], &shown["principalId"]), (&json!("AssumedRole"), &json!("AROA1:s")));
    let context = json!({
        "attributes": {"creationDate": "2022-08-10T22:38:27Z", "mfaAuthenticated": "false"},
        "sessionIssuer": {
            "type": "Role", "principalId": "AROA1", "arn": "arn:aws:iam::111122223333:role/Admin",
            "accountId": ACCOUNT, "userName": "Admin",
        },
    });
    assert_eq!(shown["sessionContext"], context);
}

#[test]
fn a_second_factor_is_a_text() {
    let temporary = TemporaryCredentials { mfa_unix_seconds: Some(1), ..TemporaryCredentials::default() };
    let caller = Caller {
        temporary: Some(Arc::new(temporary)),
        principal: Principal::User { name: Arc::from("Alice") },
        ..Caller::of_root_user(ACCOUNT, "us-west-2")
    };
    let shown = identity(UserIdentity::Caller(&caller));
    assert_eq!(shown["sessionContext"]["attributes"]["mfaAuthenticated"], json!("true"));
    assert!(shown["sessionContext"].get("sessionIssuer").is_none());
}

#[test]
fn what_a_service_passes_on_or_does_itself_comes_from_the_service() {
    let name: Arc<str> = Arc::from("s3.amazonaws.com");
    let forwarded = Caller {
        via: Some(Arc::new(Via { service: Arc::clone(&name) })),
        ..Caller::of_root_user(ACCOUNT, "us-west-2")
    };
    let own = Caller {
        principal: Principal::Service(Arc::new(ServiceCall {
            name: Arc::clone(&name),
            source_arn: None,
            source_account: None,
        })),
        ..Caller::of_root_user(ACCOUNT, "us-west-2")
    };
    for (caller, kind) in [(&forwarded, "Root"), (&own, "AWSService")] {
        let record = written(&Event {
            origin: Origin {
                source_ip: Some("192.0.2.1".parse().unwrap()),
                user_agent: Some("a"),
                ..Origin::default()
            },
            ..event(UserIdentity::Caller(caller))
        });
        assert_eq!(record["userIdentity"]["type"], json!(kind));
        for member in ["sourceIPAddress", "userAgent"] {
            assert_eq!(record[member], json!("s3.amazonaws.com"));
        }
        assert_eq!(record["userIdentity"]["invokedBy"], json!("s3.amazonaws.com"));
    }
    let foreign = identity(UserIdentity::ForeignCaller(&forwarded));
    let expected = json!({
        "type": "AWSAccount", "principalId": ACCOUNT, "accountId": ACCOUNT, "invokedBy": "s3.amazonaws.com",
    });
    assert_eq!(foreign, expected);
}

#[test]
fn addresses_and_tls_are_written_in_their_usual_names() {
    for ip in ["192.0.2.105", "0.10.200.255", "2001:db8::1"] {
        let origin = Origin {
            source_ip: Some(ip.parse().unwrap()),
            vpc_endpoint_id: Some("vpce-1"),
            tls: Some(Tls {
                version: "TLSv1_3",
                cipher_suite: "TLS13_AES_256_GCM_SHA384",
                key_exchange_group: Some("X25519MLKEM768"),
                host: Some("localhost:8442"),
            }),
            ..Origin::default()
        };
        let record = written(&Event { origin, ..event(UserIdentity::Unknown { access_key_id: None }) });
        assert_eq!(record["sourceIPAddress"], json!(ip));
        assert_eq!(record["vpcEndpointId"], json!("vpce-1"));
        let details = json!({
            "tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_256_GCM_SHA384", "keyExchange": "X25519MLKEM768",
            "clientProvidedHostHeader": "localhost:8442",
        });
        assert_eq!(record["tlsDetails"], details);
    }
}

#[test]
fn fields_are_bounded_as_in_cloudtrail() {
    let long = "é".repeat(2000);
    let fits = format!("\"{}\"", "a".repeat(FIELD_BYTES_MAX - 2));
    let too_long = format!("\"{}\"", "a".repeat(FIELD_BYTES_MAX - 1));
    let record = written(&Event {
        error: Some(RecordError { code: "ValidationException", message: &long }),
        request_parameters: Some(too_long.as_bytes()),
        response_elements: Some(fits.as_bytes()),
        origin: Origin { user_agent: Some(&long), ..Origin::default() },
        ..event(UserIdentity::Unknown { access_key_id: Some("AKIA") })
    });
    assert_eq!(record["requestParameters"], Value::Null);
    assert!(record["responseElements"].is_string());
    for member in ["errorMessage", "userAgent"] {
        assert_eq!(record[member].as_str().unwrap().len(), 1024);
    }
}

#[test]
fn changes_of_identities_have_the_names_of_iam() {
    let of = |kind| Holder { account: ACCOUNT.to_owned(), kind, name: "x".to_owned() };
    let put =
        |kind| AdminRequest::PutPolicy { of: of(kind), name: "p".to_owned(), document: "{}".to_owned() };
    for (request, name, parameters) in [
        (AdminRequest::Delete(of(HolderKind::Role)), "DeleteRole", json!({"roleName": "x"})),
        (
            put(HolderKind::User),
            "PutUserPolicy",
            json!({"userName": "x", "policyName": "p", "policyDocument": "{}"}),
        ),
        (
            AdminRequest::CreateAccessKey { account: ACCOUNT.to_owned(), user: None },
            "CreateAccessKey",
            json!({}),
        ),
        (
            AdminRequest::SetAccessKeyActive { access_key_id: "AKIA".to_owned(), active: false },
            "UpdateAccessKey",
            json!({"accessKeyId": "AKIA", "status": "Inactive"}),
        ),
    ] {
        let change = administration(&request).unwrap();
        assert_eq!(change.name, name);
        assert_eq!(serde_json::from_slice::<Value>(&change.parameters).unwrap(), parameters);
    }
    assert_eq!(administration(&AdminRequest::Show(of(HolderKind::User))), None);
}
