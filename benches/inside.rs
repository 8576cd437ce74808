//! What one request costs inside the process, piece by piece: `cargo bench --bench inside`.

use std::net::IpAddr;
use std::sync::Arc;

use divan::{Bencher, black_box};
use holdfast::authorizer::evaluation::{CallerKind, Evaluation, Layers, Verdict};
use holdfast::authorizer::{Authorizer, Question};
use holdfast::cloudtrail::{Event, EventType, Origin, Resource, Resources, Tls, UserIdentity};
use holdfast::domain::Action;
use holdfast::domain::kms::{
    AccountId, EncryptionContext, Grant, GrantConstraints, GrantId, GrantIndex, GrantOperation,
    GrantPrincipal, GrantQuestion, GrantRequester, KeyId, Region, RequesterName, Scope as KeyScope,
    UnixMillis, Uuid,
};
use holdfast::identity::kms::{self as identity, Caller, NamedPolicy, Session, TemporaryCredentials};
use holdfast::kms::{Document, EndpointPorts, Model, OperationName, request_parameters};
use holdfast::policy::{Context, PolicyDocument, Principal, Request as PolicyRequest};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use proxy_api::sigv4::{
    self, Authorization, Credential, SERVICE_XKS, Scope, SigningKey, Timestamp, X_AMZ_DATE,
};
use proxy_api::wire::{self, EncryptRequest, RequestMetadata};

fn main() {
    divan::main();
}

const BODY: &str = r#"{"requestMetadata":{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"GenerateDataKey","kmsRequestId":"4112f4d6-db54-4af4-ae30-c55a22a8dfae","kmsViaService":"ebs.us-east-2.amazonaws.com"},"additionalAuthenticatedData":"cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n","plaintext":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","encryptionAlgorithm":"AES_GCM"}"#;
const PATH: &str = "/quickstart/kms/xks/v1/keys/foo/encrypt";
const SIGNED_AT: i64 = 1_763_780_645;

fn headers() -> (HeaderMap, SigningKey) {
    let signed_at = Timestamp::from_unix_seconds(SIGNED_AT).unwrap();
    let scope = Scope { date: signed_at.date(), region: "us-east-1", service: SERVICE_XKS };
    let key = SigningKey::derive(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=", &scope);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost:8440"));
    headers.insert(X_AMZ_DATE, HeaderValue::from_str(signed_at.as_str()).unwrap());
    let credential =
        Credential { access_key_id: "ABCDEFGHIJKLMNOPQRST", scope, signed_headers: "host;x-amz-date" };
    let authorization = sigv4::sign(&request(&headers), &credential, signed_at.as_str(), &key).unwrap();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).unwrap());
    (headers, key)
}

fn request(headers: &HeaderMap) -> sigv4::Request<'_> {
    sigv4::Request {
        method: "POST",
        path: PATH,
        query: None,
        authority: None,
        headers,
        body: BODY.as_bytes(),
    }
}

#[divan::bench]
fn verify_signature(bencher: Bencher) {
    let (headers, key) = headers();
    bencher.bench(|| {
        let request = request(black_box(&headers));
        let authorization = Authorization::parse(&headers).unwrap();
        authorization.check(&request, SERVICE_XKS, SIGNED_AT.unsigned_abs()).unwrap().verify(&key).unwrap();
    });
}

