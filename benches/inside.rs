//! What one request costs inside the process, piece by piece: `cargo bench --bench inside`.

use divan::{Bencher, black_box};
use holdfast::authorizer::{Authorizer, Question};
use holdfast::domain::Action;
use holdfast::kms::{Document, EndpointPorts, Model, OperationName};
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
