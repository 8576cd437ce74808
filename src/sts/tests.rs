//! STS as a client sees it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http_body_util::BodyExt;
use proptest::prelude::*;

use crate::authorizer::facts::RequestFacts;
use crate::config::private_file;
use crate::identity::kms::{Declared, Directory, SessionKey};
use crate::secret::SecretBytes;
use crate::sts::parameters::Parameters;
use crate::sts::{Service, is_for};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proxy_api::sigv4::{Credential, Request, Scope, SigningKey, Timestamp, sign};

const NOW: u64 = 1_800_000_000;
const VERSION: &str = "Version=2011-06-15";
const ALICE: (&str, &str) = ("AKIAALICEALICEALICE1", "alice-secret-alice-secret");
const BOB: (&str, &str) = ("AKIABOBBOBBOBBOBBOB1", "bob-secret-bob-secret-bob");
const CAROL: (&str, &str) = ("AKIACAROLCAROLCAROL1", "carol-secret-carol-secret");
const ROOT: (&str, &str) = ("AKIAROOTROOTROOTROO1", "root-secret-root-secret-");

/// Alice is named by the roles; Bob is of another account and may assume; Carol is of another account and may not.
const FILE: &str = r#"
[[root]]
account = "111122223333"
access_key_id = "AKIAROOTROOTROOTROO1"
secret_access_key = "root-secret-root-secret-"

[[user]]
account = "111122223333"
name = "alice"
access_key = [{ access_key_id = "AKIAALICEALICEALICE1", secret_access_key = "alice-secret-alice-secret" }]

[[user]]
account = "444455556666"
name = "bob"
policies = { p = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}' }
access_key = [{ access_key_id = "AKIABOBBOBBOBBOBBOB1", secret_access_key = "bob-secret-bob-secret-bob" }]

[[user]]
account = "444455556666"
name = "carol"
access_key = [{ access_key_id = "AKIACAROLCAROLCAROL1", secret_access_key = "carol-secret-carol-secret" }]

[[role]]
account = "111122223333"
name = "reader"
max_session_duration_seconds = 7200
policies = { p = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}' }
trust_policy = '''{"Version":"2012-10-17","Statement":[
  {"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:user/alice","444455556666","111122223333"]},"Action":["sts:AssumeRole","sts:TagSession"]}]}'''

[[role]]
account = "111122223333"
name = "untagged"
path = "/deep/"
trust_policy = '''{"Version":"2012-10-17","Statement":
  {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"sts:AssumeRole",
   "Condition":{"StringEquals":{"sts:ExternalId":"x-1"}}}}'''
"#;

struct Sts(Service);

struct Reply {
    status: u16,
    xml: String,
}

impl Reply {
    fn text(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.xml.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }

    fn code(&self) -> (u16, &str) {
        (self.status, self.text("Code").unwrap_or("-"))
    }
}