#[divan::bench]
fn derive_signing_key() -> SigningKey {
    let scope = Scope { date: "20251122", region: "us-east-1", service: SERVICE_XKS };
    SigningKey::derive(black_box(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="), &scope)
}

#[divan::bench]
fn parse_encrypt_request() -> EncryptRequest<'static> {
    wire::parse_body(black_box(BODY.as_bytes())).unwrap()
}

const KMS_BODY: &str = r#"{"KeyId":"1234abcd-12ab-34cd-56ef-1234567890ab","Plaintext":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","EncryptionContext":{"department":"finance"}}"#;

#[divan::bench]
fn check_kms_encrypt_request(bencher: Bencher) {
    let model = Model::new(EndpointPorts::Refused).unwrap();
    bencher.bench(|| {
        let document = Document::parse(black_box(KMS_BODY.as_bytes())).unwrap();
        model.check(OperationName::Encrypt, &document).unwrap();
    });
}

/// The record of an Encrypt by a role session over TLS, from the parsed request to the bytes.
#[divan::bench]
fn write_audit_record(bencher: Bencher) {
    let document = Document::parse(KMS_BODY.as_bytes()).unwrap();
    let (caller, tls) = (role_session(), tls());
    let origin = Origin {
        source_ip: Some(IpAddr::from([192, 0, 2, 105])),
        user_agent: Some("aws-sdk-rust/1.3.9 os/linux lang/rust/1.90.0"),
        vpc_endpoint_id: None,
        tls: Some(tls),
    };
    let resource = Resource { account: &caller.account, kind: "AWS::KMS::Key", arn: KEY_ARN };
    bencher.bench(|| {
        let parameters = request_parameters(OperationName::Encrypt, black_box(&document));
        let event = Event {
            user_identity: UserIdentity::Caller(black_box(&caller)),
            at: UnixMillis(SIGNED_AT * 1000),
            source: "kms.amazonaws.com",
            name: "Encrypt",
            region: Some(caller.region.as_str()),
            origin,
            error: None,
            request_parameters: parameters.as_deref(),
            response_elements: None,
            additional: None,
            request_id: Some(Uuid::of(&[1; 16])),
            event_id: Uuid::of(&[2; 16]),
            read_only: true,
            resources: Resources::Listed(&[Some(resource), None]),
            event_type: EventType::AwsApiCall,
            service_event_details: None,
            recipient: Some(&caller.account),
            shared_event_id: None,
        };
        event.to_record()
    });
}

const KEY_ARN: &str = "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

const fn tls() -> Tls<'static> {
    Tls {
        version: "TLSv1_3",
        cipher_suite: "TLS13_AES_256_GCM_SHA384",
        key_exchange_group: Some("X25519MLKEM768"),
        host: Some("kms.example.com:8442"),
    }
}

fn role_session() -> Caller {
    let session = Session {
        role_arn: Arc::from("arn:aws:iam::123456789012:role/Admin"),
        role_name: Arc::from("Admin"),
        name: "session".to_owned(),
        policies: Arc::from([]),
        transitive_tags: Vec::new(),
    };
    Caller {
        account: AccountId::parse("123456789012").unwrap(),
        region: Region::parse("us-east-2").unwrap(),
        access_key_id: Arc::from("ASIAIOSFODNN7EXAMPLE"),
        principal: identity::Principal::Session(Arc::new(session)),
        arn: Arc::from("arn:aws:sts::123456789012:assumed-role/Admin/session"),
        user_id: Arc::from("AROAIOSFODNN7EXAMPLE:session"),
        policies: Arc::from([]),
        boundary: None,
        account_policies: Arc::from([]),
        tags: Arc::from([]),
        temporary: Some(Arc::new(TemporaryCredentials::default())),
        via: None,
        organizations: Arc::default(),
    }
}

