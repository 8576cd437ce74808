//! What an operator sees: metrics and the request log as documented, and no secret in either.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use proxy_api::client::{HttpVersions, Outgoing, TlsTrust};
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::client::send_with;
use crate::support::kms::ACCOUNT;
use crate::support::site::{ACCESS_KEY_ID, PIN, SECRET_ACCESS_KEY};
use crate::support::{Reply, Setup, Site, metadata};

const PLAINTEXT: &[u8] = b"the plaintext that nobody else may see";

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The rows of the tables of a document, heads and rules included.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// The words of a cell that are code.
fn code(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Every metric in the text format, and its type.
fn types(metrics: &str) -> BTreeMap<String, String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The names of the labels of a metric, by its first sample.
fn labels(metrics: &str, name: &str) -> BTreeSet<String> {
    let sample = metrics.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_count").unwrap_or(rest);
        (rest.starts_with('{') || rest.starts_with(' ')).then_some(rest)
    });
    let Some((labels, _)) = sample.unwrap().rsplit_once('}') else { return BTreeSet::new() };
    let labels = labels.trim_start_matches('{').split("\",").filter_map(|label| label.split_once('='));
    labels.map(|(label, _)| label.to_owned()).collect()
}

/// A bit of everything: success, refusals of all kinds, a fault of the HSM, a connection that is none, a reload.
fn traffic(site: &Site) {
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
    site.key_metadata("foo").assert_ok();
    site.health().assert_ok();
    site.encrypt("nobody", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1");
    site.encrypt("foo", PLAINTEXT, json!({}));
    let mut stranger = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // Whatever comes, the connection has ended then.
    let _ = stranger.read_to_end(&mut Vec::new());
    site.reload(Reload::Taken, || site.hang_up());
}

#[test]
fn the_documented_metrics_are_the_metrics() {
    let events = "[kms.events]\nfile = \"events.json\"\n".to_owned();
    let kms = events + &Setup::kms().kms.unwrap_or_default();
    // Metrics of quotas are there with quotas alone.
    let kms = kms.replace("enabled = false", "enabled = true");
    let quiet = Setup::quiet(1);
    let key_store = "requests_per_second = 1000".to_owned();
    let hsm = format!("{}\nisolation = \"process\"", quiet.hsm);
    let site = Site::start_with(&Setup { kms: Some(kms), hsm, key_store, ..quiet });
    traffic(&site);
    site.kms("RotateKeyOnDemand", &json!({"KeyId": site.create_kms_key()})).ok();
    let told = "holdfast_kms_events_total{detail_type=\"KMS CMK Rotation\",outcome=\"told\"}";
    site.wait_until("the event", || site.metric(told) == Some(1.0));
    site.sts_by(&ACCOUNT.credentials(), "GetCallerIdentity", &[]);
    let (_, metrics) = site.admin("/metrics").unwrap();
    let mut found = types(&metrics);
    let process: Vec<_> = found.extract_if(.., |name, _| name.starts_with("process_")).collect();
    assert!(!process.is_empty(), "{metrics}");
    let document = document("reference/metrics.md");
    let rows: Vec<_> =
        rows(&document).into_iter().filter(|cells| cells[0].starts_with("`holdfast_")).collect();
    let documented: BTreeMap<_, _> =
        rows.iter().map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1].to_owned())).collect();
    assert_eq!(found, documented);
    for cells in rows {
        let name = cells[0].trim_matches('`');
        assert_eq!(labels(&metrics, name), code(cells[2]).collect(), "{name}");
    }
}

