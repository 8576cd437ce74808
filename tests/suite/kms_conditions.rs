//! Condition keys about who calls, from where, when and how, over a running daemon: each lets somebody in by an Allow that
//! needs it, and keeps somebody out by a Deny on it.

use aws_lc_rs::hmac;
use holdfast::clock::{Clock, SystemClock};
use proxy_api::client::{Endpoint, HttpVersions};
use serde_json::{Value, json};

use crate::support::client::Signed;
use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_callers::Credentials;
use crate::support::pki::write_private;
use crate::support::site::free_ports;
use crate::support::{Setup, Site};

const DENIED: &str = "AccessDeniedException";
const MFA_SECRET: &[u8] = b"12345678901234567890";
const SERVICE: (&str, &str) = ("AKIASERVICESERVICE01", "service-secret-service-secret");

/// What the identities file has besides the two accounts.
const IDENTITIES: &str = r#"
[[user]]
account = "123456789012"
name = "alice"
mfa_secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
tags = { team = "blue" }
policies = { all = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["kms:*","sts:*"],"Resource":"*"}}' }
access_key = [{ access_key_id = "AKIAALICEALICEALICE1", secret_access_key = "alice-secret-alice-secret" }]

[[user]]
account = "123456789012"
name = "bounded"
managed_policies = ["AdministratorAccess"]
permissions_boundary = "AWSKeyManagementServicePowerUser"
access_key = [{ access_key_id = "AKIABOUNDEDBOUNDED01", secret_access_key = "bounded-secret-bounded" }]

[[user]]
account = "123456789012"
name = "reader"
managed_policies = ["Readers"]
access_key = [{ access_key_id = "AKIAREADERREADER0001", secret_access_key = "reader-secret-reader-secret" }]

[[policy]]
account = "123456789012"
name = "Readers"
document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:ListKeys","Resource":"*"}}'

[[role]]
account = "123456789012"
name = "guarded"
trust_policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"},"Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}}'
managed_policies = ["AdministratorAccess"]

[[account]]
id = "333344445555"
access_key_id = "AKIAGUARDGUARDGUARD1"
secret_access_key = "guard-secret-guard-secret"
organization_id = "o-a1b2c3d4e5"
organization_path = "o-a1b2c3d4e5/r-ab12/"
service_control_policies = { base = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}', no_random = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"kms:GenerateRandom","Resource":"*"}}' }

[[root]]
account = "333344445555"
access_key_id = "AKIAGUARDGUARDROOT01"
secret_access_key = "guard-root-guard-root-"

[[service]]
name = "s3.amazonaws.com"
acts_for = ["123456789012"]
access_key = [{ access_key_id = "AKIASERVICESERVICE01", secret_access_key = "service-secret-service-secret" }]
"#;

/// A site with these identities; `kms` is TOML for `[kms]` and what follows it.
fn site(kms: &str) -> Site {
    let mut setup = Setup::kms();
    setup.kms = setup.kms.map(|members| members + kms);
    let site = Site::prepare(&setup);
    let accounts = std::fs::read_to_string(site.path("accounts.toml")).unwrap();
    write_private(&site.path("accounts.toml"), &(accounts + IDENTITIES));
    site.run();
    site.wait_ready();
    site
}

fn alice() -> Credentials {
    Credentials::new("AKIAALICEALICEALICE1", "alice-secret-alice-secret")
}

/// The code of the secret, so many steps from now (RFC 6238).
fn code(steps: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, MFA_SECRET);
    let step = (SystemClock.unix_seconds() / 30).checked_add_signed(steps).unwrap();
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let offset = usize::from(tag.as_ref()[19] & 0x0f);
    let word = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

