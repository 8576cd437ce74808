//! What is under one root key comes under another: inside the token, and proven before it is handed out.

use subtle::ConstantTimeEq;

use crate::domain::kms::{KeptKey, SealedParts};
use crate::key_manager::Encrypted;
use crate::key_manager::backing_key::{KeyOrder, RootKeyProof, RootKeyWitness, ToRewrap};
use crate::key_manager::pkcs11::backing_task::Bench;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves};
use crate::key_manager::pkcs11::root_key::RootKey;
use crate::key_manager::pkcs11::wrapping::{Temporary, Wrapping};

impl Bench<'_> {
    /// Under the current root key.
    pub(super) fn rewrap(&self, request: &ToRewrap) -> Result<KeptKey, Fault> {
        let key = &request.key;
        match &*key.kept {
            KeptKey::TokenObject => Err(Fault::new(Blame::Usage, "a token object is under no root key")),
            KeptKey::Software { sealed } => {
                let order = KeyOrder { id: key.id, kind: key.kind };
                self.rewrap_software(order, sealed, request.public_key.as_deref())
            }
            KeptKey::Wrapped(wrapped) => {
                let form = KeyForm::of(key.kind);
                self.making(|making| {
                    // In this session and gone with it: one that may be wrapped serves nobody.
                    let of = (form, Leaves::Wrapped);
                    let handle = self
                        .vault
                        .unwrap(self.ready, self.means, wrapped, of)
                        .map_err(Fault::or_not_to_wrap)?;
                    let opened = Temporary { session: self.ready.session, handle };
                    Ok(making.keep(form, &opened, request.public_key.clone())?.kept)
                })
            }
        }
    }

    /// A root key that nothing uses yet: it is there, works, and is the one that the witness is of.
    pub(super) fn prove_root_key(&self, proof: &RootKeyProof) -> Result<RootKeyWitness, Fault> {
        let (ready, iv_mode) = (self.ready, self.token.config.iv_mode);
        let functions = &self.means.library.functions;
        let root = RootKey::open(&proof.id, self.token, self.means.library, ready)?;
        let gcm = self.gcm(inventory::handle_of(&root.sealing, ready)?);
        let handle = inventory::handle_of(&root.wrapping, ready)?;
        let wrapping = Wrapping { functions, ready, root_key: proof.id, handle, iv_mode };
        wrapping.prove_rewrapping(&root.proof)?;
        if let Some(witness) = &proof.witness {
            wrapping.try_again(&witness.wrapped)?;
            let opened = SealedParts::parse(&witness.sealed)
                .map(|parts| gcm.decrypt(parts.iv, parts.ciphertext_and_tag, &proof.context))
                .transpose()?;
            if !opened.is_some_and(|opened| bool::from(opened.expose().ct_eq(proof.text.expose()))) {
                return Err(Fault::new(Blame::Token, "the root key is another one than that of another HSM"));
            }
        }
        let Encrypted { iv, ciphertext, tag, .. } = gcm.encrypt(proof.text.expose(), &proof.context)?;
        let ciphertext_and_tag = &[ciphertext, tag.to_vec()].concat();
        let sealed = SealedParts { root_key: Some(proof.id), iv: &iv, ciphertext_and_tag }.to_bytes();
        Ok(RootKeyWitness { wrapped: root.proof, sealed })
    }

    /// The secret is not handed out: what opens again to the same is as good.
    pub(super) fn reseal(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Fault> {
        let secret = self.unseal(sealed, context)?;
        let resealed = self.seal(&secret, context)?;
        let opened = self.unseal(&resealed, context)?;
        if bool::from(opened.expose().ct_eq(secret.expose())) {
            Ok(resealed)
        } else {
            Err(Fault::new(Blame::Token, "a secret is another one after it was sealed and opened"))
        }
    }
}
