//! XKS v1, API operations: versions of HTTP, paths, methods, and what a request says of its caller.

use http::Method;
use proxy_api::client::{HttpVersions, Outgoing, TlsTrust};
use serde_json::{Value, json};

use crate::support::client::send_with;
use crate::support::requests::{PATHS, operation_of};
use crate::support::site::merged;
use crate::support::{Reply, Setup, Site};

/// A second key store on the same token and credential file format, with a prefix and rules of its own.
fn another_store(prefix: &str, rules: &str) -> String {
    format!(
        r#"[[key_store]]
name = "another"
uri_path_prefix = "{prefix}"
hsms = ["softhsm"]
credentials_file = "another-credentials.toml"
{rules}"#
    )
}

fn start_with_another_store(setup: &Setup) -> Site {
    let site = Site::prepare(setup);
    std::fs::copy(site.path("credentials.toml"), site.path("another-credentials.toml")).unwrap();
    site.run();
    site.wait_ready();
    site
}

fn post_to(site: &Site, path: String, body: &Value) -> Reply {
    let mut signed = site.signed("", body);
    signed.path = path;
    site.send_signed(&signed)
}

fn with_metadata(request: &Value, members: Value) -> Value {
    let metadata = merged(request["requestMetadata"].clone(), members);
    merged(request.clone(), json!({ "requestMetadata": metadata }))
}

/// Rows 1.1, 1.2, 1.4, 1.8, 9.5.
#[test]
fn all_four_operations_answer_over_http_1_and_http_2() {
    let site = Site::start();
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    for versions in [HttpVersions::Http1, HttpVersions::Http2, HttpVersions::Both] {
        let send = |outgoing: &Outgoing| send_with(&site.runtime, &site.host(), &trust, versions, outgoing);
        for (path, request) in site.right_requests() {
            let signed = site.signed(path, &request);
            send(&signed.outgoing(&site.host())).assert_ok();
            let wrong = site.signed(path, &json!({}));
            send(&wrong.outgoing(&site.host())).assert_error(400, "ValidationException");
        }
    }
    // What other clients may say of the same JSON.
    for content_type in ["application/json; charset=utf-8", "application/x-amz-json-1.1"] {
        for (path, request) in site.right_requests() {
            let mut outgoing = site.signed(path, &request).outgoing(&site.host());
            outgoing.headers.insert("content-type", content_type.parse().unwrap());
            site.send(&outgoing).assert_ok();
        }
    }
    let body = site.right_requests()[2].1.to_string();
    let asks_first = ["--http1.1", "--header", "Expect: 100-continue"];
    let answer = site.curl_signed(site.port, "keys/foo/encrypt", &body, &asks_first);
    assert!(answer.contains("100 Continue") && answer.contains("initializationVector"), "{answer}");
}

/// Rows 1.5, 1.6; peer fault 8.
#[test]
fn every_method_but_post_gets_405_signed_or_not() {
    let site = Site::start();
    for path in PATHS {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS]
        {
            let mut signed = site.signed(path, &json!({}));
            signed.method = method.clone();
            let mut unsigned = signed.outgoing(&site.host());
            unsigned.headers.remove("authorization");
            for reply in [site.send_signed(&signed), site.send(&unsigned)] {
                assert_eq!(reply.status, 405, "{method} {path}");
                assert_eq!(reply.headers["allow"], "POST");
                if method != Method::HEAD {
                    reply.assert_error(405, "UnsupportedOperationException");
                }
            }
        }
    }
}

/// Rows 1.7, 1.8, 1.11, 1.12, 1.16, 1.18, 1.19, 8.t8.
#[test]
fn every_other_path_is_invalid_signed_or_not() {
    let site = Site::start();
    let too_long = format!("/test/kms/xks/v1/keys/{}/metadata", "a".repeat(129));
    for path in [
        "/",
        "/kms/xks/v1/health",
        "/other/kms/xks/v1/health",
        "/TEST/kms/xks/v1/health",
        "/test/invalid/kms/xks/v1/health",
        "//test/kms/xks/v1/health",
        "/test//kms/xks/v1/health",
        "/test/../test/kms/xks/v1/health",
        "/test/kms/xks/v1",
        "/test/kms/xks/v1/",
        "/test/kms/xks/v1/health/",
        "/test/kms/xks/v1/Health",
        "/test/kms/xks/v2/health",
        "/test/kms/xks/v01/health",
        "/test/kms/xks/v1/keys",
        "/test/kms/xks/v1/keys/foo",
        "/test/kms/xks/v1/keys/foo/create",
        "/test/kms/xks/v1/keys/foo/delete",
        "/test/kms/xks/v1/keys/foo/rotate",
        "/test/kms/xks/v1/keys/foo/metadata/",
        "/test/kms/xks/v1/keys/foo/bar/metadata",
        "/test/kms/xks/v1/keys//metadata",
        "/test/kms/xks/v1/keys/./metadata",
        "/test/kms/xks/v1/keys/../metadata",
        "/test/kms/xks/v1/keys/f%6Fo/metadata",
        "/test/kms/xks/v1/keys/fo%20o/metadata",
        "/test/kms/xks/v1/keys/foo%2Fmetadata",
        &too_long,
    ] {
        let (_, right) = site.right_requests()[1].clone();
        let mut signed = site.signed("", &right);
        signed.path = path.to_owned();
        let mut unsigned = signed.outgoing(&site.host());
        unsigned.headers.remove("authorization");
        for reply in [site.send_signed(&signed), site.send(&unsigned)] {
            reply.assert_error(404, "InvalidUriPathException");
        }
    }
}

