//! Enclaves without Nitro hardware: a root of their own, attestation documents that it stands for, and their keys.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use holdfast::clock::{Clock, SystemClock};
use proxy_api::wire::{decode_base64, encode_base64};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Site;

/// Milliseconds of now.
pub fn now_millis() -> u64 {
    SystemClock.unix_seconds() * 1000
}

/// What a chain is to be, from the root to the certificate that documents are signed with.
pub struct Plan {
    pub root: CertificateParams,
    pub intermediates: Vec<CertificateParams>,
    pub leaf: CertificateParams,
    pub leaf_algorithm: &'static SignatureAlgorithm,
}

/// A root and a chain below it.
pub struct NitroPki {
    pub root_pem: String,
    /// DER, the root first.
    pub bundle: Vec<Vec<u8>>,
    /// DER.
    pub leaf: Vec<u8>,
    leaf_key: KeyPair,
}

fn authority(name: &str, constraint: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Plan {
    /// As AWS has it, at this time: a leaf of three hours below three authorities.
    fn at(millis: u64) -> Self {
        let mut leaf = CertificateParams::new(Vec::new()).unwrap();
        leaf.distinguished_name
            .push(DnType::CommonName, "i-0123456789abcdef0-enc0123456789abcdef.us-east-1.aws");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        leaf.not_before = at(millis) - time::Duration::minutes(1);
        leaf.not_after = at(millis) + time::Duration::hours(3);
        Self {
            root: authority("test.nitro-enclaves", BasicConstraints::Unconstrained),
            intermediates: vec![
                authority("regional.test.nitro-enclaves", BasicConstraints::Constrained(2)),
                authority("zonal.test.nitro-enclaves", BasicConstraints::Constrained(1)),
                authority("instance.test.nitro-enclaves", BasicConstraints::Constrained(0)),
            ],
            leaf,
            leaf_algorithm: &PKCS_ECDSA_P384_SHA384,
        }
    }
}

pub fn at(millis: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(millis / 1000).unwrap()).unwrap()
}

impl NitroPki {
    pub fn new() -> Self {
        Self::planned(now_millis(), |_| {})
    }

    /// A chain that may have something wrong.
    pub fn planned(millis: u64, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::at(millis);
        change(&mut plan);
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let root_key = key();
        let root = plan.root.self_signed(&root_key).unwrap();
        let mut bundle = vec![root.der().to_vec()];
        let mut issuer = Issuer::new(plan.root, root_key);
        for params in plan.intermediates {
            let key = key();
            bundle.push(params.signed_by(&key, &issuer).unwrap().der().to_vec());
            issuer = Issuer::new(params, key);
        }
        let leaf_key = KeyPair::generate_for(plan.leaf_algorithm).unwrap();
        let leaf = plan.leaf.signed_by(&leaf_key, &issuer).unwrap().der().to_vec();
        Self { root_pem: root.pem(), bundle, leaf, leaf_key }
    }

    /// What the hypervisor would say of this enclave now.
    pub fn draft(&self, enclave: &Enclave, millis: u64) -> Draft {
        let pcrs = enclave.pcrs.iter().map(|(index, value)| (number(0, *index), bytes(value)));
        let fields = vec![
            ("module_id", text("i-0123456789abcdef0-enc0123456789abcdef")),
            ("digest", text("SHA384")),
            ("timestamp", number(0, millis)),
            ("pcrs", map(pcrs)),
            ("certificate", bytes(&self.leaf)),
            ("cabundle", array(self.bundle.iter().map(|der| bytes(der)))),
            ("public_key", bytes(&enclave.public_key())),
            ("user_data", NULL.to_vec()),
            ("nonce", NULL.to_vec()),
        ];
        Draft { fields, protected: ES384.to_vec(), unprotected: vec![0xa0], is_indefinite: false }
    }

    pub fn document(&self, enclave: &Enclave) -> Vec<u8> {
        self.sign(&self.draft(enclave, now_millis()))
    }

    pub fn sign(&self, draft: &Draft) -> Vec<u8> {
        self.sign_payload(draft, &draft.payload())
    }

    pub fn sign_payload(&self, draft: &Draft, payload: &[u8]) -> Vec<u8> {
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &self.leaf_key.serialize_der());
        let signed = array([text("Signature1"), bytes(&draft.protected), bytes(&[]), bytes(payload)]);
        // A leaf of another kind cannot sign like this.
        let signature =
            key.map_or(vec![1; 96], |key| key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec());
        draft.put_together(payload, &signature)
    }
}

/// The protected header `{1: -35}`.
pub const ES384: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];
pub const NULL: [u8; 1] = [0xf6];

