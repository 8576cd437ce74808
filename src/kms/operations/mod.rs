//! The operations of the KMS API, a file each, and the table that finds them.

mod describe_key;
mod metadata;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde::de::Deserialize;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operation::OperationName;

/// One operation: what it reads, what it does, what it answers. The request has been checked against the model of
/// the API before.
trait Operation<'b> {
    type Request: Deserialize<'b> + Send;
    /// `()` for an empty body.
    type Response: Serialize;

    fn execute(
        call: &Call<'_>,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, Error>> + Send;
}

/// Times that a request is tried while others change the key under it.
const ATTEMPTS_MAX: usize = 8;
/// Room for most answers, so that plaintext in them is not left behind by a buffer that grew.
const ANSWER_BYTES_USUAL: usize = 16 * 1024;

/// Declares which file does which operation; the others are refused.
macro_rules! operations {
    ($($name:ident => $module:ident,)+) => {
        /// Does what `body` asks for, and answers with the body of the response.
        pub(super) async fn dispatch(name: OperationName, call: &Call<'_>, body: &[u8]) -> Result<Bytes, Error> {
            match name {
                $(OperationName::$name => run::<$module::$name>(call, body).await,)+
                name => Err(Error::UnsupportedOperation(format!("Holdfast does not support {name} yet."))),
            }
        }

        /// Operations that are there.
        pub(super) const SUPPORTED: &[OperationName] = &[$(OperationName::$name),+];
    };
}

operations! {
    DescribeKey => describe_key,
}

/// The key may change between being read and being written: then everything is looked at again.
async fn run<'b, O: Operation<'b>>(call: &Call<'_>, body: &'b [u8]) -> Result<Bytes, Error> {
    let mut attempts = 1;
    loop {
        let request =
            serde_json::from_slice(body).map_err(|error| Error::Serialization(error.to_string()))?;
        match executing::<O>(call, request).await {
            Err(Error::Conflict) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error),
            Ok(response) => return answer(&response),
        }
    }
}

/// Boxed: the compiler cannot see that the future of any operation may move between threads (rust-lang/rust#100013).
fn executing<'a, 'b: 'a, O: Operation<'b> + 'a>(
    call: &'a Call<'_>,
    request: O::Request,
) -> Pin<Box<dyn Future<Output = Result<O::Response, Error>> + Send + 'a>> {
    Box::pin(O::execute(call, request))
}

fn answer(response: &impl Serialize) -> Result<Bytes, Error> {
    let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_USUAL));
    serde_json::to_writer(&mut *body, response).map_err(|error| Error::Internal(error.to_string()))?;
    if *body == b"null" {
        body.clear();
    }
    Ok(Bytes::from_owner(body))
}

/// Bytes as Base64 in an answer.
struct Blob<B>(B);

impl<B: AsRef<[u8]>> Serialize for Blob<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(proxy_api::wire::encode_base64(self.0.as_ref()));
        serializer.serialize_str(&text)
    }
}
