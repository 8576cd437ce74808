//! Wrong credentials and wrong path prefixes, on every operation.

use proxy_api::error::ErrorName;
use proxy_api::wire::{KeyOperation, Operation, Target};

use crate::check::bodies::Body;
use crate::check::case::Case;
use crate::check::cases::encrypt::UNKNOWN_KEY_ID;
use crate::check::crypto::PLAINTEXT;
use crate::check::finding::{InVariant as _, Judged};
use crate::check::judge::refused;
use crate::check::session::{Recipe, Session};

const UNAUTHENTICATED: &[ErrorName] = &[ErrorName::AuthenticationFailed];

pub(crate) const CASES: &[Case] = &[
    Case::must("health: an unknown access key id is refused", |s| {
        Box::pin(unknown_id(s, Operation::GetHealthStatus))
    })
    .rows("4"),
    Case::must("health: a wrong secret is refused", |s| {
        Box::pin(wrong_secret(s, Operation::GetHealthStatus))
    })
    .rows("5"),
    Case::must("health: an unknown prefix is no path", |s| {
        Box::pin(wrong_prefix(s, Operation::GetHealthStatus))
    })
    .rows("6"),
    Case::must("metadata: an unknown access key id is refused", |s| {
        Box::pin(unknown_id(s, Operation::GetKeyMetadata))
    })
    .rows("12"),
    Case::must("metadata: a wrong secret is refused", |s| {
        Box::pin(wrong_secret(s, Operation::GetKeyMetadata))
    })
    .rows("13"),
    Case::must("metadata: an unknown prefix is no path", |s| {
        Box::pin(wrong_prefix(s, Operation::GetKeyMetadata))
    })
    .rows("14"),
    Case::must("encrypt: an unknown access key id is refused", |s| {
        Box::pin(unknown_id(s, Operation::Encrypt))
    })
    .rows("17"),
    Case::must("encrypt: a wrong secret is refused", |s| Box::pin(wrong_secret(s, Operation::Encrypt)))
        .rows("18"),
    Case::must("encrypt: an unknown prefix is no path", |s| Box::pin(wrong_prefix(s, Operation::Encrypt)))
        .rows("19"),
    Case::must("decrypt: an unknown access key id is refused", |s| {
        Box::pin(unknown_id(s, Operation::Decrypt))
    }),
    Case::must("decrypt: a wrong secret is refused", |s| Box::pin(wrong_secret(s, Operation::Decrypt))),
    Case::must("decrypt: an unknown prefix is no path", |s| Box::pin(wrong_prefix(s, Operation::Decrypt))),
    Case::must("a request without Authorization is refused", |s| Box::pin(unsigned(s))),
    Case::should("who is not authenticated does not learn which keys exist", |s| {
        Box::pin(unsigned_unknown_key(s))
    }),
    Case::should("authentication comes before the body is judged", |s| Box::pin(unsigned_nonsense(s))),
    Case::should("an access key id of illegal form is only an unknown one", |s| Box::pin(odd_ids(s))),
];

async fn unknown_id(session: &Session, operation: Operation) -> Judged {
    let id = format!("Invalid{}", session.access_key_id);
    with_recipe(session, operation, &Recipe { access_key_id: &id, ..session.recipe() }).await
}

async fn wrong_secret(session: &Session, operation: Operation) -> Judged {
    let secret = [b"Invalid", session.secret_access_key.expose()].concat();
    with_recipe(session, operation, &Recipe { secret_access_key: &secret, ..session.recipe() }).await
}

async fn wrong_prefix(session: &Session, operation: Operation) -> Judged {
    let path = path(session, operation).replacen("/kms/xks/v1", "/invalid/kms/xks/v1", 1);
    refused(&session.post(&path, body(operation)).await?, &[ErrorName::InvalidUriPath])
}

async fn unsigned(session: &Session) -> Judged {
    for operation in
        [Operation::Decrypt, Operation::Encrypt, Operation::GetHealthStatus, Operation::GetKeyMetadata]
    {
        let outgoing = session.unsigned(&path(session, operation), body(operation))?;
        refused(&session.exchange(outgoing).await?, UNAUTHENTICATED).in_variant(operation.name())?;
    }
    Ok(())
}

async fn unsigned_unknown_key(session: &Session) -> Judged {
    let target = Target::Key { external_key_id: UNKNOWN_KEY_ID, operation: KeyOperation::Encrypt };
    let outgoing = session.unsigned(&session.path(target), body(Operation::Encrypt))?;
    refused(&session.exchange(outgoing).await?, UNAUTHENTICATED)
}

async fn unsigned_nonsense(session: &Session) -> Judged {
    let outgoing = session.unsigned(&path(session, Operation::Encrypt), "nonsense")?;
    refused(&session.exchange(outgoing).await?, UNAUTHENTICATED)
}

async fn odd_ids(session: &Session) -> Judged {
    for id in ["a", "lower-case.and_other", &"A".repeat(200)] {
        let recipe = Recipe { access_key_id: id, ..session.recipe() };
        with_recipe(session, Operation::GetHealthStatus, &recipe).await.in_variant(id)?;
    }
    Ok(())
}

async fn with_recipe(session: &Session, operation: Operation, recipe: &Recipe<'_>) -> Judged {
    let mut outgoing = session.unsigned(&path(session, operation), body(operation))?;
    session.sign(&mut outgoing, recipe)?;
    refused(&session.exchange(outgoing).await?, UNAUTHENTICATED)
}

fn path(session: &Session, operation: Operation) -> String {
    match operation {
        Operation::Decrypt => session.key_path(KeyOperation::Decrypt),
        Operation::Encrypt => session.key_path(KeyOperation::Encrypt),
        Operation::GetHealthStatus => session.path(Target::Health),
        Operation::GetKeyMetadata => session.key_path(KeyOperation::Metadata),
    }
}

/// For Decrypt an Encrypt body will do: nobody gets as far as reading it.
fn body(operation: Operation) -> Body {
    match operation {
        Operation::Decrypt | Operation::Encrypt => Body::encrypt(PLAINTEXT, None),
        Operation::GetHealthStatus => Body::health(),
        Operation::GetKeyMetadata => Body::metadata(),
    }
}
