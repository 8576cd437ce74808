//! Who is believed: long-term keys, sessions, and what becomes of them when identities change.

mod fakes;
mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use http::{HeaderMap, HeaderName, HeaderValue};
use proxy_api::sigv4::{Credential, Refusal, Request, Scope, SigningKey, Timestamp, sign};

use crate::identity::kms::{
    Caller, Declared, Directory, NewSession, SessionCredentials, SessionError, SessionKey, SessionTime,
    Unauthenticated,
};
use crate::secret::SecretBytes;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ADMIN: (&str, &str) = ("AKIAADMINADMINADMIN1", "admin-secret-admin-secret");
pub(crate) const ALICE: (&str, &str) = ("AKIAALICEALICEALICE1", "alice-secret-alice-secret");
pub(crate) const ROOT: (&str, &str) = ("AKIAROOTROOTROOTROO1", "root-secret-root-secret-");

const FILE: &str = r#"
[[account]]
id = "111122223333"
access_key_id = "AKIAADMINADMINADMIN1"
secret_access_key = "admin-secret-admin-secret"

[[root]]
account = "444455556666"
access_key_id = "AKIAROOTROOTROOTROO1"
secret_access_key = "root-secret-root-secret-"

[[user]]
account = "111122223333"
name = "alice"
path = "/team/"
tags = { team = "blue" }
policies = { read = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}}' }
access_key = [
    { access_key_id = "AKIAALICEALICEALICE1", secret_access_key = "alice-secret-alice-secret" },
    { access_key_id = "AKIAALICEALICEALICE2", secret_access_key = "alice-secret-alice-secret", active = false },
]

[[role]]
account = "111122223333"
name = "reader"
trust_policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/team/alice"},"Action":"sts:AssumeRole"}}'
tags = { Team = "red", floor = "2" }
"#;

/// A directory of an identities file with this text.
pub(crate) fn declared(text: &str) -> Result<Declared, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let shown = path.display().to_string();
    Declared::load(&path).map_err(|error| error.to_string().replace(&shown, "F"))
}

pub(crate) fn directory(text: &str) -> Directory {
    let directory = Directory::default();
    directory.declare(declared(text).unwrap()).unwrap();
    directory.set_session_key(session_key());
    directory
}

fn session_key() -> SessionKey {
    SessionKey::new(&SecretBytes::new(vec![7; 32])).unwrap()
}

/// A request as it is signed by a client.
pub(crate) struct Signed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Signed {
    pub(crate) fn new(
        (id, secret): (&str, &str),
        token: Option<&str>,
        service: &str,
        at: u64,
        body: &[u8],
    ) -> Self {
        let timestamp = Timestamp::from_unix_seconds(i64::try_from(at).unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        };
        put("host", "kms.example");
        put("x-amz-date", timestamp.as_str());
        let mut signed_headers = "host;x-amz-date".to_owned();
        if let Some(token) = token {
            put("x-amz-security-token", token);
            signed_headers.push_str(";x-amz-security-token");
        }
        let scope = Scope { date: timestamp.date(), region: "eu-central-1", service };
        let key = SigningKey::derive(secret.as_bytes(), &scope);
        let credential = Credential { access_key_id: id, scope, signed_headers: &signed_headers };
        let value = sign(&request(&headers, body), &credential, timestamp.as_str(), &key).unwrap();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        Self { headers, body: body.to_vec() }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        request(&self.headers, &self.body)
    }
}

fn request<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Request<'a> {
    Request { method: "POST", path: "/", query: None, authority: None, headers, body }
}

fn call(
    directory: &Directory,
    credential: (&str, &str),
    token: Option<&str>,
    now: u64,
) -> Result<Caller, Unauthenticated> {
    directory.authenticate(&Signed::new(credential, token, "kms", now, b"{}").request(), "kms", now)
}

fn session(directory: &Directory, policy: Option<&str>) -> Result<SessionCredentials, SessionError> {
    let role = directory.role("arn:aws:iam::111122223333:role/reader").unwrap();
    directory.make_session(NewSession {
        role: &role,
        name: "build-7",
        tags: [("team".to_owned(), "green".to_owned())].into(),
        transitive: vec!["team".to_owned()],
        policy,
        source_identity: None,
        time: SessionTime { now_unix_seconds: NOW, duration_seconds: 900 },
        mfa: false,
    })
}

fn text(secret: &SecretBytes) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

fn tags(caller: &Caller) -> BTreeMap<&str, &str> {
    caller.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect()
}

