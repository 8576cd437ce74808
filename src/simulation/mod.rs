//! What would be decided, and why: answers for people and machines, without a request.

mod answer;
mod case;
mod grant;
mod request;

pub use answer::{Answer, Decision, Determining};
pub use case::{Reply, answer};
pub use request::{Asked, SimulationRequest};

#[cfg(test)]
mod tests;
