//! Key material from outside: unwrapped in the token where it can, else in memory, and kept as if it had been made here.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{CKM_AES_ECB, CKM_AES_KEY_WRAP_KWP};
use zeroize::Zeroizing;

use crate::domain::kms::{Hash, KeyKind, KeySpec, KeyUsage, WrappingAlgorithm};
use crate::key_manager::backing_key::{ImportedKey, ToImport};
use crate::key_manager::pkcs8::PrivateKey;
use crate::key_manager::pkcs11::fault::{Blame, Doing, Fault};
use crate::key_manager::pkcs11::ffi::{Scheme, object_handle};
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves, Purpose};
use crate::key_manager::pkcs11::making::Making;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::token_object;
use crate::key_manager::pkcs11::vault::Means;
use crate::key_manager::pkcs11::wrapping::Temporary;
use crate::public_key::spki;
use crate::secret::SecretBytes;

const AES_256_BYTES: usize = 32;
/// What is encrypted or tagged to tell material from other: two blocks that say what for.
const FINGERPRINT: &[u8; 32] = b"holdfast: material fingerprint 1";

/// The wrapping key in a session, and what makes keys of what it unwraps.
pub(super) struct Importing<'a> {
    pub(super) making: &'a Making<'a>,
    pub(super) wrapping_key: Temporary<'a>,
    /// Of the wrapping key.
    pub(super) spec: KeySpec,
}

/// How the material is wrapped.
#[derive(Clone, Copy)]
enum Way {
    /// RSAES-OAEP over the material.
    Direct(Hash),
    /// RSAES-OAEP over an AES-256 key, and the material wrapped by it (RFC 5649).
    TwoSteps(Hash),
}

impl Way {
    const fn of(algorithm: WrappingAlgorithm) -> Option<Self> {
        match algorithm {
            WrappingAlgorithm::RsaesOaepSha1 => Some(Self::Direct(Hash::Sha1)),
            WrappingAlgorithm::RsaesOaepSha256 => Some(Self::Direct(Hash::Sha256)),
            WrappingAlgorithm::RsaAesKeyWrapSha1 => Some(Self::TwoSteps(Hash::Sha1)),
            WrappingAlgorithm::RsaAesKeyWrapSha256 => Some(Self::TwoSteps(Hash::Sha256)),
            WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2Pke => None,
        }
    }

    const fn hash(self) -> Hash {
        match self {
            Self::Direct(hash) | Self::TwoSteps(hash) => hash,
        }
    }
}

/// An object of the token, and the public key of a pair.
struct Arrived<'a> {
    key: Temporary<'a>,
    public_key: Option<Vec<u8>>,
}