#[test]
fn users_and_root_users_are_known_by_their_keys() {
    let directory = directory(FILE);
    let alice = call(&directory, ALICE, None, NOW).unwrap();
    assert_eq!(&*alice.arn, "arn:aws:iam::111122223333:user/team/alice");
    assert_eq!((alice.principal_type(), alice.user_name()), ("User", Some("alice")));
    assert_eq!(tags(&alice), BTreeMap::from([("team", "blue")]));
    assert_eq!(alice.policies.len(), 1);
    assert!(alice.user_id.starts_with("AIDA") && alice.user_id.len() == 21, "{}", alice.user_id);
    assert_eq!(alice.region.as_str(), "eu-central-1");
    let admin = call(&directory, ADMIN, None, NOW).unwrap();
    assert_eq!(&*admin.arn, "arn:aws:iam::111122223333:user/admin");
    let root = call(&directory, ROOT, None, NOW).unwrap();
    assert_eq!(&*root.arn, "arn:aws:iam::444455556666:root");
    assert_eq!(&*root.user_id, "444455556666");
    assert!(root.is_root());
    assert_eq!(call(&directory, ALICE, None, NOW).unwrap().user_id, alice.user_id);
}

#[test]
fn a_caller_who_cannot_prove_it_is_refused() {
    let directory = directory(FILE);
    let refused = |credential, token| call(&directory, credential, token, NOW).unwrap_err();
    assert_eq!(refused(("AKIANOBODYNOBODYNOBO", "x"), None), Unauthenticated::AccessKeyUnknown);
    assert_eq!(refused(("AKIAALICEALICEALICE2", ALICE.1), None), Unauthenticated::AccessKeyUnknown);
    assert_eq!(refused(ALICE, Some("token")), Unauthenticated::AccessKeyUnknown);
    let mismatch = Unauthenticated::Signature(Refusal::SignatureMismatch);
    assert_eq!(refused((ALICE.0, ADMIN.1), None), mismatch);
    let late = Signed::new(ALICE, None, "kms", NOW - 301, b"{}");
    let skew = Unauthenticated::Signature(Refusal::ClockSkew { seconds: -301 });
    assert_eq!(directory.authenticate(&late.request(), "kms", NOW).unwrap_err(), skew);
    let other = Signed::new(ALICE, None, "sts", NOW, b"{}");
    let wrong = Unauthenticated::Signature(Refusal::ServiceWrong);
    assert_eq!(directory.authenticate(&other.request(), "kms", NOW).unwrap_err(), wrong);
}

#[test]
fn keys_of_kms_and_sts_are_not_mixed_up_once_both_are_cached() {
    let directory = directory(FILE);
    for _ in 0..2 {
        for service in ["kms", "sts"] {
            let signed = Signed::new(ALICE, None, service, NOW, b"x");
            assert!(directory.authenticate(&signed.request(), service, NOW).is_ok(), "{service}");
        }
    }
}

#[test]
fn a_session_is_known_by_its_token_until_it_expires() {
    let directory = directory(FILE);
    let made = session(&directory, None).unwrap();
    let credential = (made.access_key_id.as_str(), &*text(&made.secret_access_key));
    for _ in 0..2 {
        let caller = call(&directory, credential, Some(&made.token), NOW).unwrap();
        assert_eq!(&*caller.arn, "arn:aws:sts::111122223333:assumed-role/reader/build-7");
        assert_eq!(caller.principal_arn(), "arn:aws:iam::111122223333:role/reader");
        assert!(caller.user_id.starts_with("AROA") && caller.user_id.ends_with(":build-7"));
        assert_eq!(tags(&caller), BTreeMap::from([("team", "green"), ("floor", "2")]));
        assert_eq!(caller.session().unwrap().transitive_tags.len(), 1);
    }
    assert!(call(&directory, credential, Some(&made.token), NOW + 899).is_ok());
    let expired = call(&directory, credential, Some(&made.token), NOW + 900).unwrap_err();
    assert_eq!(expired, Unauthenticated::TokenExpired);
    let without = call(&directory, credential, None, NOW).unwrap_err();
    assert_eq!(without, Unauthenticated::AccessKeyUnknown);
    let wrong = call(&directory, (credential.0, "wrong"), Some(&made.token), NOW).unwrap_err();
    assert_eq!(wrong, Unauthenticated::Signature(Refusal::SignatureMismatch));
}