/// Rows 1.9, 1.10, 1.13, 1.18.
#[test]
fn the_longest_prefix_and_key_id_are_served() {
    let prefix = format!("{}/{}", "aZ09-_".repeat(10), "b".repeat(55));
    let key = "aZ09-._".repeat(18) + "xy";
    assert_eq!((format!("/{prefix}/kms/xks/v1").len(), key.len()), (128, 128));
    let setup = Setup {
        tables: another_store(&prefix, ""),
        keys: vec![(key.clone(), "encrypt,decrypt".to_owned())],
        ..Setup::default()
    };
    let site = start_with_another_store(&setup);
    for (path, request) in site.right_requests() {
        let path = path.replace("foo", &key);
        if !path.ends_with("decrypt") {
            post_to(&site, format!("/{prefix}/kms/xks/v1/{path}"), &request).assert_ok();
        }
    }
}

/// Rows 1.9, 1.10, 1.12, 1.19.
#[test]
fn paths_and_key_ids_that_no_request_could_name_are_refused_in_the_configuration() {
    let site = Site::prepare(&Setup { tables: another_store("placeholder", "# rules"), ..Setup::default() });
    std::fs::copy(site.path("credentials.toml"), site.path("another-credentials.toml")).unwrap();
    let written = std::fs::read_to_string(site.path("holdfast.toml")).unwrap();
    let check = |prefix: &str, keys: &str| {
        site.edit_configuration(|_| written.replace("placeholder", prefix).replace("# rules", keys));
        site.holdfast(&["config", "check"]).status.success()
    };
    for prefix in ["", "a", "a/b", &"a".repeat(116)] {
        assert!(check(prefix, ""), "{prefix}");
    }
    for prefix in ["/a", "a/", "a//b", "a.b", "a b", "%61", "\u{e9}", "test", &"a".repeat(117)] {
        assert!(!check(prefix, ""), "{prefix}");
    }
    assert!(check("a", r#"keys = ["foo", "b-*", "..."]"#));
    for key in [".", "..", "a/b", "a b", &"a".repeat(129)] {
        assert!(!check("a", &format!("keys = [\"{key}\"]")), "{key}");
    }
}

/// Rows 1.16, 1.17, 8.t7, 8.t9.
#[test]
fn each_prefix_has_its_own_keys_and_quota() {
    let rules = "requests_per_second = 1\nkeys = [\"foo\"]";
    let setup = Setup { tables: another_store("", rules), ..Setup::default() };
    let site = start_with_another_store(&setup);
    let requests = site.right_requests();
    let reply = post_to(&site, "/kms/xks/v1/keys/encrypt_only_key/metadata".to_owned(), &requests[1].1);
    reply.assert_error(404, "KeyNotFoundException");
    for (path, request) in &requests {
        let send = || post_to(&site, format!("/kms/xks/v1/{path}"), request);
        // The quota fills up again once a second, so that one request may slip through.
        let refused = (0..20).map(|_| send()).find(|reply| reply.status == 429);
        refused.expect(path).assert_error(429, "ThrottlingException");
        site.post(path, request).assert_ok();
    }
    site.key_metadata("encrypt_only_key").assert_ok();
}

/// Rows 1.24, 1.26–1.31, 1.33–1.36, 1.m2, 1.m3, 1.m7.
#[test]
fn request_metadata_is_taken_as_it_comes() {
    let site = Site::start();
    let long_arn = format!("arn:aws:iam::123456789012:user/{}", "a".repeat(2048 - 31));
    assert_eq!(long_arn.len(), 2048);
    let texts =
        [&long_arn, "AWS Internal", "s3.amazonaws.com", "not an ARN", "", "caf\u{e9} \u{1f511}", "\u{0}\n\""];
    let of_any_text = [
        "awsPrincipalArn",
        "kmsKeyArn",
        "kmsOperation",
        "kmsRequestId",
        "kmsViaService",
        "awsSourceVpc",
        "awsSourceVpce",
    ];
    let operations = [
        "CreateKey",
        "DescribeKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncrypt",
        "Decrypt",
        "CreateCustomKeyStore",
        "ConnectCustomKeyStore",
        "UpdateCustomKeyStore",
        "KmsHealthCheck",
        "FrobnicateKey",
    ];
    for (path, request) in site.right_requests() {
        let accepts = |members: Value| {
            let reply = site.post(path, &with_metadata(&request, members.clone()));
            assert_eq!(reply.status, 200, "{path} {members}: {}", reply.json());
        };
        for text in texts {
            accepts(of_any_text.iter().map(|name| ((*name).to_owned(), json!(text))).collect());
        }
        for operation in operations {
            accepts(json!({ "kmsOperation": operation }));
        }
        accepts(
            json!({"awsSourceVpc": "vpc-1", "awsSourceVpce": "vpce-1", "kmsViaService": "ebs.us-east-1.amazonaws.com"}),
        );
        accepts(json!({
            "awsSourceIdentity": "x", "tags": [{"k": 1.5e300}, null], "nitro": {"pcrs": {"0": ["a"]}}, "\u{e9}": true
        }));
        let unknown = merged(request.clone(), json!({"later": {"a": [1, {}]}, "\u{1f511}": -0.5}));
        site.post(path, &unknown).assert_ok();
        let twice = unknown.to_string().replacen('{', r#"{"later":1,"#, 1);
        site.post_bytes(path, twice).assert_ok();
        site.post(path, &with_nulls(&request)).assert_ok();
        let id = format!("not a UUID: {path}");
        accepts(json!({ "kmsRequestId": id }));
        site.wait_until("the line", || {
            site.request_lines().iter().any(|line| {
                line["requestMetadata"]["kmsRequestId"] == id && line["operation"] == operation_of(path)
            })
        });
    }
}

/// A `null` is as good as an absent member.
fn with_nulls(request: &Value) -> Value {
    let mut request = request.clone();
    for member in ["awsSourceVpc", "awsSourceVpce", "kmsViaService"] {
        request["requestMetadata"][member] = Value::Null;
    }
    for member in ["additionalAuthenticatedData", "ciphertextDataIntegrityValueAlgorithm"] {
        request[member] = Value::Null;
    }
    request
}

/// Rows 1.m1, 1.m4–1.m6, 2.1, 2.8, 5.13, 8.t1.
#[test]
fn each_required_member_of_the_metadata_is_missed_in_turn() {
    let site = Site::start();
    for (path, request) in site.right_requests() {
        let required: &[&str] = match operation_of(path) {
            "GetHealthStatus" => &["kmsOperation", "kmsRequestId"],
            "GetKeyMetadata" => &["awsPrincipalArn", "kmsOperation", "kmsRequestId"],
            _ => &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
        };
        for member in required {
            for missing in [json!({ *member: null }), json!({ *member: 7 }), json!({ *member: ["x"] })] {
                let request = with_metadata(&request, missing);
                site.post(path, &request).assert_error(400, "ValidationException");
            }
        }
        // And these are enough.
        let minimal = required.iter().map(|member| ((*member).to_owned(), json!("x"))).collect::<Value>();
        site.post(path, &merged(request.clone(), json!({ "requestMetadata": minimal }))).assert_ok();
        for metadata in [json!(null), json!({}), json!([]), json!("x"), json!(7)] {
            let request = merged(request.clone(), json!({ "requestMetadata": metadata }));
            site.post(path, &request).assert_error(400, "ValidationException");
        }
        site.post(path, &json!({})).assert_error(400, "ValidationException");
    }
}

/// Rows 1.3, 1.18, 1.23, 2.2–2.6, 8.t2, 8.t7.
#[test]
fn metadata_tells_what_kind_of_key_it_is_and_in_which_state() {
    let site = Site::prepare(&Setup::default());
    site.import_key("aes-128", b"1", "0123456789abcdef");
    site.import_key("twice", b"2", "0123456789abcdef0123456789abcdef");
    site.import_key("twice", b"3", "fedcba9876543210fedcba9876543210");
    site.run();
    site.wait_ready();
    assert_eq!(site.key_metadata("aes-128").assert_ok().json()["keySpec"], "AES_128");
    let whole =
        |usages: Value, status| json!({"keySpec": "AES_256", "keyUsage": usages, "keyStatus": status});
    for (key, usages) in [
        ("foo", json!(["ENCRYPT", "DECRYPT"])),
        ("encrypt_only_key", json!(["ENCRYPT"])),
        ("decrypt_only_key", json!(["DECRYPT"])),
        ("impotent_key", json!([])),
    ] {
        assert_eq!(site.key_metadata(key).assert_ok().json(), whole(usages, "ENABLED"), "{key}");
    }
    site.key_metadata("twice").assert_error(400, "InvalidStateException");
    site.key_metadata("non_existing_key").assert_error(404, "KeyNotFoundException");

    let [_, _, (_, encrypt), (_, decrypt)] = site.right_requests();
    site.holdfast_ok(&["key", "disable", "foo"]);
    assert_eq!(site.key_metadata("foo").assert_ok().json(), whole(json!(["ENCRYPT", "DECRYPT"]), "DISABLED"));
    site.post("keys/foo/encrypt", &encrypt).assert_error(400, "InvalidStateException");
    site.post("keys/foo/decrypt", &decrypt).assert_error(400, "InvalidStateException");
    site.holdfast_ok(&["key", "enable", "foo"]);
    site.post("keys/foo/decrypt", &decrypt).assert_ok();
}