/// With the longest plaintext.
#[divan::bench]
fn check_kms_encrypt_request_4096(bencher: Bencher) {
    let model = Model::new(EndpointPorts::Refused).unwrap();
    let body = format!(r#"{{"KeyId":"alias/a","Plaintext":"{}"}}"#, wire::encode_base64(&[7; 4096]));
    bencher.bench(|| {
        let document = Document::parse(black_box(body.as_bytes())).unwrap();
        model.check(OperationName::Encrypt, &document).unwrap();
    });
}

#[divan::bench(args = [1024, 32_768])]
fn check_kms_policy(bencher: Bencher, chars: usize) {
    let model = Model::new(EndpointPorts::Refused).unwrap();
    let body = format!(r#"{{"KeyId":"a","Policy":"{}"}}"#, "a".repeat(chars));
    bencher.bench(|| {
        let document = Document::parse(black_box(body.as_bytes())).unwrap();
        model.check(OperationName::PutKeyPolicy, &document).unwrap();
    });
}

#[divan::bench]
fn parse_path() -> wire::Route<'static> {
    wire::parse_path(black_box(PATH)).unwrap()
}

#[divan::bench(args = [32, 8192])]
fn bind_aad(bencher: Bencher, bytes: usize) {
    let aad = vec![7; bytes];
    bencher.bench(|| wire::bound_aad(black_box(&aad), &[1; 13]));
}

#[divan::bench(args = [32, 4300])]
fn cdiv(bencher: Bencher, bytes: usize) {
    let ciphertext = vec![7; bytes];
    bencher.bench(|| wire::cdiv(&[1; 33], &[1; 13], &[2; 12], black_box(&ciphertext), &[3; 16]));
}

#[divan::bench(args = [1, 10, 100])]
fn rule_by_policy(bencher: Bencher, statements: usize) {
    let statement = |number: usize| {
        format!(
            r#"{{"Sid":"S{number}","Effect":"Allow","Principal":"*","Action":["kms:Encrypt","kms:Generate*"],"Resource":"arn:aws:kms:*:123456789012:key/*","Condition":{{"StringEquals":{{"aws:PrincipalAccount":"{:012}"}},"StringLike":{{"kms:ViaService":"ebs.*.amazonaws.com"}}}}}}"#,
            if number + 1 == statements { 123_456_789_012 } else { number }
        )
    };
    let all: Vec<_> = (0..statements).map(statement).collect();
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, all.join(","));
    let authorizer = Authorizer::parse(&policy).unwrap();
    let request: EncryptRequest<'_> = wire::parse_body(BODY.as_bytes()).unwrap();
    let metadata: RequestMetadata<'_> = request.request_metadata;
    bencher.bench(|| {
        let question =
            Question { action: Action::Encrypt, external_key_id: "foo", metadata: black_box(&metadata) };
        authorizer.rule(&question)
    });
}

/// A key policy of almost 32 KB that names a thousand roles, none of which is the caller, each in statements with
/// conditions, and then lets the account decide.
fn large_key_policy() -> PolicyDocument {
    let statement = |number: usize| {
        format!(
            r#"{{"Sid":"Team {number}","Effect":"Allow","Principal":{{"AWS":["arn:aws:iam::111122223333:role/team-{number}","arn:aws:iam::111122223333:user/head-{number}"]}},"Action":["kms:Encrypt","kms:Decrypt","kms:GenerateDataKey*","kms:DescribeKey"],"Resource":"*","Condition":{{"StringEquals":{{"kms:EncryptionContext:team":"{number}","kms:ViaService":"s3.us-east-1.amazonaws.com"}}}}}}"#
        )
    };
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
    let delegate = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}"#;
    let mut statements = String::new();
    for number in 0.. {
        let next = statement(number);
        if statements.len() + next.len() + deny.len() + delegate.len() > 32_600 {
            break;
        }
        statements.push_str(&next);
        statements.push(',');
    }
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}{deny},{delegate}]}}"#);
    assert!(text.len() > 32_000);
    PolicyDocument::parse(&text).unwrap()
}

/// What a request looks like to a policy: about as many condition keys as Encrypt has.
fn encrypt_context() -> Context<'static> {
    [
        ("aws:PrincipalArn", "arn:aws:iam::111122223333:user/alice"),
        ("aws:PrincipalAccount", "111122223333"),
        ("aws:PrincipalType", "User"),
        ("aws:userid", "AIDAEXAMPLEEXAMPLE12"),
        ("aws:RequestedRegion", "us-east-1"),
        ("aws:SecureTransport", "true"),
        ("aws:SourceIp", "192.0.2.1"),
        ("aws:EpochTime", "1795000000"),
        ("aws:CurrentTime", "2026-11-22T13:00:00Z"),
        ("aws:UserAgent", "aws-cli/1.32.0"),
        ("aws:username", "alice"),
        ("kms:CallerAccount", "111122223333"),
        ("kms:EncryptionContext:team", "5000"),
        ("kms:EncryptionContextKeys", "team"),
        ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),
        ("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"),
        ("kms:CustomerMasterKeyUsage", "ENCRYPT_DECRYPT"),
        ("kms:KeyOrigin", "AWS_KMS"),
        ("kms:KeySpec", "SYMMETRIC_DEFAULT"),
        ("kms:KeyUsage", "ENCRYPT_DECRYPT"),
        ("kms:MultiRegion", "false"),
        ("aws:ResourceAccount", "111122223333"),
        ("aws:ResourceTag/team", "5000"),
        ("kms:ResourceAliases", "alias/a"),
    ]
    .into_iter()
    .fold(Context::new(), |context, (key, value)| context.with(key, value))
}

