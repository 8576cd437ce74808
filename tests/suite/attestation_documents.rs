//! Which attestation documents are believed: each of these has one thing wrong, but the first ones.

use aws_lc_rs::rsa::KeySize;
use holdfast::attestation::{Attestation, Field, Invalid, Roots};
use holdfast::domain::kms::UnixMillis;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use time::Duration;

use crate::support::enclaves::{
    Draft, ES384, Enclave, NULL, NitroPki, Plan, array, at, bytes, map, number, text,
};

/// 2026-06-01T00:00:00Z.
const NOW: u64 = 1_780_272_000_000;
const MINUTE: u64 = 60_000;

fn verify(pki: &NitroPki, document: &[u8], now: u64) -> Result<Attestation, Invalid> {
    let roots = Roots::parse(pki.root_pem.as_bytes()).unwrap();
    roots.verify(document, UnixMillis(i64::try_from(now).unwrap()))
}

fn verdict(pki: &NitroPki, document: &[u8]) -> Option<Invalid> {
    verify(pki, document, NOW).err()
}

struct Scene {
    pki: NitroPki,
    enclave: Enclave,
}

impl Scene {
    fn new() -> Self {
        Self { pki: NitroPki::planned(NOW, |_| {}), enclave: Enclave::new(KeySize::Rsa2048) }
    }

    /// What is said of a signed document in which this was changed before.
    fn after(&self, change: impl FnOnce(&mut Draft)) -> Option<Invalid> {
        let mut draft = self.pki.draft(&self.enclave, NOW);
        change(&mut draft);
        verdict(&self.pki, &self.pki.sign(&draft))
    }

    fn with(&self, field: &str, value: Vec<u8>) -> Option<Invalid> {
        self.after(|draft| draft.set(field, value))
    }

    /// The same of a chain that is other than it should be.
    fn below(&self, change: impl FnOnce(&mut Plan)) -> Option<Invalid> {
        let pki = NitroPki::planned(NOW, change);
        verdict(&pki, &pki.sign(&pki.draft(&self.enclave, NOW)))
    }
}

#[test]
fn a_document_says_which_enclave_it_is_of() {
    let Scene { pki, enclave } = Scene::new();
    let mut draft = pki.draft(&enclave, NOW);
    draft.set("user_data", bytes(&[7; 1024]));
    draft.set("nonce", bytes(&[]));
    for is_indefinite in [false, true] {
        draft.is_indefinite = is_indefinite;
        let attestation = verify(&pki, &pki.sign(&draft), NOW).unwrap();
        assert_eq!(attestation.module_id(), "i-0123456789abcdef0-enc0123456789abcdef");
        let pcrs: Vec<_> = attestation.pcrs().map(|(index, value)| (index, value.to_owned())).collect();
        assert_eq!(
            pcrs,
            (0..16).map(|index| (u8::try_from(index).unwrap(), enclave.pcr(index))).collect::<Vec<_>>()
        );
        assert_eq!(attestation.pcr(2), Some("a2".repeat(48).as_str()));
        assert_eq!(attestation.pcr(16), None);
        assert_eq!(enclave.open(&attestation.seal(b"for nobody else").unwrap()), b"for nobody else");
    }
}

#[test]
fn optional_fields_may_be_absent_and_a_tag_may_be_there() {
    let scene = Scene::new();
    let draft = |draft: &mut Draft| {
        draft.remove("user_data");
        draft.remove("nonce");
    };
    assert_eq!(scene.after(draft), None);
    let tagged = [vec![0xd2], scene.pki.sign(&scene.pki.draft(&scene.enclave, NOW))].concat();
    assert_eq!(verdict(&scene.pki, &tagged), None);
}

#[test]
fn what_is_sealed_has_any_length_and_is_never_the_same() {
    for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
        let (pki, enclave) = (NitroPki::planned(NOW, |_| {}), Enclave::new(size));
        let attestation = verify(&pki, &pki.sign(&pki.draft(&enclave, NOW)), NOW).unwrap();
        for length in [0, 1, 15, 16, 17, 32, 4096] {
            let plaintext = vec![0x5a; length];
            let [first, second] = [(); 2].map(|()| attestation.seal(&plaintext).unwrap());
            assert_ne!(first, second);
            assert!(length < 16 || !first.windows(16).any(|part| part == [0x5a; 16]));
            assert_eq!(enclave.open(&first), plaintext);
        }
    }
}

