//! Keys of the software provider: the HSM draws and seals their seeds, and opens one for each use.

use zeroize::Zeroizing;

use crate::domain::kms::{KeptKey, KeySpec, MaterialId};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::{ComputeUnder, ImportedKey, KeyOrder, MadeKey, ToImport};
use crate::key_manager::pkcs8::PrivateKey;
use crate::key_manager::pkcs11::backing_task::Bench;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::importing;
use crate::key_manager::software;
use crate::secret::SecretBytes;

/// Before the id of the material, in what a seed is bound to.
const CONTEXT: &[u8] = b"holdfast software key\0";

impl Bench<'_> {
    pub(super) fn make_software(&self, order: KeyOrder) -> Result<MadeKey, Fault> {
        let bytes = software::seed_bytes(order.kind.spec);
        let bytes =
            bytes.ok_or_else(|| Fault::new(Blame::Unsupported, "the software provider lacks the spec"))?;
        let seed = self.random(bytes)?;
        self.keep_seed(order, &seed)
    }

    /// A private key that was wrapped for import. What is not Ed25519 cannot be imported.
    pub(super) fn import_software(&self, request: &ToImport) -> Result<ImportedKey, Fault> {
        let spec = request.order.kind.spec;
        let material = self.importing(request, |importing| importing.material(request))?;
        match PrivateKey::read(spec, material.expose()) {
            Some(PrivateKey::Ed25519 { seed, .. }) => {
                let mut seed = seed;
                let seed = SecretBytes::new(std::mem::take(&mut *seed));
                let made = self.keep_seed(request.order, &seed)?;
                let public_key = made.public_key.clone().unwrap_or_default();
                let fingerprint = importing::fingerprint(spec, &SecretBytes::new(public_key));
                Ok(ImportedKey { made, fingerprint })
            }
            _ => Err(importing::not_material()),
        }
    }

    fn keep_seed(&self, order: KeyOrder, seed: &SecretBytes) -> Result<MadeKey, Fault> {
        let context = context(order.kind.spec, &order.id);
        let sealed = self.seal(seed, &context)?;
        // What cannot be opened again is not handed out.
        let opened = self.unseal(&sealed, &context)?;
        let public_key = software::public_key(order.kind.spec, &opened).map_err(of_software)?;
        Ok(MadeKey { kept: KeptKey::Software { sealed }, public_key: Some(public_key) })
    }

    /// A seed comes under the current root key, if it is the one of this public key.
    pub(super) fn rewrap_software(
        &self,
        order: KeyOrder,
        sealed: &[u8],
        public_key: Option<&[u8]>,
    ) -> Result<KeptKey, Fault> {
        let seed = self.unseal(sealed, &context(order.kind.spec, &order.id)).map_err(on_material)?;
        let made = self.keep_seed(order, &seed)?;
        if public_key.is_some_and(|known| made.public_key.as_deref() != Some(known)) {
            return Err(Fault::new(
                Blame::Material,
                "the seed of a software key is not that of its public key",
            ));
        }
        Ok(made.kept)
    }

    pub(super) fn compute_in_software(
        &self,
        request: &ComputeUnder,
        sealed: &[u8],
    ) -> Result<SecretBytes, Fault> {
        let spec = request.key.kind.spec;
        let seed = self.unseal(sealed, &context(spec, &request.key.id)).map_err(on_material)?;
        software::compute(spec, &seed, &request.computation).map_err(of_software)
    }
}

fn context(spec: KeySpec, id: &MaterialId) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([CONTEXT, spec.as_str().as_bytes(), b"\0", id.as_bytes()].concat())
}

/// A seed that does not open is no fault of the caller's ciphertext.
fn on_material(fault: Fault) -> Fault {
    if matches!(fault.blame, Blame::Data | Blame::DataOrToken) {
        let what = format!("the seed of a software key does not open: {}", fault.what);
        Fault { blame: Blame::Material, what, ..fault }
    } else {
        fault
    }
}

fn of_software(error: HsmError) -> Fault {
    let blame = if error == HsmError::BadCiphertext { Blame::Data } else { Blame::Unsupported };
    Fault::new(blame, error.to_string())
}
