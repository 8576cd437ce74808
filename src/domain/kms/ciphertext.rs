//! The ciphertext blob of symmetric KMS keys: our own format, byte by byte.
//!
//! | Bytes | What |
//! | --- | --- |
//! | 1 | format, 1: AES-256-GCM with a tag of 16 bytes; 2: the same twice, for a key in an external key store |
//! | 1 | flags: bit 0 for a multi-Region key; the others are 0 |
//! | 6 | account id as a number, big-endian |
//! | 1 | length of the name of the Region |
//! | n | name of the Region |
//! | 16 | key id: its hexadecimal digits |
//! | 32 | key material id |
//! | 4 | the first four bytes of the SHA-256 of all before, to tell damage from another key |
//! | 1 | length of the IV, 12 or 16 |
//! | n | IV |
//! | 1 | format 2 only: 0 if the proxy gave no ciphertext metadata, else their length and one |
//! | n | format 2 only: ciphertext metadata |
//! | … | ciphertext and tag |
//!
//! Everything before the IV's length, and the canonical encryption context behind it, is the AAD of AES-GCM: the
//! ciphertext is bound to key ARN, key material and context. In format 2 that is the AAD of the inner layer, and what
//! the proxy encrypts is the inner layer; see `double_encryption`.

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::kms::{
    AccountId, EncryptionContext, INNER_LAYER_BYTES_MAX, KEY_ID_BYTES, KeyId, MATERIAL_ID_BYTES, MaterialId,
    OuterLayer, Region, Scope, outer_aad,
};

const FORMAT_ONE_LAYER: u8 = 1;
const FORMAT_TWO_LAYERS: u8 = 2;
const FLAG_MULTI_REGION: u8 = 1;
const ACCOUNT_BYTES: usize = 6;
const CHECK_BYTES: usize = 4;
const TAG_BYTES: usize = 16;
/// XKS v1, Encrypt: what a proxy may give at most.
const METADATA_BYTES_MAX: usize = 20;
/// The longest inner layer, and the tag of the outer one.
const OUTER_BYTES_MAX: usize = INNER_LAYER_BYTES_MAX + TAG_BYTES;
/// The longest encryption context, in canonical form.
pub const ENCRYPTION_CONTEXT_BYTES_MAX: usize = 8192;

/// Who encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Key material that KMS has, or a cluster.
    One,
    /// Key material that KMS has, and then an external key.
    Two,
}

/// Which key made a ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiphertextHeader {
    pub layers: Layers,
    pub scope: Scope,
    pub key_id: KeyId,
    pub material_id: MaterialId,
}

/// What the blobs of a key and its material begin with: the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobStart(Vec<u8>);

/// A ciphertext blob, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Ciphertext<'a> {
    pub header: CiphertextHeader,
    header_bytes: &'a [u8],
    pub iv: &'a [u8],
    /// What the proxy said of the outer layer. Absent is not the same as empty.
    pub metadata: Option<&'a [u8]>,
    pub sealed: &'a [u8],
}

