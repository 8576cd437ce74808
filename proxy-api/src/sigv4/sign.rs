//! Signing, from parts that the caller chooses one by one, so that a test client can choose them wrong.

use super::authorization::SignedHeaders;
use super::canonical::string_to_sign;
use super::{ALGORITHM, Refusal, Request, SCOPE_END, Scope, SigningKey, encode_hex};

/// What goes before the signature in an `Authorization` header.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    pub access_key_id: &'a str,
    pub scope: Scope<'a>,
    /// Lower-case names, separated by semicolons, in order.
    pub signed_headers: &'a str,
}

/// The value of the `Authorization` header for `request`, whose headers already hold all that is signed.
/// `signed_at` is the value of its `x-amz-date`.
pub fn sign(
    request: &Request<'_>,
    credential: &Credential<'_>,
    signed_at: &str,
    key: &SigningKey,
) -> Result<String, Refusal> {
    let Credential { access_key_id, scope, signed_headers } = credential;
    let tag = key.sign(&string_to_sign(request, SignedHeaders::plain(signed_headers), scope, signed_at)?);
    let Scope { date, region, service } = scope;
    let signature = encode_hex(tag.as_ref());
    Ok(format!(
        "{ALGORITHM} Credential={access_key_id}/{date}/{region}/{service}/{SCOPE_END}, \
         SignedHeaders={signed_headers}, Signature={signature}"
    ))
}
