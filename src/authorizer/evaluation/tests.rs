//! The rules as a truth table, and laws that hold whatever the policies say.

mod generated;
mod laws;
mod truth_table;