#[test]
fn only_what_is_signed_by_es384_is_looked_at() {
    let scene = Scene::new();
    let header = |algorithm: Vec<u8>| map([(number(0, 1), algorithm)]);
    for (name, protected) in [
        ("ES256", header(number(1, 6))),
        ("ES512", header(number(1, 35))),
        ("none", header(number(0, 0))),
        ("an empty header", map([])),
        ("no header", Vec::new()),
        ("ES384 and more", map([(number(0, 1), number(1, 34)), (number(0, 4), number(0, 1))])),
        ("ES384 twice", map([(number(0, 1), number(1, 34)), (number(0, 1), number(1, 34))])),
        ("ES384 and a rest", [&ES384[..], &[0]].concat()),
        ("as text", header(text("ES384"))),
    ] {
        assert_eq!(scene.after(|draft| draft.protected = protected), Some(Invalid::Algorithm), "{name}");
    }
    let unprotected = map([(number(0, 1), number(1, 34))]);
    assert_eq!(scene.after(|draft| draft.unprotected = unprotected), Some(Invalid::Algorithm));
}

#[test]
fn something_else_than_a_signed_document_is_refused() {
    let scene = Scene::new();
    let draft = scene.pki.draft(&scene.enclave, NOW);
    let whole = scene.pki.sign(&draft);
    for cut in [0, 1, 2, 6, 10, whole.len() / 2, whole.len() - 97, whole.len() - 1] {
        assert_eq!(verdict(&scene.pki, &whole[..cut]), Some(Invalid::Structure), "{cut}");
    }
    let payload = bytes(&draft.payload());
    for (name, document) in [
        ("trailing bytes", [&whole[..], &[0]].concat()),
        ("twice", [&whole[..], &whole[..]].concat()),
        ("the payload alone", draft.payload()),
        ("three items", array([bytes(&ES384), map([]), payload.clone()])),
        ("five items", array([bytes(&ES384), map([]), payload.clone(), bytes(&[1; 96]), bytes(&[])])),
        ("no payload", array([bytes(&ES384), map([]), NULL.to_vec(), bytes(&[1; 96])])),
        ("an empty payload", array([bytes(&ES384), map([]), bytes(&[]), bytes(&[1; 96])])),
        ("a long payload", array([bytes(&ES384), map([]), bytes(&[0; 16_385]), bytes(&[1; 96])])),
        ("a map", map([(number(0, 1), number(0, 1))])),
        ("JSON", b"{\"module_id\":\"i-0\"}".to_vec()),
    ] {
        assert_eq!(verdict(&scene.pki, &document), Some(Invalid::Structure), "{name}");
    }
}

#[test]
fn what_is_signed_must_be_a_document_and_nothing_else() {
    let scene = Scene::new();
    let draft = scene.pki.draft(&scene.enclave, NOW);
    let signed = |payload: &[u8]| verdict(&scene.pki, &scene.pki.sign_payload(&draft, payload));
    let payload = draft.payload();
    assert_eq!(signed(&payload), None);
    assert_eq!(signed(&[&payload[..], &[0]].concat()), Some(Invalid::Payload));
    assert_eq!(signed(&payload[..payload.len() - 1]), Some(Invalid::Field(Field::Nonce)));
    assert_eq!(signed(&array([text("module_id")])), Some(Invalid::Payload));
    assert_eq!(signed(&map([(number(0, 1), number(0, 1))])), Some(Invalid::Payload));
    assert_eq!(signed(&[0xbf]), Some(Invalid::Payload));
    let more = |draft: &mut Draft| draft.fields.push(("purpose", text("any")));
    assert_eq!(scene.after(more), Some(Invalid::UnknownField));
}

#[test]
fn the_signature_is_that_of_the_leaf_over_this_text() {
    let scene = Scene::new();
    let draft = scene.pki.draft(&scene.enclave, NOW);
    let payload = draft.payload();
    for signature in [vec![], vec![0; 96], vec![1; 96], vec![1; 64], vec![0xff; 96], vec![1; 8000]] {
        let document = draft.put_together(&payload, &signature);
        assert_eq!(verdict(&scene.pki, &document), Some(Invalid::Signature), "{}", signature.len());
    }
    // Another key, with the certificate of this one.
    let other = NitroPki::planned(NOW, |_| {});
    assert_eq!(verdict(&scene.pki, &other.sign(&draft)), Some(Invalid::Signature));
    // The same signature, another register.
    let whole = scene.pki.sign(&draft);
    let signature = &whole[whole.len() - 96..];
    let mut changed = scene.enclave.pcrs.clone();
    changed[0].1[0] ^= 1;
    let mut forged = draft.clone();
    forged.set("pcrs", map(changed.iter().map(|(index, value)| (number(0, *index), bytes(value)))));
    let document = forged.put_together(&forged.payload(), signature);
    assert_eq!(verdict(&scene.pki, &document), Some(Invalid::Signature));
}

