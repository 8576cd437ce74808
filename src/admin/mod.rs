//! For machines beside the daemon: metrics and health on plain HTTP, and the control socket of the commands.

pub mod control;
mod development;
mod routes;

pub use development::{Developed, Development};
pub use routes::{MetricsRoutes, ProbeRoutes, Readiness, Routes};