#[test]
fn a_token_is_no_good_with_another_access_key_id_also_when_it_is_cached() {
    let directory = directory(FILE);
    let (one, two) = (session(&directory, None).unwrap(), session(&directory, None).unwrap());
    let secret = text(&one.secret_access_key);
    call(&directory, (&one.access_key_id, &secret), Some(&one.token), NOW).unwrap();
    let mixed = call(&directory, (&one.access_key_id, &secret), Some(&two.token), NOW);
    assert_eq!(mixed.unwrap_err(), Unauthenticated::AccessKeyUnknown);
}

#[test]
fn a_session_outlives_a_restart_but_not_its_role() {
    let before = directory(FILE);
    let made = session(&before, None).unwrap();
    let credential = (made.access_key_id.as_str(), &*text(&made.secret_access_key));
    let after = directory(FILE);
    assert!(call(&after, credential, Some(&made.token), NOW).is_ok());
    let role = FILE.find("[[role]]").unwrap();
    after.declare(declared(&FILE[..role]).unwrap()).unwrap();
    let gone = call(&after, credential, Some(&made.token), NOW).unwrap_err();
    assert_eq!(gone, Unauthenticated::AccessKeyUnknown);
    after.declare(declared(&FILE.replace("floor", "storey")).unwrap()).unwrap();
    let caller = call(&after, credential, Some(&made.token), NOW).unwrap();
    assert_eq!(tags(&caller), BTreeMap::from([("team", "green"), ("storey", "2")]));
    after.set_session_key(SessionKey::new(&SecretBytes::new(vec![8; 32])).unwrap());
    assert!(call(&after, credential, Some(&made.token), NOW).is_err());
}

#[test]
fn a_session_policy_must_be_one_and_fit() {
    let directory = directory(FILE);
    assert!(matches!(session(&directory, Some("{}")), Err(SessionError::Policy(_))));
    let statement = r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#;
    let policy = |count: usize| {
        format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, vec![statement; count].join(","))
    };
    assert!(session(&directory, Some(&policy(1))).unwrap().packed_percent > 0);
    assert!(matches!(
        session(&directory, Some(&policy(100))),
        Err(SessionError::TooLarge { percent: 101.. })
    ));
    let keyless = Directory::default();
    keyless.declare(declared(FILE).unwrap()).unwrap();
    assert!(matches!(session(&keyless, None), Err(SessionError::NotReady)));
}

#[test]
fn a_file_that_breaks_a_rule_is_refused_and_says_where() {
    let changed = |from: &str, to: &str| declared(&FILE.replace(from, to)).map(|_| ()).unwrap_err();
    for (from, to, error) in [
        ("\"111122223333\"\nname = \"alice\"", "\"1\"\nname = \"alice\"", "F: user `alice`: an account id"),
        ("/team/", "team", "F: user `alice` of account 111122223333: a path"),
        (
            "\"Resource\":\"*\"",
            "\"Resource\":\"x\"",
            "F: user `alice` of account 111122223333: policy `read`",
        ),
        (
            "AKIAALICEALICEALICE2",
            "AKIAALICEALICEALICE1",
            "F: user `alice`: access key id `AKIAALICEALICEALICE1` is",
        ),
        ("AKIAALICEALICEALICE2", "ASIAALICEALICEALICE2", "F: user `alice`: an access key id"),
        (
            "\"Principal\":{\"AWS\":\"arn:aws:iam::111122223333:user/team/alice\"},",
            "",
            "F: role `reader` of account 111122223333: the trust policy",
        ),
        ("name = \"alice\"", "name = \"admin\"", "F: user `admin`: the user is there twice"),
        ("floor = \"2\"", "floor = 2", "F: line"),
        (
            "name = \"reader\"",
            "name = \"reader\"\nmax_session_duration_seconds = 60",
            "F: role `reader` of account 111122223333: the maximum",
        ),
        ("[[role]]", "[[roles]]", "F: line"),
        ("tags = { team", "policy = { team", "F: line"),
    ] {
        let actual = changed(from, to);
        assert!(actual.starts_with(error), "{to}: {actual}");
        assert!(!actual.contains("secret-"), "{actual}");
    }
}

#[test]
fn a_policy_may_be_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.toml");
    let policy = folder.path().join("read.json");
    fs::write(&path, "[[user]]\naccount = \"111122223333\"\nname = \"bob\"\npolicies = { read = { file = \"read.json\" } }\n").unwrap();
    assert!(Declared::load(&path).is_err(), "others can read it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Declared::load(&path).unwrap_err().to_string().contains("user `bob`: policy file"));
    fs::write(
        &policy,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#,
    )
    .unwrap();
    assert_eq!(Declared::load(&path).unwrap().files(), [path, policy]);
}