/// A document that is not signed yet and may have something wrong. Values are CBOR.
#[derive(Clone)]
pub struct Draft {
    pub fields: Vec<(&'static str, Vec<u8>)>,
    pub protected: Vec<u8>,
    pub unprotected: Vec<u8>,
    /// Whether maps are written without their length, as some hypervisors do.
    pub is_indefinite: bool,
}

impl Draft {
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        self.fields.iter_mut().find(|(own, _)| *own == name).unwrap().1 = value;
    }

    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(own, _)| *own != name);
    }

    pub fn payload(&self) -> Vec<u8> {
        let fields = self.fields.iter().map(|(name, value)| (text(name), value.clone()));
        if !self.is_indefinite {
            return map(fields);
        }
        let content = fields.flat_map(|(name, value)| [name, value].concat());
        [0xbf].into_iter().chain(content).chain([0xff]).collect()
    }

    pub fn put_together(&self, payload: &[u8], signature: &[u8]) -> Vec<u8> {
        array([bytes(&self.protected), self.unprotected.clone(), bytes(payload), bytes(signature)])
    }
}

/// The head of an item (RFC 8949, section 3).
pub fn number(major: u8, value: u64) -> Vec<u8> {
    let major = major << 5;
    if value < 24 {
        return vec![major | u8::try_from(value).unwrap()];
    }
    let digits = value.to_be_bytes();
    let (short, width) = match value {
        0..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    [&[major | short], &digits[8 - width..]].concat()
}

pub fn bytes(value: &[u8]) -> Vec<u8> {
    [number(2, value.len() as u64), value.to_vec()].concat()
}

pub fn text(value: &str) -> Vec<u8> {
    [number(3, value.len() as u64), value.as_bytes().to_vec()].concat()
}

pub fn array(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.into_iter().collect();
    [number(4, items.len() as u64), items.concat()].concat()
}

pub fn map(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let entries: Vec<_> = entries.into_iter().map(|(key, value)| [key, value].concat()).collect();
    [number(5, entries.len() as u64), entries.concat()].concat()
}

/// Code that nobody can look into, with a key of its own.
pub struct Enclave {
    key: PrivateDecryptingKey,
    pub pcrs: Vec<(u64, Vec<u8>)>,
}

impl Enclave {
    /// With registers 0 to 15, each full of a byte of its own.
    pub fn new(size: KeySize) -> Self {
        let pcrs = (0..16).map(|index| (index, vec![0xa0 + u8::try_from(index).unwrap(); 48])).collect();
        Self { key: PrivateDecryptingKey::generate(size).unwrap(), pcrs }
    }

    pub fn public_key(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// A register as policies see it.
    pub fn pcr(&self, index: u64) -> String {
        let (_, value) = self.pcrs.iter().find(|(own, _)| *own == index).unwrap();
        value.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is in a `CiphertextForRecipient`, by OpenSSL.
    #[track_caller]
    pub fn open(&self, message: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key: Pkcs8V1Der<'_> = self.key.as_der().unwrap();
        std::fs::write(path("key.der"), key.as_ref()).unwrap();
        std::fs::write(path("message.der"), message).unwrap();
        let output = std::process::Command::new("openssl")
            .args(["cms", "-decrypt", "-binary", "-inform", "DER", "-keyform", "DER"])
            .arg("-in")
            .arg(path("message.der"))
            .arg("-inkey")
            .arg(path("key.der"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// The same, of an answer.
    #[track_caller]
    pub fn open_answer(&self, answer: &Value) -> Vec<u8> {
        self.open(&decode_base64(answer["CiphertextForRecipient"].as_str().unwrap()).unwrap())
    }
}

/// The member `Recipient` of a request.
pub fn recipient(document: &[u8]) -> Value {
    json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": encode_base64(document)})
}

/// Where a site keeps the roots that it trusts.
pub const ROOTS_FILE: &str = "attestation-roots.pem";

impl super::Setup {
    /// The KMS API with `[kms.attestation]`, whose file is still to be written.
    pub fn kms_with_recipients() -> Self {
        let kms = Self::kms().kms.unwrap_or_default();
        let table = format!("[kms.attestation]\nroot_certificates_file = \"{ROOTS_FILE}\"\n");
        Self { kms: Some(table + &kms), ..Self::kms() }
    }
}

impl Site {
    /// A site that trusts this root, and its daemon.
    pub fn start_with_recipients(pki: &NitroPki) -> Self {
        let site = Self::prepare(&super::Setup::kms_with_recipients());
        std::fs::write(site.path(ROOTS_FILE), &pki.root_pem).unwrap();
        site.run();
        site.wait_ready();
        site
    }
}
