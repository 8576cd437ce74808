//! What keys compute besides AES-GCM: signatures, tags, shared secrets, RSAES-OAEP, and key pairs for callers.

use subtle::ConstantTimeEq;

use crate::domain::kms::{
    Algorithm, EncryptionAlgorithm, EncryptionContext, KeySpec, MacAlgorithm, MaterialId, MessageType,
    SigningAlgorithm, check_algorithm,
};
use crate::gate::kms::cipher::backing_key;
use crate::gate::kms::{OpenKey, Refused};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::{Computation, ComputeUnder, ToSign};
use crate::public_key::encapsulation::{Encapsulated, encapsulate};
use crate::public_key::hashing::hashed;
use crate::public_key::peer::parse_peer;
use crate::public_key::signature::{Signed, Signer};
use crate::public_key::{Unreadable, encryption};
use crate::secret::SecretBytes;

/// What is signed or verified: of a type and length that the algorithm takes.
pub struct Message {
    pub message_type: MessageType,
    pub bytes: SecretBytes,
}

/// A key pair for the caller.
pub struct GeneratedKeyPair {
    /// PKCS #8 in DER.
    pub private_key: SecretBytes,
    /// The same under the key.
    pub private_key_blob: Vec<u8>,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    pub material_id: Option<MaterialId>,
}

