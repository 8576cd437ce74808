//! For machines beside the daemon: metrics and health on plain HTTP, and the control socket of the commands.

pub mod control;
mod routes;

pub use routes::{ProbeRoutes, Readiness, Routes};