/// A key whose policy lets the administrator do everything, and everybody decrypt under a condition, or unless it holds.
fn key(site: &Site, effect: &str, condition: &Value) -> String {
    let own = "arn:aws:iam::123456789012:user/admin";
    let encrypt = |effect: &str, principal: Value, condition: &Value| {
        json!({"Effect": effect, "Principal": principal, "Action": "kms:Encrypt", "Resource": "*",
               "Condition": condition})
    };
    let mut statements = vec![
        json!({"Effect": "Allow", "Principal": {"AWS": own}, "Action": "kms:*", "Resource": "*"}),
        encrypt(effect, json!("*"), condition),
    ];
    if effect == "Deny" {
        for principal in [
            json!({"AWS": "arn:aws:iam::123456789012:user/alice"}),
            json!({"AWS": "arn:aws:iam::123456789012:role/guarded"}),
            json!({"Service": "s3.amazonaws.com"}),
        ] {
            statements.push(encrypt("Allow", principal, &json!({})));
        }
    }
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let created = site.kms("CreateKey", &json!({"Policy": policy}));
    created.ok()["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

/// Whether a request may use a key that lets in who meets the condition, and one that keeps out who meets it.
struct Doors {
    allow: String,
    deny: String,
}

impl Doors {
    fn new(site: &Site, condition: &Value) -> Self {
        Self { allow: key(site, "Allow", condition), deny: key(site, "Deny", condition) }
    }

    /// Who meets the condition passes the first door and not the second; who does not, the other way round.
    #[track_caller]
    fn assert(&self, is_met: bool, send: impl Fn(&str) -> (u16, String)) {
        for (name, key, may) in [("allow", &self.allow, is_met), ("deny", &self.deny, !is_met)] {
            let (status, text) = send(key);
            assert_eq!(status == 200, may, "{name}: {text}");
            assert!(may || text.contains(DENIED), "{name}: {text}");
        }
    }
}

fn encrypt(caller: &Credentials, key: &str) -> Signed {
    caller.kms("Encrypt", &json!({"KeyId": key, "Plaintext": "aGVsbG8="}))
}

fn send(site: &Site, signed: &Signed) -> (u16, String) {
    let reply = site.send_kms(signed).0;
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

/// The same, to another listener, with headers that are not signed.
fn send_to(site: &Site, port: u16, signed: &Signed, unsigned: &[(&'static str, &str)]) -> (u16, String) {
    let endpoint = Endpoint::http(&format!("127.0.0.1:{port}"), HttpVersions::Http1).unwrap();
    let mut outgoing = signed.outgoing(endpoint.host());
    for (name, value) in unsigned {
        outgoing.headers.append(*name, value.parse().unwrap());
    }
    let reply = site.send_to(&endpoint, outgoing);
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

fn listener(port: u16, name: &str, more: &str) -> String {
    format!("[[kms.listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\n{more}\n")
}

#[test]
fn a_second_factor_makes_a_session_what_policies_ask_for() {
    let site = site("");
    let serial = "arn:aws:iam::123456789012:mfa/alice";
    let doors = Doors::new(&site, &json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}));
    let age = Doors::new(&site, &json!({"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}}));
    let without = site.sts_by(&alice(), "GetSessionToken", &[]).credentials();
    let (now, next) = (code(0), code(1));
    let with = [("SerialNumber", serial), ("TokenCode", now.as_str())];
    let with_factor = site.sts_by(&alice(), "GetSessionToken", &with).credentials();
    for (caller, is_met) in [(&alice(), false), (&without, false), (&with_factor, true)] {
        doors.assert(is_met, |key| send(&site, &encrypt(caller, key)));
        age.assert(is_met, |key| send(&site, &encrypt(caller, key)));
    }
    // A code is good once, also for another operation.
    site.sts_by(&alice(), "GetSessionToken", &with).assert_error(403, "AccessDenied");
    let role = [("RoleArn", "arn:aws:iam::123456789012:role/guarded"), ("RoleSessionName", "s1")];
    site.sts_by(&alice(), "AssumeRole", &[&role[..], &with].concat()).assert_error(403, "AccessDenied");
    site.sts_by(&alice(), "AssumeRole", &role).assert_error(403, "AccessDenied");
    let with = [("SerialNumber", serial), ("TokenCode", next.as_str())];
    let assumed = site.sts_by(&alice(), "AssumeRole", &[&role[..], &with].concat()).credentials();
    doors.assert(true, |key| send(&site, &encrypt(&assumed, key)));
    // The session with a second factor may assume what wants one.
    site.sts_by(&with_factor, "AssumeRole", &role).credentials();
    // A session makes no session of a user.
    site.sts_by(&with_factor, "GetSessionToken", &[]).assert_error(403, "AccessDenied");
}

#[test]
fn wrong_codes_are_throttled_for_their_user_alone() {
    let site = site("");
    let ask = |caller: &Credentials, code: &str| {
        let serial = "arn:aws:iam::123456789012:mfa/alice";
        site.sts_by(caller, "GetSessionToken", &[("SerialNumber", serial), ("TokenCode", code)])
    };
    let wrong = |wrong: &&String| ![-1, 0, 1, 2].map(code).contains(wrong);
    let candidates = [
        "000000".to_owned(),
        "111111".to_owned(),
        "222222".to_owned(),
        "333333".to_owned(),
        "444444".to_owned(),
    ];
    let wrong = candidates.iter().find(wrong).unwrap();
    for _ in 0..5 {
        let reply = ask(&alice(), wrong);
        reply.assert_error(403, "AccessDenied");
        assert!(reply.xml.contains("MultiFactorAuthentication failed with invalid MFA one time pass code"));
    }
    ask(&alice(), &code(0)).assert_error(400, "Throttling");
    // Who has no device is told so, and others are not slowed down.
    let reply = ask(&ACCOUNT.credentials(), &code(0));
    reply.assert_error(403, "AccessDenied");
    assert!(reply.xml.contains("unable to validate MFA code"), "{}", reply.xml);
    site.sts_by(&alice(), "GetSessionToken", &[]).credentials();
}

#[test]
fn a_device_is_made_by_command_shown_once_and_deleted() {
    let site = site("");
    let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}});
    site.new_user("bob", &policy);
    let made = site.identity(&["mfa", "create", "--account", ACCOUNT.id, "bob"]);
    let uri = made["new_mfa_device"]["otpauth_uri"].as_str().unwrap();
    let secret = uri.rsplit_once("secret=").unwrap().1;
    assert!(uri.starts_with("otpauth://totp/Holdfast:bob%40123456789012?issuer=Holdfast&secret="), "{uri}");
    let shown = site.holdfast_ok(&["identity", "user", "show", "--account", ACCOUNT.id, "bob"]);
    assert!(shown.contains("arn:aws:iam::123456789012:mfa/bob") && !shown.contains(secret), "{shown}");
    assert!(!site.database_text().contains(secret));
    site.identity(&["mfa", "delete", "--account", ACCOUNT.id, "bob"]);
    assert!(!site.holdfast(&["identity", "mfa", "delete", "--account", ACCOUNT.id, "bob"]).status.success());
    assert!(
        !site.holdfast(&["identity", "mfa", "create", "--account", ACCOUNT.id, "alice"]).status.success()
    );
}

#[test]
fn addresses_endpoints_and_transport_are_those_of_the_listener_and_of_trusted_proxies() {
    let [plain, proxied, addresses, endpoint, closed] = free_ports();
    let listeners = [
        listener(plain, "plain", ""),
        listener(proxied, "proxied", "trusted_proxies = [\"127.0.0.0/8\"]\ntrusted_vpc_headers = true"),
        listener(addresses, "addresses", "trusted_proxies = [\"127.0.0.0/8\"]"),
        listener(
            endpoint,
            "endpoint",
            "vpc_endpoint = \"vpce-1a2b3c4d\"\nvpc = \"vpc-1a2b3c4d\"\nvpc_endpoint_account = \"123456789012\"
            trusted_proxies = [\"127.0.0.0/8\"]\ntrusted_vpc_headers = true",
        ),
        listener(
            closed,
            "closed",
            "vpc_endpoint = \"vpce-9\"\nendpoint_policy_file = \"endpoint-policy.json\"",
        ),
    ];
    // Before the site starts, its files are not there; so the policy is made by its own setup.
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("endpoint-policy.json");
    let only_other = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"AWS": OTHER_ACCOUNT.id}, "Action": "*", "Resource": "*"}});
    std::fs::write(&policy, only_other.to_string()).unwrap();
    let listeners = listeners.concat().replace("endpoint-policy.json", policy.to_str().unwrap());
    let site = site(&listeners);
    let by = |port: u16, headers: &[(&'static str, &str)], key: &str| {
        send_to(&site, port, &encrypt(&alice(), key), headers)
    };
    let forwarded = [("x-forwarded-for", "192.0.2.66, 198.51.100.7")];
    let named = [("x-holdfast-vpc-endpoint", "vpce-proxy"), ("x-holdfast-vpc", "vpc-proxy"), forwarded[0]];

    let address = Doors::new(&site, &json!({"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}));
    address.assert(false, |key| by(plain, &forwarded, key));
    address.assert(true, |key| by(proxied, &forwarded, key));
    address.assert(true, |key| by(addresses, &named, key));
    address.assert(false, |key| by(proxied, &[], key));
    // Through an endpoint the address says nothing.
    address.assert(false, |key| by(proxied, &named, key));
    let own = Doors::new(&site, &json!({"IpAddress": {"aws:SourceIp": "127.0.0.1"}}));
    own.assert(true, |key| by(plain, &forwarded, key));
    own.assert(false, |key| by(endpoint, &[], key));

    let vpc = |key: &str, value: &str| Doors::new(&site, &json!({"StringEquals": {key: value}}));
    vpc("aws:SourceVpce", "vpce-1a2b3c4d").assert(true, |key| by(endpoint, &named, key));
    vpc("aws:sourcevpc", "vpc-1a2b3c4d").assert(true, |key| by(endpoint, &[], key));
    vpc("aws:VpceAccount", "123456789012").assert(true, |key| by(endpoint, &[], key));
    vpc("aws:SourceVpce", "vpce-1a2b3c4d").assert(false, |key| by(plain, &named, key));
    vpc("aws:SourceVpce", "vpce-proxy").assert(true, |key| by(proxied, &named, key));
    vpc("aws:SourceVpc", "vpc-proxy").assert(true, |key| by(proxied, &named, key));
    for port in [plain, addresses, endpoint] {
        vpc("aws:SourceVpce", "vpce-proxy").assert(false, |key| by(port, &named, key));
        vpc("aws:SourceVpc", "vpc-proxy").assert(false, |key| by(port, &named, key));
    }
    vpc("aws:SourceVpc", "vpc-proxy").assert(false, |key| by(proxied, &named[1..2], key));
    let private = Doors::new(&site, &json!({"IpAddress": {"aws:VpcSourceIp": "198.51.100.0/24"}}));
    private.assert(true, |key| by(proxied, &named, key));
    private.assert(false, |key| by(proxied, &forwarded, key));

    let secure = Doors::new(&site, &json!({"Bool": {"aws:SecureTransport": "true"}}));
    secure.assert(false, |key| by(plain, &[], key));
    secure.assert(true, |key| send(&site, &encrypt(&alice(), key)));

    // Whom the endpoint policy does not name, nothing else lets through.
    let list = |caller: &Credentials| send_to(&site, closed, &caller.kms("ListKeys", &json!({})), &[]);
    assert_eq!(list(&OTHER_ACCOUNT.credentials()).0, 200);
    let (status, text) = list(&ACCOUNT.credentials());
    assert!(status == 400 && text.contains(DENIED) && text.contains("VPC endpoint policy"), "{text}");
}

#[test]
fn a_service_calls_by_itself_as_a_service_principal() {
    let site = site("");
    let service = Credentials::new(SERVICE.0, SERVICE.1);
    let call = |key: &str, headers: &[(&'static str, &str)]| {
        let mut signed = encrypt(&service, key);
        signed.extra_headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        send(&site, &signed)
    };
    let source = [("x-amz-source-account", "123456789012"), ("x-amz-source-arn", "arn:aws:s3:::bucket")];
    for (condition, headers, is_met) in [
        (json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}), &source[..0], true),
        (json!({"StringEquals": {"aws:PrincipalServiceName": "s3.amazonaws.com"}}), &source[..0], true),
        (
            json!({"ForAnyValue:StringEquals": {"aws:PrincipalServiceNamesList": "s3.amazonaws.com"}}),
            &source[..0],
            true,
        ),
        (json!({"StringEquals": {"aws:PrincipalType": "User"}}), &source[..0], false),
        (json!({"StringEquals": {"aws:SourceAccount": "123456789012"}}), &source[..], true),
        (json!({"StringEquals": {"aws:SourceAccount": "123456789012"}}), &source[..0], false),
        (json!({"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::bucket"}}), &source[..], true),
        (json!({"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::other"}}), &source[..], false),
        (json!({"Null": {"kms:CallerAccount": "false"}}), &source[..], false),
    ] {
        Doors::new(&site, &condition).assert(is_met, |key| call(key, headers));
    }
    let open = Doors::new(&site, &json!({"Bool": {"aws:ViaAWSService": "false"}}));
    let (status, text) = call(&open.allow, &[("x-amz-source-account", OTHER_ACCOUNT.id)]);
    assert!(status == 400 && text.contains("does not act for this account"), "{text}");
    let identity = site.sts_by(&service, "GetCallerIdentity", &[]);
    assert_eq!(identity.element("Arn"), "s3.amazonaws.com");
    // What an ordinary user says of itself with these headers is nothing.
    let doors = Doors::new(&site, &json!({"StringEquals": {"aws:SourceAccount": "123456789012"}}));
    doors.assert(false, |key| {
        let mut signed = encrypt(&alice(), key);
        signed.extra_headers.push(("x-amz-source-account", ACCOUNT.id.to_owned()));
        send(&site, &signed)
    });
}

#[test]
fn a_service_passes_on_the_call_of_a_user_or_role_of_its_accounts_and_of_nobody_else() {
    let site = site("");
    let service = Credentials::new(SERVICE.0, SERVICE.1);
    let forwarded = |credentials: &Credentials, key: &str, principal: &str| {
        let mut signed = encrypt(credentials, key);
        signed.extra_headers.push(("x-holdfast-on-behalf-of", principal.to_owned()));
        send(&site, &signed)
    };
    let user = "arn:aws:iam::123456789012:user/alice";
    let by_user = |key: &str| forwarded(&service, key, user);
    for condition in [
        json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}),
        json!({"Bool": {"aws:ViaAWSService": "true"}}),
        json!({"ForAnyValue:StringEquals": {"aws:CalledVia": "s3.amazonaws.com"}}),
        json!({"StringEquals": {"aws:CalledViaFirst": "s3.amazonaws.com"}}),
        json!({"StringEquals": {"aws:CalledViaLast": "s3.amazonaws.com", "aws:username": "alice"}}),
    ] {
        let doors = Doors::new(&site, &condition);
        doors.assert(true, by_user);
        doors.assert(false, |key| send(&site, &encrypt(&alice(), key)));
    }
    let via = Doors::new(&site, &json!({"StringLike": {"kms:ViaService": "s3.*"}}));
    for role in
        ["arn:aws:iam::123456789012:role/guarded", "arn:aws:sts::123456789012:assumed-role/guarded/job-1"]
    {
        via.assert(true, |key| forwarded(&service, key, role));
    }
    for (credentials, principal, reason) in [
        (&service, "arn:aws:iam::210987654321:user/admin", "does not act for this account"),
        (&service, "arn:aws:iam::123456789012:user/nobody", "names no user, role or role session"),
        (&service, "arn:aws:iam::123456789012:root", "names no user, role or role session"),
        (&service, "alice", "names no user, role or role session"),
        (&alice(), user, "Only a service can call on behalf"),
    ] {
        let (status, text) = forwarded(credentials, &via.allow, principal);
        assert!(status == 400 && text.contains(DENIED) && text.contains(reason), "{principal}: {text}");
    }
    let mut unsigned = encrypt(&service, &via.allow);
    unsigned.extra_headers.push(("x-holdfast-on-behalf-of", user.to_owned()));
    unsigned.signed_headers = Some("content-type;host;x-amz-date;x-amz-target".to_owned());
    let (status, text) = send(&site, &unsigned);
    assert!(status == 400 && text.contains("must be a signed header"), "{text}");
}

