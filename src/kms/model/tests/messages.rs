//! Refusals in the words of AWS.

use crate::kms::error::Error;
use crate::kms::model::tests::check;
use crate::kms::operation::OperationName::{
    self, CreateCustomKeyStore, CreateGrant, CreateKey, DescribeKey, Encrypt, GenerateDataKey, GenerateMac,
    GenerateRandom, ImportKeyMaterial, ListKeys, TagResource,
};

fn refusal(operation: OperationName, body: &str) -> String {
    match check(operation, body.as_bytes()) {
        Err(Error::Validation(text)) => text,
        other => panic!("{body}: {other:?}"),
    }
}

fn one(operation: OperationName, body: &str, rest: &str) {
    assert_eq!(refusal(operation, body), format!("1 validation error detected: {rest}"), "{body}");
}

#[test]
fn each_constraint_has_its_words() {
    one(DescribeKey, "", "Value null at 'keyId' failed to satisfy constraint: Member must not be null");
    one(
        DescribeKey,
        r#"{"KeyId":null}"#,
        "Value null at 'keyId' failed to satisfy constraint: Member must not be null",
    );
    one(
        DescribeKey,
        r#"{"KeyId":""}"#,
        "Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1",
    );
    one(
        ListKeys,
        r#"{"Limit":0}"#,
        "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
    );
    one(
        GenerateRandom,
        r#"{"NumberOfBytes":1025}"#,
        "Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal \
         to 1024",
    );
    one(
        GenerateMac,
        r#"{"KeyId":"a","Message":"QQ==","MacAlgorithm":"MD5"}"#,
        "Value 'MD5' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: \
         [HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]",
    );
    one(
        ListKeys,
        r#"{"Marker":"\u4e2d"}"#,
        "Value '\u{4e2d}' at 'marker' failed to satisfy constraint: Member must satisfy regular expression \
         pattern: [\\u0020-\\u00FF]*",
    );
    one(
        TagResource,
        r#"{"KeyId":"a","Tags":[{"TagKey":"a","TagValue":""},{"TagKey":"","TagValue":"b"}]}"#,
        "Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length greater than \
         or equal to 1",
    );
    one(
        Encrypt,
        r#"{"KeyId":"a","Plaintext":"QQ==","GrantTokens":["t",""]}"#,
        "Value '[t, ]' at 'grantTokens' failed to satisfy constraint: Member must satisfy constraint: [Member \
         must have length less than or equal to 8192, Member must have length greater than or equal to 1]",
    );
    one(
        CreateGrant,
        r#"{"KeyId":"a","Operations":[],"GranteePrincipal":"p","GrantTokens":["1","2","3","4","5","6","7","8","9","10","11"]}"#,
        "Value '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]' at 'grantTokens' failed to satisfy constraint: Member must \
         have length less than or equal to 10",
    );
}

#[test]
fn mistakes_are_told_in_the_order_of_the_model() {
    assert_eq!(
        refusal(GenerateDataKey, r#"{"NumberOfBytes":0,"KeySpec":"AES_192"}"#),
        "3 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be \
         null; Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or \
         equal to 1; Value 'AES_192' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value \
         set: [AES_256, AES_128]"
    );
}

#[test]
fn plaintext_and_secrets_are_never_shown() {
    let plaintext = "QUJD".repeat(1366);
    one(
        Encrypt,
        &format!(r#"{{"KeyId":"a","Plaintext":"{plaintext}"}}"#),
        "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096",
    );
    let text = refusal(CreateCustomKeyStore, r#"{"CustomKeyStoreName":"a","KeyStorePassword":"hunt"}"#);
    assert!(text.contains("Value at 'keyStorePassword'") && !text.contains("hunt"), "{text}");
}

#[test]
fn what_is_repeated_is_bounded_and_printable() {
    let text = refusal(DescribeKey, &format!(r#"{{"KeyId":"\u0000\n{}"}}"#, "x".repeat(100_000)));
    assert!(text.starts_with("1 validation error detected: Value '??xxx") && text.len() < 2300);
    let tags = vec![r#"{"TagKey":"","TagValue":""}"#; 1000].join(",");
    let text = refusal(TagResource, &format!(r#"{{"KeyId":"a","Tags":[{tags}]}}"#));
    assert!(text.starts_with("32 validation errors detected: "));
}

#[test]
fn wrong_types_are_no_validation_errors() {
    for (operation, body, text) in [
        (DescribeKey, r#"{"KeyId":1}"#, "NUMBER_VALUE can not be converted to a String"),
        (DescribeKey, r#"{"KeyId":true}"#, "TRUE_VALUE can not be converted to a String"),
        (ListKeys, r#"{"Limit":"1"}"#, "STRING_VALUE can not be converted to an Integer"),
        (ListKeys, r#"{"Limit":1.5}"#, "NUMBER_VALUE can not be converted to an Integer"),
        (ListKeys, r#"{"Limit":99999999999}"#, "NUMBER_VALUE can not be converted to an Integer"),
        (DescribeKey, r#"{"KeyId":{}}"#, "Start of structure or map found where not expected."),
        (DescribeKey, r#"{"KeyId":[]}"#, "Start of list found where not expected."),
        (CreateKey, r#"{"MultiRegion":"true"}"#, "STRING_VALUE can not be converted to a Boolean"),
        (CreateKey, r#"{"Tags":"a"}"#, "Expected list or null"),
        (Encrypt, r#"{"KeyId":"a","Plaintext":1}"#, "NUMBER_VALUE can not be converted to a Blob"),
        (Encrypt, r#"{"KeyId":"a","Plaintext":"QQ"}"#, "a blob is not Base64 with padding"),
        (
            Encrypt,
            r#"{"KeyId":"a","Plaintext":"QQ==","EncryptionContext":{"a":1}}"#,
            "NUMBER_VALUE can not be converted to a String",
        ),
        (
            ImportKeyMaterial,
            r#"{"KeyId":"a","ImportToken":"QQ==","EncryptedKeyMaterial":"QQ==","ValidTo":"2030-01-01"}"#,
            "STRING_VALUE can not be converted to milliseconds since epoch",
        ),
        (DescribeKey, "[]", "Start of list found where not expected."),
        (DescribeKey, r#"{"KeyId":"a""#, "expected a comma (byte 12)"),
        (DescribeKey, r#"{"KeyId":"a","KeyId":"b"}"#, "a member is there twice (byte 25)"),
    ] {
        assert_eq!(check(operation, body.as_bytes()), Err(Error::Serialization(text.to_owned())), "{body}");
    }
}

#[test]
fn members_that_nobody_knows_are_ignored() {
    assert_eq!(check(DescribeKey, br#"{"KeyId":"a","Later":[{"a":[1]}],"keyId":5}"#), Ok(()));
}