#[test]
fn fields_that_must_be_there_are_there_once() {
    let scene = Scene::new();
    for (name, field) in [
        ("module_id", Field::ModuleId),
        ("digest", Field::Digest),
        ("timestamp", Field::Timestamp),
        ("pcrs", Field::Pcrs),
        ("certificate", Field::Certificate),
        ("cabundle", Field::CaBundle),
    ] {
        assert_eq!(scene.after(|draft| draft.remove(name)), Some(Invalid::Field(field)), "{name}");
        assert_eq!(scene.with(name, NULL.to_vec()), Some(Invalid::Field(field)), "{name}");
    }
    let names: Vec<_> = scene.pki.draft(&scene.enclave, NOW).fields.iter().map(|(name, _)| *name).collect();
    for name in names {
        let twice = |draft: &mut Draft| {
            let (_, value) = draft.fields.iter().find(|(own, _)| *own == name).cloned().unwrap();
            draft.fields.push((name, value));
        };
        let verdict = scene.after(twice);
        assert!(
            matches!(verdict, Some(Invalid::Field(field)) if field.as_str() == name),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn every_field_keeps_to_its_bounds() {
    let scene = Scene::new();
    let pcr = |index: u64, length: usize| (number(0, index), bytes(&vec![1; length]));
    let all = (0..32).map(|index| pcr(index, 48));
    for (name, field, value) in [
        ("module_id", Field::ModuleId, text("")),
        ("module_id", Field::ModuleId, text(&"i".repeat(1025))),
        ("module_id", Field::ModuleId, bytes(b"i-0")),
        ("module_id", Field::ModuleId, vec![0x61, 0xff]),
        ("digest", Field::Digest, text("SHA256")),
        ("digest", Field::Digest, text("")),
        ("timestamp", Field::Timestamp, number(0, 0)),
        ("timestamp", Field::Timestamp, number(1, 5)),
        ("timestamp", Field::Timestamp, text("2026-06-01")),
        ("pcrs", Field::Pcrs, map([])),
        ("pcrs", Field::Pcrs, map([pcr(0, 47)])),
        ("pcrs", Field::Pcrs, map([pcr(0, 0)])),
        ("pcrs", Field::Pcrs, map([pcr(0, 49)])),
        ("pcrs", Field::Pcrs, map([pcr(32, 48)])),
        ("pcrs", Field::Pcrs, map([pcr(256, 48)])),
        ("pcrs", Field::Pcrs, map([pcr(1, 48), pcr(1, 48)])),
        ("pcrs", Field::Pcrs, map(all.clone().chain([pcr(0, 48)]))),
        ("pcrs", Field::Pcrs, map([(text("0"), bytes(&[1; 48]))])),
        ("pcrs", Field::Pcrs, map([(number(0, 0), text("0"))])),
        ("certificate", Field::Certificate, bytes(&[])),
        ("certificate", Field::Certificate, bytes(&[1; 1025])),
        ("cabundle", Field::CaBundle, array([])),
        ("cabundle", Field::CaBundle, array([bytes(&[])])),
        ("cabundle", Field::CaBundle, array([bytes(&[1; 1025])])),
        ("cabundle", Field::CaBundle, array((0..9).map(|_| bytes(&[1])))),
        ("cabundle", Field::CaBundle, bytes(&[1])),
        ("public_key", Field::PublicKey, bytes(&[])),
        ("public_key", Field::PublicKey, bytes(&[1; 1025])),
        ("public_key", Field::PublicKey, text("key")),
        ("user_data", Field::UserData, bytes(&[1; 1025])),
        ("user_data", Field::UserData, text("data")),
        ("nonce", Field::Nonce, bytes(&[1; 1025])),
        ("nonce", Field::Nonce, number(0, 1)),
    ] {
        assert_eq!(scene.with(name, value.clone()), Some(Invalid::Field(field)), "{name} {value:02x?}");
    }
    assert_eq!(scene.with("pcrs", map(all)), None);
    assert_eq!(scene.with("pcrs", map([pcr(31, 32), pcr(0, 64)])), None);
}

#[test]
fn the_public_key_is_an_rsa_key_of_a_size_that_aws_takes() {
    let scene = Scene::new();
    let key = scene.enclave.public_key();
    assert_eq!(scene.after(|draft| draft.remove("public_key")), Some(Invalid::NoPublicKey));
    assert_eq!(scene.with("public_key", NULL.to_vec()), Some(Invalid::NoPublicKey));
    let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let ec = rcgen::PublicKeyData::subject_public_key_info(&ec);
    let short = openssl_public_key(1024);
    let odd = openssl_public_key(4160);
    for (name, key) in [
        ("trailing bytes", [&key[..], &[0]].concat()),
        ("cut", key[..key.len() - 1].to_vec()),
        ("PEM", b"-----BEGIN PUBLIC KEY-----".to_vec()),
        ("without its algorithm", key[24..].to_vec()),
        ("an EC key", ec),
        ("too short", short),
        ("too long", odd),
    ] {
        assert_eq!(scene.with("public_key", bytes(&key)), Some(Invalid::PublicKey), "{name}");
    }
}

/// The SubjectPublicKeyInfo of an RSA key of a size that our library does not make.
fn openssl_public_key(bits: usize) -> Vec<u8> {
    let script = format!("openssl genrsa {bits} 2>&- | openssl rsa -pubout -outform DER 2>&-");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.stdout.len() > 100, "{output:?}");
    output.stdout
}

#[test]
fn a_document_is_believed_for_five_minutes() {
    let Scene { pki, enclave } = Scene::new();
    let document = pki.sign(&pki.draft(&enclave, NOW));
    let verdict = |now: u64| verify(&pki, &document, now).err();
    assert_eq!(verdict(NOW + 5 * MINUTE), None);
    assert_eq!(verdict(NOW + 5 * MINUTE + 1), Some(Invalid::Stale));
    // The clock of the hypervisor may be ahead of ours by as much.
    let early = pki.sign(&pki.draft(&enclave, NOW + 5 * MINUTE));
    assert_eq!(verify(&pki, &early, NOW).err(), None);
    let too_early = pki.sign(&pki.draft(&enclave, NOW + 5 * MINUTE + 1));
    assert_eq!(verify(&pki, &too_early, NOW).err(), Some(Invalid::FromTheFuture));
    let never = pki.sign(&pki.draft(&enclave, u64::MAX));
    assert_eq!(verify(&pki, &never, NOW).err(), Some(Invalid::FromTheFuture));
}

#[test]
fn the_chain_leads_to_a_root_that_was_configured() {
    let scene = Scene::new();
    let other = NitroPki::planned(NOW, |_| {});
    let document = scene.pki.sign(&scene.pki.draft(&scene.enclave, NOW));
    assert_eq!(verdict(&other, &document), Some(Invalid::Untrusted));
    // A root that is in the document is trusted for that no more than any other.
    let mut draft = scene.pki.draft(&scene.enclave, NOW);
    let both = other.bundle.iter().chain(&scene.pki.bundle);
    draft.set("cabundle", array(both.map(|der| bytes(der))));
    assert_eq!(verdict(&other, &scene.pki.sign(&draft)), Some(Invalid::Untrusted));
    assert_eq!(verdict(&scene.pki, &scene.pki.sign(&draft)), None);
    // Several roots.
    let roots = Roots::parse(format!("{}{}", other.root_pem, scene.pki.root_pem).as_bytes()).unwrap();
    assert!(roots.verify(&document, UnixMillis(i64::try_from(NOW).unwrap())).is_ok());
    // A link is missing.
    let cut: Vec<_> = scene.pki.bundle.iter().take(2).map(|der| bytes(der)).collect();
    assert_eq!(scene.with("cabundle", array(cut)), Some(Invalid::Untrusted));
    // Not certificates at all.
    assert_eq!(scene.with("certificate", bytes(&[0x30; 300])), Some(Invalid::Certificate));
    assert_eq!(scene.with("cabundle", array([bytes(&[0x30; 300])])), Some(Invalid::Untrusted));
    // Nobody stands for itself.
    let itself = NitroPki::planned(NOW, |plan| plan.intermediates.clear());
    let mut draft = itself.draft(&scene.enclave, NOW);
    draft.set("cabundle", array([bytes(&itself.leaf)]));
    assert_eq!(verdict(&scene.pki, &itself.sign(&draft)), Some(Invalid::Untrusted));
}

#[test]
fn every_certificate_of_the_chain_is_in_its_time() {
    let scene = Scene::new();
    let (past, future) = (at(NOW) - Duration::minutes(1), at(NOW) + Duration::minutes(1));
    assert_eq!(scene.below(|plan| plan.leaf.not_after = past), Some(Invalid::Expired));
    assert_eq!(scene.below(|plan| plan.leaf.not_before = future), Some(Invalid::NotYetValid));
    assert_eq!(scene.below(|plan| plan.root.not_after = past), Some(Invalid::Expired));
    assert_eq!(scene.below(|plan| plan.root.not_before = future), Some(Invalid::NotYetValid));
    for place in 0..3 {
        let expired = scene.below(|plan| plan.intermediates[place].not_after = past);
        assert_eq!(expired, Some(Invalid::Expired), "{place}");
        let early = scene.below(|plan| plan.intermediates[place].not_before = future);
        assert_eq!(early, Some(Invalid::NotYetValid), "{place}");
    }
}

#[test]
fn who_issues_a_certificate_may() {
    let scene = Scene::new();
    for place in 0..3 {
        let no_authority = scene.below(|plan| {
            plan.intermediates[place].is_ca = IsCa::ExplicitNoCa;
            plan.intermediates[place].key_usages = vec![KeyUsagePurpose::DigitalSignature];
        });
        assert_eq!(no_authority, Some(Invalid::Issuer), "{place}");
        let other_usage =
            scene.below(|plan| plan.intermediates[place].key_usages = vec![KeyUsagePurpose::CrlSign]);
        assert_eq!(other_usage, Some(Invalid::Issuer), "{place}");
    }
    let constrained =
        scene.below(|plan| plan.intermediates[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    assert_eq!(constrained, Some(Invalid::Issuer));
    // The root has a path length, too, that webpki does not look at.
    let root = scene.below(|plan| plan.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(2)));
    assert_eq!(root, Some(Invalid::Issuer));
    assert_eq!(scene.below(|plan| plan.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(3))), None);
}

#[test]
fn the_leaf_is_for_signatures_with_p384_and_for_nothing_else() {
    let scene = Scene::new();
    let usage = |usage: Vec<KeyUsagePurpose>| scene.below(|plan| plan.leaf.key_usages = usage);
    assert_eq!(usage(vec![KeyUsagePurpose::KeyEncipherment]), Some(Invalid::Certificate));
    assert_eq!(usage(Vec::new()), Some(Invalid::Certificate));
    let authority = |plan: &mut Plan| {
        plan.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        plan.intermediates[2].is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    assert_eq!(scene.below(authority), Some(Invalid::Certificate));
    let server = |plan: &mut Plan| plan.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(scene.below(server), Some(Invalid::Certificate));
    assert_eq!(scene.below(|plan| plan.leaf_algorithm = &PKCS_ECDSA_P256_SHA256), Some(Invalid::Certificate));
}

#[test]
fn roots_are_certificates_of_authorities_with_p384_keys() {
    let (pki, other) = (NitroPki::planned(NOW, |_| {}), crate::support::pki::Pki::new("P-256"));
    let parse = |pem: &str| Roots::parse(pem.as_bytes()).map(drop);
    assert_eq!(parse(&pki.root_pem), Ok(()));
    assert_eq!(parse(&format!("# The root.\n{}", pki.root_pem)), Ok(()));
    for (pem, reason) in [
        (String::new(), "no certificate as PEM"),
        ("certificate".to_owned(), "no certificate as PEM"),
        (other.ca_pem, "certificate 1: not of a P-384 key"),
        (format!("{}{}", pki.root_pem, other_leaf()), "certificate 2: not of a certificate authority"),
        (
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(),
            "certificate 1: not an X.509 certificate",
        ),
    ] {
        assert_eq!(parse(&pem), Err(reason.to_owned()));
    }
    let expected = parse("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap_err();
    assert!(expected.starts_with("not PEM"), "{expected}");
}

fn other_leaf() -> String {
    crate::support::pki::Pki::new("other").server().0
}

#[test]
fn the_texts_say_what_is_wrong_and_not_what_was_sent() {
    for (invalid, text) in [
        (Invalid::Stale, "it is older than five minutes"),
        (Invalid::Field(Field::CaBundle), "its field cabundle is absent or not as it must be"),
        (Invalid::Untrusted, "its certificate chain does not lead to a trusted root certificate"),
    ] {
        assert_eq!(invalid.to_string(), text);
    }
}

#[test]
fn no_document_with_another_byte_is_believed() {
    let scene = Scene::new();
    let whole = scene.pki.sign(&scene.pki.draft(&scene.enclave, NOW));
    let roots = Roots::parse(scene.pki.root_pem.as_bytes()).unwrap();
    let now = UnixMillis(i64::try_from(NOW).unwrap());
    assert!(roots.verify(&whole, now).is_ok());
    for place in (0..whole.len()).step_by(5) {
        let mut changed = whole.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(roots.verify(&changed, now).is_err(), "{place}");
        assert!(roots.verify(&whole[..place], now).is_err(), "{place}");
    }
}