/// Everything that decides an Encrypt under a key policy of the greatest length: the whole evaluation.
#[divan::bench]
fn authorize_with_a_policy_of_32_kb(bencher: Bencher) {
    let key_policy = large_key_policy();
    let allow = PolicyDocument::parse(
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#,
    );
    let identity = [NamedPolicy::new("allow", allow.unwrap())];
    let layers = Layers {
        caller: CallerKind::UserOrRole,
        is_own: true,
        resource_policy: Some(&key_policy),
        identity_policies: &identity,
        boundary: None,
        session_policies: &[],
        account_policies: &[],
        endpoint_policy: None,
    };
    bencher.bench(|| {
        let request = PolicyRequest {
            principal: Principal::new("arn:aws:iam::111122223333:user/alice"),
            action: "kms:Encrypt",
            resource: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            context: encrypt_context(),
        };
        let evaluation = Evaluation::of(black_box(&request), layers);
        assert!(matches!(evaluation.verdict(None), Verdict::Allowed(_)));
    });
}

const GRANTEE: &str = "arn:aws:sts::123456789012:assumed-role/application/i-1234567890abcdef0";

fn pairs(number: usize) -> EncryptionContext {
    let pairs = [("application", "billing".to_owned()), ("tenant", format!("tenant-{number}"))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// For one grantee, each under another constraint.
fn grants(count: usize, constraints: fn(EncryptionContext) -> GrantConstraints) -> GrantIndex {
    let scope = KeyScope {
        account: AccountId::parse("123456789012").unwrap(),
        region: Region::parse("us-east-1").unwrap(),
    };
    GrantIndex::new((0..count).map(|number| Grant {
        scope: scope.clone(),
        key_id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
        id: GrantId(format!("{number:064x}")),
        name: None,
        created: UnixMillis(0),
        issuing_account: "arn:aws:iam::123456789012:root".to_owned(),
        grantee: GrantPrincipal::Principal(GRANTEE.to_owned()),
        retiring: None,
        operations: vec![GrantOperation::Encrypt, GrantOperation::Decrypt, GrantOperation::DescribeKey],
        constraints: constraints(pairs(number)),
    }))
}

fn decide(bencher: Bencher, index: &GrantIndex, count: usize) {
    let account = AccountId::parse("123456789012").unwrap();
    let context = pairs(count / 2);
    bencher.bench(|| {
        let requester = GrantRequester {
            own: RequesterName::Principal(black_box(GRANTEE)),
            role: Some("arn:aws:iam::123456789012:role/application"),
            account: Some(&account),
        };
        let question = GrantQuestion {
            operation: GrantOperation::Encrypt,
            encryption_context: black_box(&context),
            source_arn: None,
        };
        assert_eq!(index.permits(requester, question).is_some(), count > 0);
    });
}

#[divan::bench(args = [0, 1_000, 50_000])]
fn permit_by_grant_with_equals(bencher: Bencher, count: usize) {
    let constraints =
        |context| GrantConstraints { context_equals: Some(context), ..GrantConstraints::default() };
    decide(bencher, &grants(count, constraints), count);
}

#[divan::bench(args = [0, 1_000, 50_000])]
fn permit_by_grant_with_subset(bencher: Bencher, count: usize) {
    let constraints =
        |context| GrantConstraints { context_subset: Some(context), ..GrantConstraints::default() };
    decide(bencher, &grants(count, constraints), count);
}
