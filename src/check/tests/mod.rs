//! The check checked: a right proxy passes everything, and each wrong one fails where it is wrong.

mod model_proxy;
mod tls;

use std::sync::Arc;

use clap::Parser;

use super::{Conclusion, Options, Report, Session, Verdict, run, run_cases};
use crate::clock::SystemClock;
use model_proxy::{ACCESS_KEY_ID, Fault, ModelProxy, PREFIX, SECRET};

/// Depends on how busy this machine is.
const TIMED_CASE: &str = "kept connections answer within the 250 ms of AWS KMS";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

fn options(host: &str, more: &[&str]) -> Options {
    let prefix = format!("/{PREFIX}/");
    let mut arguments = vec!["check", "--host", host, "--uri-prefix", &prefix];
    arguments.extend(["--access-key-id", ACCESS_KEY_ID, "--secret-access-key", SECRET, "--key-id", "both"]);
    arguments.extend(["--encrypt-only-key-id", "encrypt_only", "--decrypt-only-key-id", "decrypt_only"]);
    arguments.extend(["--impotent-key-id", "impotent"]);
    arguments.extend(more);
    Command::parse_from(arguments).options
}

async fn report(fault: Fault, only: Option<&str>) -> Report {
    let proxy = ModelProxy::start(fault, None).await;
    let options = options(&proxy.address.to_string(), &["--plain-http"]);
    run_cases(&Session::new(&options, Arc::new(SystemClock)).unwrap(), only).await
}

fn unhappy(report: &Report) -> Vec<String> {
    report
        .results
        .iter()
        .filter(|result| matches!(result.verdict, Verdict::Fail | Verdict::Warn) && result.name != TIMED_CASE)
        .map(|result| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}: {}: {} / {}", result.group, result.name, text(&result.expected), text(&result.got))
        })
        .collect()
}

#[tokio::test]
async fn a_right_proxy_passes_every_case() {
    let report = report(Fault::None, None).await;
    assert_eq!(unhappy(&report), [""; 0]);
    assert!(report.is_conforming());
}

#[tokio::test]
async fn a_quota_is_waited_for() {
    let report = report(Fault::ThrottlesOnce, Some("health")).await;
    assert_eq!(unhappy(&report), [""; 0]);
    assert!(report.is_conforming() && !report.is_throttled);
}

#[tokio::test]
async fn a_quota_that_patience_does_not_help_against_is_named() {
    let report = report(Fault::ThrottlesAlways, Some("health")).await;
    let mut table = Vec::new();
    report.write(false, &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(!report.is_conforming() && table.lines().last().unwrap().contains("has a quota"), "{table}");
}

#[test]
fn every_case_of_the_official_client_is_there_once() {
    let rows =
        super::cases::GROUPS.iter().flat_map(|group| group.cases).flat_map(|case| case.rows.split(", "));
    let mut rows: Vec<u32> = rows.filter_map(|row| row.parse().ok()).collect();
    rows.sort_unstable();
    assert_eq!(rows, (1..=51).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_fault_fails_the_case_that_is_about_it() {
    for (fault, name) in [
        (Fault::AcceptsAnySignature, "another body does not verify"),
        (Fault::AcceptsEmptyMetadata, "an empty requestMetadata is refused"),
        (Fault::AcceptsLooseBase64, "encrypt: bad Base64 is refused"),
        (Fault::AcceptsOtherService, "a signature for another service is refused"),
        (Fault::AcceptsShortTags, "a tag of other than 16 bytes is refused"),
        (Fault::AuthenticationIs403, "health: a wrong secret is refused"),
        (Fault::CdivOfNothing, "a round trip with AAD and data integrity value"),
        (Fault::ConstantIv, "no initialization vector comes twice"),
        (Fault::DecryptsToZeros, "a round trip without AAD"),
        (Fault::ErrorMessageHasLines, "an unknown key is not found"),
        (Fault::ErrorMessageTooLong, "an unknown key is not found"),
        (Fault::GetIs401, "GET gets 405 on all four operations"),
        (Fault::IgnoresAad, "what was encrypted with AAD does not decrypt without"),
        (Fault::IgnoresPrefix, "encrypt: an unknown prefix is no path"),
        (Fault::IgnoresUsage, "do-nothing: does not encrypt, without AAD"),
        (Fault::LimitsAre413, "plaintext above the implementation's limit is unsupported, not invalid"),
        (Fault::LongIvsAreInvalid, "a 16-byte initialization vector is a legal one"),
        (Fault::MetadataIsAad, "metadata does not pass for AAD"),
        (Fault::MetadataUnbound, "changed metadata does not decrypt"),
        (Fault::NoContentType, "KmsHealthCheck has a whole, sound response"),
        (Fault::PrettyPrints, "KmsHealthCheck has a whole, sound response"),
        (Fault::RefusesNewOperations, "every kmsOperation is accepted, known or not"),
        (Fault::RefusesUnknownMembers, "unknown members are ignored"),
        (Fault::RsaEverywhere, "CreateKey with kmsKeyArn and kmsViaService has a sound response"),
        (
            Fault::SmallLimits,
            "4300 bytes of plaintext with 8192 of AAD, long ARNs and a data integrity value",
        ),
        (Fault::UnknownKeyIsValidation, "an unknown key is not found"),
        (Fault::ValidatesFirst, "authentication comes before the body is judged"),
    ] {
        let report = report(fault, Some(name)).await;
        let is_seen = |verdict: Verdict| matches!(verdict, Verdict::Fail | Verdict::Warn);
        assert!(report.results.iter().any(|result| is_seen(result.verdict)), "{fault:?}");
    }
}

/// No case passes whatever the proxy says: one of two proxies that say always the same fails it.
#[tokio::test]
async fn every_case_can_fail() {
    let always_ok = report(Fault::AlwaysEmptyObject, None).await;
    let always_broken = report(Fault::AlwaysInternal, None).await;
    for (ok, broken) in always_ok.results.iter().zip(&always_broken.results) {
        let verdicts = [ok.verdict, broken.verdict];
        assert!(!verdicts.iter().all(|&verdict| verdict == Verdict::Pass), "{}: {}", ok.group, ok.name);
    }
    assert!(!always_ok.is_conforming() && !always_broken.is_conforming());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_not_judged() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = options(&unused.to_string(), &["--plain-http", "--only", "KmsHealthCheck"]);
    let mut out = Vec::new();
    let error = run(&options, Arc::new(SystemClock), &mut out).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("no connection to `{unused}`: cannot connect")),
        "{error}"
    );
    assert!(out.is_empty());
}

#[tokio::test]
async fn the_output_is_a_table_or_json_and_holds_no_secret() {
    let proxy = ModelProxy::start(Fault::DecryptsToZeros, None).await;
    for format in [&[][..], &["--json"]] {
        let more = [&["--plain-http", "--only", "round trip"], format].concat();
        let options = options(&proxy.address.to_string(), &more);
        let mut out = Vec::new();
        let conclusion = run(&options, Arc::new(SystemClock), &mut out).await.unwrap();
        assert_eq!(conclusion, Conclusion::Failed);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("the plaintext that was encrypted"), "{out}");
        for secret in [SECRET, "SGVsbG8gV29ybGQh", "Hello World!", "Signature"] {
            assert!(!out.contains(secret), "{out}");
        }
        if !format.is_empty() {
            let json: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(json["conforming"], false);
            assert_eq!(json["cases"][0]["verdict"], "fail");
        }
    }
}

