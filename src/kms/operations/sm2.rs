//! SM2, which AWS KMS has in China Regions only.

use crate::domain::kms::KeySpec;
use crate::kms::error::Error;

/// What AWS KMS answers everywhere else. `member` is what the request calls the spec.
pub(super) fn refuse_sm2(member: &str, spec: KeySpec) -> Result<(), Error> {
    if spec == KeySpec::Sm2 {
        return Err(Error::UnsupportedOperation(format!("{member} {spec} is not supported in this Region")));
    }
    Ok(())
}
