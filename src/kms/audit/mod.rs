//! What of each call is recorded: one record a call, in the shape of AWS CloudTrail.

mod call_record;
mod parameters;
mod recipient;
mod table;

#[cfg(test)]
mod tests;

pub(super) use call_record::{CallRecord, Received};
pub use table::request_parameters;
pub(super) use table::row;