#[tokio::test]
async fn every_kind_of_load_is_answered() {
    let proxy = ModelProxy::start(Fault::None, None).await;
    let host = proxy.address.to_string();
    for more in [
        &["--rate", "200", "--operation", "encrypt", "--cdiv"][..],
        &["--rate", "100", "--operation", "mixed", "--connections", "3", "--threads", "2"],
        &["--closed-loop", "--operation", "decrypt", "--connections", "2"],
        &["--closed-loop", "--operation", "health", "--http2"],
        &["--rate", "50", "--operation", "metadata", "--key-ids", "both,impotent"],
        &["--rate", "50", "--key-id-pattern", "bench-{}", "--key-count", "2", "--operation", "health"],
    ] {
        let more = [&["--plain-http", "--json", "--seconds", "1"], more].concat();
        let mut out = Vec::new();
        run(&options(&host, &more), Arc::new(SystemClock), &mut out).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["errors"], serde_json::json!({}), "{more:?}");
        assert!(json["answered"].as_u64() > Some(0), "{more:?}: {json}");
    }
}

#[tokio::test]
async fn refusals_under_load_are_counted_by_name() {
    let proxy = ModelProxy::start(Fault::None, None).await;
    let more = ["--plain-http", "--rate", "20", "--seconds", "1", "--key-ids", "both,absent", "--json"];
    let mut out = Vec::new();
    let options = options(&proxy.address.to_string(), &more);
    let conclusion = run(&options, Arc::new(SystemClock), &mut out).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["errors"], serde_json::json!({ "404 KeyNotFoundException": 10 }));
    assert_eq!((json["answered"].as_u64(), conclusion), (Some(10), Conclusion::Failed));
}

#[tokio::test]
async fn a_proxy_that_stalls_under_load_does_not_hold_the_measurement_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let more =
        ["--plain-http", "--operation", "health", "--rate", "1000", "--seconds", "1", "--connections", "1"];
    let more = [&more[..], &["--timeout-seconds", "1", "--json"]].concat();
    let mut out = Vec::new();
    let conclusion = run(&options(&host, &more), Arc::new(SystemClock), &mut out).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let counts: Vec<_> =
        json["errors"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).collect();
    assert_eq!((counts.len(), counts.iter().sum(), conclusion), (2, 1000, Conclusion::Failed));
}

#[test]
fn the_environment_of_the_official_client_names_the_options() {
    let command = <Command as clap::CommandFactory>::command();
    let names: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
    for name in ["XKS_PROXY_HOST", "URI_PREFIX", "SIGV4_ACCESS_KEY_ID", "SIGV4_SECRET_ACCESS_KEY", "REGION"] {
        assert!(names.contains(&name.as_ref()), "{name}");
    }
}