#[test]
fn a_boundary_and_the_policies_of_an_account_cap_what_their_identities_may() {
    let site = site("");
    let bounded = Credentials::new("AKIABOUNDEDBOUNDED01", "bounded-secret-bounded");
    let reader = Credentials::new("AKIAREADERREADER0001", "reader-secret-reader-secret");
    site.kms_by(&bounded, "ListKeys", &json!({})).ok();
    let key = site.create_kms_key();
    let (name, text) = site.kms_by(&bounded, "DisableKey", &json!({"KeyId": key})).error();
    assert!(name == DENIED && text.contains("permissions boundary"), "{text}");
    site.kms_by(&reader, "ListKeys", &json!({})).ok();
    assert_eq!(site.kms_by(&reader, "ListAliases", &json!({})).error().0, DENIED);
    // Of everybody in the account, the root user too.
    for credentials in [
        Credentials::new("AKIAGUARDGUARDGUARD1", "guard-secret-guard-secret"),
        Credentials::new("AKIAGUARDGUARDROOT01", "guard-root-guard-root-"),
    ] {
        site.kms_by(&credentials, "ListKeys", &json!({})).ok();
        let (name, text) = site.kms_by(&credentials, "GenerateRandom", &json!({"NumberOfBytes": 8})).error();
        assert!(name == DENIED && text.contains("service control policy"), "{text}");
    }
    // By command, in force when it returns.
    let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}});
    let user = site.new_user("bob", &policy);
    let file = site.path("boundary.json");
    let boundary = json!({"Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "kms:ListAliases", "Resource": "*"}});
    std::fs::write(&file, boundary.to_string()).unwrap();
    let of = ["--account", ACCOUNT.id, "--of", "user", "bob"];
    site.identity(&[&["boundary", "put"], &of[..], &["--document", file.to_str().unwrap()]].concat());
    assert_eq!(site.kms_by(&user, "ListKeys", &json!({})).error().0, DENIED);
    site.kms_by(&user, "ListAliases", &json!({})).ok();
    site.identity(&[&["boundary", "delete"], &of[..]].concat());
    site.kms_by(&user, "ListKeys", &json!({})).ok();
}

#[test]
fn tags_names_regions_times_and_user_agents_are_those_of_the_caller_and_its_request() {
    let site = site("");
    let now = SystemClock.unix_seconds();
    let by_alice = |key: &str| {
        let mut signed = encrypt(&alice(), key);
        signed.extra_headers.push(("user-agent", "a-client/1.0".to_owned()));
        send(&site, &signed)
    };
    for (condition, is_met) in [
        (json!({"StringEquals": {"aws:PrincipalTag/team": "blue"}}), true),
        (json!({"StringEquals": {"AWS:principaltag/Team": "blue"}}), true),
        (json!({"StringEquals": {"aws:PrincipalTag/team": "red"}}), false),
        (json!({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/alice"}}), true),
        (json!({"StringEquals": {"aws:PrincipalAccount": "210987654321"}}), false),
        (json!({"StringEquals": {"aws:PrincipalType": "User", "aws:username": "alice"}}), true),
        (json!({"StringLike": {"aws:userid": "AIDA*"}}), true),
        (json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}), true),
        (json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}), false),
        (json!({"StringEquals": {"aws:ResourceAccount": "123456789012"}}), true),
        (json!({"StringLike": {"aws:UserAgent": "a-client/*"}}), true),
        (json!({"StringLike": {"aws:UserAgent": "another/*"}}), false),
        (json!({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}), true),
        (json!({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}), false),
        (json!({"NumericLessThan": {"aws:EpochTime": (now + 3600).to_string()}}), true),
        (json!({"NumericGreaterThan": {"aws:EpochTime": (now + 3600).to_string()}}), false),
        (json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}), false),
        (json!({"Null": {"aws:TokenIssueTime": "false"}}), false),
        (json!({"Null": {"aws:MultiFactorAuthPresent": "false"}}), false),
        (json!({"Null": {"aws:FederatedProvider": "true"}}), true),
        (json!({"Null": {"aws:PrincipalOrgID": "false"}}), false),
    ] {
        Doors::new(&site, &condition).assert(is_met, by_alice);
    }
}

#[test]
fn a_session_has_its_time_of_issue_its_source_identity_and_the_name_of_its_role() {
    let site = site("");
    let role = "arn:aws:iam::123456789012:role/guarded";
    let code = code(0);
    let words = [
        ("RoleArn", role),
        ("RoleSessionName", "s1"),
        ("SourceIdentity", "alice-of-the-directory"),
        ("SerialNumber", "arn:aws:iam::123456789012:mfa/alice"),
        ("TokenCode", code.as_str()),
    ];
    let reply = site.sts_by(&alice(), "AssumeRole", &words);
    assert_eq!(reply.element("SourceIdentity"), "alice-of-the-directory");
    let session = reply.credentials();
    for (condition, is_met) in [
        (json!({"StringEquals": {"aws:SourceIdentity": "alice-of-the-directory"}}), true),
        (json!({"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}), true),
        (json!({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}), true),
        (json!({"StringEquals": {"aws:username": "alice"}}), false),
        (json!({"ArnEquals": {"aws:PrincipalArn": role}}), true),
    ] {
        Doors::new(&site, &condition).assert(is_met, |key| send(&site, &encrypt(&session, key)));
    }
}
