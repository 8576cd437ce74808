//! STS.
