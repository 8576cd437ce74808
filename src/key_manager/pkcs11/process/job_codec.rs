//! Jobs and their answers as messages: what is asked of the HSM, key material wrapped, plaintexts in buffers that wipe.

use std::sync::Arc;

use crate::domain::kms::{
    EncryptionAlgorithm, KeptKey, KeyKind, KeySpec, KeyUsage, MacAlgorithm, MaterialId, SigningAlgorithm,
    WrappedKey, WrappingAlgorithm, WrappingKeySpec,
};
use crate::key_manager::backing_key::{
    BackingKey, Computation, ComputeUnder, DataKey, DataKeyUnder, DecryptUnder, EncryptUnder, ImportedKey,
    KeyOrder, KeyPair, MadeKey, RootKeyId, RootKeyProof, RootKeyWitness, RootKeys, ToImport, ToRewrap,
    ToSign, WrappingKey,
};
use crate::key_manager::external_key::{ExternalKey, KeyObject, ObjectName};
use crate::key_manager::pkcs11::backing_task::{BackingTask, Sealed, ToSeal};
use crate::key_manager::pkcs11::process::codec::{
    Malformed, Reader, Wire, Writer, wire_enum, wire_lists, wire_struct, wire_words,
};
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::signing_key::{SignDigest, SigningKey, SigningKeyId};
use crate::key_manager::{BoundAad, Decrypt, Encrypt, Encrypted, HsmError};
use crate::secret::SecretBytes;

/// A task as it crosses: an external key goes by the name of its object.
pub(super) enum Asked {
    Encrypt { name: ObjectName, plaintext: SecretBytes, aad: BoundAad, integrity_value: bool },
    Decrypt { name: ObjectName, iv: Vec<u8>, ciphertext_and_tag: Vec<u8>, aad: BoundAad },
    Backing(BackingTask),
}

const ENCRYPT: u8 = 0;
const DECRYPT: u8 = 1;
const BACKING: u8 = 2;

/// Without a copy of what is in it.
pub(super) fn put_task(task: &Task, to: &mut Writer) {
    match task {
        Task::Encrypt { request, object } => {
            let Encrypt { key: _, plaintext, aad, integrity_value } = &**request;
            ENCRYPT.put(to);
            object.name.put(to);
            plaintext.put(to);
            aad.put(to);
            integrity_value.put(to);
        }
        Task::Decrypt { request, object } => {
            let Decrypt { key: _, version: _, iv, ciphertext_and_tag, aad } = &**request;
            DECRYPT.put(to);
            object.name.put(to);
            iv.put(to);
            ciphertext_and_tag.put(to);
            aad.put(to);
        }
        Task::Backing(task) => {
            BACKING.put(to);
            task.put(to);
        }
    }
}

impl Asked {
    pub(super) fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            ENCRYPT => Ok(Self::Encrypt {
                name: Wire::take(from)?,
                plaintext: Wire::take(from)?,
                aad: Wire::take(from)?,
                integrity_value: Wire::take(from)?,
            }),
            DECRYPT => Ok(Self::Decrypt {
                name: Wire::take(from)?,
                iv: Wire::take(from)?,
                ciphertext_and_tag: Wire::take(from)?,
                aad: Wire::take(from)?,
            }),
            BACKING => Wire::take(from).map(Self::Backing),
            _ => Err(Malformed),
        }
    }

    /// The task, if the key is known.
    pub(super) fn into_task(
        self,
        find: impl FnOnce(&ObjectName) -> Option<(Arc<ExternalKey>, Arc<KeyObject>)>,
    ) -> Option<Task> {
        match self {
            Self::Encrypt { name, plaintext, aad, integrity_value } => {
                let (key, object) = find(&name)?;
                let request = Arc::new(Encrypt { key, plaintext, aad, integrity_value });
                Some(Task::Encrypt { request, object })
            }
            Self::Decrypt { name, iv, ciphertext_and_tag, aad } => {
                let (key, object) = find(&name)?;
                // The object says which version it is.
                let request = Arc::new(Decrypt { key, version: 0, iv, ciphertext_and_tag, aad });
                Some(Task::Decrypt { request, object })
            }
            Self::Backing(task) => Some(Task::Backing(task)),
        }
    }
}

impl Wire for BoundAad {
    fn put(&self, to: &mut Writer) {
        to.counted(self.aad());
        to.counted(self.metadata());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let aad = from.counted()?;
        Self::new(aad, from.counted()?).ok_or(Malformed)
    }
}