impl Sts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        private_file::replace(&path, FILE.as_bytes()).unwrap();
        let directory = Directory::default();
        directory.declare(Declared::load(&path).unwrap()).unwrap();
        directory.set_session_key(SessionKey::new(&SecretBytes::new(vec![7; 32])).unwrap());
        Self(Service::new(Arc::new(directory)))
    }

    fn call(&self, credential: (&str, &str), token: Option<&str>, form: &str) -> Reply {
        self.call_at(credential, token, form, NOW)
    }

    fn call_at(&self, (id, secret): (&str, &str), token: Option<&str>, form: &str, at: u64) -> Reply {
        let timestamp = Timestamp::from_unix_seconds(i64::try_from(at).unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        let mut signed_headers = "host;x-amz-date".to_owned();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        };
        put("host", "sts.example");
        put("x-amz-date", timestamp.as_str());
        if let Some(token) = token {
            put("x-amz-security-token", token);
            signed_headers.push_str(";x-amz-security-token");
        }
        let scope = Scope { date: timestamp.date(), region: "us-east-1", service: "sts" };
        let key = SigningKey::derive(secret.as_bytes(), &scope);
        let credential = Credential { access_key_id: id, scope, signed_headers: &signed_headers };
        let value = sign(&request(&headers, form), &credential, timestamp.as_str(), &key).unwrap();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        self.send(&headers, form)
    }

    fn send(&self, headers: &HeaderMap, form: &str) -> Reply {
        let facts = RequestFacts {
            source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            secure_transport: true,
            user_agent: None,
            unix_seconds: NOW,
            vpc: None,
            endpoint_policy: None,
        };
        let served = self.0.respond(&request(headers, form), &facts, "id-1");
        assert_eq!(served.response.headers()["content-type"], "text/xml");
        assert_eq!(served.response.headers()["x-amzn-requestid"], "id-1");
        let status = served.response.status().as_u16();
        let body = futures_body(served.response);
        Reply { status, xml: body }
    }

    fn assume(&self, credential: (&str, &str), token: Option<&str>, more: &str) -> Reply {
        let role = "arn:aws:iam::111122223333:role/reader";
        self.call(
            credential,
            token,
            &format!("Action=AssumeRole&{VERSION}&RoleArn={role}&RoleSessionName=s1{more}"),
        )
    }
}

fn request<'a>(headers: &'a HeaderMap, form: &'a str) -> Request<'a> {
    Request { method: "POST", path: "/", query: None, authority: None, headers, body: form.as_bytes() }
}

fn futures_body(response: crate::http::Response) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(response.into_body().collect()).unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn identity() -> String {
    format!("Action=GetCallerIdentity&{VERSION}")
}

#[test]
fn everybody_may_ask_who_they_are() {
    let reply = Sts::new().call(CAROL, None, &identity());
    assert_eq!(reply.status, 200);
    assert!(reply.xml.starts_with(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>"
    ));
    assert_eq!(reply.text("Arn"), Some("arn:aws:iam::444455556666:user/carol"));
    assert_eq!(reply.text("Account"), Some("444455556666"));
    assert!(reply.text("UserId").unwrap().starts_with("AIDA"));
    assert_eq!(reply.text("RequestId"), Some("id-1"));
}

#[test]
fn a_session_is_assumed_and_knows_who_it_is() {
    let sts = Sts::new();
    let made = sts.assume(ALICE, None, "&DurationSeconds=900");
    assert_eq!(made.status, 200, "{}", made.xml);
    let arn = "arn:aws:sts::111122223333:assumed-role/reader/s1";
    assert_eq!(made.text("Arn"), Some(arn));
    assert_eq!(made.text("Expiration"), Some("2027-01-15T08:15:00Z"));
    assert_eq!(made.text("PackedPolicySize"), None);
    let credential = (made.text("AccessKeyId").unwrap(), made.text("SecretAccessKey").unwrap());
    let token = made.text("SessionToken");
    let who = sts.call(credential, token, &identity());
    assert_eq!(who.text("Arn"), Some(arn));
    assert_eq!(who.text("UserId"), made.text("AssumedRoleId"));
    assert_eq!(sts.call(credential, None, &identity()).code(), (403, "InvalidClientTokenId"));
}

#[test]
fn who_may_assume_is_decided_by_both_accounts() {
    let sts = Sts::new();
    for (credential, status) in [(ALICE, 200), (BOB, 200), (CAROL, 403), (ROOT, 403)] {
        assert_eq!(sts.assume(credential, None, "").status, status, "{}", credential.0);
    }
    let denied = sts.assume(CAROL, None, "");
    assert_eq!(denied.code().1, "AccessDenied");
    assert_eq!(
        denied.text("Message"),
        Some(
            "User: arn:aws:iam::444455556666:user/carol is not authorized to perform: sts:AssumeRole on resource: \
             arn:aws:iam::111122223333:role/reader"
        )
    );
}