/// Skipped where Prometheus is not installed.
#[test]
fn what_callers_do_wrong_burns_no_budget() {
    let site = Site::start();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.encrypt("nobody", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.encrypt("impotent_key", PLAINTEXT, json!({})).assert_error(400, "InvalidKeyUsageException");
    site.encrypt("foo", PLAINTEXT, json!({"plaintext": 7})).assert_error(400, "ValidationException");
    site.encrypt("foo", &[0; 70_000], json!({})).assert_error(501, "UnsupportedOperationException");
    let mut unsigned = site.signed("keys/foo/encrypt", &json!({}));
    unsigned.secret_access_key = "another".to_owned();
    site.send_signed(&unsigned).assert_error(401, "AuthenticationFailedException");
    let (_, metrics) = site.admin("/metrics").unwrap();
    let of_requests = |line: &&str| line.starts_with(r#"holdfast_xks_requests_total{"#);
    let counts = metrics.lines().filter(of_requests).map(|line| line.rsplit_once(' ').unwrap().1);
    let all: f64 = counts.map(|count| count.parse::<f64>().unwrap()).sum();
    let within = site.metric(r#"holdfast_xks_requests_within_objective_total{key_store="test"}"#);
    assert_eq!((all, within), (6.0, Some(6.0)), "{metrics}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else { return };
    let site = Site::start_with(&Setup::quiet(1));
    traffic(&site);
    let (_, metrics) = site.admin("/metrics").unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let complaints = [output.stdout, output.stderr].concat();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&complaints).as_ref()), (Some(0), ""));
}

/// Rows 13.1, 13.3, 13.4 and 13.5.
#[test]
fn a_request_is_one_line_with_the_documented_fields() {
    let site = Site::start();
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
    site.key_metadata("nobody").assert_error(404, "KeyNotFoundException");
    let mut forged = site.encrypt_request("foo");
    forged.secret_access_key = "another".to_owned();
    site.send_signed(&forged).assert_error(401, "AuthenticationFailedException");
    let mut elsewhere = site.encrypt_request("foo");
    elsewhere.path = "/nowhere".to_owned();
    site.send_signed(&elsewhere).assert_error(404, "InvalidUriPathException");
    site.wait_until("five lines", || site.request_lines().len() >= 5);

    let document = document("reference/logs.md");
    // The lines of the KMS API have a table of their own behind it.
    let (document, _) = document.split_once("Lines with `\"message\":\"kms request\"`").unwrap();
    let documented: BTreeSet<_> = rows(document).iter().flat_map(|cells| code(cells[0])).collect();
    let lines = site.request_lines();
    let found: BTreeSet<_> =
        lines.iter().flat_map(|line| line.as_object().unwrap().keys().cloned()).collect();
    let policy = BTreeSet::from(["policyStatement".to_owned()]);
    let message = BTreeSet::from(["message".to_owned()]);
    assert_eq!(found, &(&documented - &policy) | &message);

    let [encrypt, decrypt, unknown, forged, elsewhere] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(encrypt["requestMetadata"], metadata("Encrypt"));
    for (line, operation) in [(encrypt, "Encrypt"), (decrypt, "Decrypt")] {
        let whole = json!({
            "level": "INFO", "keyStore": "test", "operation": operation, "externalKeyId": "foo", "keyVersion": 1,
            "hsm": "softhsm", "outcome": "Success", "status": 200, "accessKeyId": ACCESS_KEY_ID,
            "region": "us-east-1", "listener": "https",
        });
        assert_members(line, &whole);
        let micros = |member: &str| line[member].as_u64().unwrap();
        assert!(micros("hsmUs") > 0 && micros("durationUs") >= micros("hsmUs") + micros("queueUs"), "{line}");
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
    assert_members(
        unknown,
        &json!({"externalKeyId": "nobody", "outcome": "KeyNotFoundException", "status": 404}),
    );
    assert_members(
        forged,
        &json!({
            "requestMetadata": null, "externalKeyId": null, "outcome": "AuthenticationFailedException",
            "host": site.host(), "signedHeaders": "host;x-amz-date", "status": 401,
        }),
    );
    assert_members(elsewhere, &json!({"keyStore": "unknown", "operation": "unknown", "path": "/nowhere"}));
}

#[track_caller]
fn assert_members(line: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} of {line}");
    }
}

/// Rows 13.1 and 13.2: what does not even parse can be found by its request id, and nobody writes lines for us.
#[test]
fn a_request_that_is_refused_is_found_by_its_id_and_forges_no_line() {
    let site = Site::start();
    let mut forger = metadata("Encrypt");
    forger["kmsRequestId"] = json!("1\"}\n{\"message\":\"xks request\",\"outcome\":\"Success\"}\n");
    let body = json!({"requestMetadata": forger, "encryptionAlgorithm": "AES_GCM"});
    site.post("keys/foo/encrypt", &body).assert_error(400, "ValidationException");
    let line = site.lines_with_outcome("ValidationException", 1).remove(0);
    assert_members(&line, &json!({"requestMetadata": forger, "externalKeyId": "foo", "status": 400}));
    assert_eq!(site.request_lines().len(), 1);
}