impl Wire for MaterialId {
    fn put(&self, to: &mut Writer) {
        self.as_bytes().put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Wire::take(from).map(Self::new)
    }
}

macro_rules! wire_ids {
    ($($Id:ident),+) => {
        $(impl Wire for $Id {
            fn put(&self, to: &mut Writer) {
                self.0.put(to);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Wire::take(from).map(Self)
            }
        })+
    };
}

wire_ids!(RootKeyId, SigningKeyId);

wire_words!(
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingKeySpec,
);

wire_lists!(RootKeyId);
wire_struct!(ObjectName { label, id });
wire_struct!(Encrypted { iv, ciphertext, tag, integrity_value });
wire_struct!(KeyKind { spec, usage });
wire_struct!(WrappedKey { root_key, mechanism, bytes });
wire_struct!(RootKeys { current, former });
wire_struct!(RootKeyProof { id, text, context, witness });
wire_struct!(RootKeyWitness { wrapped, sealed });
wire_struct!(ToRewrap { key, public_key });
wire_struct!(BackingKey { id, kind, kept });
wire_struct!(KeyOrder { id, kind });
wire_struct!(MadeKey { kept, public_key });
wire_struct!(ComputeUnder { key, computation });
wire_struct!(KeyPair { private_key, public_key });
wire_struct!(WrappingKey { private_key, public_key });
wire_struct!(ToImport { wrapping_key, wrapping_key_spec, algorithm, encrypted, order });
wire_struct!(ImportedKey { made, fingerprint });
wire_struct!(EncryptUnder { key, plaintext, aad });
wire_struct!(DecryptUnder { key, iv, ciphertext_and_tag, aad });
wire_struct!(DataKeyUnder { key, bytes, aad });
wire_struct!(DataKey { plaintext, encrypted });
wire_struct!(ToSeal { secret, context });
wire_struct!(Sealed { sealed, context });
wire_struct!(SigningKey { id, public_key });
wire_struct!(SignDigest { key, digest });

wire_enum!(KeptKey { 0 => Wrapped(key), 1 => TokenObject, 2 => Software { sealed } });

wire_enum!(ToSign { 0 => Digest(digest), 1 => Message(message), 2 => ExternalMu(mu) });

wire_enum!(Computation {
    0 => Sign { algorithm, input },
    1 => Mac { algorithm, message },
    2 => DecryptOaep { algorithm, ciphertext },
    3 => Agree { peer },
    4 => Decapsulate { ciphertext },
});

wire_enum!(BackingTask {
    0 => OpenRootKey(id),
    1 => Generate(order),
    2 => Compute(request),
    3 => Destroy(id),
    4 => KeyPair(spec),
    5 => WrappingKey(spec),
    6 => Import(request),
    7 => MakeSoftware(order),
    8 => ImportSoftware(request),
    9 => Encrypt(request),
    10 => Decrypt(request),
    11 => DataKey(request),
    12 => Random(bytes),
    13 => Seal(request),
    14 => Unseal(request),
    15 => MakeSigningKey,
    16 => Sign(request),
    17 => Sweep(discarded),
    18 => Rewrap(request),
    19 => Reseal(request),
    20 => ListRootKeys,
    21 => DestroyRootKey(id),
    22 => ProveRootKey(proof),
});

wire_enum!(Output {
    0 => Computed(secret),
    1 => DataKey(key),
    2 => Decrypted(secret),
    3 => Destroyed(nothing),
    4 => Encrypted(encrypted),
    5 => Imported(key),
    6 => KeyPair(pair),
    7 => Made(key),
    8 => Random(secret),
    9 => RootKey(id),
    10 => Sealed(bytes),
    11 => Signature(bytes),
    12 => SigningKey(key),
    13 => WrappingKey(key),
    14 => Swept,
    15 => Rewrapped(kept),
    16 => RootKeys(ids),
    17 => Witness(witness),
});

wire_enum!(HsmError {
    0 => BadCiphertext,
    1 => BadKeyMaterial,
    2 => Busy,
    3 => DeadlineExceeded,
    4 => Device(reason),
    5 => KeyMissing,
    6 => TooLong,
    7 => Unavailable(reason),
    8 => Unsupported(reason),
    9 => UsageRefused,
    10 => Corrupted(reason),
});
