//! The AWS JSON 1.1 protocol: what travels around the operations, whatever they are.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::Method;
use proxy_api::client::{Endpoint, HttpVersions, TlsTrust};
use serde_json::{Value, json};

use crate::sigv4::oracle;
use crate::support::client::Signed;
use crate::support::kms::{ACCOUNT, KmsReply, signed};
use crate::support::site::free_ports;
use crate::support::{Reply, Setup, Site};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const UUID_CHARS: usize = 36;

fn request_id(reply: &Reply) -> String {
    let id = reply.headers["x-amzn-requestid"].to_str().unwrap().to_owned();
    assert_eq!((id.len(), id.matches('-').count()), (UUID_CHARS, 4), "{id}");
    id
}

/// An error of the protocol: its name and message.
#[track_caller]
fn assert_refused(reply: KmsReply, (status, name): (u16, &str), message: &str) {
    assert_eq!(reply.0.status, status, "{}", String::from_utf8_lossy(&reply.0.body));
    assert_eq!(reply.0.headers["content-type"], CONTENT_TYPE);
    request_id(&reply.0);
    reply.assert_error(name, message);
}

/// A request with these bytes for a body.
fn with_body(operation: &str, body: impl Into<Vec<u8>>) -> Signed {
    Signed { body: body.into(), ..signed(&ACCOUNT, operation, &Value::Null) }
}

