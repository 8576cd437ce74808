//! No trail: `[kms.audit] enabled = false`.

use std::future;

use crate::audit::{Act, AuditLog, Kept, Record, Unkept};

/// Keeps nothing, and refuses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

impl AuditLog for Off {
    fn admits(&self, _act: Act) -> Result<(), Unkept> {
        Ok(())
    }

    fn intend(&self, _record: Record) -> Kept<'_> {
        Box::pin(future::ready(Ok(())))
    }

    fn append(&self, _record: Record) {}

    fn settle(&self) -> Kept<'_> {
        Box::pin(future::ready(Ok(())))
    }
}