#[test]
fn the_trust_policy_may_want_an_external_id_and_refuse_tags() {
    let sts = Sts::new();
    let assume = |more: &str| {
        let role = "arn:aws:iam::111122223333:role/deep/untagged";
        sts.call(ALICE, None, &format!("Action=AssumeRole&{VERSION}&RoleArn={role}&RoleSessionName=s1{more}"))
    };
    assert_eq!(assume("").code(), (403, "AccessDenied"));
    assert_eq!(assume("&ExternalId=x-2").code(), (403, "AccessDenied"));
    assert_eq!(assume("&ExternalId=x-1").status, 200);
    let tagged = assume("&ExternalId=x-1&Tags.member.1.Key=k&Tags.member.1.Value=v");
    assert!(tagged.text("Message").unwrap().contains("sts:TagSession"), "{}", tagged.xml);
    let role = "arn:aws:iam::111122223333:role/untagged";
    let form = format!("Action=AssumeRole&{VERSION}&RoleArn={role}&RoleSessionName=s1&ExternalId=x-1");
    assert_eq!(sts.call(ALICE, None, &form).code(), (403, "AccessDenied"), "another path is another role");
}

#[test]
fn a_chained_session_inherits_transitive_tags_and_lasts_an_hour_at_most() {
    let sts = Sts::new();
    let tags = "&Tags.member.1.Key=team&Tags.member.1.Value=blue&TransitiveTagKeys.member.1=team";
    let made = sts.assume(ALICE, None, &format!("{tags}&DurationSeconds=7200"));
    assert_eq!(made.status, 200, "{}", made.xml);
    assert_eq!(made.text("PackedPolicySize"), Some("1"));
    let credential = (made.text("AccessKeyId").unwrap(), made.text("SecretAccessKey").unwrap());
    let token = made.text("SessionToken");
    assert_eq!(sts.assume(credential, token, "&DurationSeconds=3601").code(), (400, "ValidationError"));
    assert_eq!(
        sts.assume(credential, token, tags).code(),
        (400, "ValidationError"),
        "it cannot be given anew"
    );
    let chained = sts.assume(credential, token, "");
    assert_eq!((chained.status, chained.text("PackedPolicySize")), (200, Some("1")), "{}", chained.xml);
}

#[test]
fn a_user_and_a_root_user_get_a_session_of_their_own_but_no_session_does() {
    let sts = Sts::new();
    let form = format!("Action=GetSessionToken&{VERSION}");
    for (credential, arn, expiration) in [
        (ALICE, "arn:aws:iam::111122223333:user/alice", "2027-01-15T20:00:00Z"),
        (ROOT, "arn:aws:iam::111122223333:root", "2027-01-15T09:00:00Z"),
    ] {
        let made = sts.call(credential, None, &form);
        assert_eq!((made.status, made.text("Expiration")), (200, Some(expiration)), "{}", made.xml);
        let session = (made.text("AccessKeyId").unwrap(), made.text("SecretAccessKey").unwrap());
        let token = made.text("SessionToken");
        assert_eq!(sts.call(session, token, &identity()).text("Arn"), Some(arn));
        assert_eq!(sts.call(session, token, &form).code(), (403, "AccessDenied"));
    }
}

#[test]
fn a_second_factor_wants_both_of_its_parameters_and_a_device_of_the_caller() {
    let sts = Sts::new();
    for (more, text) in [
        ("&SerialNumber=123456789", "must provide both MFA serial number and one time pass code"),
        ("&TokenCode=123456", "must provide both MFA serial number and one time pass code"),
        ("&SerialNumber=123456789&TokenCode=123456", "verify your MFA serial number"),
    ] {
        let reply = sts.assume(ALICE, None, more);
        assert_eq!(reply.code(), (403, "AccessDenied"), "{more}");
        assert!(reply.text("Message").unwrap().contains(text), "{}", reply.xml);
    }
}

#[test]
fn a_source_identity_needs_a_permission_of_its_own() {
    let reply = Sts::new().assume(ALICE, None, "&SourceIdentity=me");
    assert_eq!(reply.code(), (403, "AccessDenied"));
    assert!(reply.text("Message").unwrap().contains("sts:SetSourceIdentity"), "{}", reply.xml);
}