#[test]
fn every_operation_of_the_model_is_answered_over_http_1_and_http_2() {
    let site = Site::start_with(&Setup::kms());
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    let host = format!("localhost:{}", site.kms_port);
    for versions in [HttpVersions::Http1, HttpVersions::Both] {
        let endpoint = Endpoint::https(&host, &trust, versions).unwrap();
        let (mut operations, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (operation, body) in site.kms_requests() {
            let reply = site.send_to(&endpoint, signed(&ACCOUNT, operation, &body).outgoing(&host));
            assert_eq!(reply.headers["content-type"], CONTENT_TYPE, "{operation}");
            assert!(ids.insert(request_id(&reply)), "{operation}");
            KmsReply(reply).ok();
            operations.insert(operation);
        }
        assert_eq!(operations.len(), 56);
    }
}

#[test]
fn operations_without_an_output_answer_with_an_empty_body() {
    let site = Site::start_with(&Setup::kms());
    let mut empty = BTreeSet::new();
    for (operation, body) in site.kms_requests() {
        let reply = site.kms(operation, &body);
        if reply.0.status == 200 && reply.0.body.is_empty() {
            assert_eq!(reply.0.headers["content-length"], "0", "{operation}");
            empty.insert(operation);
        }
    }
    let without_output = BTreeSet::from([
        "CreateAlias",
        "DeleteAlias",
        "DisableKey",
        "DisableKeyRotation",
        "EnableKey",
        "EnableKeyRotation",
        "PutKeyPolicy",
        "RetireGrant",
        "RevokeGrant",
        "TagResource",
        "UntagResource",
        "UpdateAlias",
        "UpdateKeyDescription",
        "UpdatePrimaryRegion",
    ]);
    assert_eq!(empty, without_output);
}

#[test]
fn nothing_that_is_sent_to_an_operation_is_answered_with_an_internal_error() {
    let site = Site::start_with(&Setup::kms());
    let bodies: [&[u8]; 12] = [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"\"KeyId\"",
        b"{",
        b"{\"KeyId\":}",
        b"{\"KeyId\":{\"a\":[1,{}]},\"Limit\":\"x\",\"Tags\":7,\"Plaintext\":{}}",
        b"{\"KeyId\":\"a\",\"KeyId\":\"b\"}",
        b"\xff\xfe\x00",
        &[b'['; 100_000],
        b"{\"KeyId\":\"\\ud800\"}",
    ];
    for (operation, right) in site.kms_requests() {
        let mut requests: Vec<Signed> = bodies.iter().map(|body| with_body(operation, *body)).collect();
        for member in right.as_object().unwrap().keys() {
            for wrong in [json!(null), json!(1), json!(""), json!([]), json!({}), json!("x".repeat(70_000))] {
                let mut body = right.clone();
                body[member] = wrong;
                requests.push(signed(&ACCOUNT, operation, &body));
            }
        }
        for request in requests {
            let text = String::from_utf8_lossy(&request.body[..request.body.len().min(200)]).into_owned();
            let reply = site.send_kms(&request);
            assert!([200, 400].contains(&reply.0.status), "{operation} {text}: {}", reply.0.status);
            request_id(&reply.0);
            if reply.0.status == 400 {
                let (name, message) = reply.error();
                assert!(name.ends_with("Exception"), "{operation} {text}: {name}");
                assert!(!message.contains("panick"), "{operation} {text}: {message}");
            }
        }
    }
    site.kms("ListKeys", &json!({})).ok();
}

#[test]
fn bodies_that_are_no_json_objects_are_serialization_errors() {
    let site = Site::start_with(&Setup::kms());
    for body in ["[]", "\"a\"", "{", "{\"Limit\":1", "{\"Limit\":\"one\"}", "\u{0}", "{} {}", "7"] {
        let reply = site.send_kms(&with_body("ListKeys", body));
        assert_eq!((reply.0.status, reply.error().0.as_str()), (400, "SerializationException"), "{body}");
    }
    // No body is a body without members, and members nobody knows are passed over.
    for body in ["", " ", "{}", "{\"NoSuchMember\":{\"a\":[1]}}"] {
        site.send_kms(&with_body("ListKeys", body)).ok();
    }
    // Whoever is not authenticated learns nothing of that.
    let mut forged = with_body("ListKeys", "{");
    "0".repeat(40).clone_into(&mut forged.secret_access_key);
    assert_eq!(site.send_kms(&forged).error().0, "InvalidSignatureException");
}

#[test]
fn what_names_no_operation_is_unknown_and_what_is_no_post_to_the_root_is_not_there() {
    let site = Site::start_with(&Setup::kms());
    for operation in ["", "NoSuchOperation", "listkeys", "ListKeys2"] {
        assert_refused(site.kms(operation, &json!({})), (400, "UnknownOperationException"), "");
    }
    let target = |target: Option<&str>| {
        let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
        request.extra_headers.retain(|(name, _)| *name != "x-amz-target");
        request.extra_headers.extend(target.map(|target| ("x-amz-target", target.to_owned())));
        request
    };
    for wrong in [None, Some("ListKeys"), Some("DynamoDB_20120810.ListKeys"), Some("TrentService")] {
        assert_refused(site.send_kms(&target(wrong)), (400, "UnknownOperationException"), "");
    }
    for (method, path) in
        [(Method::GET, "/"), (Method::PUT, "/"), (Method::POST, "/keys"), (Method::DELETE, "/a")]
    {
        let path = path.to_owned();
        let request = Signed { method, path, ..signed(&ACCOUNT, "ListKeys", &json!({})) };
        assert_refused(site.send_kms(&request), (404, "UnknownOperationException"), "");
    }
}

#[test]
fn a_body_above_the_cap_is_refused_and_one_below_it_is_read() {
    let site = Site::start_with(&Setup::kms());
    let cap = 512 * 1024;
    let padded = |bytes: usize| {
        let start = "{\"NoSuchMember\":\"";
        with_body("ListKeys", format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2)))
    };
    site.send_kms(&padded(cap)).ok();
    assert_refused(
        site.send_kms(&padded(cap + 1)),
        (413, "RequestEntityTooLargeException"),
        "the request body is larger than any request of this API",
    );
    site.kms("ListKeys", &json!({})).ok();
}

#[test]
fn a_stranger_is_refused_before_a_long_body_is_read() {
    let site = Site::prepare(&Setup::kms());
    let [port] = free_ports();
    let plain = format!("[[kms.listener]]\nname = \"plain\"\nlisten = \"127.0.0.1:{port}\"\n");
    site.edit_configuration(|text| text + &plain);
    site.run();
    site.wait_ready();
    // The head alone: the body that it announces never comes.
    let answer = |access_key_id: &str, body_bytes: usize| {
        let signature = "0".repeat(64);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Date: 20261122T000000Z\r\nX-Amz-Target: TrentService.CreateKey\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={access_key_id}/20261122/us-east-1/kms/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-target, Signature={signature}\r\nContent-Length: {body_bytes}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = vec![0; 1024];
        stream.read(&mut answer).ok().map(|bytes| String::from_utf8_lossy(&answer[..bytes]).into_owned())
    };
    let refused = answer("AKIANOBODYNOBODYNOBO", 300_000).unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 400 ") && refused.contains("UnrecognizedClientException"),
        "{refused}"
    );
    assert_eq!(answer(ACCOUNT.access_key_id, 300_000), None);
    assert_eq!(answer("AKIANOBODYNOBODYNOBO", 100), None);
}

