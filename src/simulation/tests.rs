//! Cases and their answers.