#[test]
fn what_is_not_valid_is_refused() {
    let sts = Sts::new();
    let long = format!("&Policy={}", "x".repeat(2049));
    for (more, code) in [
        ("&DurationSeconds=899", "ValidationError"),
        ("&DurationSeconds=7201", "ValidationError"),
        ("&DurationSeconds=x", "ValidationError"),
        ("&Policy=%7B%7D", "MalformedPolicyDocument"),
        (&*long, "ValidationError"),
        ("&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/x", "ValidationError"),
        ("&SourceIdentity=a/b", "ValidationError"),
        ("&SerialNumber=123456789&TokenCode=12345", "ValidationError"),
        ("&SerialNumber=1&TokenCode=123456", "ValidationError"),
        ("&Tags.member.2.Key=k&Tags.member.2.Value=v", "ValidationError"),
        ("&Tags.member.1.Key=aws:k&Tags.member.1.Value=v", "ValidationError"),
        ("&TransitiveTagKeys.member.1=k", "ValidationError"),
        ("&RoleSessionName=again", "MalformedQueryString"),
    ] {
        assert_eq!(sts.assume(ALICE, None, more).code(), (400, code), "{more}");
    }
    for (form, code) in [
        ("Action=GetCallerIdentity", "InvalidAction"),
        ("Action=GetFederationToken&Version=2011-06-15", "InvalidAction"),
        ("Action=GetSessionToken&Version=2011-06-15&DurationSeconds=899", "ValidationError"),
        ("Action=GetSessionToken&Version=2011-06-15&DurationSeconds=129601", "ValidationError"),
        ("Version=2011-06-15", "MissingAction"),
        ("Action=AssumeRole&Version=2011-06-15", "ValidationError"),
        (
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::1:role/x&RoleSessionName=a/b",
            "ValidationError",
        ),
    ] {
        assert_eq!(sts.call(ALICE, None, form).code(), (400, code), "{form}");
    }
}

#[test]
fn a_caller_who_cannot_prove_it_is_told_in_xml() {
    let sts = Sts::new();
    assert_eq!(sts.send(&HeaderMap::new(), &identity()).code(), (403, "MissingAuthenticationToken"));
    let garbage = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("AWS4-HMAC-SHA256 x"))]);
    assert_eq!(sts.send(&garbage, &identity()).code(), (400, "IncompleteSignature"));
    assert_eq!(sts.call((ALICE.0, BOB.1), None, &identity()).code(), (403, "SignatureDoesNotMatch"));
    assert_eq!(sts.call(("AKIANOBODY", "x"), None, &identity()).code(), (403, "InvalidClientTokenId"));
    let late = sts.call_at(ALICE, None, &identity(), NOW - 301);
    assert_eq!(late.code(), (403, "SignatureDoesNotMatch"));
    assert!(late.text("Message").unwrap().starts_with("Signature expired"));
}

#[test]
fn forms_and_queries_with_an_action_are_for_sts() {
    let form = HeaderMap::from_iter([(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
    )]);
    let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"))]);
    assert!(is_for(&Method::POST, None, &form));
    assert!(is_for(&Method::GET, Some("Version=1&Action=x"), &HeaderMap::new()));
    assert!(!is_for(&Method::POST, None, &json));
    assert!(!is_for(&Method::GET, Some("Reaction=x"), &HeaderMap::new()));
}

proptest! {
    #[test]
    fn no_form_makes_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "((Tags|x)(\\.member)?(\\.[0-9]{1,3})?(\\.Key|\\.Value)?=[%&a-f0-9]{0,4}&){0,8}",
    ) {
        for form in [&bytes[..], text.as_bytes()] {
            if let Ok(parameters) = Parameters::parse(form) {
                let _ = (parameters.pairs("Tags"), parameters.list("Tags"), parameters.has("Tags"));
            }
        }
    }
}