impl OpenKey<'_> {
    /// Whether the key has the algorithm that a request names.
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), Refused> {
        let refused = |refusal| Refused::Capability { arn: self.arn().to_owned(), refusal };
        check_algorithm(self.key(), algorithm).map_err(refused)
    }

    /// Of a key pair.
    pub fn public_key(&self) -> Result<&[u8], Refused> {
        let missing = || Refused::KeyManager(HsmError::Device("the key pair has no public key".to_owned()));
        self.current()?.public_key.as_deref().ok_or_else(missing)
    }

    pub async fn sign(&self, algorithm: SigningAlgorithm, message: Message) -> Result<Vec<u8>, Refused> {
        let input = to_sign(algorithm, message)?;
        let signature = self.compute(Computation::Sign { algorithm, input }).await?;
        Ok(signature.expose().to_vec())
    }

    /// Whether the key made this signature.
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Result<bool, Refused> {
        let signer = Signer { spec: self.key().spec, public_key: self.public_key()? };
        let bytes = message.bytes.expose();
        let digest = digest_of_raw(algorithm, message);
        let signed = match (&digest, message.message_type) {
            (Some(digest), _) => Signed::Digest(digest),
            (None, MessageType::Digest) => Signed::Digest(bytes),
            (None, MessageType::ExternalMu) => Signed::ExternalMu(bytes),
            (None, MessageType::Raw) => Signed::Message(bytes),
        };
        let is_valid = signer.signed(algorithm, signed, signature).map_err(unreadable)?;
        if is_valid {
            self.note(None);
        }
        Ok(is_valid)
    }

    pub async fn mac(&self, algorithm: MacAlgorithm, message: SecretBytes) -> Result<SecretBytes, Refused> {
        self.compute(Computation::Mac { algorithm, message }).await
    }

    /// Whether the key made this tag of the message.
    pub async fn verify_mac(
        &self,
        algorithm: MacAlgorithm,
        message: SecretBytes,
        mac: &[u8],
    ) -> Result<bool, Refused> {
        let expected = self.computed(Computation::Mac { algorithm, message }).await?;
        let is_valid = bool::from(expected.expose().ct_eq(mac));
        if is_valid {
            self.note(None);
        }
        Ok(is_valid)
    }

    /// With the public key: no HSM is asked. What is too long, the caller has refused.
    pub fn encrypt_oaep(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &SecretBytes,
    ) -> Result<Vec<u8>, Refused> {
        let ciphertext = encryption::encrypt(algorithm, self.public_key()?, plaintext.expose());
        let ciphertext = ciphertext.map_err(unreadable)?;
        self.note(None);
        Ok(ciphertext)
    }

    pub async fn decrypt_oaep(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Refused> {
        self.check_oaep(ciphertext)?;
        self.compute(Computation::DecryptOaep { algorithm, ciphertext: ciphertext.to_vec() }).await
    }

    /// Fails as RSA decryption would before the HSM is asked: a ciphertext is as long as the modulus (RFC 8017, 7.1.2).
    pub fn check_oaep(&self, ciphertext: &[u8]) -> Result<(), Refused> {
        let modulus_bytes = self.key().spec.rsa_bits().map(|bits| bits / 8);
        if modulus_bytes == Some(ciphertext.len()) { Ok(()) } else { Err(Refused::InvalidCiphertext) }
    }

    /// The public key of a peer, if it is one on the curve of this key.
    pub fn peer(&self, public_key: &[u8]) -> Option<Vec<u8>> {
        parse_peer(self.key().spec, public_key)
    }

    /// With what [`OpenKey::peer`] gave.
    pub async fn agree(&self, peer: Vec<u8>) -> Result<SecretBytes, Refused> {
        self.compute(Computation::Agree { peer }).await
    }

    /// With the public key: no HSM is asked.
    pub fn encapsulate(&self) -> Result<Encapsulated, Refused> {
        let encapsulated = encapsulate(self.key().spec, self.public_key()?).map_err(unreadable)?;
        self.note(None);
        Ok(encapsulated)
    }

    /// FIPS 203, 7.3: a ciphertext has one length.
    pub fn check_encapsulated(&self, ciphertext: &[u8]) -> Result<(), Refused> {
        let is_right = self.key().spec.encapsulated_bytes() == Some(ciphertext.len());
        if is_right { Ok(()) } else { Err(Refused::InvalidCiphertext) }
    }

    pub async fn decapsulate(&self, ciphertext: Vec<u8>) -> Result<SecretBytes, Refused> {
        self.check_encapsulated(&ciphertext)?;
        self.compute(Computation::Decapsulate { ciphertext }).await
    }

    /// A key pair that the HSM made, and its private key under the current material.
    pub async fn generate_key_pair(
        &self,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<GeneratedKeyPair, Refused> {
        self.rehearse_encrypt(context)?;
        let call = self.call();
        let pair = call.kms.backing_keys.generate_key_pair(spec, call.deadline()).await.result?;
        let sealed = self.encrypt(pair.private_key.clone(), context).await?;
        Ok(GeneratedKeyPair {
            private_key: pair.private_key,
            private_key_blob: sealed.blob,
            public_key: pair.public_key,
            material_id: sealed.material_id,
        })
    }

    async fn compute(&self, computation: Computation) -> Result<SecretBytes, Refused> {
        let computed = self.computed(computation).await?;
        self.note(None);
        Ok(computed)
    }

    async fn computed(&self, computation: Computation) -> Result<SecretBytes, Refused> {
        let key = backing_key(self.key(), self.current()?)?;
        let call = self.call();
        let request = ComputeUnder { key, computation };
        Ok(call.kms.backing_keys.compute(request, call.deadline()).await.result?)
    }
}

/// What a raw message becomes before it is signed, where that is a digest.
fn digest_of_raw(algorithm: SigningAlgorithm, message: &Message) -> Option<Vec<u8>> {
    let hash = algorithm.hash().filter(|_| message.message_type == MessageType::Raw)?;
    Some(hashed(hash, message.bytes.expose()))
}

fn to_sign(algorithm: SigningAlgorithm, message: Message) -> Result<ToSign, Refused> {
    if let Some(digest) = digest_of_raw(algorithm, &message) {
        return Ok(ToSign::Digest(digest));
    }
    let Message { message_type, bytes } = message;
    let wrong = |_| Refused::KeyManager(HsmError::TooLong);
    Ok(match message_type {
        MessageType::Digest => ToSign::Digest(bytes.expose().to_vec()),
        MessageType::ExternalMu => ToSign::ExternalMu(bytes.expose().try_into().map_err(wrong)?),
        MessageType::Raw => ToSign::Message(bytes),
    })
}

/// The HSM gave it, or it was read from the store.
fn unreadable(_: Unreadable) -> Refused {
    Refused::KeyManager(HsmError::Device("the public key of the key pair cannot be read".to_owned()))
}
