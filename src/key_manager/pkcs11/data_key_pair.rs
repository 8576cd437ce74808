//! Key pairs for callers: made in the token where it makes them and lets them out, else in software.

use cryptoki::object::{Attribute, AttributeType};
use zeroize::Zeroizing;

use crate::domain::kms::KeySpec;
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::KeyPair;
use crate::key_manager::pkcs8::{PrivateKey, RsaParts};
use crate::key_manager::pkcs11::computing::value_of;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::object_handle;
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves, Purpose};
use crate::key_manager::pkcs11::making::{Making, Pair, rsa_numbers};
use crate::key_manager::software;
use crate::public_key::spki;

const RSA_SECRETS: [AttributeType; 6] = [
    AttributeType::PrivateExponent,
    AttributeType::Prime1,
    AttributeType::Prime2,
    AttributeType::Exponent1,
    AttributeType::Exponent2,
    AttributeType::Coefficient,
];

/// A pair that is in nobody's hands but the caller's: its object is destroyed before it is handed out.
pub(super) fn generate(making: &Making<'_>, spec: KeySpec) -> Result<KeyPair, Fault> {
    match in_token(making, spec) {
        Ok(Some(pair)) => Ok(pair),
        Err(fault) if fault.blame != Blame::Unsupported => Err(fault),
        Ok(None) | Err(_) => software::key_pair(spec).map_err(of_software),
    }
}

fn of_software(error: HsmError) -> Fault {
    Fault::new(Blame::Unsupported, error.to_string())
}

/// Nothing if the token does not let it out.
fn in_token(making: &Making<'_>, spec: KeySpec) -> Result<Option<KeyPair>, Fault> {
    let form = KeyForm { spec, purpose: Purpose::Sign };
    let is_readable = spec.rsa_bits().is_some()
        || spki::named_curve(spec).is_some()
        || spec == KeySpec::EccNistEdwards25519;
    if !is_readable || making.capabilities.lacks(form).is_some() {
        return Ok(None);
    }
    let Pair { private, public_key } = making.generate_pair(form, Leaves::Clear)?;
    let Some(key) = read(private.session, private.handle, form)? else { return Ok(None) };
    drop(private);
    // It was computed from the private key.
    if key.public_key(spec).as_ref() != Some(&public_key) {
        return Err(Fault::new(Blame::Token, "the token made a key pair that does not belong together"));
    }
    Ok(key.write(spec).map(|private_key| KeyPair { private_key, public_key }))
}

fn read(
    session: &cryptoki::session::Session,
    handle: u64,
    form: KeyForm,
) -> Result<Option<PrivateKey>, Fault> {
    let read = |wanted: &[AttributeType]| session.get_attributes(object_handle(handle), wanted);
    if form.spec.rsa_bits().is_none() {
        let value = read(&[AttributeType::Value])?.into_iter().find_map(value_of);
        return Ok(value.and_then(|value| match spki::named_curve(form.spec) {
            Some(_) => PrivateKey::of_ec(form.spec, &value),
            None => PrivateKey::of_ed25519(&value),
        }));
    }
    let public = read(&[AttributeType::Modulus, AttributeType::PublicExponent])?;
    let Some((modulus, exponent)) = rsa_numbers(form, &public) else { return Ok(None) };
    let mut secret: [Zeroizing<Vec<u8>>; 6] = Default::default();
    for (place, wanted) in secret.iter_mut().zip(RSA_SECRETS) {
        let Some(number) = read(&[wanted])?.into_iter().find_map(number_of) else { return Ok(None) };
        *place = number;
    }
    let parts = RsaParts { modulus: modulus.to_vec(), exponent: exponent.to_vec(), secret };
    Ok(PrivateKey::of_rsa(form.spec, parts))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one was asked for"
)]
fn number_of(attribute: Attribute) -> Option<Zeroizing<Vec<u8>>> {
    match attribute {
        Attribute::PrivateExponent(bytes)
        | Attribute::Prime1(bytes)
        | Attribute::Prime2(bytes)
        | Attribute::Exponent1(bytes)
        | Attribute::Exponent2(bytes)
        | Attribute::Coefficient(bytes) => Some(Zeroizing::new(bytes)),
        _ => None,
    }
}