impl CiphertextHeader {
    pub fn to_bytes(&self) -> BlobStart {
        let region = self.scope.region.as_str().as_bytes();
        let account: u64 = self.scope.account.as_str().parse().unwrap_or_default();
        let [_, _, account @ ..] = account.to_be_bytes();
        let mut bytes = Vec::with_capacity(160);
        bytes.push(match self.layers {
            Layers::One => FORMAT_ONE_LAYER,
            Layers::Two => FORMAT_TWO_LAYERS,
        });
        bytes.push(if self.key_id.is_multi_region() { FLAG_MULTI_REGION } else { 0 });
        bytes.extend_from_slice(&account);
        // A Region's name has at most 32 characters.
        bytes.push(u8::try_from(region.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(region);
        bytes.extend_from_slice(&self.key_id.to_bytes());
        bytes.extend_from_slice(self.material_id.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        BlobStart(bytes)
    }
}

impl BlobStart {
    /// The AAD to encrypt with. None if the context is too long.
    pub fn aad(&self, context: &EncryptionContext) -> Option<Vec<u8>> {
        aad(&self.0, context)
    }

    /// The blob, from what the HSM made.
    pub fn assemble(&self, iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Vec<u8> {
        let iv_bytes = [u8::try_from(iv.len()).unwrap_or(u8::MAX)];
        [self.0.as_slice(), &iv_bytes, iv, ciphertext, tag].concat()
    }

    /// The blob of two layers, from what the proxy made.
    pub fn assemble_outer(&self, outer: &OuterLayer) -> Vec<u8> {
        let OuterLayer { iv, metadata, ciphertext, tag } = outer;
        let iv_bytes = [u8::try_from(iv.len()).unwrap_or(u8::MAX)];
        // XKS v1, Encrypt: at most 20 bytes of metadata.
        let metadata_bytes =
            metadata.as_ref().map_or(0, |metadata| u8::try_from(metadata.len() + 1).unwrap_or(u8::MAX));
        let metadata = metadata.as_deref().unwrap_or_default();
        [self.0.as_slice(), &iv_bytes, iv, &[metadata_bytes], metadata, ciphertext, tag].concat()
    }

    /// The AAD for the proxy. None if the context is too long.
    pub fn outer_aad(&self, context: &EncryptionContext) -> Option<Vec<u8>> {
        outer_aad(&self.0, context)
    }
}

impl<'a> Ciphertext<'a> {
    /// None if it is not a blob that Holdfast made.
    pub fn parse(blob: &'a [u8]) -> Option<Self> {
        let mut rest = blob;
        let [format, flags] = *take(&mut rest)?;
        let layers = match format {
            FORMAT_ONE_LAYER => Layers::One,
            FORMAT_TWO_LAYERS => Layers::Two,
            _ => return None,
        };
        if flags & !FLAG_MULTI_REGION != 0 {
            return None;
        }
        let account: &[u8; ACCOUNT_BYTES] = take(&mut rest)?;
        let account = account.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let [region_bytes] = *take(&mut rest)?;
        let region = take_slice(&mut rest, usize::from(region_bytes))?;
        let key_id: &[u8; KEY_ID_BYTES] = take(&mut rest)?;
        let material_id: &[u8; MATERIAL_ID_BYTES] = take(&mut rest)?;
        let checked_bytes = blob.len() - rest.len();
        let checksum: &[u8; CHECK_BYTES] = take(&mut rest)?;
        let (header_bytes, checked) = (blob.get(..checked_bytes + CHECK_BYTES)?, blob.get(..checked_bytes)?);
        if check(checked) != *checksum {
            return None;
        }
        let [iv_bytes @ (12 | 16)] = *take(&mut rest)? else { return None };
        let iv = take_slice(&mut rest, usize::from(iv_bytes))?;
        let metadata = match layers {
            Layers::One => None,
            Layers::Two => take_metadata(&mut rest)?,
        };
        if rest.len() < TAG_BYTES || (layers == Layers::Two && rest.len() > OUTER_BYTES_MAX) {
            return None;
        }
        let scope = Scope {
            account: AccountId::parse(&format!("{account:012}"))?,
            region: Region::parse(str::from_utf8(region).ok()?)?,
        };
        let key_id = KeyId::from_bytes(*key_id, flags & FLAG_MULTI_REGION != 0);
        let header = CiphertextHeader { layers, scope, key_id, material_id: MaterialId::new(*material_id) };
        Some(Self { header, header_bytes, iv, metadata, sealed: rest })
    }

    /// The AAD it was encrypted with, if this is the context. None if the context is too long.
    pub fn aad(&self, context: &EncryptionContext) -> Option<Vec<u8>> {
        aad(self.header_bytes, context)
    }

    /// The AAD that the proxy had. None if the context is too long.
    pub fn outer_aad(&self, context: &EncryptionContext) -> Option<Vec<u8>> {
        outer_aad(self.header_bytes, context)
    }

    /// Ciphertext and tag apart, as a proxy wants them.
    pub fn split_tag(&self) -> (&'a [u8], &'a [u8]) {
        self.sealed.split_at_checked(self.sealed.len().saturating_sub(TAG_BYTES)).unwrap_or_default()
    }
}

fn aad(blob_start: &[u8], context: &EncryptionContext) -> Option<Vec<u8>> {
    Some([blob_start, &context.canonical(ENCRYPTION_CONTEXT_BYTES_MAX)?].concat())
}

/// None if this is no metadata; `Some(None)` if there are none.
fn take_metadata<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let [bytes] = *take(rest)?;
    match bytes.checked_sub(1) {
        None => Some(None),
        Some(bytes) if usize::from(bytes) > METADATA_BYTES_MAX => None,
        Some(bytes) => take_slice(rest, usize::from(bytes)).map(Some),
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn take_slice<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(bytes)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ciphertext, CiphertextHeader, Layers};
    use crate::domain::kms::{AccountId, EncryptionContext, KeyId, MaterialId, OuterLayer, Region, Scope};

    fn header(multi_region: bool) -> CiphertextHeader {
        CiphertextHeader {
            layers: Layers::One,
            scope: Scope {
                account: AccountId::parse("000000000012").unwrap(),
                region: Region::parse("eu-central-1").unwrap(),
            },
            key_id: KeyId::from_random([7; 16], multi_region),
            material_id: MaterialId::new([9; 32]),
        }
    }

    #[test]
    fn what_was_assembled_is_parsed() {
        for (header, iv) in [(header(false), &[1; 12][..]), (header(true), &[1; 16])] {
            let blob = header.to_bytes().assemble(iv, b"ciphertext", &[2; 16]);
            let parsed = Ciphertext::parse(&blob).unwrap();
            assert_eq!((&parsed.header, parsed.iv), (&header, iv));
            assert_eq!(parsed.sealed, [&b"ciphertext"[..], &[2; 16]].concat());
            let context = EncryptionContext::from_iter([("a".to_owned(), "b".to_owned())]);
            assert_eq!(parsed.aad(&context), header.to_bytes().aad(&context));
        }
    }

    #[test]
    fn two_layers_keep_what_the_proxy_said_and_whether_it_said_it() {
        let header = CiphertextHeader { layers: Layers::Two, ..header(false) };
        for metadata in [None, Some(Vec::new()), Some(vec![3; 20])] {
            let outer = OuterLayer {
                iv: vec![1; 16],
                metadata: metadata.clone(),
                ciphertext: vec![4; 9],
                tag: vec![5; 16],
            };
            let blob = header.to_bytes().assemble_outer(&outer);
            let parsed = Ciphertext::parse(&blob).unwrap();
            assert_eq!((&parsed.header, parsed.iv), (&header, &[1; 16][..]));
            assert_eq!(parsed.metadata, metadata.as_deref());
            assert_eq!(parsed.split_tag(), (&[4; 9][..], &[5; 16][..]));
            for length in 0..blob.len() - 9 {
                assert_eq!(Ciphertext::parse(&blob[..length]), None, "{length} bytes");
            }
        }
    }

    #[test]
    fn every_change_of_a_bit_before_the_iv_is_noticed() {
        let blob = header(false).to_bytes().assemble(&[1; 12], b"", &[2; 16]);
        let header_bytes = blob.len() - 12 - 16;
        for bit in 0..header_bytes * 8 {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Ciphertext::parse(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let blob = header(false).to_bytes().assemble(&[1; 12], b"", &[2; 16]);
        for length in 0..blob.len() {
            assert_eq!(Ciphertext::parse(&blob[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ciphertext::parse(&bytes);
        }
    }
}