#[test]
fn signatures_are_checked_and_refused_in_the_words_of_aws() {
    let site = Site::start_with(&Setup::kms());
    let mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS \
                    Secret Access Key and signing method. Consult the service documentation for details.";
    let refused = |change: &dyn Fn(&mut Signed), name: &str, message: &str| {
        let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
        change(&mut request);
        assert_refused(site.send_kms(&request), (400, name), message);
    };
    refused(&|request| request.secret_access_key.push('x'), "InvalidSignatureException", mismatch);
    refused(
        &|request| "AKIAAAAAAAAAAAAAAAAA".clone_into(&mut request.access_key_id),
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    );
    refused(
        &|request| "dynamodb".clone_into(&mut request.service),
        "InvalidSignatureException",
        "Credential should be scoped to correct service: 'kms'. ",
    );
    refused(
        &|request| "Nowhere!".clone_into(&mut request.region),
        "InvalidSignatureException",
        "Credential should be scoped to a valid region. ",
    );
    refused(
        &|request| request.signed_headers = Some("host;x-amz-date".to_owned()),
        "InvalidSignatureException",
        "Every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.",
    );
    for (seconds, start) in [(-301, "Signature expired: "), (-86_400, "Signature expired: ")] {
        let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
        request.skew_seconds = seconds;
        let (name, text) = site.send_kms(&request).error();
        assert_eq!(name, "InvalidSignatureException");
        assert!(text.starts_with(start) && text.contains(" is now earlier than "), "{text}");
    }
    let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
    request.skew_seconds = 360;
    let (name, text) = site.send_kms(&request).error();
    assert_eq!(name, "InvalidSignatureException");
    assert!(text.starts_with("Signature not yet current: "), "{text}");
    for seconds in [-240, 240] {
        let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
        request.skew_seconds = seconds;
        site.send_kms(&request).ok();
    }
}

#[test]
fn a_request_that_is_changed_after_it_was_signed_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let endpoint = site.kms_endpoint();
    let right = || signed(&ACCOUNT, "ListKeys", &json!({"Limit": 1})).outgoing(endpoint.host());
    assert_eq!(site.send_to(&endpoint, right()).status, 200);
    let mut body = right();
    body.body = json!({"Limit": 2}).to_string().into();
    let mut target = right();
    target.headers.insert("x-amz-target", "TrentService.CreateKey".parse().unwrap());
    let mut query = right();
    query.path = "/?a=b".parse().unwrap();
    let mut unsigned = right();
    unsigned.headers.remove("authorization");
    let mut doubled = right();
    doubled.headers.append("authorization", "AWS4-HMAC-SHA256 a".parse().unwrap());
    let mut basic = right();
    basic.headers.insert("authorization", "Basic YTpi".parse().unwrap());
    let mut added = right();
    added.headers.insert("x-amz-security-token", "a token".parse().unwrap());
    for (outgoing, name) in [
        (body, "InvalidSignatureException"),
        (target, "InvalidSignatureException"),
        (query, "InvalidSignatureException"),
        (unsigned, "MissingAuthenticationTokenException"),
        (doubled, "IncompleteSignatureException"),
        (basic, "IncompleteSignatureException"),
        (added, "UnrecognizedClientException"),
    ] {
        let what = format!("{outgoing:?}");
        let reply = KmsReply(site.send_to(&endpoint, outgoing));
        assert_eq!((reply.0.status, reply.error().0.as_str()), (400, name), "{what}");
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
}

