//! What the alias operations have in common: names, and what is said of them.

use crate::domain::kms::{Alias, AliasName, Key, KeyAction};
use crate::gate::kms::{Call, Refused};
use crate::kms::error::Error;
use crate::store::StoreError;

const WITHOUT_PREFIX: &str = "Alias must start with the prefix \"alias/\". Please see \
                              https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html";

/// The name of an alias that is to be made.
pub(super) fn parse_new(text: &str) -> Result<AliasName, Error> {
    let name = parse(text)?;
    if name.is_reserved() {
        return Err(Error::NotAuthorized);
    }
    Ok(name)
}

fn parse(text: &str) -> Result<AliasName, Error> {
    if !text.starts_with("alias/") {
        return Err(Error::validation(WITHOUT_PREFIX));
    }
    AliasName::parse(text)
        .ok_or_else(|| Error::validation(format!("{text} contains invalid characters for an alias")))
}

/// An alias that is there, if the caller may do this to it.
pub(super) async fn find(
    call: &Call<'_>,
    action: KeyAction,
    text: &str,
) -> Result<(AliasName, Alias), Error> {
    let name = parse(text)?;
    let arn = call.caller().scope().arn(name.as_str());
    call.allow_alias(action, &arn)?;
    let alias = call.alias(&name).await?.ok_or(Refused::AliasMissing { arn })?;
    Ok((name, alias))
}

/// AWS KMS Developer Guide, Updating aliases.
pub(super) fn check_same_kind(before: &Key, after: &Key) -> Result<(), Error> {
    if before.spec.is_asymmetric() == after.spec.is_asymmetric() && before.usage == after.usage {
        return Ok(());
    }
    let text = "The current and the new key of an alias must have the same type and the same key usage.";
    Err(Error::validation(text))
}

/// What the store says of an alias, in the words of AWS.
pub(super) fn explain(call: &Call<'_>, name: &AliasName, refused: Refused) -> Error {
    let arn = call.caller().scope().arn(name.as_str());
    let Refused::Store(error) = refused else { return refused.into() };
    match error {
        StoreError::AlreadyExists => {
            Error::AlreadyExists(format!("An alias with the name {arn} already exists"))
        }
        StoreError::LimitExceeded => {
            Error::LimitExceeded("The key has as many aliases as it may have.".to_owned())
        }
        // Somebody else was faster.
        StoreError::Conflict | StoreError::Missing => Error::Conflict,
        StoreError::KeyStoreConflict(_)
        | StoreError::KeyStoreMissing
        | StoreError::KeyStoreNotConnected
        | StoreError::NotEmpty
        | StoreError::Unavailable(_)
        | StoreError::XksKeyInUse => error.into(),
    }
}
