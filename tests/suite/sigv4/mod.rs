//! XKS v1, Appendix A: which signatures are believed, over real sockets, and that a refusal says nothing outside.

mod forgeries;
pub(crate) mod oracle;

use http::HeaderValue;
use proxy_api::client::{HttpVersions, Outgoing, TlsTrust};
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use self::forgeries::{CHANGED_AFTER, MALFORMED, SIGNED_WRONG, changed, with_authorization};
use self::oracle::by_the_oracle;
use crate::support::client::{Signed, send_with};
use crate::support::pki::write_private;
use crate::support::site::{ACCESS_KEY_ID, PIN, SECRET_ACCESS_KEY};
use crate::support::tls::Offer;
use crate::support::{Reply, Setup, Site};

/// Rows 9.1–9.3, 9.5–9.12, 9.15, 9.18, 9.20, 9.22, 8.3, 8.4, 8.5, 8.7, 8.t5.
#[test]
fn every_forgery_is_refused_and_outside_all_refusals_are_the_same() {
    let site = Site::start();
    let forgeries = || [SIGNED_WRONG, CHANGED_AFTER, MALFORMED].concat();
    let mut answers = Vec::new();
    // Whether key and body are right is nothing that a stranger learns.
    let mut requests = site.right_requests().to_vec();
    requests.push(("keys/non_existing_key/encrypt", json!({})));
    for (path, request) in &requests {
        for (reason, forge) in forgeries() {
            let reply = site.send(&forge(site.signed(path, request), &site.host()));
            assert_eq!(reply.status, 401, "{path} {reason}");
            reply.assert_error(401, "AuthenticationFailedException");
            answers.push((reply.body.clone(), reply.headers.keys().cloned().collect::<Vec<_>>()));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);

    let expected: Vec<_> = requests.iter().flat_map(|_| forgeries()).map(|(reason, _)| reason).collect();
    let refused =
        || site.request_lines().into_iter().filter(|line| line["status"] == 401).collect::<Vec<_>>();
    site.wait_until("a line for each", || refused().len() == expected.len());
    for (line, reason) in refused().iter().zip(expected) {
        assert_eq!(line["reason"].as_str().unwrap().split(':').next(), Some(reason), "{line}");
        assert_eq!((&line["requestMetadata"], &line["accessKeyId"]), (&Value::Null, &Value::Null));
        if reason == "signature_mismatch" {
            assert!(
                line["host"].is_string() && line["signedHeaders"].as_str().unwrap().contains("host"),
                "{line}"
            );
        }
    }
}

/// Rows 9.2, 9.4, 9.5, 9.7, 9.8, 9.10, 9.11, 9.12.
#[test]
fn every_right_signature_is_believed() {
    let site = Site::start();
    let [_, _, (path, request), _] = site.right_requests();
    let signed = || site.signed(path, &request);
    let accepted = |outgoing: &Outgoing| site.send(outgoing).assert_ok().status;

    accepted(&by_the_oracle(&signed(), &site.host()));
    for skew_seconds in [-270, 270] {
        accepted(&Signed { skew_seconds, ..signed() }.outgoing(&site.host()));
    }
    for region in ["us-east-1", "cn-north-1", "us-gov-west-1", "mars-central-7", "us-east-1"] {
        accepted(&Signed { region: region.to_owned(), ..signed() }.outgoing(&site.host()));
    }
    let extra =
        |value: &str| vec![("content-type", "application/json".to_owned()), ("x-extra", value.to_owned())];
    for value in ["", "1", "a  b   c", "caf\u{e9}", "a,b;c=d"] {
        accepted(&Signed { extra_headers: extra(value), ..signed() }.outgoing(&site.host()));
    }
    for (from, to) in [(", ", ","), (", ", " ,  "), ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256   ")] {
        accepted(&with_authorization(&signed(), &site.host(), |text| text.replace(from, to)));
    }
    let host = "proxy.example.com";
    accepted(&changed(&signed(), host, |outgoing| assert_eq!(outgoing.headers["host"], host)));

    // Names in capitals and blanks around values, as a client of HTTP/1.1 may write them.
    let outgoing = signed().outgoing(&site.host());
    let header = |name: &str| outgoing.headers[name].to_str().unwrap();
    let text = format!(
        "POST {} HTTP/1.1\r\nHOST:{}\r\nX-AMZ-DATE:   {}  \r\nAuthorization: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        outgoing.path,
        header("host"),
        header("x-amz-date"),
        header("authorization"),
        outgoing.body.len()
    );
    let request = [text.as_bytes(), &outgoing.body].concat();
    let answer = Offer::new(&site.pki.ca_pem).exchange(site.port, &request).unwrap().answer;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Rows 9.5, 9.7: curl as the official client calls it, and HTTP/2, where the authority stands for the host.
#[test]
fn curl_signs_for_http_1_and_http_2_and_the_authority_counts() {
    let site = Site::start();
    let [_, _, (path, request), _] = site.right_requests();
    for version in ["--http1.1", "--http2"] {
        let answer = site.curl_signed(site.port, path, &request.to_string(), &[version]);
        assert!(answer.contains("\"authenticationTag\""), "{answer}");
        let forged = site.curl_signed(site.port, path, &request.to_string(), &[version, "--user", "X:Y"]);
        assert!(forged.contains("AuthenticationFailedException"), "{forged}");
    }
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    let send =
        |outgoing: &Outgoing| send_with(&site.runtime, &site.host(), &trust, HttpVersions::Http2, outgoing);
    let signed = site.signed(path, &request);
    send(&signed.outgoing(&site.host())).assert_ok();
    send(&signed.outgoing("proxy.example.com:8443")).assert_ok();
    let rewritten = changed(&signed, "proxy.example.com", |outgoing| {
        outgoing.headers.insert("host", HeaderValue::from_str(&site.host()).unwrap());
    });
    send(&rewritten).assert_error(401, "AuthenticationFailedException");
}

const OTHER_ACCESS_KEY_ID: &str = "ZYXWVUTSRQPONMLKJIHGFEDCBA2345";
const OTHER_SECRET: &str = "+/9876543210zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCB=";

/// A second store under `/other`, for one Region, with a credential of its own.
fn start_with_two_stores() -> Site {
    let tables = r#"[[key_store]]
name = "other"
uri_path_prefix = "other"
hsms = ["softhsm"]
credentials_file = "other-credentials.toml"
regions = ["eu-west-1", "eu-central-1"]"#;
    let site = Site::prepare(&Setup { tables: tables.to_owned(), ..Setup::default() });
    let credential = format!(
        "[[credential]]\naccess_key_id = \"{OTHER_ACCESS_KEY_ID}\"\nsecret_access_key = \"{OTHER_SECRET}\"\ncreated = 2026-01-01T00:00:00Z\n"
    );
    write_private(&site.path("other-credentials.toml"), &credential);
    site.run();
    site.wait_ready();
    site
}

/// Rows 1.16, 8.4, 9.4, 9.12, 9.18, 9.19.
#[test]
fn a_credential_opens_its_own_store_in_its_regions_and_a_captured_request_opens_nothing_else() {
    let site = start_with_two_stores();
    let [_, _, (path, request), _] = site.right_requests();
    let other = |region: &str, access_key_id: &str, secret: &str| {
        let mut signed = Signed::new(&format!("/other/kms/xks/v1/{path}"), &request, access_key_id, secret);
        signed.region = region.to_owned();
        signed
    };
    let refused = |reply: Reply| reply.assert_error(401, "AuthenticationFailedException");
    for region in ["eu-west-1", "eu-central-1"] {
        site.send_signed(&other(region, OTHER_ACCESS_KEY_ID, OTHER_SECRET)).assert_ok();
    }
    for region in ["us-east-1", "eu-west-10", "EU-WEST-1", "*"] {
        refused(site.send_signed(&other(region, OTHER_ACCESS_KEY_ID, OTHER_SECRET)));
    }
    refused(site.send_signed(&other("eu-west-1", ACCESS_KEY_ID, SECRET_ACCESS_KEY)));
    refused(site.send_signed(&other("eu-west-1", OTHER_ACCESS_KEY_ID, SECRET_ACCESS_KEY)));
    let mut signed = site.signed(path, &request);
    (signed.access_key_id, signed.secret_access_key) =
        (OTHER_ACCESS_KEY_ID.to_owned(), OTHER_SECRET.to_owned());
    refused(site.send_signed(&signed));

    let captured = site.signed(path, &request).outgoing(&site.host());
    // AWS KMS itself sends a request twice when it gets no answer.
    site.send(&captured).assert_ok();
    site.send(&captured).assert_ok();
    for path in ["/other/kms/xks/v1/keys/foo/encrypt", "/test/kms/xks/v1/keys/encrypt_only_key/encrypt"] {
        refused(site.send(&Outgoing { path: path.parse().unwrap(), ..captured.clone() }));
    }
    let reasons =
        || -> Vec<_> { site.request_lines().iter().map(|line| line["reason"].to_string()).collect() };
    site.wait_until("the reason", || reasons().iter().any(|reason| reason.contains("region_not_allowed")));
}

/// Row 9.20; peer faults 5, 13: even at the noisiest level nothing in the log could be used.
#[test]
fn the_log_holds_no_signature_no_secret_and_no_plaintext() {
    const PLAINTEXT: &[u8] = b"a plaintext that must not be seen";
    let tables = "[log]\nfilter = \"trace\"".to_owned();
    let site = Site::start_with(&Setup { tables, ..Setup::default() });
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let plaintext_base64 = encode_base64(PLAINTEXT);
    let mut traces = vec![SECRET_ACCESS_KEY.to_owned(), PIN.to_owned(), plaintext_base64];
    traces.push(String::from_utf8(PLAINTEXT.to_vec()).unwrap());
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let send = |outgoing: &Outgoing| send_with(&site.runtime, &site.host(), &trust, versions, outgoing);
        let signed = site.signed("keys/foo/decrypt", &site.decrypt_request(&encrypted, json!({})));
        let right = signed.outgoing(&site.host());
        let authorization = right.headers["authorization"].to_str().unwrap();
        traces.push(authorization.rsplit('=').next().unwrap().to_owned());
        // The one that would have been right must not be written down for the one that is wrong.
        let wrong = with_authorization(&signed, &site.host(), |text| {
            text[..text.len() - 64].to_owned() + &"0".repeat(64)
        });
        send(&wrong).assert_error(401, "AuthenticationFailedException");
        assert_eq!(send(&right).assert_ok().bytes("plaintext"), PLAINTEXT);
        let tampered = site.decrypt_request(&encrypted, json!({"additionalAuthenticatedData": "AAAA"}));
        send(&site.signed("keys/foo/decrypt", &tampered).outgoing(&site.host()))
            .assert_error(400, "InvalidCiphertextException");
    }
    site.stop();
    let log = site.log();
    assert!(log.contains("\"level\":\"TRACE\"") && log.contains("signature_mismatch"), "{log}");
    for trace in traces {
        assert!(!log.contains(&trace), "the log holds {trace}");
    }
}
