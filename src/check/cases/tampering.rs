//! Ciphertexts that were changed on the way.

use proxy_api::client::Sealed;
use proxy_api::wire::{METADATA_BYTES_MAX, TAG_BYTES};

use crate::check::case::Case;
use crate::check::crypto::{AAD, CORRUPT, MALFORMED, Sample};
use crate::check::finding::{Finding, InVariant as _, Judged};
use crate::check::session::Session;

pub(crate) const CASES: &[Case] = &[
    Case::must("a changed ciphertext does not decrypt", |s| Box::pin(ciphertext(s))),
    Case::must("a changed initialization vector does not decrypt", |s| Box::pin(iv(s))),
    Case::must("a changed tag does not decrypt", |s| Box::pin(tag(s))),
    Case::must("changed metadata does not decrypt", |s| Box::pin(changed_metadata(s))),
    Case::must("metadata that was left out or added does not decrypt", |s| Box::pin(other_metadata(s))),
    Case::must("metadata does not pass for AAD", |s| Box::pin(metadata_as_aad(s))),
    Case::must("AAD does not pass for metadata", |s| Box::pin(aad_as_metadata(s))),
    Case::must("metadata of more than 20 bytes is refused", |s| Box::pin(long_metadata(s))),
    Case::must("a tag of other than 16 bytes is refused", |s| Box::pin(tag_lengths(s))),
    Case::must("an initialization vector of other than 12 or 16 bytes is refused", |s| {
        Box::pin(iv_lengths(s))
    }),
    Case::must("bytes do not move between ciphertext and tag", |s| Box::pin(boundary(s))),
];

async fn ciphertext(session: &Session) -> Judged {
    each_byte(session, |sealed| &mut sealed.ciphertext).await
}

async fn iv(session: &Session) -> Judged {
    each_byte(session, |sealed| &mut sealed.iv).await
}

async fn tag(session: &Session) -> Judged {
    each_byte(session, |sealed| &mut sealed.tag).await
}

/// One bit of each byte in turn.
async fn each_byte(session: &Session, part: fn(&mut Sealed) -> &mut Vec<u8>) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    for position in 0..part(&mut sealed.clone()).len() {
        let mut spoiled = sealed.clone();
        if let Some(byte) = part(&mut spoiled).get_mut(position) {
            *byte ^= 1 << (position % 8);
        }
        refused(session, &sample, &spoiled).await.in_variant(&format!("byte {position}"))?;
    }
    session.decrypt(&sample, &sealed).await
}

async fn changed_metadata(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    let metadata = metadata_of(&sealed)?;
    for position in 0..metadata.len() {
        let mut metadata = metadata.clone();
        if let Some(byte) = metadata.get_mut(position) {
            *byte ^= 1;
        }
        let spoiled = Sealed { metadata: Some(metadata), ..sealed.clone() };
        refused(session, &sample, &spoiled).await.in_variant(&format!("byte {position}"))?;
    }
    Ok(())
}

async fn other_metadata(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    let metadata = match &sealed.metadata {
        Some(_) => None,
        None => Some(vec![1]),
    };
    refused(session, &sample, &Sealed { metadata, ..sealed }).await
}

/// The swap that the lengths in the HSM's AAD are for (XKS v1, Encrypt, note on `ciphertextMetadata`).
async fn metadata_as_aad(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample).await?;
    let metadata = metadata_of(&sealed)?;
    let swapped = Sealed { metadata: None, ..sealed };
    refused(session, &sample.with_aad(&metadata), &swapped).await
}

async fn aad_as_metadata(session: &Session) -> Judged {
    let aad = b"key_version=1";
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample.with_aad(aad)).await?;
    let swapped = Sealed { metadata: Some(aad.to_vec()), ..sealed };
    refused(session, &sample, &swapped).await
}

async fn long_metadata(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    let metadata = Some(vec![0; METADATA_BYTES_MAX + 1]);
    session.decrypt_refused(&sample, &Sealed { metadata, ..sealed }, MALFORMED).await
}

async fn tag_lengths(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    for bytes in [0, 4, 12, 15, 17, 20, 32] {
        let mut tag = sealed.tag.clone();
        tag.resize(bytes, 0);
        let spoiled = Sealed { tag, ..sealed.clone() };
        session.decrypt_refused(&sample, &spoiled, MALFORMED).await.in_variant(&format!("{bytes} bytes"))?;
    }
    Ok(())
}

async fn iv_lengths(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    for bytes in [0, 8, 11, 13, 15, 17, 5000] {
        let mut iv = sealed.iv.clone();
        iv.resize(bytes, 0);
        let spoiled = Sealed { iv, ..sealed.clone() };
        session.decrypt_refused(&sample, &spoiled, MALFORMED).await.in_variant(&format!("{bytes} bytes"))?;
    }
    Ok(())
}

async fn boundary(session: &Session) -> Judged {
    let (sample, sealed) = sealed(session).await?;
    let joined = [&sealed.ciphertext[..], &sealed.tag].concat();
    for tag_bytes in [TAG_BYTES - 1, TAG_BYTES + 1] {
        let (ciphertext, tag) = joined.split_at(joined.len() - tag_bytes);
        let shifted = Sealed { ciphertext: ciphertext.to_vec(), tag: tag.to_vec(), ..sealed.clone() };
        session
            .decrypt_refused(&sample, &shifted, MALFORMED)
            .await
            .in_variant(&format!("a tag of {tag_bytes} bytes"))?;
    }
    Ok(())
}

async fn sealed(session: &Session) -> Result<(Sample<'_>, Sealed), Finding> {
    let sample = Sample::of(&session.keys.both).with_aad(AAD);
    let sealed = session.encrypt(&sample).await?;
    Ok((sample, sealed))
}

fn metadata_of(sealed: &Sealed) -> Result<Vec<u8>, Finding> {
    let metadata = sealed.metadata.clone().filter(|metadata| !metadata.is_empty());
    metadata.ok_or(Finding::Skipped("the proxy returns no ciphertextMetadata"))
}

async fn refused(session: &Session, sample: &Sample<'_>, sealed: &Sealed) -> Judged {
    session.decrypt_refused(sample, sealed, CORRUPT).await
}
