//! What an attestation document says (Nitro Enclaves Attestation Process, 2.2 and 3.2.2): its fields and their bounds.

use std::ops::RangeInclusive;

use crate::attestation::cbor::{Malformed, Reader};
use crate::attestation::{Field, Invalid};

const BYTES_OF_FIELD: RangeInclusive<usize> = 1..=1024;
const BYTES_OF_USER_DATA: RangeInclusive<usize> = 0..=1024;
const PCR_INDEX_MAX: u64 = 31;
const PCR_BYTES: [usize; 3] = [32, 48, 64];
/// Those of AWS have four: to search a path through more costs more.
const CA_BUNDLE_MAX: usize = 8;
const DIGEST: &str = "SHA384";

/// A document, every field within its bounds. Nobody has verified it yet.
pub(super) struct Document<'a> {
    pub(super) module_id: &'a str,
    pub(super) timestamp_millis: u64,
    /// By index, each once.
    pub(super) pcrs: Vec<(u8, &'a [u8])>,
    /// DER.
    pub(super) certificate: &'a [u8],
    /// DER, the root first.
    pub(super) ca_bundle: Vec<&'a [u8]>,
    /// DER.
    pub(super) public_key: Option<&'a [u8]>,
}

impl<'a> Document<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::default();
        let mut reader = Reader::new(payload);
        reader.map(|reader| {
            let name = reader.text()?;
            fields.read(name, reader)
        })?;
        if reader.is_at_end() { fields.finish() } else { Err(Invalid::Payload) }
    }
}

/// What was read so far.
#[derive(Default)]
struct Fields<'a> {
    module_id: Option<&'a str>,
    digest: Option<()>,
    timestamp_millis: Option<u64>,
    pcrs: Option<Vec<(u8, &'a [u8])>>,
    certificate: Option<&'a [u8]>,
    ca_bundle: Option<Vec<&'a [u8]>>,
    public_key: Option<Option<&'a [u8]>>,
    user_data: Option<Option<&'a [u8]>>,
    nonce: Option<Option<&'a [u8]>>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<(), Invalid> {
        match name {
            "module_id" => once(&mut self.module_id, module_id(reader), Field::ModuleId),
            "digest" => once(&mut self.digest, digest(reader), Field::Digest),
            "timestamp" => once(&mut self.timestamp_millis, timestamp(reader), Field::Timestamp),
            "pcrs" => once(&mut self.pcrs, pcrs(reader), Field::Pcrs),
            "certificate" => once(&mut self.certificate, within(reader, BYTES_OF_FIELD), Field::Certificate),
            "cabundle" => once(&mut self.ca_bundle, ca_bundle(reader), Field::CaBundle),
            "public_key" => once(&mut self.public_key, optional(reader, BYTES_OF_FIELD), Field::PublicKey),
            "user_data" => once(&mut self.user_data, optional(reader, BYTES_OF_USER_DATA), Field::UserData),
            "nonce" => once(&mut self.nonce, optional(reader, BYTES_OF_USER_DATA), Field::Nonce),
            _ => Err(Invalid::UnknownField),
        }
    }

    fn finish(self) -> Result<Document<'a>, Invalid> {
        self.digest.ok_or(Invalid::Field(Field::Digest))?;
        Ok(Document {
            module_id: self.module_id.ok_or(Invalid::Field(Field::ModuleId))?,
            timestamp_millis: self.timestamp_millis.ok_or(Invalid::Field(Field::Timestamp))?,
            pcrs: self.pcrs.ok_or(Invalid::Field(Field::Pcrs))?,
            certificate: self.certificate.ok_or(Invalid::Field(Field::Certificate))?,
            ca_bundle: self.ca_bundle.ok_or(Invalid::Field(Field::CaBundle))?,
            public_key: self.public_key.flatten(),
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: Result<T, Malformed>, field: Field) -> Result<(), Invalid> {
    let value = value.map_err(|Malformed| Invalid::Field(field))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Invalid::Field(field)),
    }
}

fn module_id<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let text = reader.text()?;
    if BYTES_OF_FIELD.contains(&text.len()) { Ok(text) } else { Err(Malformed) }
}

fn digest(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.text()? == DIGEST { Ok(()) } else { Err(Malformed) }
}

fn timestamp(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let millis = reader.unsigned()?;
    if millis == 0 { Err(Malformed) } else { Ok(millis) }
}

fn pcrs<'a>(reader: &mut Reader<'a>) -> Result<Vec<(u8, &'a [u8])>, Malformed> {
    let mut pcrs: Vec<(u8, &[u8])> = Vec::new();
    reader.map(|reader| {
        let index = reader.unsigned()?;
        let index = u8::try_from(index).ok().filter(|_| index <= PCR_INDEX_MAX).ok_or(Malformed)?;
        let value = reader.bytes()?;
        let is_new = pcrs.iter().all(|(other, _)| *other != index);
        if !is_new || !PCR_BYTES.contains(&value.len()) {
            return Err(Malformed);
        }
        pcrs.push((index, value));
        Ok(())
    })?;
    pcrs.sort_unstable_by_key(|(index, _)| *index);
    if pcrs.is_empty() { Err(Malformed) } else { Ok(pcrs) }
}

fn ca_bundle<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, Malformed> {
    let mut bundle = Vec::new();
    reader.array(|reader| {
        if bundle.len() == CA_BUNDLE_MAX {
            return Err(Malformed);
        }
        bundle.push(within(reader, BYTES_OF_FIELD)?);
        Ok(())
    })?;
    if bundle.is_empty() { Err(Malformed) } else { Ok(bundle) }
}

/// The hypervisor writes null for what is absent.
fn optional<'a>(
    reader: &mut Reader<'a>,
    bytes: RangeInclusive<usize>,
) -> Result<Option<&'a [u8]>, Malformed> {
    if reader.skip_null() { Ok(None) } else { within(reader, bytes).map(Some) }
}

fn within<'a>(reader: &mut Reader<'a>, bytes: RangeInclusive<usize>) -> Result<&'a [u8], Malformed> {
    let value = reader.bytes()?;
    if bytes.contains(&value.len()) { Ok(value) } else { Err(Malformed) }
}