/// Row 13.2.
#[test]
fn no_secret_is_in_the_log_the_metrics_or_an_error_at_any_level() {
    let tables = "[log]\nfilter = \"trace\"".to_owned();
    let site = Site::start_with(&Setup { tables, ..Setup::quiet(1) });
    let mut signatures = Vec::new();
    let mut encrypted = Value::Null;
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let (encrypt, reply) = send(&site, versions, "keys/foo/encrypt", &encryption());
        encrypted = reply.assert_ok().json();
        let decryption = site.decrypt_request(&encrypted, json!({}));
        let (decrypt, reply) = send(&site, versions, "keys/foo/decrypt", &decryption);
        assert_eq!(reply.assert_ok().bytes("plaintext"), PLAINTEXT);
        signatures.extend([signature(&encrypt), signature(&decrypt)]);
    }
    let mut errors = vec![site.encrypt("nobody", PLAINTEXT, json!({}))];
    errors.push(site.encrypt("foo", PLAINTEXT, json!({"encryptionAlgorithm": "AES_CBC"})));
    errors.push(site.encrypt("foo", PLAINTEXT, json!({"plaintext": encode_base64(PLAINTEXT) + "!"})));
    errors.push(site.decrypt("foo", &encrypted, json!({"authenticationTag": encode_base64(&[0; 16])})));
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1");
    errors.push(site.encrypt("foo", PLAINTEXT, json!({})));
    site.reload(Reload::Taken, || site.hang_up());
    site.wait_until("all lines", || site.request_lines().len() >= 4 + errors.len());
    assert!(site.log().contains("\"TRACE\""), "the filter is not in force");

    let (_, metrics) = site.admin("/metrics").unwrap();
    let errors = errors.iter().map(|error| String::from_utf8_lossy(&error.body).into_owned());
    let told = [site.log(), metrics, errors.collect()].concat();
    let plaintext = String::from_utf8(PLAINTEXT.to_vec()).unwrap();
    let secrets = [plaintext, encode_base64(PLAINTEXT), PIN.to_owned(), SECRET_ACCESS_KEY.to_owned()];
    for secret in secrets.iter().chain(&signatures) {
        let line = told.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{secret}");
    }
}

fn encryption() -> Value {
    json!({
        "requestMetadata": metadata("Encrypt"),
        "plaintext": encode_base64(PLAINTEXT),
        "encryptionAlgorithm": "AES_GCM",
    })
}

fn send(site: &Site, versions: HttpVersions, path: &str, body: &Value) -> (Outgoing, Reply) {
    let outgoing = site.signed(path, body).outgoing(&site.host());
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    let reply = send_with(&site.runtime, &site.host(), &trust, versions, &outgoing);
    (outgoing, reply)
}

fn signature(outgoing: &Outgoing) -> String {
    let authorization = outgoing.headers["authorization"].to_str().unwrap();
    authorization.rsplit_once("Signature=").unwrap().1.to_owned()
}

/// The table of the KMS API in the documentation of logs.
#[test]
fn a_request_to_the_kms_api_is_one_line_with_the_documented_fields() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let store = site.connected_external_store("store", &site.proxy_endpoint());
    let id = site.create_external_key(&store, "foo");
    site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).ok();
    site.kms("DescribeKey", &json!({"KeyId": "nobody"})).error();
    site.sts_by(&ACCOUNT.credentials(), "GetCallerIdentity", &[]);
    let lines = || -> Vec<Value> {
        let log = site.log();
        let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["message"] == "kms request" || line["message"] == "sts request").collect()
    };
    site.wait_until("the last line", || lines().iter().any(|line| line["message"] == "sts request"));

    let document = document("reference/logs.md");
    let (_, document) = document.split_once("Lines with `\"message\":\"kms request\"`").unwrap();
    let documented: BTreeSet<_> = rows(document).iter().flat_map(|cells| code(cells[0])).collect();
    let found: BTreeSet<_> = lines()
        .iter()
        .flat_map(|line| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(found, &documented | &BTreeSet::from(["message".to_owned()]));
}

#[test]
fn a_clock_that_is_wrong_is_seen_also_when_every_request_is_refused_for_it() {
    let site = Site::start();
    let skew = || site.metric("holdfast_xks_clock_skew_seconds{key_store=\"test\"}").unwrap_or_default();
    let request = json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "skewed"}});
    let send = |seconds, access_key_id: Option<&str>| {
        let mut signed = site.signed("health", &request);
        signed.skew_seconds = seconds;
        access_key_id.inspect(|id| signed.access_key_id = (*id).to_owned());
        site.send_signed(&signed)
    };
    send(-4000, None).assert_error(401, "AuthenticationFailedException");
    assert!((-4010.0..=-3990.0).contains(&skew()), "{}", skew());
    send(0, None).assert_ok();
    assert!(skew().abs() < 10.0, "{}", skew());
    // Of whom nobody knows, nothing is believed.
    send(4000, Some("AKIANOBODYKNOWSTHISONE")).assert_error(401, "AuthenticationFailedException");
    assert!(skew().abs() < 10.0, "{}", skew());
}
