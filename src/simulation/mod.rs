//! What would be decided, and why: answers for people and machines, without a request.

mod answer;
mod case;
mod grant;

pub use answer::{Answer, Decision, Determining};
pub use case::{Reply, answer};

#[cfg(test)]
mod tests;
