//! XKS v1, Encrypt and Decrypt: what the tag covers. An independent AES-GCM is the oracle.

use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::site::merged;
use crate::support::{Setup, Site};

const AAD: &str = "additionalAuthenticatedData";
const METADATA: &str = "ciphertextMetadata";
const PLAINTEXT: &[u8] = b"Hello World!";
/// The AAD of the example request of the specification.
const EXAMPLE_AAD: &[u8] = b"project=nile,department=marketing";
/// A key of a known value, as another tool would put it into the token.
const KNOWN_KEY: &str = "0123456789abcdef0123456789ABCDEF";

fn bytes(object: &Value, member: &str) -> Vec<u8> {
    object[member].as_str().map(|text| decode_base64(text).unwrap()).unwrap_or_default()
}

fn base64(member: &str, bytes: &[u8]) -> Value {
    json!({ member: encode_base64(bytes) })
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// What the specification says the HSM gets, written down once more.
fn aad_for_hsm(aad: &[u8], metadata: &[u8]) -> Vec<u8> {
    let (aad_length, metadata_length) =
        (u16::try_from(aad.len()).unwrap(), u8::try_from(metadata.len()).unwrap());
    [&aad_length.to_be_bytes(), aad, &[metadata_length], metadata].concat()
}

/// A Decrypt request's members for what another implementation encrypted with the known key.
fn sealed_elsewhere<N: ArraySize>(iv: &[u8], aad: &[u8], metadata: &[u8]) -> Value {
    let cipher = AesGcm::<Aes256, N>::new_from_slice(KNOWN_KEY.as_bytes()).unwrap();
    let payload = Payload { msg: PLAINTEXT, aad: &aad_for_hsm(aad, metadata) };
    let mut sealed = cipher.encrypt(Nonce::<N>::try_from(iv).as_ref().unwrap(), payload).unwrap();
    let tag = sealed.split_off(PLAINTEXT.len());
    let mut request = json!({
        "ciphertext": encode_base64(&sealed),
        "initializationVector": encode_base64(iv),
        "authenticationTag": encode_base64(&tag),
    });
    if !metadata.is_empty() {
        request[METADATA] = json!(encode_base64(metadata));
    }
    request
}

fn opened_elsewhere(encrypted: &Value, aad: &[u8]) -> Vec<u8> {
    let cipher = AesGcm::<Aes256, U12>::new_from_slice(KNOWN_KEY.as_bytes()).unwrap();
    let sealed = [bytes(encrypted, "ciphertext"), bytes(encrypted, "authenticationTag")].concat();
    let aad = aad_for_hsm(aad, &bytes(encrypted, METADATA));
    let iv = Nonce::<U12>::try_from(&*bytes(encrypted, "initializationVector")).unwrap();
    cipher.decrypt(&iv, Payload { msg: &sealed, aad: &aad }).unwrap()
}

/// `CKA_ID` and `ciphertextMetadata` of version 1 of a key that Holdfast made.
fn version_1() -> (Vec<u8>, Vec<u8>) {
    let marker = b"\0\0\0\x01taggtagg";
    ([&b"HF\x01\0"[..], marker].concat(), [&b"\x01"[..], marker].concat())
}

/// A site with a key of a known value, once as another tool makes it, once as Holdfast does.
fn site_with_known_keys() -> Site {
    let site = Site::prepare(&Setup::default());
    site.import_key("of-another-tool", b"1", KNOWN_KEY);
    site.import_key("of-ours", &version_1().0, KNOWN_KEY);
    site.run();
    site.wait_ready();
    site
}

/// Rows 3.11, 4.5, 6.1–6.3, 6.6, 6.8, 6.9.
#[test]
fn another_implementation_agrees_on_the_aad_that_the_hsm_gets() {
    let site = site_with_known_keys();
    let (_, metadata) = version_1();
    let long = vec![0xa5; 8192];
    for (key, metadata) in [("of-another-tool", &b""[..]), ("of-ours", &metadata)] {
        for aad in [&b""[..], b"\0", EXAMPLE_AAD, &long] {
            for sealed in [
                sealed_elsewhere::<U12>(b"12 bytes IV.", aad, metadata),
                sealed_elsewhere::<U16>(b"16 bytes of IV..", aad, metadata),
            ] {
                let reply = site.decrypt(key, &sealed, base64(AAD, aad));
                assert_eq!(reply.assert_ok().bytes("plaintext"), PLAINTEXT);
            }
            let encrypted = site.encrypt(key, PLAINTEXT, base64(AAD, aad)).assert_ok().json();
            assert_eq!(bytes(&encrypted, METADATA), metadata);
            assert_eq!(opened_elsewhere(&encrypted, aad), PLAINTEXT);
        }
    }
}

/// Row 6.8: the literal bytes of the example request, with our metadata of the same 13 bytes in the place of its own.
#[test]
fn the_aad_of_the_example_request_is_built_as_written() {
    let (_, metadata) = version_1();
    let head = b"\x00\x21project=nile,department=marketing\x0d";
    assert_eq!(aad_for_hsm(EXAMPLE_AAD, &metadata), [&head[..], &metadata].concat());
    assert_eq!(aad_for_hsm(EXAMPLE_AAD, b"key_version=1"), [&head[..], b"key_version=1"].concat());
    assert_eq!(aad_for_hsm(b"", b""), [0, 0, 0]);
}

/// Rows 4.8, 8.t3: every bit that travels counts.
#[test]
fn a_change_of_any_part_is_noticed() {
    let site = site_with_known_keys();
    for key in ["foo", "of-ours", "of-another-tool"] {
        let encrypted = site.encrypt(key, PLAINTEXT, base64(AAD, EXAMPLE_AAD)).assert_ok().json();
        let refused = |members: Value| {
            let members = merged(base64(AAD, EXAMPLE_AAD), members);
            site.decrypt(key, &encrypted, members).assert_error(400, "InvalidCiphertextException");
        };
        for member in ["ciphertext", "initializationVector", "authenticationTag", METADATA] {
            let right = bytes(&encrypted, member);
            // Keys of other tools have no metadata.
            let bits = right.len() * 8;
            for bit in [0, 7, bits / 2, bits.saturating_sub(1)].into_iter().filter(|bit| *bit < bits) {
                refused(base64(member, &flipped(&right, bit)));
            }
        }
        for bit in [0, 100, EXAMPLE_AAD.len() * 8 - 1] {
            refused(base64(AAD, &flipped(EXAMPLE_AAD, bit)));
        }
        for aad in [&EXAMPLE_AAD[1..], &[EXAMPLE_AAD, b"\0"].concat(), b""] {
            refused(base64(AAD, aad));
        }
        for ciphertext in [&b""[..], &bytes(&encrypted, "ciphertext")[1..], &[0; 4300]] {
            refused(base64("ciphertext", ciphertext));
        }
        site.decrypt(key, &encrypted, base64(AAD, EXAMPLE_AAD)).assert_ok();
    }
    // A ciphertext belongs to its key.
    let encrypted = site.encrypt("of-ours", PLAINTEXT, json!({})).assert_ok().json();
    for other in ["foo", "of-another-tool"] {
        site.decrypt(other, &encrypted, json!({})).assert_error(400, "InvalidCiphertextException");
    }
}

/// Rows 4.3, 4.6, 4.8, 6.4–6.7.
#[test]
fn metadata_cannot_be_added_removed_exchanged_or_passed_off_as_aad() {
    let site = site_with_known_keys();
    let refused = |key: &str, encrypted: &Value, members: Value| {
        site.decrypt(key, encrypted, members).assert_error(400, "InvalidCiphertextException");
    };
    let old = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let metadata = bytes(&old, METADATA);
    assert_eq!((metadata.len(), metadata[0]), (13, 1), "scheme 1, version, tag");
    site.holdfast_ok(&["key", "rotate", "foo"]);
    let new = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    assert_ne!(old[METADATA], new[METADATA]);
    site.decrypt("foo", &old, json!({})).assert_ok();

    refused("foo", &old, json!({ METADATA: null }));
    refused("foo", &old, json!({ METADATA: "" }));
    refused("foo", &old, json!({ METADATA: new[METADATA] }));
    refused("foo", &old, merged(base64(AAD, &metadata), json!({ METADATA: null })));
    refused("foo", &old, base64(AAD, &metadata));
    for other in [&metadata[..12], &[&metadata[..], b"\0"].concat(), &[0; 20], b"\x02", b"key_version=1"] {
        refused("foo", &old, base64(METADATA, other));
    }
    for longer in [21, 22, 255, 256, 8192] {
        site.decrypt("foo", &old, base64(METADATA, &vec![1; longer]))
            .assert_error(400, "ValidationException");
    }

    // The same key material behind two ids: only the binding tells metadata from AAD.
    let bare = site.encrypt("of-another-tool", PLAINTEXT, json!({})).assert_ok().json();
    refused("of-ours", &bare, json!({}));
    refused("of-ours", &bare, base64(METADATA, &version_1().1));
    let marked = site.encrypt("of-ours", PLAINTEXT, json!({})).assert_ok().json();
    refused("of-another-tool", &marked, json!({ METADATA: null }));
    refused("of-another-tool", &marked, merged(base64(AAD, &version_1().1), json!({ METADATA: null })));
}

/// Rows 4.3, 4.4; peer fault 9.
#[test]
fn iv_and_tag_have_exact_lengths() {
    let site = Site::start();
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let sealed = [bytes(&encrypted, "ciphertext"), bytes(&encrypted, "authenticationTag")].concat();
    // The same bytes for the HSM, with the border between ciphertext and tag elsewhere.
    for tag_bytes in [0, 1, 12, 15, 17, 20, sealed.len()] {
        let (ciphertext, tag) = sealed.split_at(sealed.len() - tag_bytes);
        let members = merged(base64("ciphertext", ciphertext), base64("authenticationTag", tag));
        site.decrypt("foo", &encrypted, members).assert_error(400, "ValidationException");
    }
    let tag = bytes(&encrypted, "authenticationTag");
    for tag in [&tag[..12], &tag[..15], &[&tag[..], b"\0"].concat(), &[&tag[..], &tag].concat(), &[7; 20_000]]
    {
        let members = base64("authenticationTag", tag);
        site.decrypt("foo", &encrypted, members).assert_error(400, "ValidationException");
    }
    for iv_bytes in [0, 1, 8, 11, 13, 14, 15, 17, 32, 5000, 20_000] {
        let members = base64("initializationVector", &vec![7; iv_bytes]);
        site.decrypt("foo", &encrypted, members).assert_error(400, "ValidationException");
    }
    site.decrypt("foo", &encrypted, base64("initializationVector", &[7; 16]))
        .assert_error(400, "InvalidCiphertextException");
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
}

/// Rows 3.16, 4.9, 8.5, 8.t4: use is judged before the ciphertext, and what is malformed before both.
#[test]
fn a_key_that_may_not_decrypt_says_so_whatever_the_ciphertext() {
    let site = Site::start();
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    for key in ["encrypt_only_key", "impotent_key"] {
        for members in [json!({}), base64("ciphertext", b"rubbish"), json!({ METADATA: null })] {
            site.decrypt(key, &encrypted, members).assert_error(400, "InvalidKeyUsageException");
        }
        site.decrypt(key, &encrypted, json!({"ciphertext": "!"})).assert_error(400, "ValidationException");
    }
    site.decrypt("non_existing_key", &encrypted, json!({"ciphertext": "!"}))
        .assert_error(400, "ValidationException");
    site.decrypt("non_existing_key", &encrypted, json!({})).assert_error(404, "KeyNotFoundException");
}

/// Rows 3.11, 3.13: IVs and ciphertexts of equal requests are all different.
#[test]
fn no_iv_comes_twice() {
    let site = Site::start();
    let encrypt = |_| site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().bytes("initializationVector");
    let mut ivs: Vec<_> = (0..100).map(encrypt).collect();
    ivs.sort_unstable();
    ivs.dedup();
    assert_eq!(ivs.len(), 100);
}
