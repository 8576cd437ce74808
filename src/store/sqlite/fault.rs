//! Why a job on the database did not do its work.

use std::fmt;

use rusqlite::ErrorCode;

use crate::store::StoreError;

#[derive(Debug)]
pub(super) enum Fault {
    /// What was asked does not go with what is stored.
    Refused(StoreError),
    Sql(rusqlite::Error),
    /// A value of this column cannot be what it should be.
    Value(&'static str),
}

impl Fault {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(_) | Self::Value(_) => StoreError::Unavailable(self.to_string()),
        }
    }

    /// Whether a new connection may do better.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Value(_) => false,
            Self::Sql(error) => !matches!(
                error.sqlite_error_code(),
                None | Some(
                    ErrorCode::ConstraintViolation
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                )
            ),
        }
    }
}

/// What an INSERT of something that is there already comes to.
pub(super) fn already_exists(error: rusqlite::Error) -> Fault {
    const TAKEN: [i32; 2] =
        [rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY, rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE];
    match error.sqlite_error() {
        Some(cause) if TAKEN.contains(&cause.extended_code) => Fault::Refused(StoreError::AlreadyExists),
        Some(_) | None => Fault::Sql(error),
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Sql(error) => write!(f, "database: {error}"),
            Self::Value(column) => write!(f, "database: a value of `{column}` cannot be understood"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;
    use crate::store::StoreError;

    #[test]
    fn a_refusal_stays_what_it_is_and_everything_else_is_unavailable() {
        assert_eq!(Fault::from(StoreError::Conflict).into_error(), StoreError::Conflict);
        let reason = "database: a value of `state` cannot be understood".to_owned();
        assert_eq!(Fault::Value("state").into_error(), StoreError::Unavailable(reason));
    }
}
