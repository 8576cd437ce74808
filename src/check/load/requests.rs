//! The requests of a load, prepared once: only date and signature are made for each.

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use proxy_api::client::{Outgoing, Signer};
use proxy_api::wire::{KeyOperation, Target};

use crate::check::bodies::Body;
use crate::check::cases::random_bytes;
use crate::check::crypto::Sample;
use crate::check::finding::{Finding, mismatch};
use crate::check::load::{LoadOperation, LoadOptions};
use crate::check::session::Session;

/// Paths and bodies to repeat, and who signs them.
pub(crate) struct Requests {
    host: String,
    signer: Signer,
    unsigned: Vec<(PathAndQuery, Bytes)>,
}

impl Requests {
    /// Encrypts once with each key if there is something to decrypt.
    pub(crate) async fn prepare(session: &Session, options: &LoadOptions) -> Result<Self, Finding> {
        let secret = str::from_utf8(session.secret_access_key.expose())
            .map_err(|_| mismatch("a secret access key in UTF-8", "other bytes"))?;
        let mut unsigned = Vec::new();
        for key_id in key_ids(session, options) {
            prepare_key(session, options, &key_id, &mut unsigned).await?;
        }
        Ok(Self {
            host: session.host.clone(),
            signer: Signer::new(&session.access_key_id, secret, &session.region),
            unsigned,
        })
    }

    /// The request number `index`, signed now. Takes the prepared ones in turn.
    pub(crate) fn signed(&self, index: u64, now_unix_seconds: u64) -> Option<Outgoing> {
        let count = u64::try_from(self.unsigned.len()).ok()?;
        let (path, body) = self.unsigned.get(usize::try_from(index.checked_rem(count)?).ok()?)?;
        let mut outgoing = Outgoing::new(Method::POST, path.clone(), &self.host, body.clone());
        self.signer.sign(&mut outgoing, now_unix_seconds).ok()?;
        Some(outgoing)
    }
}

fn key_ids(session: &Session, options: &LoadOptions) -> Vec<String> {
    if let (Some(pattern), Some(count)) = (&options.key_id_pattern, options.key_count) {
        return (0..count).map(|number| pattern.replace("{}", &number.to_string())).collect();
    }
    if options.key_ids.is_empty() { vec![session.keys.both.clone()] } else { options.key_ids.clone() }
}

async fn prepare_key(
    session: &Session,
    options: &LoadOptions,
    key_id: &str,
    unsigned: &mut Vec<(PathAndQuery, Bytes)>,
) -> Result<(), Finding> {
    let plaintext = random_bytes(options.plaintext_bytes)?;
    let sample = Sample { plaintext: &plaintext, cdiv: options.cdiv, ..Sample::of(key_id) };
    let mut add = |target, body: Body| {
        let path = session.path(target);
        let path =
            PathAndQuery::try_from(path).map_err(|_| mismatch("a key id that HTTP can carry", key_id))?;
        unsigned.push((path, Vec::from(body).into()));
        Ok(())
    };
    let key = |operation| Target::Key { external_key_id: key_id, operation };
    match options.operation {
        LoadOperation::Health => return add(Target::Health, Body::health()),
        LoadOperation::Metadata => return add(key(KeyOperation::Metadata), Body::metadata()),
        LoadOperation::Encrypt => return add(key(KeyOperation::Encrypt), sample.body()),
        LoadOperation::Mixed => add(key(KeyOperation::Encrypt), sample.body())?,
        LoadOperation::Decrypt => {}
    }
    let sealed = session.encrypt(&sample).await?;
    add(key(KeyOperation::Decrypt), Body::decrypt(&sealed, None))
}