#[test]
fn a_signature_may_be_in_the_query_string() {
    let site = Site::start_with(&Setup::kms());
    let endpoint = site.kms_endpoint();
    let request = signed(&ACCOUNT, "ListKeys", &json!({}));
    let right = oracle::in_the_query(&request, endpoint.host());
    assert!(right.path.query().unwrap().contains("X-Amz-Signature="));
    assert_eq!(site.send_to(&endpoint, right.clone()).status, 200);
    let mut changed = right;
    let longer = changed.path.as_str().replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    changed.path = longer.parse().unwrap();
    let reply = KmsReply(site.send_to(&endpoint, changed));
    assert_eq!(reply.error().0, "InvalidSignatureException");
}

#[test]
fn plain_http_is_for_loopback_addresses_and_policies_can_tell() {
    let site = Site::prepare(&Setup::kms());
    let [port] = free_ports();
    let listener =
        |address: &str| format!("[[kms.listener]]\nname = \"plain\"\nlisten = \"{address}:{port}\"\n");
    site.edit_configuration(|text| text + &listener("127.0.0.1"));
    site.run();
    site.wait_ready();
    let host = format!("localhost:{port}");
    let endpoint = Endpoint::http(&host, HttpVersions::Http1).unwrap();
    let send = |operation: &str, body: &Value| {
        KmsReply(site.send_to(&endpoint, signed(&ACCOUNT, operation, body).outgoing(&host)))
    };
    let id = send("CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*",
         "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
         "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
    ]});
    send("PutKeyPolicy", &json!({"KeyId": id, "Policy": policy.to_string()})).ok();
    let encrypt = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
    let (name, text) = send("Encrypt", &encrypt).error();
    assert_eq!(name, "AccessDeniedException");
    assert!(text.ends_with("with an explicit deny in a resource-based policy"), "{text}");
    site.kms("Encrypt", &encrypt).ok();
    assert_eq!(site.stop().code(), Some(0));
    site.edit_configuration(|text| text.replace(&listener("127.0.0.1"), &listener("0.0.0.0")));
    let checked = site.holdfast(&["config", "check"]);
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && text.contains("must be a loopback address"), "{text}");
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let site = Site::start_with(&Setup::kms());
    let url = format!("https://localhost:{}/", site.kms_port);
    for (version, wanted) in [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")] {
        let text = site.curl(&["--tls-max", version, &url]);
        assert!(text.contains(&format!("SSL connection using {wanted}")), "{text}");
        // Forward secrecy: of the suites of TLS 1.2 only those with an ephemeral key exchange.
        assert!(version == "1.3" || text.contains("ECDHE-"), "{text}");
        assert!(text.to_ascii_lowercase().contains("x-amzn-requestid"), "{text}");
    }
    let old = ["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0", &url];
    assert!(!site.curl(&old).contains("SSL connection using"));
    assert!(!site.curl(&["--tls-max", "1.2", "--ciphers", "AES256-GCM-SHA384", &url]).contains("HTTP/"));
}

#[test]
fn a_request_is_one_line_of_the_log_with_its_request_id_and_counted_by_operation_and_error() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let reply = site.kms("DescribeKey", &json!({"KeyId": "alias/none"}));
    let known = request_id(&reply.0);
    let lines = || -> Vec<Value> {
        let log = site.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["requestId"] == json!(known)).collect()
    };
    site.wait_until("the line", || !lines().is_empty());
    let line = &lines()[0];
    assert_eq!(lines().len(), 1);
    for (member, value) in [
        ("message", "kms request"),
        ("operation", "DescribeKey"),
        ("outcome", "NotFoundException"),
        ("account", ACCOUNT.id),
        ("principalArn", "arn:aws:iam::123456789012:user/admin"),
        ("accessKeyId", ACCOUNT.access_key_id),
        ("region", "us-east-1"),
        ("keyId", "alias/none"),
        ("listener", "kms"),
    ] {
        assert_eq!(line[member], value, "{line}");
    }
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
    for error in ["NotFoundException", "none"] {
        let series = format!(r#"holdfast_kms_requests_total{{error="{error}",operation="DescribeKey"}}"#);
        assert_eq!(site.metric(&series), Some(1.0), "{series}");
    }
}
