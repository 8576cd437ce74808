//! Spans of requests at a collector: one trace through front end, proxy and HSM, and nothing lost but spans.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use prost::Message;
use serde_json::json;

use crate::support::kms::{ACCOUNT, KmsClient, signed};
use crate::support::pki::write_private;
use crate::support::receiver::{Conduct, Receiver};
use crate::support::{Setup, Site};

const PLAINTEXT: &str = "bmV2ZXIgaW4gYSBzcGFu";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// A span as the collector has it.
#[derive(Clone, Debug)]
struct Span {
    name: String,
    trace_id: String,
    id: String,
    parent: String,
    attributes: HashMap<String, String>,
}

impl Span {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(receiver: &Receiver) -> Vec<Span> {
    let mut spans = Vec::new();
    for (_, body) in receiver.accepted() {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| {
            let text = |value| {
                if let any_value::Value::StringValue(text) = value { text } else { format!("{value:?}") }
            };
            let attributes = span.attributes.into_iter().map(|pair| {
                let value = pair.value.and_then(|value| value.value);
                (pair.key, value.map(text).unwrap_or_default())
            });
            Span {
                name: span.name,
                trace_id: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: attributes.collect(),
            }
        }));
    }
    spans
}

fn traces_table(port: u16) -> String {
    format!(
        "[traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\nheaders_file = \"collector.headers\"\n"
    )
}

/// A daemon with a KMS API and a proxy, which tells this collector.
fn site(receiver: &Receiver) -> Site {
    let setup = Setup::kms_with_proxies("ca.pem", "");
    let site = Site::prepare(&Setup { tables: traces_table(receiver.port), ..setup });
    write_private(&site.path("collector.headers"), "Authorization: Bearer of-the-collector\n");
    site.run();
    site.wait_ready();
    site
}

fn find<'s>(spans: &'s [Span], what: &str, is_it: impl Fn(&Span) -> bool) -> &'s Span {
    spans.iter().find(|span| is_it(span)).unwrap_or_else(|| panic!("no {what} in {spans:#?}"))
}

#[test]
fn a_request_is_one_trace_through_front_end_proxy_and_hsm_with_the_id_of_its_answer() {
    let receiver = Receiver::start(Conduct::Answer(200));
    let site = site(&receiver);
    let store = site.connected_external_store("traced", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let reply = site.kms("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT}));
    reply.ok();
    let request_id = reply.0.headers["x-amzn-requestid"].to_str().unwrap().to_owned();
    let has_come = |name: &str| {
        spans(&receiver)
            .iter()
            .any(|span| span.name == name && span.attribute("aws.request_id") == request_id)
    };
    site.wait_until("the spans", || has_come("KMS.Encrypt") && has_come("XKS.Encrypt"));
    let spans = spans(&receiver);
    let of_request = |span: &Span| span.attribute("aws.request_id") == request_id;
    let front = find(&spans, "front end", |span| span.name == "KMS.Encrypt" && of_request(span));
    let sent =
        find(&spans, "request to the proxy", |span| span.name == "XKS.Encrypt" && span.parent == front.id);
    let proxy = find(&spans, "proxy", |span| span.name == "XKS.Encrypt" && span.parent == sent.id);
    let hsm = find(&spans, "HSM", |span| span.parent == proxy.id);
    assert!(of_request(sent) && of_request(proxy));
    assert_eq!((hsm.name.as_str(), hsm.attribute("holdfast.hsm")), ("HSM.encrypt", "softhsm"));
    assert!(hsm.attributes.contains_key("holdfast.hsm_us"), "{hsm:?}");
    assert_eq!(proxy.attribute("holdfast.external_key_id"), "foo");
    for span in [sent, proxy, hsm] {
        assert_eq!(span.trace_id, front.trace_id);
    }
    let (head, _) = &receiver.accepted()[0];
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer of-the-collector"), "{head}");
    for (_, body) in receiver.accepted() {
        let text = String::from_utf8_lossy(&body).into_owned();
        for secret in [PLAINTEXT, "never in a span", ACCOUNT.secret_access_key] {
            assert!(!text.contains(secret), "a span holds `{secret}`");
        }
    }
}

#[test]
fn a_caller_that_is_authenticated_may_have_begun_the_trace() {
    let receiver = Receiver::start(Conduct::Answer(200));
    let site = site(&receiver);
    let send = |is_right: bool| {
        let mut request = signed(&ACCOUNT, "ListKeys", &json!({}));
        request.extra_headers.push(("traceparent", format!("00-{TRACE_ID}-b7ad6b7169203331-01")));
        if !is_right {
            request.secret_access_key.push('x');
        }
        let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
        client.send(&request).unwrap()
    };
    send(false).error();
    send(true).ok();
    let of_lists =
        || spans(&receiver).into_iter().filter(|span| span.name == "KMS.ListKeys").collect::<Vec<_>>();
    site.wait_until("both spans", || of_lists().len() == 2);
    let spans = of_lists();
    let adopted: Vec<_> = spans.iter().filter(|span| span.trace_id == TRACE_ID).collect();
    assert_eq!(adopted.len(), 1, "{spans:#?}");
    assert_eq!((adopted[0].parent.as_str(), adopted[0].attribute("error.type")), ("b7ad6b7169203331", ""));
}

#[test]
fn a_collector_that_is_gone_errs_or_hangs_costs_spans_and_no_request() {
    let receiver = Receiver::start(Conduct::Answer(503));
    let site = site(&receiver);
    let id = site.create_kms_key();
    let failed = || site.metric("holdfast_traces_spans_total{outcome=\"failed\"}").unwrap_or_default();
    for conduct in [Conduct::Answer(503), Conduct::HangUp, Conduct::Hang] {
        receiver.behave(conduct);
        let before = failed();
        site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT})).ok();
        site.wait_until("spans that are lost", || failed() > before);
    }
    receiver.behave(Conduct::Answer(200));
    site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT})).ok();
    site.wait_until("spans that arrive", || !receiver.accepted().is_empty());
    let log = site.log();
    assert_eq!(log.matches("the collector of traces takes no spans").count(), 1, "{log}");
    site.wait_until("the end of the trouble in the log", || {
        site.log().contains("the collector of traces takes spans again")
    });
    assert!(!site.log().contains("of-the-collector"));
}

#[test]
fn without_traces_no_span_is_made() {
    let site = Site::start_with(&Setup::kms());
    site.create_kms_key();
    for outcome in ["made", "sent", "failed"] {
        let spans = site.metric(&format!("holdfast_traces_spans_total{{outcome=\"{outcome}\"}}"));
        assert_eq!(spans, Some(0.0), "{outcome}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let site = Site::prepare(&Setup::default());
    let right = std::fs::read_to_string(site.path("holdfast.toml")).unwrap();
    for (members, reason) in [
        ("endpoint = \"http://collector.example:4318/v1/traces\"", "loopback"),
        ("endpoint = \"http://127.0.0.1:4318/v1/traces\"\nsampled_share = 1.5", "sampled_share"),
        ("endpoint = \"http://127.0.0.1:4318/v1/traces\"\nservice_name = \"\"", "service_name"),
        ("endpoint = \"http://127.0.0.1:4318/v1/traces\"\nheaders_file = \"absent\"", "headers_file"),
    ] {
        site.edit_configuration(|text| format!("{text}\n[traces]\n{members}\n"));
        let output = site.holdfast(&["config", "check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{members}: {said}");
        site.edit_configuration(|_| right.clone());
    }
}
