//! Records in the JSON shape of AWS CloudTrail: what each has, whatever it is a record of.

mod administration;
mod date;
mod record;
mod tls;
mod user_identity;

#[cfg(test)]
mod tests;

pub use administration::{Administration, administration};
pub use date::{date_text, push_date_text};
pub use record::{Event, EventType, FIELD_BYTES_MAX, Origin, RecordError, Resource, Resources};
pub use tls::Tls;
pub use user_identity::UserIdentity;
