//! `Decapsulate`: the shared secret that somebody encapsulated for an ML-KEM key pair.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Algorithm, EncapsulationAlgorithm, KeyAction};
use crate::gate::kms::Call;
use crate::kms::algorithm::ByAlgorithm;
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::{Blob, Operation, dry_run};
use crate::secret::SecretBytes;

pub(super) struct Decapsulate;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    shared_secret_ciphertext_blob: SecretBlob,
    encapsulation_algorithm: EncapsulationAlgorithm,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    shared_secret: Blob<SecretBytes>,
    encapsulation_algorithm: EncapsulationAlgorithm,
}

impl<'b> Operation<'b> for Decapsulate {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let algorithm = Algorithm::Encapsulation(request.encapsulation_algorithm);
        let grant_tokens = request.grant_tokens.as_deref();
        let named = ByAlgorithm { key_id: &request.key_id, algorithm, grant_tokens };
        let key = named.open(call, KeyAction::Decapsulate).await?;
        let ciphertext = request.shared_secret_ciphertext_blob.expose();
        key.check_encapsulated(ciphertext)?;
        dry_run(request.dry_run)?;
        Ok(Response {
            key_id: key.arn().to_owned(),
            shared_secret: Blob(key.decapsulate(ciphertext.to_vec()).await?),
            encapsulation_algorithm: request.encapsulation_algorithm,
        })
    }
}