impl Importing<'_> {
    /// Whatever cannot be unwrapped is the same error: which step failed would be an oracle.
    pub(super) fn import(
        &self,
        request: &ToImport,
        (token, means): (&Token, Means<'_>),
    ) -> Result<ImportedKey, Fault> {
        let way = way(request)?;
        let form = KeyForm::of(request.order.kind);
        if let Some(arrived) = self.inside(way, form, &request.encrypted)? {
            return self.keep(form, &arrived);
        }
        let material = self.in_memory(way, &request.encrypted)?;
        let arrived = self.create(form, &material)?;
        match self.keep(form, &arrived) {
            Err(fault) if form.is_pair() && fault.is_not_wrappable() => {
                let key = PrivateKey::read(form.spec, material.expose()).ok_or_else(not_material)?;
                let name = (form, &request.order.id);
                let public_key = arrived.public_key.as_deref().unwrap_or_default();
                let parts = parts(form.spec, &key);
                let made = token_object::create(self.making, name, (&parts, public_key), (token, means));
                parts.into_iter().for_each(wipe);
                Ok(ImportedKey { made: made?, fingerprint: self.fingerprint(form, &arrived)? })
            }
            kept => kept,
        }
    }

    fn keep(&self, form: KeyForm, arrived: &Arrived<'_>) -> Result<ImportedKey, Fault> {
        let fingerprint = self.fingerprint(form, arrived)?;
        let made = self.making.keep(form, &arrived.key, arrived.public_key.clone())?;
        Ok(ImportedKey { made, fingerprint })
    }

    /// The material itself, for who computes with it in software.
    pub(super) fn material(&self, request: &ToImport) -> Result<SecretBytes, Fault> {
        self.in_memory(way(request)?, &request.encrypted)
    }

    /// Secret keys, if the token has the hash: the material is never in memory. Nothing if the token cannot.
    fn inside(&self, way: Way, form: KeyForm, encrypted: &[u8]) -> Result<Option<Arrived<'_>>, Fault> {
        let capabilities = self.making.capabilities;
        let has_kwp = capabilities.has(CKM_AES_KEY_WRAP_KWP);
        let is_possible = capabilities.has_oaep(way.hash())
            && form.secret_bytes().is_some()
            && (has_kwp || matches!(way, Way::Direct(_)));
        if !is_possible || capabilities.lacks_unwrapping() {
            return Ok(None);
        }
        let target = form.session_key(Leaves::Wrapped);
        let unwrapped = match way {
            Way::Direct(hash) => {
                self.unwrap(self.wrapping_key.handle, Scheme::Oaep(hash), encrypted, &target)?
            }
            Way::TwoSteps(hash) => {
                let (wrapped_key, wrapped) = self.split(encrypted)?;
                let step = KeyForm { spec: KeySpec::SymmetricDefault, purpose: Purpose::Unwrap };
                let scheme = Scheme::Oaep(hash);
                let template = step.session_key(Leaves::Never);
                let key = self.unwrap(self.wrapping_key.handle, scheme, wrapped_key, &template)?;
                let Some(key) = key else { return Ok(None) };
                if Self::has_length(&key, AES_256_BYTES)? == Some(false) {
                    return Err(wrongly_wrapped());
                }
                self.unwrap(key.handle, Scheme::Plain(CKM_AES_KEY_WRAP_KWP), wrapped, &target)?
            }
        };
        let Some(key) = unwrapped else { return Ok(None) };
        match Self::has_length(&key, form.secret_bytes().unwrap_or_default())? {
            Some(true) => Ok(Some(Arrived { key, public_key: None })),
            Some(false) => Err(not_material()),
            None => {
                self.making.capabilities.refuse_unwrapping();
                Ok(None)
            }
        }
    }

    /// Nothing if the token does not unwrap in this way.
    fn unwrap(
        &self,
        by: u64,
        scheme: Scheme<'_>,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Result<Option<Temporary<'_>>, Fault> {
        let wrapping = &self.making.wrapping;
        let session = wrapping.ready.session;
        match wrapping.functions.unwrap_key((session, by), (scheme, wrapped), template) {
            Ok(handle) => Ok(Some(Temporary { session, handle })),
            Err(failed) => {
                let fault = Fault::of_call(failed, Doing::Unwrapping).or_unsupported();
                if fault.blame == Blame::Unsupported {
                    self.making.capabilities.refuse_unwrapping();
                    return Ok(None);
                }
                Err(if fault.blame == Blame::Material { wrongly_wrapped() } else { fault })
            }
        }
    }

    /// Whether the key has this length. Nothing if the token does not tell (SoftHSM of keys that it unwrapped).
    fn has_length(key: &Temporary<'_>, bytes: usize) -> Result<Option<bool>, Fault> {
        let wanted = [AttributeType::ValueLen];
        let attributes = key.session.get_attributes(object_handle(key.handle), &wanted)?;
        let expected = u64::try_from(bytes).unwrap_or(u64::MAX);
        if attributes.is_empty() || attributes == [Attribute::ValueLen(0.into())] {
            return Ok(None);
        }
        Ok(Some(attributes == [Attribute::ValueLen(expected.into())]))
    }

    /// The encrypted AES key comes first, as long as the modulus.
    fn split<'e>(&self, encrypted: &'e [u8]) -> Result<(&'e [u8], &'e [u8]), Fault> {
        let modulus_bytes = self.spec.rsa_bits().unwrap_or_default() / 8;
        encrypted.split_at_checked(modulus_bytes).ok_or_else(wrongly_wrapped)
    }

    /// The material in memory, for a token that lacks a step, and for private keys.
    fn in_memory(&self, way: Way, encrypted: &[u8]) -> Result<SecretBytes, Fault> {
        let decrypt = |ciphertext: &[u8]| {
            let computing = self.making.computing();
            computing.decrypt_oaep(self.spec, self.wrapping_key.handle, way.hash(), ciphertext)
        };
        let (wrapped_key, wrapped) = match way {
            Way::Direct(_) => return decrypt(encrypted),
            Way::TwoSteps(_) => self.split(encrypted)?,
        };
        let key = decrypt(wrapped_key)?;
        let key = AesKek::new(&AES_256, key.expose()).map_err(|_| wrongly_wrapped())?;
        let mut material = Zeroizing::new(vec![0; wrapped.len()]);
        let bytes = key.unwrap_with_padding(wrapped, &mut material).map_err(|_| wrongly_wrapped())?.len();
        material.truncate(bytes);
        Ok(SecretBytes::new(std::mem::take(&mut *material)))
    }

    /// An object of material that is right in every way.
    fn create(&self, form: KeyForm, material: &SecretBytes) -> Result<Arrived<'_>, Fault> {
        let mut template = form.session_key(Leaves::Wrapped);
        let mut public_key = None;
        if let Some(bytes) = form.secret_bytes() {
            if material.len() != bytes {
                return Err(not_material());
            }
            template.push(Attribute::Value(material.expose().to_vec()));
        } else {
            let key = PrivateKey::read(form.spec, material.expose()).ok_or_else(not_material)?;
            public_key = Some(key.public_key(form.spec).ok_or_else(not_material)?);
            template.extend(parts(form.spec, &key));
        }
        let session = self.making.wrapping.ready.session;
        let created = session.create_object(&template);
        template.into_iter().for_each(wipe);
        let key = Temporary {
            session,
            handle: created.map_err(|error| Fault::from(error).or_unsupported())?.handle(),
        };
        Ok(Arrived { key, public_key })
    }

    fn fingerprint(&self, form: KeyForm, arrived: &Arrived<'_>) -> Result<SecretBytes, Fault> {
        let of_key = match (&arrived.public_key, form.purpose) {
            (Some(public_key), _) => SecretBytes::new(public_key.clone()),
            (None, Purpose::Mac) => {
                let kind = KeyKind { spec: form.spec, usage: KeyUsage::GenerateVerifyMac };
                let algorithm = *kind.mac_algorithms().first().ok_or_else(not_material)?;
                self.making.computing().mac(arrived.key.handle, algorithm, FINGERPRINT)?
            }
            (None, _) => {
                let mut blocks = Zeroizing::new(vec![0; FINGERPRINT.len()]);
                let on = (arrived.key.session, arrived.key.handle);
                let written = self
                    .making
                    .wrapping
                    .functions
                    .encrypt_by(on, Scheme::Plain(CKM_AES_ECB), FINGERPRINT, &mut blocks)
                    .map_err(|failed| Fault::of_call(failed, Doing::Other))?;
                if written != FINGERPRINT.len() {
                    return Err(Fault::new(Blame::Token, "the token encrypted to a wrong length"));
                }
                SecretBytes::new(std::mem::take(&mut *blocks))
            }
        };
        Ok(fingerprint(form.spec, &of_key))
    }
}

/// The same for the same material, whichever HSM took it.
pub(super) fn fingerprint(spec: KeySpec, of_key: &SecretBytes) -> SecretBytes {
    let hashed = Zeroizing::new([spec.as_str().as_bytes(), b"\0", of_key.expose()].concat());
    SecretBytes::new(digest(&SHA256, &hashed).as_ref().to_vec())
}

fn way(request: &ToImport) -> Result<Way, Fault> {
    let unknown = || Fault::new(Blame::Unsupported, "the wrapping algorithm is not known");
    Way::of(request.algorithm).ok_or_else(unknown)
}

/// The attributes that make an object of a private key.
fn parts(spec: KeySpec, key: &PrivateKey) -> Vec<Attribute> {
    match key {
        PrivateKey::Rsa(parts) => {
            let [d, p, q, dp, dq, coefficient] = parts.secret.each_ref().map(|part| part.to_vec());
            vec![
                Attribute::Modulus(parts.modulus.clone()),
                Attribute::PublicExponent(parts.exponent.clone()),
                Attribute::PrivateExponent(d),
                Attribute::Prime1(p),
                Attribute::Prime2(q),
                Attribute::Exponent1(dp),
                Attribute::Exponent2(dq),
                Attribute::Coefficient(coefficient),
            ]
        }
        PrivateKey::Ec { scalar, .. } => vec![
            Attribute::EcParams(spki::named_curve(spec).unwrap_or_default().to_vec()),
            Attribute::Value(scalar.to_vec()),
        ],
        PrivateKey::Ed25519 { seed, .. } => vec![
            Attribute::EcParams(
                spki::algorithm(spec).map(|algorithm| algorithm.concat()).unwrap_or_default(),
            ),
            Attribute::Value(seed.to_vec()),
        ],
    }
}

/// The copies that a template has of a secret.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; the rest is no secret"
)]
pub(super) fn wipe(attribute: Attribute) {
    match attribute {
        Attribute::Value(bytes)
        | Attribute::PrivateExponent(bytes)
        | Attribute::Prime1(bytes)
        | Attribute::Prime2(bytes)
        | Attribute::Exponent1(bytes)
        | Attribute::Exponent2(bytes)
        | Attribute::Coefficient(bytes) => drop(Zeroizing::new(bytes)),
        _ => {}
    }
}

fn wrongly_wrapped() -> Fault {
    Fault::new(Blame::Data, "the material does not unwrap")
}

pub(super) fn not_material() -> Fault {
    Fault::new(Blame::ForeignKey, "it is no key material of the kind wanted")
}
